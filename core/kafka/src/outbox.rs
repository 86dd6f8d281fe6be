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

    /// What waits in a partition and is of this kind.
    pub(crate) fn withdraw(&mut self, partition: u32, is: impl Fn(&T) -> bool) -> Vec<T> {
        let waiting = std::mem::take(&mut self.lanes[partition as usize].waiting);
        let (gone, kept): (VecDeque<_>, _) = waiting.into_iter().partition(|w| is(&w.item));
        self.lanes[partition as usize].waiting = kept;
        self.leave(gone.into())
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
mod tests;
