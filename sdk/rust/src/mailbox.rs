//! The bounded queue between the connection and one subscription's reader. Full means full: what
//! does not fit is not taken, and the reader's progress is told to the connection, which reads it
//! again from the subscription's position. Locks are held for a push or a pop, never across an await.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meridian_core::protocol::ReplyError;
use tokio::sync::Notify;

use crate::update::Update;

/// How much a subscription's queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) updates: usize,
    pub(crate) bytes: usize,
}

/// Serial numbers of subscriptions that the connection should look at.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    serials: Mutex<Vec<u64>>,
    called: Notify,
}

/// The connection's end. The last one dropped ends the queue.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox(Arc<Sender>);

#[derive(Debug)]
struct Sender(Arc<Shared>);

/// The reader's end; dropping it gives the subscription up.
#[derive(Debug)]
pub(crate) struct Reader(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    serial: u64,
    bounds: Bounds,
    queue: Mutex<Queue>,
    readable: Notify,
    attention: Arc<Attention>,
}

#[derive(Debug, Default)]
struct Queue {
    updates: VecDeque<Update>,
    bytes: usize,
    wants_room: bool,
    abandoned: bool,
    closed: bool,
}

/// A queue of one subscription.
pub(crate) fn mailbox(serial: u64, bounds: Bounds, attention: Arc<Attention>) -> (Mailbox, Reader) {
    let shared = Arc::new(Shared {
        serial,
        bounds,
        queue: Mutex::default(),
        readable: Notify::new(),
        attention,
    });
    (Mailbox(Arc::new(Sender(shared.clone()))), Reader(shared))
}

impl Mailbox {
    /// The subscription's number.
    pub(crate) fn serial(&self) -> u64 {
        self.0.0.serial
    }

    /// Appends an update if it fits; an empty queue takes any one.
    #[must_use]
    pub(crate) fn push(&self, update: Update) -> bool {
        let mut queue = self.0.0.queue();
        let weight = weight(&update);
        let bounds = self.0.0.bounds;
        let full = queue.updates.len() >= bounds.updates || queue.bytes + weight > bounds.bytes;
        if full && !queue.updates.is_empty() {
            return false;
        }
        queue.bytes += weight;
        queue.updates.push_back(update);
        drop(queue);
        self.0.0.readable.notify_one();
        true
    }

    /// Counts events that were passed over, in the place where they were.
    pub(crate) fn push_skipped(&self, count: u64) {
        let mut queue = self.0.0.queue();
        match queue.updates.back_mut() {
            Some(Update::Skipped(before)) => *before += count,
            _ => queue.updates.push_back(Update::Skipped(count)),
        }
        drop(queue);
        self.0.0.readable.notify_one();
    }

    /// Ends the queue behind what it holds, with a reason for the application where given.
    pub(crate) fn end(&self, why: Option<ReplyError>) {
        self.0.0.end(why);
    }

    /// Whether half of the queue is free. If not, the reader will call for attention when it is.
    pub(crate) fn has_room(&self) -> bool {
        let mut queue = self.0.0.queue();
        queue.wants_room = !self.0.0.has_room(&queue);
        !queue.wants_room
    }

    /// Whether the reader is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.0.queue().abandoned
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.end(None);
    }
}

impl Reader {
    /// The next update; `None` once the subscription is over and everything taken. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Update> {
        loop {
            // `notify_one` keeps a permit, so nothing is missed between the look and the wait.
            match self.take() {
                Ok(taken) => return taken,
                Err(Empty) => self.0.readable.notified().await,
            }
        }
    }

    /// What is there now.
    pub(crate) fn take(&mut self) -> Result<Option<Update>, Empty> {
        let mut queue = self.0.queue();
        let Some(update) = queue.updates.pop_front() else {
            return if queue.closed { Ok(None) } else { Err(Empty) };
        };
        queue.bytes -= weight(&update);
        let call = queue.wants_room && self.0.has_room(&queue);
        queue.wants_room &= !call;
        drop(queue);
        if call {
            self.0.attention.call(self.0.serial);
        }
        Ok(Some(update))
    }
}

/// Nothing is there, but something may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Empty;

impl Drop for Reader {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.abandoned = true;
        queue.updates.clear();
        drop(queue);
        self.0.attention.call(self.0.serial);
    }
}

impl Attention {
    fn call(&self, serial: u64) {
        self.serials.lock().unwrap_or_else(PoisonError::into_inner).push(serial);
        self.called.notify_one();
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.serials.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The subscriptions that called, at least one. Cancel safe.
    pub(crate) async fn wait(&self) -> Vec<u64> {
        loop {
            let called = self.take();
            if !called.is_empty() {
                return called;
            }
            self.called.notified().await;
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: Option<ReplyError>) {
        let mut queue = self.queue();
        if !queue.closed {
            queue.closed = true;
            queue.updates.extend(why.map(Update::Ended));
        }
        drop(queue);
        self.readable.notify_one();
    }

    fn has_room(&self, queue: &Queue) -> bool {
        queue.updates.len() <= self.bounds.updates / 2 && queue.bytes <= self.bounds.bytes / 2
    }
}

fn weight(update: &Update) -> usize {
    match update {
        Update::Event(event) => event.weight(),
        Update::Gap(_) => 256,
        // Taken on whatever the queue holds, so they count for nothing.
        Update::Skipped(_) | Update::Ended(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::Gap;

    fn gap() -> Update {
        let text = String::new();
        Update::Gap(Gap { reason: text.clone(), from: text.clone(), cursor: text })
    }

    fn small() -> (Mailbox, Reader, Arc<Attention>) {
        let attention = Arc::new(Attention::default());
        let bounds = Bounds { updates: 2, bytes: 1 << 20 };
        let (mailbox, reader) = mailbox(7, bounds, attention.clone());
        (mailbox, reader, attention)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_calls_when_half_is_free() {
        let (mailbox, mut reader, attention) = small();
        assert!(mailbox.push(gap()) && mailbox.push(gap()) && !mailbox.push(gap()));
        assert!(!mailbox.has_room());
        assert_eq!(reader.next().await, Some(gap()));
        assert_eq!(attention.wait().await, [7]);
        assert!(mailbox.has_room());
    }

    #[tokio::test]
    async fn what_is_queued_comes_before_the_end() {
        let (mailbox, mut reader, _attention) = small();
        assert!(mailbox.push(gap()));
        mailbox.push_skipped(2);
        mailbox.push_skipped(3);
        mailbox.end(None);
        assert_eq!(reader.next().await, Some(gap()));
        assert_eq!(reader.next().await, Some(Update::Skipped(5)));
        assert_eq!(reader.next().await, None);
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_ends_the_queue() {
        let (mailbox, mut reader, _attention) = small();
        let other = mailbox.clone();
        assert!(mailbox.push(gap()));
        drop(mailbox);
        assert!(other.push(gap()));
        drop(other);
        assert_eq!(reader.next().await, Some(gap()));
        assert_eq!(reader.next().await, Some(gap()));
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_dropped_reader_is_seen() {
        let (mailbox, reader, attention) = small();
        drop(reader);
        assert_eq!(attention.wait().await, [7]);
        assert!(mailbox.is_abandoned());
    }
}
