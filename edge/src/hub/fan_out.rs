//! The fan-out: brings the live followers of channels with news up to the ring's tip, in slices, so
//! that a channel with ten thousand followers does not hold up the others.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::channel::{Channel, Follower, Mode, Pass};
use super::{FollowerRef, Hub, Offer};
use crate::frame::{EncodedEvents, Format};

/// The work of one turn ends after so many writes or so much time, whichever comes first.
const WRITES: usize = 256;
const TIME: Duration = Duration::from_millis(1);

/// What a slice of the fan-out came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slice {
    /// Something is left: yield, then call again.
    More,
    Idle,
}

impl Hub {
    pub(super) fn mark_dirty(&mut self, id: u32) {
        // A channel whose fan-out is under way is in the queue already and looks at the tip again.
        let channel = &mut self.channels[id as usize];
        if channel.pass.is_none() {
            channel.pass = Some(Pass { at: 0, newest: None });
            self.dirty.push_back(id);
        }
    }

    /// Whether a fan-out waits.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Does one turn's work on the next channel with news.
    pub(crate) fn fan_out(&mut self) -> Slice {
        let Some(id) = self.dirty.pop_front() else { return Slice::Idle };
        let finished = if self.channels[id as usize].is_stored() {
            self.fan_out_stored(id)
        } else {
            self.fan_out_ephemeral(id)
        };
        if finished {
            self.channels[id as usize].pass = None;
        } else {
            self.dirty.push_back(id);
        }
        if self.dirty.is_empty() { Slice::Idle } else { Slice::More }
    }

    /// Whether the channel's followers are all served. The tip may rise while a pass is under way:
    /// those behind its place get both events at once, for those before it another pass follows.
    fn fan_out_stored(&mut self, id: u32) -> bool {
        let Channel { ring, followers, pass, .. } = &mut self.channels[id as usize];
        let (tip, floor) = (ring.tip(), ring.floor());
        let Some(newest) = ring.newest().cloned() else { return true };
        let Pass { at: start, newest: target } = pass.unwrap_or(Pass { at: 0, newest: None });
        let target = target.unwrap_or(newest.last());
        let mut pace = Pace::new();
        let mut missed = Vec::new();
        for key in start..followers.capacity() {
            if pace.is_over() {
                *pass = Some(Pass { at: key, newest: Some(target) });
                return false;
            }
            let Some(follower) = followers.get_mut(key) else { continue };
            if !matches!(follower.mode, Mode::Live) || follower.position >= newest.last() {
                continue;
            }
            let reference =
                FollowerRef { channel: id, follower: key as u32, serial: follower.serial };
            if follower.position < floor {
                follower.fall_behind(reference);
                continue;
            }
            let format = follower.outlet.format();
            let (frame, events) = if newest.first().prev.is_within(follower.position) {
                (newest.frame(format).clone(), newest.len())
            } else {
                missed.clear();
                missed.extend(ring.after(follower.position).cloned());
                (concatenate(&missed, format), missed.len())
            };
            match follower.outlet.offer(follower.lane, &frame) {
                Offer::Taken => {
                    follower.position = tip.max(newest.last());
                    self.counters.delivered_events += events as u64;
                    self.counters.delivered_bytes += frame.len() as u64;
                }
                Offer::Blocked => follower.fall_behind(reference),
            }
            pace.wrote();
        }
        *pass = Some(Pass { at: 0, newest: None });
        target == newest.last()
    }

    fn fan_out_ephemeral(&mut self, id: u32) -> bool {
        let Channel { ephemeral, followers, pass, .. } = &mut self.channels[id as usize];
        let Some(message) = ephemeral.front().cloned() else { return true };
        let start = pass.map_or(0, |pass| pass.at);
        let mut pace = Pace::new();
        for key in start..followers.capacity() {
            if pace.is_over() {
                *pass = Some(Pass { at: key, newest: None });
                return false;
            }
            let Some(follower) = followers.get_mut(key) else { continue };
            let reference =
                FollowerRef { channel: id, follower: key as u32, serial: follower.serial };
            if matches!(follower.mode, Mode::Paused) {
                continue;
            }
            if !matches!(follower.mode, Mode::Live) {
                follower.skipped += 1;
                continue;
            }
            let frame = message.frame(follower.outlet.format());
            if follower.outlet.offer(follower.lane, frame) == Offer::Taken {
                self.counters.delivered_events += 1;
                self.counters.delivered_bytes += frame.len() as u64;
            } else {
                follower.skipped += 1;
                follower.fall_behind(reference);
            }
            pace.wrote();
        }
        ephemeral.pop_front();
        *pass = Some(Pass { at: 0, newest: None });
        ephemeral.is_empty()
    }
}

impl Follower {
    fn fall_behind(&mut self, reference: FollowerRef) {
        self.mode = Mode::Behind;
        self.outlet.behind(self.lane, reference);
    }
}

fn concatenate(events: &[Rc<EncodedEvents>], format: Format) -> Bytes {
    let mut frames = BytesMut::new();
    for encoded in events {
        frames.extend_from_slice(encoded.frame(format));
    }
    frames.freeze()
}

/// Counts a turn's writes and looks at the clock now and then.
struct Pace {
    writes: usize,
    started: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { writes: 0, started: Instant::now() }
    }

    fn wrote(&mut self) {
        self.writes += 1;
    }

    fn is_over(&self) -> bool {
        self.writes >= WRITES || (self.writes % 32 == 31 && self.started.elapsed() >= TIME)
    }
}
