//! The queue in front of the client, pure: who may enter, what is handed over next, what has waited too
//! long. Owns the bounds: bytes in all, half for a tenant, a share in flight for a partition.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use meridian_core::vocabulary::Tenant;

use crate::gate::Gate;
use crate::options::Options;

/// A partition whose records stay unacknowledged for so long gets no more of them, so that it can't take
/// the others' room in flight.
const STALL: Duration = Duration::from_secs(1);

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Waiting and in flight.
    pub(crate) bytes: usize,
    pub(crate) in_flight_bytes: usize,
    pub(crate) partition_bytes: usize,
    pub(crate) wait: Duration,
    pub(crate) silence: Duration,
    pub(crate) abandon: Duration,
}

/// What a record counts for, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) partition: u32,
    pub(crate) tenant: Tenant,
    pub(crate) bytes: usize,
}

/// Why a record did not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full { retry_after: Duration },
    Closed,
}

/// Items by partition, each partition in order.
pub(crate) struct Outbox<T> {
    limits: Limits,
    lanes: Vec<Lane<T>>,
    /// Lanes with something to hand over.
    ready: VecDeque<u32>,
    tenants: HashMap<Tenant, Share>,
    bytes: usize,
    in_flight_bytes: usize,
    in_flight: usize,
    pub(crate) gate: Gate,
}

/// A tenant's bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    waiting: usize,
    in_flight: usize,
}

struct Lane<T> {
    waiting: VecDeque<Waiting<T>>,
    is_ready: bool,
    in_flight: usize,
    in_flight_bytes: usize,
    /// The last acknowledgement, or when the first record in flight was handed over.
    progress: Instant,
}

struct Waiting<T> {
    load: Load,
    since: Instant,
    item: T,
}

impl Limits {
    pub(crate) fn of(options: &Options) -> Self {
        let bytes = options.queue_bytes;
        Self {
            bytes,
            in_flight_bytes: bytes / 2,
            // Many partitions without a leader must not take the room of the others.
            partition_bytes: bytes / 64,
            wait: options.queue_wait,
            silence: options.silence,
            abandon: options.abandon,
        }
    }
}

impl<T> Outbox<T> {
    pub(crate) fn new(limits: Limits, partitions: u32, now: Instant) -> Self {
        Self {
            limits,
            lanes: (0..partitions).map(|_| Lane::new(now)).collect(),
            ready: VecDeque::new(),
            tenants: HashMap::new(),
            bytes: 0,
            in_flight_bytes: 0,
            in_flight: 0,
            gate: Gate::new(limits.silence),
        }
    }

    /// Takes the records of one call in order, until one does not fit: what a call does not get in is a
    /// suffix of it, whatever becomes free meanwhile.
    pub(crate) fn push(
        &mut self,
        now: Instant,
        call: impl IntoIterator<Item = (Load, T)>,
    ) -> Option<(Refused, Vec<T>)> {
        let mut call = call.into_iter();
        if !self.gate.enter() {
            return Some((Refused::Closed, call.map(|(_, item)| item).collect()));
        }
        while let Some((load, item)) = call.next() {
            if !self.fits(&load) {
                let refused = Refused::Full { retry_after: self.oldest(now) };
                let rest = call.map(|(_, item)| item);
                return Some((refused, std::iter::once(item).chain(rest).collect()));
            }
            self.bytes += load.bytes;
            self.tenants.entry(load.tenant.clone()).or_default().waiting += load.bytes;
            let partition = load.partition;
            self.lanes[partition as usize].waiting.push_back(Waiting { load, since: now, item });
            self.make_ready(partition);
        }
        None
    }

    /// The next record to hand over. It is in flight from now on, until `acknowledged` or `failed`.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(Load, T)> {
        while self.in_flight == 0 || self.in_flight_bytes < self.limits.in_flight_bytes {
            let partition = self.ready.pop_front()?;
            let lane = &mut self.lanes[partition as usize];
            lane.is_ready = false;
            if lane.is_stalled(now) || lane.is_full(self.limits.partition_bytes) {
                continue;
            }
            let Some(Waiting { load, item, .. }) = lane.waiting.pop_front() else { continue };
            if lane.in_flight == 0 {
                lane.progress = now;
            }
            lane.in_flight += 1;
            lane.in_flight_bytes += load.bytes;
            self.in_flight += 1;
            self.in_flight_bytes += load.bytes;
            if let Some(share) = self.tenants.get_mut(&load.tenant) {
                share.waiting -= load.bytes;
                share.in_flight += load.bytes;
            }
            self.gate.handed(now);
            self.make_ready(partition);
            return Some((load, item));
        }
        None
    }

    /// The log has a record that was in flight.
    pub(crate) fn acknowledged(&mut self, now: Instant, load: &Load) {
        self.land(load);
        self.lanes[load.partition as usize].progress = now;
        self.gate.acknowledged(now, self.in_flight > 0);
    }

    /// A record that was in flight came back.
    pub(crate) fn failed(&mut self, load: &Load) {
        self.land(load);
        if self.in_flight == 0 {
            self.gate.gave_up();
        }
    }

    /// What has waited too long, or everything that waits if the log has fallen silent. Also looks
    /// again at lanes that had been passed over.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<T> {
        if self.gate.tick(now) {
            return self.drain();
        }
        let mut late = Vec::new();
        for partition in 0..self.lanes.len() {
            let waiting = &mut self.lanes[partition].waiting;
            while waiting.front().is_some_and(|first| now - first.since >= self.limits.wait) {
                late.extend(waiting.pop_front());
            }
            self.make_ready(partition as u32);
        }
        self.leave(late)
    }

    /// Everything that waits.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let waiting: Vec<_> = self.lanes.iter_mut().flat_map(|l| l.waiting.drain(..)).collect();
        self.leave(waiting)
    }

    /// Whether a partition has been without progress for so long that the client must be given up.
    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        let limit = self.limits.abandon;
        self.lanes.iter().any(|lane| lane.in_flight > 0 && now - lane.progress >= limit)
    }

    /// The client was given up: nothing is in flight any more, and nobody will say so.
    pub(crate) fn abandon(&mut self) {
        for lane in &mut self.lanes {
            (lane.in_flight, lane.in_flight_bytes) = (0, 0);
        }
        self.tenants.retain(|_, share| {
            share.in_flight = 0;
            share.waiting > 0
        });
        self.bytes -= self.in_flight_bytes;
        (self.in_flight, self.in_flight_bytes) = (0, 0);
        self.gate.gave_up();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight == 0 && self.lanes.iter().all(|lane| lane.waiting.is_empty())
    }

    fn fits(&self, load: &Load) -> bool {
        let of_tenant = self.tenants.get(&load.tenant).map_or(0, |s| s.waiting + s.in_flight);
        // A record larger than every bound must pass when nothing is before it.
        let in_all = self.bytes == 0 || self.bytes + load.bytes <= self.limits.bytes;
        in_all && (of_tenant == 0 || of_tenant + load.bytes <= self.limits.bytes / 2)
    }

    /// How long the oldest record has been waiting: about the time the queue takes to pass.
    fn oldest(&self, now: Instant) -> Duration {
        let fronts = self.lanes.iter().filter_map(|lane| lane.waiting.front());
        let waited = fronts.map(|first| now - first.since).max().unwrap_or_default();
        waited.clamp(Duration::from_millis(50), Duration::from_secs(2))
    }

    fn make_ready(&mut self, partition: u32) {
        let lane = &mut self.lanes[partition as usize];
        if !lane.is_ready && !lane.waiting.is_empty() {
            lane.is_ready = true;
            self.ready.push_back(partition);
        }
    }

    fn land(&mut self, load: &Load) {
        let lane = &mut self.lanes[load.partition as usize];
        lane.in_flight -= 1;
        lane.in_flight_bytes -= load.bytes;
        self.in_flight -= 1;
        self.in_flight_bytes -= load.bytes;
        self.release(load, |share| share.in_flight -= load.bytes);
        self.make_ready(load.partition);
    }

    fn leave(&mut self, waiting: Vec<Waiting<T>>) -> Vec<T> {
        let released = waiting.into_iter().map(|Waiting { load, item, .. }| {
            self.release(&load, |share| share.waiting -= load.bytes);
            item
        });
        released.collect()
    }

    fn release(&mut self, load: &Load, from: impl FnOnce(&mut Share)) {
        self.bytes -= load.bytes;
        if let Some(share) = self.tenants.get_mut(&load.tenant) {
            from(share);
            if share.waiting + share.in_flight == 0 {
                self.tenants.remove(&load.tenant);
            }
        }
    }
}

impl<T> Lane<T> {
    fn new(now: Instant) -> Self {
        let waiting = VecDeque::new();
        Self { waiting, is_ready: false, in_flight: 0, in_flight_bytes: 0, progress: now }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.in_flight > 0 && now - self.progress >= STALL
    }

    fn is_full(&self, limit: usize) -> bool {
        self.in_flight > 0 && self.in_flight_bytes >= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(bytes: usize) -> (Outbox<u32>, Instant) {
        let (wait, silence) = (Duration::from_secs(2), Duration::from_secs(2));
        let abandon = Duration::from_secs(30);
        let (in_flight_bytes, partition_bytes) = (bytes / 2, bytes / 4);
        let limits = Limits { bytes, in_flight_bytes, partition_bytes, wait, silence, abandon };
        let now = Instant::now();
        (Outbox::new(limits, 4, now), now)
    }

    fn load(tenant: &str, partition: u32, bytes: usize) -> Load {
        Load { partition, tenant: Tenant::parse(tenant).unwrap(), bytes }
    }

    fn one(tenant: &str, partition: u32, bytes: usize, item: u32) -> Vec<(Load, u32)> {
        vec![(load(tenant, partition, bytes), item)]
    }

    fn drained(outbox: &mut Outbox<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| outbox.next(now)).map(|(_, item)| item).collect()
    }

    #[test]
    fn no_tenant_takes_more_than_half() {
        let (mut outbox, now) = outbox(100);
        assert!(outbox.push(now, one("a", 0, 30, 1)).is_none());
        let (refused, back) = outbox.push(now, one("a", 1, 21, 2)).unwrap();
        assert!(matches!(refused, Refused::Full { .. }) && back == [2]);
        assert!(outbox.push(now, one("b", 1, 50, 3)).is_none());
        assert!(outbox.push(now, one("c", 1, 21, 4)).is_some(), "full");
        assert!(outbox.push(now, one("c", 1, 20, 5)).is_none());
        // What is in flight still counts.
        let (first, _) = outbox.next(now).unwrap();
        assert!(outbox.push(now, one("a", 1, 21, 6)).is_some());
        outbox.acknowledged(now, &first);
        assert!(outbox.push(now, one("a", 1, 21, 7)).is_none());
    }

    #[test]
    fn what_a_call_does_not_get_in_is_a_suffix() {
        let (mut outbox, now) = outbox(100);
        let sizes = [20, 20, 20, 1];
        let call = (0..).zip(sizes).map(|(item, bytes)| (load("a", 0, bytes), item));
        let (_, back) = outbox.push(now, call).unwrap();
        assert_eq!(back, [2, 3]);
        assert_eq!(drained(&mut outbox, now), [0, 1]);
    }

    #[test]
    fn a_partition_that_stalls_leaves_room_for_others() {
        let (mut outbox, start) = outbox(1_000);
        for item in 0..10 {
            outbox.push(start, one("a", 0, 10, item));
        }
        let (first, _) = outbox.next(start).unwrap();
        let later = start + STALL;
        outbox.push(later, one("b", 1, 10, 99));
        assert_eq!(drained(&mut outbox, later), [99]);
        outbox.acknowledged(later, &first);
        assert_eq!(drained(&mut outbox, later), (1..10).collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_too_long_comes_back_in_order() {
        let (mut outbox, start) = outbox(1_000);
        // In flight: two of 250 bytes fill the room.
        for item in 0..2 {
            outbox.push(start, one("a", item, 250, item));
        }
        let flying: Vec<Load> = std::iter::from_fn(|| outbox.next(start)).map(|f| f.0).collect();
        let second = Duration::from_secs(1);
        outbox.push(start + second, one("b", 2, 10, 2));
        outbox.push(start + 2 * second, one("b", 2, 10, 3));
        assert_eq!(flying.len(), 2);
        for (at, load) in (1..).zip(&flying) {
            outbox.acknowledged(start + at * second, load);
        }
        assert_eq!(outbox.tick(start + 3 * second), [2]);
        assert_eq!(outbox.tick(start + 4 * second), [3]);
        assert!(outbox.is_empty() && outbox.bytes == 0 && outbox.tenants.is_empty());
    }

    #[test]
    fn silence_drains_and_giving_up_forgets_what_flew() {
        let (mut outbox, start) = outbox(1_000);
        outbox.push(start, one("a", 0, 10, 0));
        outbox.next(start).unwrap();
        let second = Duration::from_secs(1);
        outbox.push(start + second, one("a", 0, 10, 1));
        assert!(!outbox.is_stuck(start + 29 * second) && outbox.is_stuck(start + 30 * second));
        assert_eq!(outbox.tick(start + 2 * second), [1]);
        let (refused, _) = outbox.push(start + 2 * second, one("b", 0, 10, 2)).unwrap();
        assert_eq!(refused, Refused::Closed);
        outbox.abandon();
        assert!(outbox.is_empty() && outbox.bytes == 0 && outbox.tenants.is_empty());
        assert!(outbox.gate.wants_probe());
    }
}
