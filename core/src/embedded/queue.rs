//! The bounded queue in front of a writer: many hand in, one takes everything that waits. Full is
//! an answer to who hands in; nobody waits for room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What an item counts for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

/// Why an item was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full(Weight),
    Closed,
}

pub(super) struct Queue<T> {
    limit: Weight,
    state: Mutex<State<T>>,
    ready: Notify,
}

/// The taking end. Dropped (also by a panic), it closes the queue and drops what is in it, so that
/// nobody waits for an answer that will not come.
pub(super) struct Taker<T>(Arc<Queue<T>>);

struct State<T> {
    items: VecDeque<(T, Weight)>,
    queued: Weight,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(limit: Weight) -> Self {
        let state = State { items: VecDeque::new(), queued: Weight::default(), closed: false };
        Self { limit, state: Mutex::new(state), ready: Notify::new() }
    }

    /// Hands an item in. An empty queue takes any item, so that none is refused for ever.
    pub(super) fn push(&self, item: T, weight: Weight) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let total = state.queued.plus(weight);
        if !state.items.is_empty() && total.exceeds(self.limit) {
            return Err(Refused::Full(state.queued));
        }
        state.queued = total;
        state.items.push_back((item, weight));
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// The taking end; there is one.
    pub(super) fn taker(self: &Arc<Self>) -> Taker<T> {
        Taker(self.clone())
    }

    /// Takes nothing more in; what is queued is still taken out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Taker<T> {
    /// Waits, then takes what is there, oldest first, up to `limit` (at least one item). `None`:
    /// closed and empty.
    pub(super) async fn take(&self, limit: Weight) -> Option<Vec<T>> {
        loop {
            {
                let mut state = self.0.lock();
                if !state.items.is_empty() {
                    return Some(state.drain(limit));
                }
                if state.closed {
                    return None;
                }
            }
            self.0.ready.notified().await;
        }
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.queued = Weight::default();
        let left = std::mem::take(&mut state.items);
        // Items are dropped outside the lock: what they hold is not known here.
        drop(state);
        drop(left);
    }
}

impl<T> State<T> {
    fn drain(&mut self, limit: Weight) -> Vec<T> {
        let mut taken = Vec::new();
        let mut total = Weight::default();
        while let Some((_, weight)) = self.items.front() {
            total = total.plus(*weight);
            if !taken.is_empty() && total.exceeds(limit) {
                break;
            }
            if let Some((item, weight)) = self.items.pop_front() {
                self.queued = self.queued.minus(weight);
                taken.push(item);
            }
        }
        taken
    }
}

impl Weight {
    fn plus(self, other: Self) -> Self {
        Self { count: self.count + other.count, bytes: self.bytes + other.bytes }
    }

    fn minus(self, other: Self) -> Self {
        Self { count: self.count - other.count, bytes: self.bytes - other.bytes }
    }

    fn exceeds(self, limit: Self) -> bool {
        self.count > limit.count || self.bytes > limit.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(count: usize, bytes: usize) -> Weight {
        Weight { count, bytes }
    }

    #[tokio::test]
    async fn refuses_by_count_and_by_bytes() {
        let queue = Arc::new(Queue::new(weight(3, 100)));
        let taker = queue.taker();
        queue.push('a', weight(1, 90)).unwrap();
        assert_eq!(queue.push('b', weight(1, 11)), Err(Refused::Full(weight(1, 90))));
        queue.push('b', weight(1, 5)).unwrap();
        queue.push('c', weight(1, 5)).unwrap();
        assert_eq!(queue.push('d', weight(1, 0)), Err(Refused::Full(weight(3, 100))));
        assert_eq!(taker.take(weight(2, 100)).await, Some(vec!['a', 'b']));
        queue.close();
        assert_eq!(queue.push('d', weight(1, 0)), Err(Refused::Closed));
        assert_eq!(taker.take(weight(2, 100)).await, Some(vec!['c']));
        assert_eq!(taker.take(weight(2, 100)).await, None);
    }

    #[tokio::test]
    async fn an_item_beyond_every_limit_passes_an_empty_queue() {
        let queue = Arc::new(Queue::new(weight(1, 10)));
        queue.push('a', weight(5, 500)).unwrap();
        assert_eq!(queue.taker().take(weight(1, 1)).await, Some(vec!['a']));
    }

    #[tokio::test]
    async fn without_a_taker_nobody_waits() {
        let queue = Arc::new(Queue::new(weight(9, 9)));
        let (reply, answer) = tokio::sync::oneshot::channel::<()>();
        queue.push(reply, weight(1, 1)).unwrap();
        drop(queue.taker());
        assert!(answer.await.is_err());
        let (reply, _) = tokio::sync::oneshot::channel();
        assert_eq!(queue.push(reply, weight(1, 1)), Err(Refused::Closed));
    }
}
