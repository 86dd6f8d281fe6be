//! The fan-out: brings the live followers of channels with news up to the ring's tip, in slices, so
//! that a channel with ten thousand followers does not hold up the others.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use meridian_core::vocabulary::Position;
use tokio::time::Instant;

use super::channel::{Channel, Follower, Mode, Pass};
use super::pull::skipped_message;
use super::ring::Ring;
use super::{FollowerRef, Hub, Offer};
use crate::frame::{EncodedEvents, Format};

/// The work of one turn ends after so many writes or so much time, whichever comes first.
const WRITES: usize = 256;
const TIME: Duration = Duration::from_millis(1);
/// Who lacks more than this in several events pulls them in turns.
const MISSED_BYTES: usize = 64 * 1024;

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
        // Without any event the floor is news: whoever stands below it lacks something.
        let newest = ring.newest().map_or(ring.floor(), |newest| newest.last());
        let Pass { at: start, newest: target } = pass.unwrap_or(Pass { at: 0, newest: None });
        let target = target.unwrap_or(newest);
        let mut pace = Pace::new();
        let mut news = News { ring, missed: None };
        for key in start..followers.capacity() {
            if pace.is_over() {
                *pass = Some(Pass { at: key, newest: Some(target) });
                return false;
            }
            let Some(follower) = followers.get_mut(key) else { continue };
            if !matches!(follower.mode, Mode::Live) || follower.position >= newest {
                continue;
            }
            let reference =
                FollowerRef { channel: id, follower: key as u32, serial: follower.serial };
            let Some((frame, events)) = news.of(follower) else {
                follower.fall_behind(reference);
                continue;
            };
            match follower.outlet.offer(follower.lane, &frame) {
                Offer::Taken => {
                    (follower.position, follower.told) = (ring.tip(), newest);
                    self.counters.delivered_events += events as u64;
                    self.counters.delivered_bytes += frame.len() as u64;
                }
                Offer::Blocked => follower.fall_behind(reference),
            }
            pace.wrote();
        }
        *pass = Some(Pass { at: 0, newest: None });
        target == newest
    }

    /// Whether no ephemeral event waits any more.
    fn fan_out_ephemeral(&mut self, id: u32) -> bool {
        let Channel { key: name, ephemeral, followers, pass, .. } = &mut self.channels[id as usize];
        let Some(message) = ephemeral.front().cloned() else { return true };
        let start = pass.map_or(0, |pass| pass.at);
        let mut pace = Pace::new();
        for key in start..followers.capacity() {
            if pace.is_over() {
                *pass = Some(Pass { at: key, newest: None });
                return false;
            }
            let Some(follower) = followers.get_mut(key) else { continue };
            if !matches!(follower.mode, Mode::Live) {
                follower.skipped += 1;
                continue;
            }
            let format = follower.outlet.format();
            let mut frame = message.frame(format).clone();
            if follower.skipped > 0 {
                let skipped = format.message(&skipped_message(name, follower.skipped));
                frame = [skipped, frame].concat().into();
            }
            if follower.outlet.offer(follower.lane, &frame) == Offer::Taken {
                self.counters.skipped += std::mem::take(&mut follower.skipped);
                self.counters.delivered_events += 1;
                self.counters.delivered_bytes += frame.len() as u64;
            } else {
                follower.skipped += 1;
                let serial = follower.serial;
                follower.fall_behind(FollowerRef { channel: id, follower: key as u32, serial });
            }
            pace.wrote();
        }
        ephemeral.pop_front();
        *pass = Some(Pass { at: 0, newest: None });
        ephemeral.is_empty()
    }
}

/// What live followers lack of a ring.
struct News<'a> {
    ring: &'a Ring,
    /// What those who lack several events got last: most stand at the same place.
    missed: Option<Missed>,
}

struct Missed {
    after: Position,
    format: Format,
    /// `None`: too much for one write.
    frames: Option<(Bytes, usize)>,
}

impl News<'_> {
    /// The frame for a follower and how many events are in it; `None`: it has to pull.
    fn of(&mut self, follower: &Follower) -> Option<(Bytes, usize)> {
        if follower.position < self.ring.floor() {
            return None;
        }
        let newest = self.ring.newest()?;
        let (after, format) = (follower.position, follower.outlet.format());
        if newest.first().prev.is_within(after) {
            return Some((newest.frame(format).clone(), newest.len()));
        }
        let known = self.missed.as_ref().filter(|m| m.after == after && m.format == format);
        if known.is_none() {
            let frames = concatenate(self.ring.after(after), format);
            self.missed = Some(Missed { after, format, frames });
        }
        self.missed.as_ref().and_then(|missed| missed.frames.clone())
    }
}

fn concatenate<'a>(
    events: impl Iterator<Item = &'a Rc<EncodedEvents>>,
    format: Format,
) -> Option<(Bytes, usize)> {
    let (mut frames, mut count) = (BytesMut::new(), 0);
    for encoded in events {
        if count > 0 && frames.len() >= MISSED_BYTES {
            return None;
        }
        frames.extend_from_slice(encoded.frame(format));
        count += encoded.len();
    }
    Some((frames.freeze(), count))
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
