//! Taking a partition over: claims the checkpoint, proves that the log is the one it was made of,
//! builds the apply state, and has the backplane compared. Applies nothing.

use meridian_core::seams::{Batch, Checkpoint, Claim, CommitError, LogError};
use meridian_core::vocabulary::{Offset, Position};

use super::context::Context;
use super::reader::Reader;
use super::repair::{self, Settled, Vouched};
use super::{Backoff, Outcome};
use crate::apply::{
    self, Feeds, Filled, Filling, Fills, Heads, Incoming, SourceMarks, Window, WindowRules,
    fingerprint,
};
use crate::{Halt, PartitionState, Pause};

/// A partition that this worker owns.
pub(super) struct Owned {
    pub(super) fence: u64,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) state: apply::State,
    pub(super) backplane: Settled,
}

/// Where the log stands to the checkpoint.
enum Footing {
    /// The record after the checkpoint is there, or will be.
    Continues,
    /// Records after the checkpoint are gone; the log begins here.
    BeginsAt(Offset),
}

/// Takes the partition over; needs the history and the log, and waits for them.
pub(super) async fn take_over(context: &Context) -> Result<Owned, Outcome> {
    context.doing(PartitionState::Claiming);
    let claim = claim(context).await;
    let fence = claim.fence;
    let marks = SourceMarks::restore(claim.marks);
    let feeds = Feeds::restore(claim.feeds);
    let (checkpoint, window, marks) = match footing(context, claim.checkpoint.as_ref()).await? {
        Footing::Continues => {
            let window = Window::restore(rules(context), &claim.window);
            (claim.checkpoint, window, marks)
        }
        Footing::BeginsAt(earliest) => {
            let (checkpoint, filled) = fill(context, fence, earliest, marks).await?;
            (Some(checkpoint), filled.window, filled.marks)
        }
    };
    let vouched = Vouched::by(checkpoint.as_ref(), context.start());
    context.stored(checkpoint.as_ref().map(|stored| stored.position), 0);
    context.applied(vouched.position, None);
    let backplane = repair::settle(context, vouched).await?;
    let state = apply::State::new(apply::Start {
        stream: context.stream.clone(),
        position: vouched.position,
        last_kept: vouched.last_kept,
        window,
        marks,
        heads: Heads::new(context.options.heads),
        feeds,
    });
    Ok(Owned { fence, checkpoint, state, backplane })
}

fn rules(context: &Context) -> WindowRules {
    let incarnation = context.log.incarnation();
    WindowRules { records: incarnation.window_records, ms: incarnation.window_ms }
}

async fn claim(context: &Context) -> Claim {
    let mut backoff = Backoff::new(&context.options);
    loop {
        let rows = rules(context).records as usize;
        if let Ok(claim) = context.history.claim(&context.stream, rows).await {
            context.resume();
            return claim;
        }
        context.metering.history_failures.increment(1);
        context.pause(Pause::HistoryUnavailable);
        backoff.wait().await;
    }
}

async fn footing(context: &Context, checkpoint: Option<&Checkpoint>) -> Result<Footing, Outcome> {
    let mut backoff = Backoff::new(&context.options);
    loop {
        match try_footing(context, checkpoint).await {
            Ok(footing) => {
                context.resume();
                return footing;
            }
            Err(error) => {
                let next = checkpoint.map_or(Offset(0), |stored| stored.position.next_offset());
                if let Some(outcome) = context.log_outcome(&error, next) {
                    return Err(outcome);
                }
            }
        }
        context.metering.log_failures.increment(1);
        context.pause(Pause::LogUnavailable);
        backoff.wait().await;
    }
}

/// The outer error: the log did not answer. The inner one: it must not be followed.
async fn try_footing(
    context: &Context,
    checkpoint: Option<&Checkpoint>,
) -> Result<Result<Footing, Outcome>, LogError> {
    let position = checkpoint.map_or(context.start(), |stored| stored.position);
    if position.epoch != context.stream.epoch {
        return Ok(Err(Outcome::Halted(Halt::CheckpointEpoch { checkpoint: position })));
    }
    let end = context.log.end(context.partition()).await?;
    if position.next_offset() > end {
        let halt = Halt::CheckpointPastEnd { checkpoint: position, end: end.0 };
        return Ok(Err(Outcome::Halted(halt)));
    }
    // The checkpoint's own record, or the first of all.
    let read_at = Offset(position.passed.max(0) as u64);
    let read = match context.log.read(context.partition(), read_at, 1, usize::MAX).await {
        Err(LogError::Truncated { earliest }) if earliest > position.next_offset() => {
            return Ok(Ok(Footing::BeginsAt(earliest)));
        }
        // The record itself is gone, the one after it is not: nothing to compare.
        Err(LogError::Truncated { .. }) => return Ok(Ok(Footing::Continues)),
        read => read?,
    };
    let Some(stored) = checkpoint.filter(|stored| stored.position.passed >= 0) else {
        return Ok(Ok(Footing::Continues));
    };
    let there = read.first().filter(|record| record.offset == read_at);
    let found = there.map(|record| fingerprint(&record.stored));
    if found == Some(stored.fingerprint) {
        return Ok(Ok(Footing::Continues));
    }
    let expected = stored.fingerprint;
    let halt = Halt::Fingerprint { checkpoint: position, expected, found };
    Ok(Err(Outcome::Halted(halt)))
}

/// Fills the window from what is left of a truncated log, and stores that as the checkpoint, whole:
/// a crash before it begins again.
async fn fill(
    context: &Context,
    fence: u64,
    earliest: Offset,
    marks: SourceMarks,
) -> Result<(Checkpoint, Filled), Outcome> {
    context.doing(PartitionState::Filling);
    tracing::warn!(stream = %context.stream, earliest = earliest.0, "the log's beginning is gone");
    refuse_old_streams(context).await?;
    let mut filling = Filling::new(context.stream.clone(), rules(context), marks);
    let mut reader = Reader::new(context, earliest);
    let mut last = None;
    'filling: loop {
        for record in reader.next_batch(context).await? {
            let incoming = Incoming::decode(record);
            match filling.take(&incoming).map_err(|foreign| Outcome::Halted(foreign.into()))? {
                Fills::Taken => last = Some(incoming),
                Fills::Full => break 'filling,
            }
        }
    }
    let Some(last) = last else {
        return Err(Outcome::Truncated { earliest });
    };
    let position = Position::at(context.stream.epoch, last.offset);
    let fingerprint = fingerprint(&last.stored);
    // No event, but a place that is the same for every writer from here on.
    let begins = position.next_offset();
    let checkpoint = Checkpoint { position, last_kept: position, fingerprint, begins };
    let mut filled = filling.finish();
    let stored = Batch {
        fence,
        checkpoint: checkpoint.clone(),
        events: Vec::new(),
        window: std::mem::take(&mut filled.rows),
        marks: filled.marks.take_raised(),
    };
    store_filled(context, stored).await?;
    Ok((checkpoint, filled))
}

/// What the backplane still holds from before cannot be vouched for: nothing tells which of its
/// channels had events that are gone.
async fn refuse_old_streams(context: &Context) -> Result<(), Outcome> {
    let mut backoff = Backoff::new(&context.options);
    loop {
        match context.backplane.marker(&context.stream).await {
            Ok(None) => return Ok(()),
            Ok(Some(marker)) => {
                return Err(Outcome::Halted(Halt::BackplaneOlderThanLog { marker }));
            }
            Err(_) => {
                context.metering.backplane_failures.increment(1);
                context.pause(Pause::BackplaneUnavailable);
                backoff.wait().await;
            }
        }
        context.resume();
    }
}

async fn store_filled(context: &Context, batch: Batch) -> Result<(), Outcome> {
    let mut backoff = Backoff::new(&context.options);
    loop {
        match context.history.commit(&context.stream, batch.clone()).await {
            Ok(()) => return Ok(()),
            Err(CommitError::Fenced) => return Err(Outcome::Fenced),
            Err(CommitError::Unavailable) => {
                context.metering.history_failures.increment(1);
                context.pause(Pause::HistoryUnavailable);
                backoff.wait().await;
            }
        }
    }
}
