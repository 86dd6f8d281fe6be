//! Pulling: what a lane with room takes for a follower that is behind. From its page, else from the
//! ring, else a page is asked for.

use std::collections::HashSet;
use std::rc::Rc;

use bytes::Bytes;
use meridian_core::feed::conflate;
use meridian_core::policy::DeliveryClass;
use meridian_core::protocol::{GapPush, Message};
use meridian_core::seams::GoneReason;
use meridian_core::vocabulary::{ChannelKey, Cursor, Position, Stream};

use super::channel::{Channel, Mode, Page, SharedPage, Values};
use super::ring::Ring;
use super::{FollowerRef, Hub};
use crate::frame::{EncodedEvents, chunks};

/// What a pull came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// There may be more: take another turn.
    More,
    /// It is live, waits for a page, is paused, or is gone: nothing to take now.
    Done,
    /// Its session has as many pages as it may: pull again when it has a turn.
    Later,
}

impl Hub {
    /// Takes about `budget` bytes (at least one frame) of what the follower lacks into `out`.
    fn pull_some(&mut self, reference: FollowerRef, budget: usize, out: &mut Vec<Bytes>) -> Pulled {
        if self.follower(reference).is_none() {
            return Pulled::Done;
        }
        let channel = &mut self.channels[reference.channel as usize];
        if !channel.is_stored() {
            return self.pull_skipped(reference, out);
        }
        let follower = &mut channel.followers[reference.follower as usize];
        match follower.mode {
            Mode::Behind => self.pull_ring(reference, budget, out),
            Mode::Paging { .. } => self.pull_page(reference, budget, out),
            Mode::Live | Mode::Fetching(_) | Mode::Paused => Pulled::Done,
        }
    }

    /// A lane that took the follower from its queue pulls for it; unless `Done`, it must queue it again.
    pub(crate) fn pull(
        &mut self,
        reference: FollowerRef,
        budget: usize,
        out: &mut Vec<Bytes>,
    ) -> Pulled {
        let pulled = self.pull_some(reference, budget, out);
        if let Some(follower) = self.follower(reference) {
            follower.queued = pulled != Pulled::Done;
        }
        pulled
    }

    fn pull_ring(&mut self, reference: FollowerRef, budget: usize, out: &mut Vec<Bytes>) -> Pulled {
        let Channel { ring, followers, class, .. } = &mut self.channels[reference.channel as usize];
        let follower = &mut followers[reference.follower as usize];
        if follower.position < ring.floor() {
            return self.want_page(reference);
        }
        if *class == DeliveryClass::Feed
            && let Some(page) = conflated(ring, follower.position)
        {
            return self.take_conflated(reference, page);
        }
        let format = follower.outlet.format();
        let mut taken = 0;
        for encoded in ring.after(follower.position) {
            if taken >= budget {
                self.counters.delivered_bytes += taken as u64;
                return Pulled::More;
            }
            let frame = encoded.frame(format);
            taken += frame.len();
            out.push(frame.clone());
            (follower.position, follower.told) = (encoded.last(), encoded.last());
            self.counters.delivered_events += encoded.len() as u64;
        }
        self.counters.delivered_bytes += taken as u64;
        follower.mode = Mode::Live;
        Pulled::Done
    }

    fn pull_page(&mut self, reference: FollowerRef, budget: usize, out: &mut Vec<Bytes>) -> Pulled {
        let channel = &mut self.channels[reference.channel as usize];
        let follower = &mut channel.followers[reference.follower as usize];
        let Mode::Paging { page, next, .. } = &mut follower.mode else { return Pulled::Done };
        let shared = page.clone();
        let Some(page) = shared.page() else {
            follower.mode = Mode::Behind;
            return Pulled::More;
        };
        let format = follower.outlet.format();
        let values = page.values;
        if *next == 0
            && let Some(gone) = page.gone.filter(|_| values.is_some())
        {
            let (from, to) = (follower.told, gone.through);
            let gap = gap_message(&channel.stream, &channel.key, gone.reason, from, to);
            out.push(format.message(&gap));
            self.counters.gaps += 1;
            (follower.position, follower.told, follower.snapshot_since) = (to, to, None);
        } else if *next == 0
            && let Some(gone) = page.gone
            && gone.through > follower.position
        {
            let (from, to) = (follower.told, gone.through);
            let gap = gap_message(&channel.stream, &channel.key, gone.reason, from, to);
            out.push(format.message(&gap));
            self.counters.gaps += 1;
            (follower.position, follower.told) = (to, to);
        }
        let mut taken = 0;
        while let Some(chunk) = page.chunks.get(*next) {
            if taken >= budget {
                self.counters.delivered_bytes += taken as u64;
                return Pulled::More;
            }
            let frame = chunk.frame(format);
            taken += frame.len();
            out.push(frame.clone());
            *next += 1;
            if values.is_none() {
                (follower.position, follower.told) = (chunk.last(), chunk.last());
            }
            self.counters.delivered_events += chunk.len() as u64;
        }
        self.counters.delivered_bytes += taken as u64;
        if let Some(values) = values {
            let to = page.position;
            out.push(format.message(&conflated_message(&channel.stream, &channel.key, to)));
            (follower.position, follower.told) = (to, to);
            follower.snapshot_since = values.more.then_some(values.since);
        }
        follower.position = follower.position.max(page.position);
        follower.mode = Mode::Behind;
        Pulled::More
    }

    /// Has the follower take a page of the ring's newest values, when its session may have one more.
    fn take_conflated(&mut self, reference: FollowerRef, page: Page) -> Pulled {
        let Some(follower) = self.follower(reference) else { return Pulled::Done };
        let Some(turn) = follower.outlet.turns().take() else { return Pulled::Later };
        let page = Rc::new(SharedPage::new(page));
        follower.mode = Mode::Paging { page: page.clone(), next: 0, _turn: turn };
        self.hold(&page);
        Pulled::More
    }

    fn pull_skipped(&mut self, reference: FollowerRef, out: &mut Vec<Bytes>) -> Pulled {
        let channel = &mut self.channels[reference.channel as usize];
        let follower = &mut channel.followers[reference.follower as usize];
        if matches!(follower.mode, Mode::Paused) {
            return Pulled::Done;
        }
        let count = std::mem::take(&mut follower.skipped);
        follower.mode = Mode::Live;
        if count > 0 {
            out.push(follower.outlet.format().message(&skipped_message(&channel.key, count)));
            self.counters.skipped += count;
        }
        Pulled::Done
    }
}

/// Tells how many ephemeral events a reader was too slow for.
pub(super) fn skipped_message(key: &ChannelKey, count: u64) -> Message {
    Message::Skipped { channel: key.channel.as_str().to_owned(), count }
}

/// The newest value of each key in the ring after a position, where that is less than its events.
fn conflated(ring: &Ring, after: Position) -> Option<Page> {
    let events: Vec<_> = ring.after(after).flat_map(|encoded| encoded.events()).collect();
    let position = events.last()?.position();
    let mut keys = HashSet::new();
    let repeats = events.iter().filter(|e| e.body.key.is_some() && !keys.insert(&e.body.key));
    if repeats.count() == 0 {
        return None;
    }
    let since = position;
    let rows = conflate(events.into_iter());
    let chunks = chunks(rows, EncodedEvents::values);
    Some(Page { gone: None, chunks, position, values: Some(Values { since, more: false }) })
}

fn conflated_message(stream: &Stream, key: &ChannelKey, position: Position) -> Message {
    let stream = Stream { epoch: position.epoch, ..stream.clone() };
    let channel = key.channel.as_str().to_owned();
    Message::Conflated { channel, stream: stream.to_string(), position }
}

fn gap_message(
    stream: &Stream,
    key: &ChannelKey,
    reason: GoneReason,
    from: Position,
    to: Position,
) -> Message {
    let cursor = Cursor { log: stream.log.clone(), partition: stream.partition, position: from };
    let landing = Stream { epoch: to.epoch, ..stream.clone() };
    Message::Gap(GapPush {
        channel: key.channel.as_str().to_owned(),
        reason: reason_name(reason).to_owned(),
        from: cursor.to_string(),
        stream: landing.to_string(),
        position: to,
    })
}

/// The reason's name on the wire.
pub(crate) fn reason_name(reason: GoneReason) -> &'static str {
    match reason {
        GoneReason::Retention => "retention",
        GoneReason::Epoch => "epoch",
        GoneReason::Unknown => "unknown",
    }
}
