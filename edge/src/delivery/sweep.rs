//! The sweep: each followed channel's head is compared with the region's within its time, so that a
//! lost delivery of a quiet channel, a failover or an emptied backplane is found.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::stream::{StreamExt, iter};
use meridian_core::seams::HotHead;
use meridian_core::vocabulary::{ChannelKey, LogName, Partition, Position, Stream};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Hands, Stores};

/// Each followed channel's head is compared so often. What is lost is to be found within 5 s: the rest is for
/// ticks that a busy machine lets come late, and for the reads.
pub(crate) const SWEEP: Duration = Duration::from_secs(4);
const STEPS: u32 = 20;
/// Channels that are compared at once, at most.
const BATCH: usize = 512;
/// Partitions whose heads are asked of the backplane at once.
const CONCURRENT_STREAMS: usize = 32;

/// Compares each followed channel's head with the region's, spread over the sweep's time, or all at
/// once where something may have been lost. Closes what nobody follows any more.
pub(super) async fn sweep_heads(hands: Hands) {
    let mut ticks = interval(SWEEP / STEPS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left: Vec<(ChannelKey, Stream)> = Vec::new();
    let mut step = 0;
    loop {
        let all = tokio::select! {
            _ = ticks.tick() => false,
            () = hands.suspect.notified() => true,
        };
        if all || step == 0 {
            left = hands.hub.borrow().stored_channels();
            step = if all { 1 } else { STEPS };
        }
        let share = left.split_off(left.len() - left.len().div_ceil(step as usize));
        step -= 1;
        for (log, channels) in by_log(share) {
            for channels in channels.chunks(BATCH) {
                for (key, head) in heads(&hands.stores, &log, channels).await {
                    hands.hub.borrow_mut().suspect(&key, head);
                }
            }
        }
        hands.hub.borrow_mut().close_idle(Instant::now());
        hands.ring();
    }
}

/// Partitions and checkpoints are a log's own.
fn by_log(channels: Vec<(ChannelKey, Stream)>) -> HashMap<LogName, Vec<(ChannelKey, Stream)>> {
    let mut by_log: HashMap<LogName, Vec<_>> = HashMap::new();
    for (key, stream) in channels {
        by_log.entry(stream.log.clone()).or_default().push((key, stream));
    }
    by_log
}

/// The newest events of a log's channels as the region knows them: the backplane's word counts where its
/// marker is at or above the last event that the history holds, else the history's.
async fn heads(
    stores: &Stores,
    log: &LogName,
    channels: &[(ChannelKey, Stream)],
) -> HashMap<ChannelKey, Position> {
    // Before the markers: a partition that moves meanwhile must not look like one that lost something.
    let stored = last_kept(stores, channels).await;
    let mut by_stream: HashMap<&Stream, Vec<ChannelKey>> = HashMap::new();
    for (key, stream) in channels {
        by_stream.entry(stream).or_default().push(key.clone());
    }
    let hot = |(stream, keys): (&Stream, Vec<ChannelKey>)| {
        let (stream, backplane) = (stream.clone(), stores.backplane.clone());
        async move {
            let unknown = vec![HotHead { head: None, marker: None }; keys.len()];
            let heads = backplane.heads(&stream, &keys).await.unwrap_or(unknown);
            keys.into_iter().zip(heads).map(move |(key, hot)| (key, stream.partition, hot))
        }
    };
    let asked = iter(by_stream.into_iter().map(hot)).buffer_unordered(CONCURRENT_STREAMS);
    let (mut heads, mut doubtful) = (HashMap::new(), Vec::new());
    let answers: Vec<_> = asked.collect().await;
    for (key, partition, HotHead { head, marker }) in answers.into_iter().flatten() {
        let trusted = marker.is_some() && marker >= stored.get(&partition).copied();
        if head.is_none() || !trusted {
            doubtful.push(key.clone());
        }
        heads.extend(head.map(|head| (key, head)));
    }
    if !doubtful.is_empty()
        && let Ok(found) = stores.history.heads(log, &doubtful).await
    {
        for (key, head) in found {
            heads.entry(key).and_modify(|hot| *hot = head.max(*hot)).or_insert(head);
        }
    }
    heads
}

/// The last event that the history holds, by partition.
async fn last_kept(
    stores: &Stores,
    channels: &[(ChannelKey, Stream)],
) -> HashMap<Partition, Position> {
    let streams: HashSet<&Stream> = channels.iter().map(|(_, stream)| stream).collect();
    let streams: Vec<Stream> = streams.into_iter().cloned().collect();
    let checkpoints = stores.history.checkpoints(&streams).await.unwrap_or_default();
    checkpoints.into_iter().map(|(partition, stored)| (partition, stored.last_kept)).collect()
}
