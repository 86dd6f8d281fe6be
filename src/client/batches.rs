//! `pub --lines`: standard input as events, a batch after the other so that their order holds. A batch is what
//! is there to be sent: one line of a slow writer, as many as the gateway takes of a fast one.

use std::time::Duration;

use meridian_client::{Action, Client, Code, Publish, Receipt, RequestError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Session;
use super::failure::{Failure, Stop};
use super::json::{Object, Reason};
use super::lines::{self, Line};
use super::payload::Payload;
use super::publish::Options;

/// A batch is that large, if the gateway allows.
const BATCH_BYTES: usize = 256 * 1024;
/// Before events that were refused for now are sent again.
const PAUSE: Duration = Duration::from_millis(200);

type Outcome = Result<Receipt, RequestError>;

/// Lines that go together.
#[derive(Default)]
struct Batch {
    /// Each with the number of its line.
    events: Vec<(u64, Publish)>,
    bytes: usize,
    /// Lines that can't be events, and why.
    refused: Vec<(u64, Code)>,
}

/// How far the command is.
struct Sending<'a> {
    options: &'a Options,
    /// What the ids begin with.
    prefix: String,
    lines: mpsc::Receiver<Line>,
    /// The last line read.
    line: u64,
    /// A line that the batch before had no room for.
    left: Option<(Publish, usize)>,
    batch_events: usize,
    batch_bytes: usize,
    published: u64,
    failed: u64,
}

/// Publishes all lines.
pub(super) async fn run(options: &Options, session: &mut Session) -> Result<(), Stop> {
    let limits = session.limits;
    let prefix = options.id.clone().unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()));
    let mut sending = Sending {
        options,
        prefix,
        lines: lines::of_stdin(limits.event_bytes as usize),
        line: 0,
        left: None,
        batch_events: (limits.batch_events as usize).max(1),
        batch_bytes: BATCH_BYTES.min(limits.frame_bytes as usize / 2),
        published: 0,
        failed: 0,
    };
    let ended = sending.work(session).await;
    sending.end(ended, session)
}

impl Sending<'_> {
    async fn work(&mut self, session: &mut Session) -> Result<Reason, Stop> {
        loop {
            if session.interrupt.is_asked() {
                return Ok(Reason::Interrupted);
            }
            let filled = async { Ok(self.fill().await) };
            let batch = match session.interrupt.stops(filled).await {
                Ok(filled) => filled?,
                Err(_) => return Ok(Reason::Interrupted),
            };
            let Some(batch) = batch else { return Ok(Reason::Done) };
            if !self.send(batch, session).await? {
                return Ok(Reason::Failed);
            }
        }
    }

    /// Waits for a line, and takes with it what else is there.
    async fn fill(&mut self) -> Result<Option<Batch>, Stop> {
        let mut batch = Batch::default();
        if let Some((event, bytes)) = self.left.take() {
            batch.push(self.line, event, bytes);
        } else {
            match self.lines.recv().await {
                Some(line) => self.add(line, &mut batch)?,
                None => return Ok(None),
            }
        }
        while batch.events.len() < self.batch_events
            && batch.refused.len() < self.batch_events
            && self.left.is_none()
        {
            let Ok(line) = self.lines.try_recv() else { break };
            self.add(line, &mut batch)?;
        }
        Ok(Some(batch))
    }

    fn add(&mut self, line: Line, batch: &mut Batch) -> Result<(), Stop> {
        self.line += 1;
        let data = match line {
            Line::Text(data) => data,
            Line::TooLong => {
                batch.refused.push((self.line, Code::EventTooLarge));
                return Ok(());
            }
            Line::Failed(error) => {
                let message = format!("cannot read the standard input: {error}");
                return Err(Failure::local(message).into());
            }
        };
        let Ok(payload) = Payload::new(data, self.options.content_type()) else {
            batch.refused.push((self.line, Code::BadPayload));
            return Ok(());
        };
        let bytes = payload.data.len() + self.options.overhead();
        let event = self.options.event(payload, Some(self.id(self.line)));
        if !batch.events.is_empty() && batch.bytes + bytes > self.batch_bytes {
            self.left = Some((event, bytes));
        } else {
            batch.push(self.line, event, bytes);
        }
        Ok(())
    }

    fn id(&self, line: u64) -> String {
        format!("{}-{line}", self.prefix)
    }

    /// Sends a batch and tells what became of each line; whether there is any use in going on.
    async fn send(&mut self, batch: Batch, session: &mut Session) -> Result<bool, Stop> {
        let events: Vec<Publish> = batch.events.iter().map(|(_, event)| event.clone()).collect();
        let outcomes = publish(&session.client, &events, session.timeout).await;
        let numbers = batch.events.iter().map(|(line, _)| *line);
        let refused = batch.refused.iter().map(|(line, code)| {
            (*line, Err(RequestError::Refused(meridian_client::Refusal::of(*code))))
        });
        let mut told: Vec<(u64, Outcome)> = numbers.zip(outcomes).chain(refused).collect();
        told.sort_by_key(|(line, _)| *line);
        let mut go_on = true;
        for (line, outcome) in told {
            go_on &= self.tell(line, &outcome, session)?;
        }
        session.out.flush()?;
        Ok(go_on)
    }

    fn tell(&mut self, line: u64, outcome: &Outcome, session: &mut Session) -> Result<bool, Stop> {
        let id = self.id(line);
        match outcome {
            Ok(receipt) => {
                self.published += 1;
                session.out.show(&Object::Published {
                    channel: &self.options.channel,
                    id: &id,
                    cursor: receipt.cursor.as_deref(),
                    line: Some(line),
                })?;
                Ok(true)
            }
            Err(error) => {
                self.failed += 1;
                let failure = Failure::publishing(error).on(&self.options.channel);
                session.out.show(&failure.of_event(Some(line), &id).object())?;
                Ok(of_this_event(error))
            }
        }
    }

    fn end(self, ended: Result<Reason, Stop>, session: &mut Session) -> Result<(), Stop> {
        let reason = match &ended {
            Ok(reason) => *reason,
            Err(Stop::Failed(_)) => Reason::Failed,
            Err(_) => return ended.map(|_| ()),
        };
        session.out.show(&Object::Sent {
            reason,
            published: self.published,
            failed: self.failed,
            line: self.published + self.failed,
            id: &self.prefix,
        })?;
        match ended? {
            Reason::Done if self.failed == 0 => Ok(()),
            _ => Err(Stop::Told),
        }
    }
}

impl Batch {
    fn push(&mut self, line: u64, event: Publish, bytes: usize) {
        self.events.push((line, event));
        self.bytes += bytes;
    }
}

/// Whether the next event may fare better.
fn of_this_event(error: &RequestError) -> bool {
    matches!(error.code(), Some(Code::BadPayload | Code::EventTooLarge | Code::HorizonPassed))
}

/// Publishes events together; those that are refused for now again, with their ids, until time is up.
async fn publish(client: &Client, events: &[Publish], within: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + within;
    let mut outcomes: Vec<Option<Outcome>> = events.iter().map(|_| None).collect();
    loop {
        let again: Vec<usize> =
            (0..events.len()).filter(|at| is_open(outcomes[*at].as_ref())).collect();
        if again.is_empty() {
            break;
        }
        let results = together(client, again.iter().map(|at| events[*at].clone()).collect()).await;
        let mut pause = PAUSE;
        for (at, result) in again.into_iter().zip(results) {
            if let Err(RequestError::Refused(refusal)) = &result {
                pause = pause.max(Duration::from_millis(refusal.retry_after_ms.unwrap_or(0)));
            }
            let unsure = matches!(&outcomes[at], Some(Err(error)) if is_unknown(error));
            outcomes[at] = Some(later(result, unsure));
        }
        if Instant::now() + pause >= deadline {
            break;
        }
        if outcomes.iter().any(|outcome| is_open(outcome.as_ref())) {
            sleep(pause).await;
        }
    }
    outcomes.into_iter().map(|outcome| outcome.unwrap_or(Err(RequestError::NotSent))).collect()
}

async fn together(client: &Client, events: Vec<Publish>) -> Vec<Outcome> {
    let count = events.len();
    match client.publish_batch(events).await {
        Ok(results) if results.len() == count => results,
        Ok(_) => (0..count).map(|_| Err(RequestError::OutcomeUnknown)).collect(),
        Err(error) => (0..count).map(|_| Err(copy(&error))).collect(),
    }
}

/// Not sent yet, or refused with the word that it may be sent again. What the client gave up after its time
/// is final.
fn is_open(outcome: Option<&Outcome>) -> bool {
    match outcome {
        None => true,
        Some(Err(RequestError::Refused(refusal))) => refusal.action == Action::Retry,
        Some(_) => false,
    }
}

fn is_unknown(error: &RequestError) -> bool {
    error.code() == Some(Code::OutcomeUnknown)
}

/// What a retry says; a refusal can't deny that an attempt before may have been stored.
fn later(result: Outcome, unsure: bool) -> Outcome {
    match result {
        Err(error) if unsure && error.action() == Action::Retry && !is_unknown(&error) => {
            Err(RequestError::Refused(meridian_client::Refusal::of(Code::OutcomeUnknown)))
        }
        result => result,
    }
}

/// The same error for another event.
fn copy(error: &RequestError) -> RequestError {
    match error {
        RequestError::Refused(refusal) => RequestError::Refused(refusal.clone()),
        RequestError::OutcomeUnknown => RequestError::OutcomeUnknown,
        RequestError::NotSent => RequestError::NotSent,
        RequestError::UnexpectedReply => RequestError::UnexpectedReply,
        RequestError::Closed => RequestError::Closed,
    }
}

#[cfg(test)]
mod tests {
    use meridian_client::Refusal;

    use super::*;

    #[test]
    fn a_refused_retry_does_not_deny_the_attempt_before() {
        let refused = |code| Err(RequestError::Refused(Refusal::of(code)));
        let code = |outcome: Outcome| outcome.err().and_then(|error| error.code());
        assert_eq!(code(later(refused(Code::NotStored), true)), Some(Code::OutcomeUnknown));
        assert_eq!(code(later(refused(Code::NotStored), false)), Some(Code::NotStored));
        assert_eq!(code(later(refused(Code::Forbidden), true)), Some(Code::Forbidden));
        assert!(is_open(None) && is_open(Some(&refused(Code::Overloaded))));
        assert!(!is_open(Some(&refused(Code::Forbidden))));
        assert!(!is_open(Some(&Err(RequestError::OutcomeUnknown))));
    }
}
