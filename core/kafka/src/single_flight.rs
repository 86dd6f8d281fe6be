//! One blocking request at a time for what many want to know, shared by all who ask meanwhile. Owns who may
//! believe which answer; it knows no broker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// After a failure nobody waits for so long, and until the next request ended nobody but who began it.
pub(crate) const RESPITE: Duration = Duration::from_secs(1);

/// Requests of which at most one is under way. `T` is what one tells.
pub(crate) struct SingleFlight<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    under_way: Option<watch::Receiver<Option<T>>>,
    /// When the last one ended, if it failed.
    failed: Option<Instant>,
}

/// A request under way, which ends when this is dropped: as a failure, if it was told nothing.
struct Flight<T> {
    state: Arc<Mutex<State<T>>>,
    told: Option<T>,
    answer: watch::Sender<Option<T>>,
}

/// How a call comes by its answer.
enum Way<T> {
    Begins(Flight<T>),
    Joins,
    NotKnown,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { under_way: None, failed: None })))
    }
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// What a request tells that began after this call came. `None`: not known, since it failed or one
    /// did a moment ago.
    pub(crate) async fn ask(
        &self,
        request: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> Option<T> {
        // What was under way before this call may tell what was before it.
        let mut came_before = true;
        loop {
            let (way, mut answer) = self.way();
            let answered = match way {
                Way::NotKnown => return None,
                Way::Begins(flight) => {
                    // Its end is not this caller's affair alone: it comes about without it.
                    drop(tokio::task::spawn_blocking(move || flight.end(request())));
                    return told(&mut answer).await;
                }
                Way::Joins => told(&mut answer).await?,
            };
            if !came_before {
                return Some(answered);
            }
            came_before = false;
        }
    }

    fn way(&self) -> (Way<T>, watch::Receiver<Option<T>>) {
        let mut state = lock(&self.0);
        let (sender, receiver) = watch::channel(None);
        match (&state.under_way, state.failed) {
            (Some(_), Some(_)) => (Way::NotKnown, receiver),
            (None, Some(at)) if at.elapsed() < RESPITE => (Way::NotKnown, receiver),
            (Some(answer), None) => (Way::Joins, answer.clone()),
            (None, _) => {
                state.under_way = Some(receiver.clone());
                let flight = Flight { state: self.0.clone(), told: None, answer: sender };
                (Way::Begins(flight), receiver)
            }
        }
    }
}

impl<T> Flight<T> {
    fn end(mut self, told: Option<T>) {
        self.told = told;
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        {
            // First: who is told must not meet this request again.
            let mut state = lock(&self.state);
            state.under_way = None;
            state.failed = self.told.is_none().then(Instant::now);
        }
        if let Some(told) = self.told.take() {
            self.answer.send_replace(Some(told));
        }
    }
}

/// Waits for a request's end.
async fn told<T: Clone>(answer: &mut watch::Receiver<Option<T>>) -> Option<T> {
    answer.wait_for(Option::is_some).await.ok()?.clone()
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// Answers each request with what it is given, in turn.
    struct Asked {
        flight: Arc<SingleFlight<u32>>,
        requests: Arc<AtomicUsize>,
        gate: Arc<Mutex<mpsc::Receiver<Option<u32>>>>,
        answers: mpsc::Sender<Option<u32>>,
    }

    impl Asked {
        fn new() -> Self {
            let (answers, gate) = mpsc::channel();
            let (flight, requests) = (Arc::default(), Arc::default());
            Self { flight, requests, gate: Arc::new(Mutex::new(gate)), answers }
        }

        /// A caller that has begun to wait, or has its answer.
        async fn ask(&self) -> JoinHandle<Option<u32>> {
            let (flight, requests) = (self.flight.clone(), self.requests.clone());
            let gate = self.gate.clone();
            let request = move || {
                requests.fetch_add(1, Ordering::SeqCst);
                gate.lock().unwrap().recv().unwrap()
            };
            let caller = tokio::spawn(async move { flight.ask(request).await });
            yield_now().await;
            caller
        }

        async fn until_requests(&self, count: usize) {
            while self.requests.load(Ordering::SeqCst) < count {
                yield_now().await;
            }
        }

        fn answer(&self, answer: Option<u32>) {
            self.answers.send(answer).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_come_meanwhile_share_the_next_request() {
        let asked = Asked::new();
        let first = asked.ask().await;
        asked.until_requests(1).await;
        let mut others = Vec::new();
        for _ in 0..20 {
            others.push(asked.ask().await);
        }
        asked.answer(Some(1));
        assert_eq!(first.await.unwrap(), Some(1));
        asked.answer(Some(2));
        for other in others {
            assert_eq!(other.await.unwrap(), Some(2), "asked before the first request was made");
        }
        assert_eq!(asked.requests.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_everybodys_and_holds_for_a_while() {
        let asked = Asked::new();
        let callers = [asked.ask().await, asked.ask().await];
        asked.answer(None);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), None);
        }
        assert_eq!(asked.ask().await.await.unwrap(), None);
        assert_eq!(asked.requests.load(Ordering::SeqCst), 1);

        tokio::time::advance(RESPITE).await;
        let tries = asked.ask().await;
        asked.until_requests(2).await;
        assert_eq!(asked.ask().await.await.unwrap(), None, "only one tries");
        asked.answer(Some(3));
        assert_eq!(tries.await.unwrap(), Some(3));
        asked.answer(Some(4));
        assert_eq!(asked.ask().await.await.unwrap(), Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_takes_nothing_with_it() {
        let asked = Asked::new();
        let leaves = asked.ask().await;
        asked.until_requests(1).await;
        let stays = asked.ask().await;
        leaves.abort();
        asked.answer(Some(1));
        asked.answer(Some(2));
        assert_eq!(stays.await.unwrap(), Some(2));
    }
}
