//! Reading beyond the suite: much, from many places, beside a writer, and from another process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::seams::conformance::channel;
use meridian_core::seams::{Log as _, LogError};
use meridian_core::vocabulary::{LogName, Offset, Partition, Record};
use meridian_kafka::{KafkaLog, Options};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::help::{append_one, broker, channel_in_each, eventually, open, options, record};

const RECORDS: usize = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_is_read_in_order() {
    let stack = broker();
    let options = options(&stack, 3);
    let log = Arc::new(open(&options).await);
    let key = channel("a");
    let partition = log.partition(&key);
    let first = Instant::now();
    append_one(&*log, &key, "first").await.unwrap();
    assert!(first.elapsed() < Duration::from_millis(400), "warmed up: {:?}", first.elapsed());

    let started = Instant::now();
    for batch in 0..RECORDS / 500 {
        let records = (0..500).map(|n| record(&*log, &key, &format!("{batch}-{n}"), 200)).collect();
        let answers = log.append(records).await;
        assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|a| a.is_err()));
    }
    println!("{RECORDS} appended in {:?}", started.elapsed());

    // Another handle, as another process.
    let started = Instant::now();
    let reader = open(&options).await;
    println!("opened in {:?}", started.elapsed());
    assert_eq!(reader.end(partition).await, Ok(Offset(RECORDS as u64 + 1)));
    let started = Instant::now();
    let mut next = Offset(0);
    let mut ids = Vec::new();
    while next.0 <= RECORDS as u64 {
        let held = reader.read(partition, next, 1_000, 1 << 20).await.unwrap();
        assert_eq!(held[0].offset, next);
        next = Offset(held.last().unwrap().offset.0 + 1);
        ids.extend(held.iter().map(|held| Record::decode(&held.stored).unwrap().id.to_string()));
    }
    println!("{RECORDS} read in {:?}", started.elapsed());
    let expected = (0..RECORDS).map(|i| format!("{}-{}", i / 500, i % 500));
    assert!(ids.into_iter().eq(std::iter::once("first".to_owned()).chain(expected)));
    anywhere(&reader, &key).await;
    one_waits_for_the_other(&log, &reader, &key).await;
    logs_are_apart(&options, &log).await;
    reader.close().await;
    Arc::into_inner(log).unwrap().close().await;
}

async fn anywhere(reader: &KafkaLog, key: &meridian_core::vocabulary::ChannelKey) {
    let partition = reader.partition(key);
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        let from = random.random_range(0..RECORDS as u64 + 3);
        let records = random.random_range(1..50);
        let read = reader.read(partition, Offset(from), records, usize::MAX).await;
        let end = RECORDS as u64 + 1;
        if from > end {
            assert_eq!(read, Err(LogError::BeyondEnd { end: Offset(end) }));
        } else {
            let read = read.unwrap();
            let offsets: Vec<u64> = read.iter().map(|held| held.offset.0).collect();
            let expected: Vec<u64> = (from..end).take(offsets.len().max(1)).collect();
            assert_eq!(offsets, expected, "seed {seed}");
            assert!(offsets.len() <= records);
        }
    }
}

/// Neither handle knows of the other's appends but from Kafka.
async fn one_waits_for_the_other(
    log: &Arc<KafkaLog>,
    reader: &KafkaLog,
    key: &meridian_core::vocabulary::ChannelKey,
) {
    let partition = reader.partition(key);
    let mut next = reader.end(partition).await.unwrap();
    assert_eq!(reader.read(partition, next, 9, 9).await, Ok(vec![]));
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let writer = log.clone();
        let (key, id) = (key.clone(), format!("round-{round}"));
        let appended = tokio::spawn(async move {
            append_one(&*writer, &key, &id).await.unwrap();
            Instant::now()
        });
        reader.wait_for(partition, next).await.unwrap();
        let held = reader.read(partition, next, 9, 9).await.unwrap();
        let seen = Instant::now();
        slowest = slowest.max(seen.saturating_duration_since(appended.await.unwrap()));
        assert_eq!(held[0].offset, next);
        next = Offset(next.0 + 1);
        assert!(reader.known_end(partition) >= next);
    }
    println!("seen {slowest:?} after its acknowledgement at worst");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// A zone's log has topics of its own.
async fn logs_are_apart(options: &Options, global: &KafkaLog) {
    let zone = LogName::parse("eu").unwrap();
    let log = KafkaLog::open(options.clone(), zone).await.unwrap();
    let key = channel("a");
    let before = global.end(global.partition(&key)).await;
    let placed = append_one(&log, &key, "1").await.unwrap().cursor;
    assert_eq!((placed.log.as_str(), placed.position.passed), ("eu", 0));
    assert_eq!(global.end(global.partition(&key)).await, before);
    assert_ne!(log.incarnation().identity, global.incarnation().identity);
    log.close().await;
}

/// Who starts from now right after a start must not start at the beginning.
#[tokio::test]
async fn a_log_that_is_opened_knows_its_ends() {
    let stack = broker();
    let mut options = options(&stack, 4);
    // Nothing but the opening itself looks in time.
    options.watch = Duration::from_secs(3_600);
    let log = open(&options).await;
    for (count, key) in channel_in_each(&log).iter().enumerate() {
        for n in 0..=count {
            append_one(&log, key, &n.to_string()).await.unwrap();
        }
    }
    log.close().await;
    let log = open(&options).await;
    let ends: Vec<u64> = (0..4).map(|partition| log.known_end(Partition(partition)).0).collect();
    assert_eq!(ends, [1, 2, 3, 4]);
}

/// Clients that come back while the broker is away, with cursors that lie beyond what is known here: each
/// would hold a thread for as long as a request may take.
#[test]
fn a_crowd_that_asks_a_broker_that_is_away_holds_few_threads() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(8).enable_all().build().unwrap();
    runtime.block_on(async {
        let (stack, request) = (broker(), Duration::from_secs(2));
        let options = Options { request, ..options(&stack, 4) };
        let log = Arc::new(open(&options).await);
        stack.kill("kafka1");
        let crowd = async || {
            let (began, mut callers) = (Instant::now(), tokio::task::JoinSet::new());
            for n in 0..200 {
                let log = log.clone();
                callers.spawn(async move { log.end(Partition(n % 4)).await });
            }
            let answers = callers.join_all().await;
            assert!(answers.iter().all(|answer| *answer == Err(LogError::Unavailable)));
            began.elapsed()
        };
        let first = crowd().await;
        assert!(first < 3 * request, "{first:?}");
        // While that is fresh, nobody waits.
        let second = crowd().await;
        assert!(second < Duration::from_millis(500), "{second:?}");
        stack.restart("kafka1");
        for partition in (0..4).map(Partition) {
            eventually("an end", async || log.end(partition).await.ok()).await;
        }
        Arc::into_inner(log).unwrap().close().await;
    });
}
