//! A broker that dies, stays away and comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::seams::conformance::channel;
use meridian_core::seams::{AppendError, Log as _};
use meridian_core::vocabulary::{Offset, Partition, Record};
use meridian_kafka::{KafkaLog, Options};
use meridian_stack::{Counts, Stack};

use crate::help::{
    append_one, broker, channel_in_each, channel_of, eventually, leaders, open, options, record,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_outlive_a_killed_broker() {
    let stack = broker();
    let options = options(&stack, 4);
    killed_under_appends(&options, async || {
        stack.kill("kafka1");
        stack.restart("kafka1");
    })
    .await;
}

/// The others take over: partitions whose leader died go on by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_outlive_a_killed_leader() {
    let stack = Stack::start(Counts { kafka: 3, ..Counts::default() });
    let mut options = options(&stack, 6);
    options.topics.replication = Some(3);
    options.topics.min_insync = Some(2);
    let mut killed = None;
    killed_under_appends(&options, async || {
        if let Some(earlier) = killed.replace("kafka1") {
            stack.restart(earlier);
        } else {
            stack.kill("kafka1");
        }
    })
    .await;
}

/// Appends, hurts the broker twice, and looks whether what was acknowledged is held where it was told.
async fn killed_under_appends(options: &Options, mut hurt: impl AsyncFnMut()) {
    let log = Arc::new(open(options).await);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..4 {
        let (log, stopped) = (log.clone(), stopped.clone());
        publishers.spawn(async move {
            let key = channel(&format!("c{publisher}"));
            let mut acknowledged = Vec::new();
            for number in 0.. {
                if *stopped.borrow() {
                    break;
                }
                let id = format!("{publisher}-{number}");
                // Retried under the same id until it is stored.
                while !*stopped.borrow() {
                    if let Ok(placed) = append_one(&*log, &key, &id).await {
                        acknowledged.push((id, placed.cursor));
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            acknowledged
        });
    }
    for _ in 0..2 {
        let before: u64 = total(&log);
        eventually("records flow", async || (total(&log) > before + 200).then_some(())).await;
        hurt().await;
    }
    let before = total(&log);
    eventually("records flow again", async || (total(&log) > before + 200).then_some(())).await;
    stop.send_replace(true);
    let acknowledged: Vec<_> = publishers.join_all().await.into_iter().flatten().collect();
    assert!(acknowledged.len() > 600, "{}", acknowledged.len());

    let held = read_all(&log).await;
    let mut places = std::collections::HashSet::new();
    for (id, cursor) in &acknowledged {
        let offset = Offset(cursor.position.passed as u64);
        assert!(places.insert((cursor.partition, offset)), "{cursor} was told twice");
        let found = held.get(&(cursor.partition, offset)).map(|record| record.id.as_str());
        assert_eq!(found, Some(id.as_str()), "at {cursor}");
    }
    Arc::into_inner(log).unwrap().close().await;
}

fn total(log: &KafkaLog) -> u64 {
    (0..log.incarnation().partitions).map(|p| log.known_end(Partition(p)).0).sum()
}

async fn read_all(log: &KafkaLog) -> HashMap<(Partition, Offset), Record> {
    let mut held = HashMap::new();
    for partition in (0..log.incarnation().partitions).map(Partition) {
        let mut next = Offset(0);
        loop {
            let read = log.read(partition, next, 500, 1 << 20).await.unwrap();
            let Some(last) = read.last() else { break };
            next = Offset(last.offset.0 + 1);
            for record in read {
                held.insert((partition, record.offset), Record::decode(&record.stored).unwrap());
            }
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_gone_refuses_in_bounded_time() {
    let stack = broker();
    let mut options = options(&stack, 4);
    options.acknowledge = Duration::from_secs(3);
    options.abandon = Duration::from_secs(5);
    let log = open(&options).await;
    let key = channel("a");
    append_one(&log, &key, "before").await.unwrap();
    stack.kill("kafka1");

    // Handed over and never acknowledged.
    let started = Instant::now();
    assert_eq!(append_one(&log, &key, "lost").await, Err(AppendError::OutcomeUnknown));
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    // By now the log has been silent for too long.
    for id in ["refused", "as-well"] {
        let started = Instant::now();
        assert_eq!(append_one(&log, &key, id).await, Err(AppendError::Unavailable));
        assert!(started.elapsed() < Duration::from_millis(200), "{:?}", started.elapsed());
    }
    // Also after the producer was given up, when nothing is in flight that could tell.
    tokio::time::sleep(options.abandon).await;
    assert_eq!(append_one(&log, &key, "still").await, Err(AppendError::Unavailable));
    let started = Instant::now();
    assert!(log.end(log.partition(&key)).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());

    stack.restart("kafka1");
    let started = Instant::now();
    let after =
        eventually("appends are taken again", async || append_one(&log, &key, "after").await.ok())
            .await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let partition = log.partition(&key);
    let held = log.read(partition, Offset(0), 99, usize::MAX).await.unwrap();
    let ids: Vec<String> =
        held.iter().map(|held| Record::decode(&held.stored).unwrap().id.to_string()).collect();
    assert_eq!((ids[0].as_str(), ids.last().unwrap().as_str()), ("before", "after"));
    assert_eq!(after.cursor.position.passed as u64, held.last().unwrap().offset.0);
    assert!(!ids.iter().any(|id| id == "refused" || id == "as-well"), "{ids:?}");
    log.close().await;
}

/// Also when nothing else is published, and after the producer was given up because of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_a_leader_costs_only_itself() {
    let stack = Stack::start(Counts { kafka: 3, ..Counts::default() });
    let mut options = options(&stack, 6);
    options.topics.replication = Some(1);
    options.topics.min_insync = Some(1);
    options.acknowledge = Duration::from_secs(3);
    options.abandon = Duration::from_secs(6);
    let log = open(&options).await;
    let keys = channel_in_each(&log);
    for key in &keys {
        append_one(&log, key, "before").await.unwrap();
    }
    let leaders = leaders(&options, &log.record().topic);
    stack.kill(&format!("kafka{}", leaders[0]));
    let is_dead = |partition: &usize| leaders[*partition] == leaders[0];
    let dead: Vec<usize> = (0..6).filter(is_dead).collect();
    let well: Vec<usize> = (0..6).filter(|partition| !is_dead(partition)).collect();
    assert!(!well.is_empty(), "{leaders:?}");

    for round in 0..4 {
        let id = format!("round-{round}");
        for partition in &dead {
            assert!(append_one(&log, &keys[*partition], &id).await.is_err());
        }
        for partition in &well {
            let started = Instant::now();
            eventually("the others go on", async || {
                append_one(&log, &keys[*partition], &id).await.ok()
            })
            .await;
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        }
    }
    stack.restart(&format!("kafka{}", leaders[0]));
    for key in &keys {
        eventually("all are well", async || append_one(&log, key, "after").await.ok()).await;
    }
    log.close().await;
}

/// A broker that hangs keeps its connections: only the silence tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_hangs_is_noticed_by_its_silence() {
    let stack = broker();
    let options = options(&stack, 4);
    let log = open(&options).await;
    let key = channel("a");
    let first = append_one(&log, &key, "before").await.unwrap();
    stack.pause("kafka1");
    let (unknown, refused) = tokio::join!(append_one(&log, &key, "hangs"), async {
        tokio::time::sleep(options.silence + Duration::from_millis(300)).await;
        let started = Instant::now();
        (append_one(&log, &key, "refused").await, started.elapsed())
    });
    assert_eq!(unknown, Err(AppendError::OutcomeUnknown));
    assert_eq!(refused.0, Err(AppendError::Unavailable));
    assert!(refused.1 < Duration::from_millis(200), "{:?}", refused.1);
    stack.resume("kafka1");
    // What hung is stored after all, and its acknowledgement opens the log again.
    eventually("the log opens", async || append_one(&log, &key, "after").await.ok()).await;
    let partition = log.partition(&key);
    let from = Offset(first.cursor.position.passed as u64);
    let held = log.read(partition, from, 9, usize::MAX).await.unwrap();
    let ids: Vec<String> =
        held.iter().map(|held| Record::decode(&held.stored).unwrap().id.to_string()).collect();
    assert_eq!(ids, ["before", "hangs", "after"]);
    assert!(log.state().borrow().ended().is_none());
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_tenant_leaves_half_to_the_others() {
    let stack = broker();
    let mut options = options(&stack, 4);
    options.queue_bytes = 1 << 20;
    // What waits is kept until the broker is back.
    options.queue_wait = Duration::from_secs(60);
    options.silence = Duration::from_secs(60);
    options.abandon = Duration::from_secs(120);
    let log = Arc::new(open(&options).await);
    append_one(&*log, &channel("a"), "before").await.unwrap();
    stack.kill("kafka1");
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..200 {
        let log = log.clone();
        flood.spawn(async move {
            let key = channel_of("loud", "a");
            let sent = record(&*log, &key, &format!("{number}"), 10_000);
            log.append(vec![sent]).await.remove(0)
        });
    }
    let mut refused = 0;
    while refused < 140 {
        let answer = flood.join_next().await.unwrap().unwrap();
        assert!(matches!(answer, Err(AppendError::Overloaded { .. })), "{answer:?}");
        refused += 1;
    }
    let quiet = tokio::spawn({
        let log = log.clone();
        async move {
            let key = channel_of("quiet", "a");
            let records = (0..20).map(|n| record(&*log, &key, &format!("{n}"), 10_000)).collect();
            log.append(records).await
        }
    });
    // It waits, where the flood is still refused.
    let key = channel_of("loud", "a");
    let more = log.append(vec![record(&*log, &key, "more", 10_000)]).await.remove(0);
    assert!(matches!(more, Err(AppendError::Overloaded { .. })), "{more:?}");
    assert!(!quiet.is_finished());
    stack.restart("kafka1");
    let stored = quiet.await.unwrap();
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
    let answers = flood.join_all().await;
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    let half = (options.queue_bytes / 2) / 10_000;
    assert!((half - 4..=half).contains(&taken), "{taken} of {half}");
    Arc::into_inner(log).unwrap().close().await;
}

/// What is stored of a call is a prefix of it, whatever the client refuses in its middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_behind_a_refused_record_of_a_call_is_stored() {
    let stack = broker();
    let mut options = options(&stack, 1);
    options.properties.insert("message.max.bytes".to_owned(), "20000".to_owned());
    let log = open(&options).await;
    let key = channel("a");
    let sizes = [100, 30_000, 100, 100];
    let call = sizes.iter().enumerate();
    let call = call.map(|(n, bytes)| record(&log, &key, &format!("{n}"), *bytes)).collect();
    let answers = log.append(call).await;
    let refused = Err(AppendError::Unavailable);
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!(answers[1..], [refused.clone(), refused.clone(), refused]);
    let next = append_one(&log, &key, "next").await.unwrap();
    assert_eq!(next.cursor.position.passed, 1, "the first record's neighbour");
    log.close().await;
}
