//! The live half of a worker: reads, decides, sends out. What it has sent out it hands to the
//! backlog; it never waits for the history, except for room and for a repair.

use meridian_core::seams::{Applied, ApplyOutcome, Checkpoint};
use meridian_core::vocabulary::{EventKind, Position, Prev};
use tokio::time::{Instant, sleep, timeout};

use super::backlog::{Backlog, Group};
use super::context::Context;
use super::coverage::Coverage;
use super::lookup::{Asked, Lookup};
use super::outage::{Answer, Outage};
use super::reader::Reader;
use super::repair::{self, Settled, Vouched};
use super::takeover::Owned;
use super::{Backoff, Outcome};
use crate::apply::{self, Decision, Incoming, fingerprint};
use crate::{Halt, PartitionState, Pause};

/// The half of a worker that sends out.
pub(super) struct Live<'a> {
    context: &'a Context,
    backlog: &'a Backlog,
    fence: u64,
    state: apply::State,
    coverage: Coverage,
    reader: Reader,
    lookup: Lookup,
    outage: Outage,
}

/// A batch of records, decided.
#[derive(Default)]
struct Decided {
    rows: Vec<meridian_core::seams::WindowRow>,
    events: Vec<Applied>,
    halt: Option<Halt>,
}

impl<'a> Live<'a> {
    pub(super) fn new(context: &'a Context, backlog: &'a Backlog, owned: Owned) -> Self {
        let Owned { fence, state, checkpoint, backplane } = owned;
        let coverage = Coverage::of(checkpoint.as_ref());
        let mut outage = Outage::new(&context.options);
        match backplane {
            Settled::Agreed => context.doing(PartitionState::Live),
            Settled::BackplaneAway => {
                outage.give_up(Instant::now());
                context.doing(PartitionState::HistoryOnly);
            }
        }
        let reader = Reader::new(context, state.position().next_offset());
        let lookup = Lookup::default();
        Self { context, backlog, fence, state, coverage, reader, lookup, outage }
    }

    /// Follows the log until it must not.
    pub(super) async fn follow(&mut self) -> Outcome {
        loop {
            if let Err(outcome) = self.turn().await {
                return outcome;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Outcome> {
        self.wait_for_room().await;
        let idle = self.context.options.marker_interval;
        match timeout(idle, self.reader.next_batch(self.context)).await {
            Ok(batch) => self.work_off(batch?).await,
            Err(_) => self.compare_marker().await,
        }
    }

    async fn wait_for_room(&self) {
        let bound = self.context.options.unwritten_bytes;
        if self.backlog.level().bytes >= bound {
            self.context.pause(Pause::UnwrittenFull);
            self.backlog.wait_until(|level| level.bytes < bound).await;
            self.context.resume();
        }
    }

    async fn work_off(
        &mut self,
        batch: Vec<meridian_core::seams::LogRecord>,
    ) -> Result<(), Outcome> {
        let batch: Vec<Incoming> = batch.into_iter().map(Incoming::decode).collect();
        self.look_up(&batch).await?;
        let decided = self.decide(&batch);
        self.send_out(&decided.events).await?;
        // The checkpoint's record: the last one worked off, before a halting one.
        if let Some(last) = decided.rows.len().checked_sub(1).and_then(|n| batch.get(n)) {
            self.backlog.push(Group {
                checkpoint: Checkpoint {
                    position: self.state.position(),
                    last_kept: self.state.last_kept(),
                    fingerprint: fingerprint(&last.stored),
                    begins: self.coverage.begins,
                },
                events: decided.events.into_iter().map(|applied| applied.event).collect(),
                rows: decided.rows,
                marks: self.state.take_raised_marks(),
            });
            self.told(last.time_ms);
        }
        decided.halt.map_or(Ok(()), |halt| Err(Outcome::Halted(halt)))
    }

    async fn look_up(&mut self, batch: &[Incoming]) -> Result<(), Outcome> {
        let level = self.backlog.level();
        let settled = Vouched::by(level.settled.as_ref(), self.context.start()).position;
        let missing = self.state.missing_heads(batch, settled);
        let asked = Asked {
            coverage: self.coverage,
            last_kept: self.state.last_kept(),
            history_down: level.history_down,
        };
        for (key, head) in self.lookup.heads(self.context, missing, asked).await {
            self.state.learn(key, head).map_err(|_| Outcome::Fenced)?;
        }
        Ok(())
    }

    fn decide(&mut self, batch: &[Incoming]) -> Decided {
        let metering = &self.context.metering;
        metering.read_batch.record(batch.len() as f64);
        let mut decided = Decided::default();
        for incoming in batch {
            match self.state.step(incoming) {
                Decision::Kept(applied) => {
                    if applied.event.body.kind == EventKind::Unreadable {
                        metering.unreadable_bodies.increment(1);
                    }
                    if applied.event.prev == Prev::Unknown {
                        metering.unknown_prevs.increment(1);
                    }
                    decided.events.push(applied);
                }
                Decision::Duplicate => metering.duplicates.increment(1),
                Decision::NoEnvelope => metering.unreadable_envelopes.increment(1),
                Decision::Foreign(foreign) => {
                    decided.halt = Some(foreign.into());
                    break;
                }
            }
            decided.rows.push(incoming.row());
        }
        decided
    }

    /// Applies the events at the backplane, in order, as often as it takes; without it once it has
    /// been away for too long.
    async fn send_out(&mut self, events: &[Applied]) -> Result<(), Outcome> {
        let mut mended = None;
        let mut from = 0;
        while from < events.len() && !self.outage.sits_out(Instant::now()) {
            let began = Instant::now();
            let tried = self.context.backplane.apply(&self.context.stream, &events[from..]).await;
            self.context.metering.apply_seconds.record(began.elapsed().as_secs_f64());
            let outcomes = match tried {
                Ok(outcomes) if !outcomes.is_empty() => outcomes,
                _ => match self.backplane_failed() {
                    Answer::Wait(wait) => {
                        sleep(wait).await;
                        continue;
                    }
                    Answer::GoOn => break,
                },
            };
            self.backplane_answered();
            from += self.passed(&outcomes);
            if let Some(ApplyOutcome::Mismatch { marker }) = outcomes.last() {
                let refused = events.get(from).and_then(|event| unknown_marker(event, *marker));
                if let Some(halt) = refused {
                    return Err(Outcome::Halted(halt));
                }
                let backoff = mended.get_or_insert_with(|| Backoff::new(&self.context.options));
                backoff.wait().await;
                self.mend().await?;
                // The marker is where this batch began, or further.
                from = 0;
            }
        }
        Ok(())
    }

    fn passed(&self, outcomes: &[ApplyOutcome]) -> usize {
        let count = |which| outcomes.iter().filter(|outcome| **outcome == which).count();
        let (applied, repeated) = (count(ApplyOutcome::Applied), count(ApplyOutcome::Repeat));
        self.context.metering.applied.increment(applied as u64);
        self.context.metering.repeated.increment(repeated as u64);
        applied + repeated
    }

    /// The marker differs: stores what went out, then has the backplane repaired up to there.
    async fn mend(&mut self) -> Result<(), Outcome> {
        self.context.pause(Pause::Repairing);
        self.backlog.flushed().await;
        let settled = self.backlog.level().settled;
        repair::check_fence(self.context, self.fence, settled.as_ref()).await?;
        let vouched = Vouched::by(settled.as_ref(), self.context.start());
        match repair::settle(self.context, vouched).await? {
            Settled::Agreed => self.backplane_answered(),
            Settled::BackplaneAway => {
                self.outage.give_up(Instant::now());
                self.context.doing(PartitionState::HistoryOnly);
            }
        }
        self.context.resume();
        Ok(())
    }

    /// While no record comes: a loss of the last events shows in the marker only.
    async fn compare_marker(&mut self) -> Result<(), Outcome> {
        match self.context.backplane.marker(&self.context.stream).await {
            Err(_) => {
                self.backplane_failed();
                Ok(())
            }
            Ok(marker) if marker == Some(self.state.last_kept()) => {
                self.backplane_answered();
                Ok(())
            }
            Ok(_) => self.mend().await,
        }
    }

    fn backplane_failed(&mut self) -> Answer {
        self.context.metering.backplane_failures.increment(1);
        let answer = self.outage.failed(Instant::now());
        match answer {
            Answer::Wait(_) => self.context.pause(Pause::BackplaneUnavailable),
            Answer::GoOn => self.context.doing(PartitionState::HistoryOnly),
        }
        answer
    }

    fn backplane_answered(&mut self) {
        if self.outage.over() {
            self.context.doing(PartitionState::Live);
        }
    }

    fn told(&self, last_time_ms: u64) {
        let level = self.backlog.level();
        let settled = level.settled.map(|stored| stored.position);
        self.context.stored(settled, level.bytes);
        self.context.applied(self.state.position(), Some(last_time_ms));
        let span_ms = self.state.window().full_span_ms();
        let horizon_ms = self.context.options.horizon.as_millis();
        self.context.metering.window_short(span_ms.is_some_and(|ms| u128::from(ms) < horizon_ms));
    }
}

/// A marker strictly between an event and the last kept one before it names no event of this log.
fn unknown_marker(refused: &Applied, marker: Option<Position>) -> Option<Halt> {
    let marker = marker?;
    let between = marker > refused.last_kept_before && marker < refused.event.position();
    between.then_some(Halt::MarkerUnknown { marker })
}
