//! The task that takes what waits to the log of acknowledged positions. Owns the retry: what did not
//! arrive waits again, and is overtaken there by what is higher.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Waiting, WaitingOptions};
use crate::seams::{AckLog, Acknowledged, AcknowledgedKey, KeyedAck};
use crate::vocabulary::LogName;

/// Positions of one append.
const APPEND: usize = 512;
/// After a failure nothing is tried for so long. The store's own client spaces its connects, with jitter.
const RETRY: Duration = Duration::from_secs(1);
/// A process that stops waits so long for the last of them.
const LAST: Duration = Duration::from_secs(3);

/// What was done since it was last asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckCounts {
    /// Positions that arrived.
    pub sent: u64,
    /// Appends that failed, to be tried again.
    pub failures: u64,
    /// Positions that found no room.
    pub dropped: u64,
    /// Keys whose position waits now.
    pub waiting: u64,
}

/// A handle on what waits for one log. Offering never waits.
#[derive(Clone)]
pub struct AckSender {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn AckLog>,
    state: Mutex<State>,
    /// Something is due earlier than before.
    woken: Notify,
    /// Nothing waits, and nothing is under way.
    settled: watch::Sender<bool>,
}

struct State {
    waiting: Waiting,
    under_way: usize,
    counts: AckCounts,
}

impl AckSender {
    /// Nothing goes before `run`.
    pub fn new(log: Arc<dyn AckLog>, options: WaitingOptions) -> Self {
        let counts = AckCounts::default();
        let state = State { waiting: Waiting::new(options), under_way: 0, counts };
        let (state, woken) = (Mutex::new(state), Notify::new());
        Self { shared: Arc::new(Shared { log, state, woken, settled: watch::Sender::new(true) }) }
    }

    /// The log that the positions are in.
    pub fn log(&self) -> &LogName {
        self.shared.log.log()
    }

    /// `Waiting::offer`.
    pub fn offer(&self, key: AcknowledgedKey, acknowledged: Acknowledged) {
        self.shared.change(|waiting, now| waiting.offer(key, acknowledged, now));
    }

    /// `Waiting::mend`, `delay` from now.
    pub fn mend(&self, key: AcknowledgedKey, acknowledged: Acknowledged, delay: Duration) {
        self.shared.change(|waiting, now| waiting.mend(key, acknowledged, now + delay));
    }

    /// `Waiting::seen`.
    pub fn seen(&self, key: &AcknowledgedKey, acknowledged: &Acknowledged) {
        self.shared.change(|waiting, _| waiting.seen(key, acknowledged));
    }

    /// `Waiting::hurry`.
    pub fn hurry(&self, key: &AcknowledgedKey) {
        self.shared.change(|waiting, now| waiting.hurry(key, now));
    }

    /// Counts since the last call.
    pub fn take_counts(&self) -> AckCounts {
        let mut state = self.shared.lock();
        let (dropped, waiting) = (state.waiting.take_dropped(), state.waiting.len() as u64);
        AckCounts { dropped, waiting, ..std::mem::take(&mut state.counts) }
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_settled(&self) -> bool {
        *self.shared.settled.borrow()
    }

    /// Returns once nothing waits and nothing is under way.
    pub async fn settled(&self) {
        let mut settled = self.shared.settled.subscribe();
        // The sender of the word is `self`.
        let _ = settled.wait_for(|settled| *settled).await;
    }

    /// Sends until `stop`, then what is left, for a bounded time.
    pub async fn run(self, stop: CancellationToken) {
        let shared = &*self.shared;
        let mut not_before = Instant::now();
        loop {
            let next = shared.lock().waiting.next();
            tokio::select! {
                () = stop.cancelled() => break,
                () = shared.woken.notified() => continue,
                () = sleep_until(next.unwrap_or(not_before).max(not_before)), if next.is_some() => {}
            }
            if !shared.send_due().await {
                not_before = Instant::now() + RETRY;
            }
        }
        shared.change(Waiting::hurry_all);
        if timeout(LAST, shared.send_due()).await != Ok(true) {
            let waiting = shared.lock().waiting.len();
            tracing::warn!(log = %self.log(), waiting, "acknowledged positions were not sent on");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting, Instant)) {
        let mut state = self.lock();
        let before = state.waiting.next();
        change(&mut state.waiting, Instant::now());
        let sooner = state.waiting.next().is_some_and(|next| before.is_none_or(|was| next < was));
        self.tell(&state);
        drop(state);
        if sooner {
            self.woken.notify_one();
        }
    }

    fn tell(&self, state: &State) {
        let settled = state.under_way == 0 && state.waiting.is_empty();
        self.settled.send_if_modified(|told| std::mem::replace(told, settled) != settled);
    }

    /// Sends all that is due; whether it arrived.
    async fn send_due(&self) -> bool {
        loop {
            let taken = {
                let mut state = self.lock();
                let taken = state.waiting.take(Instant::now(), APPEND);
                state.under_way += taken.len();
                taken
            };
            if taken.is_empty() {
                self.tell(&self.lock());
                return true;
            }
            let sending = Sending { shared: self, taken: Some(taken.clone()) };
            let arrived = self.log.append(taken).await.is_ok();
            sending.done(arrived);
            if !arrived {
                return false;
            }
        }
    }
}

/// An append under way. Dropped, it has failed.
struct Sending<'a> {
    shared: &'a Shared,
    taken: Option<Vec<KeyedAck>>,
}

impl Sending<'_> {
    fn done(mut self, arrived: bool) {
        self.settle(arrived);
    }

    fn settle(&mut self, arrived: bool) {
        let Some(taken) = self.taken.take() else { return };
        let mut state = self.shared.lock();
        state.under_way -= taken.len();
        if arrived {
            state.counts.sent += taken.len() as u64;
        } else {
            state.counts.failures += 1;
            state.waiting.put_back(taken, Instant::now() + RETRY);
        }
        self.shared.tell(&state);
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.settle(false);
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::seams::AckLogError;
    use crate::seams::conformance::{acknowledged, acknowledged_key as key};

    /// Holds what arrived; refuses on demand.
    struct Held {
        log: LogName,
        arrived: Mutex<Vec<KeyedAck>>,
        away: watch::Sender<bool>,
        asked: watch::Sender<u64>,
    }

    impl Held {
        fn new() -> Arc<Self> {
            let log = LogName::parse("global").unwrap();
            let (away, asked) = (watch::Sender::new(false), watch::Sender::new(0));
            Arc::new(Self { log, arrived: Mutex::default(), away, asked })
        }

        fn arrived(&self) -> Vec<(u64, i64)> {
            let arrived = self.arrived.lock().unwrap();
            arrived.iter().map(|(_, a)| (a.generation, a.cursor.position.passed)).collect()
        }
    }

    #[async_trait]
    impl AckLog for Held {
        fn log(&self) -> &LogName {
            &self.log
        }

        async fn append(&self, acks: Vec<KeyedAck>) -> Result<(), AckLogError> {
            self.asked.send_modify(|asked| *asked += 1);
            if *self.away.borrow() {
                return Err(AckLogError);
            }
            self.arrived.lock().unwrap().extend(acks);
            Ok(())
        }
    }

    fn start(held: &Arc<Held>) -> (AckSender, CancellationToken, tokio::task::JoinHandle<()>) {
        let (sender, stop) =
            (AckSender::new(held.clone(), WaitingOptions::default()), CancellationToken::new());
        let running = tokio::spawn(sender.clone().run(stop.clone()));
        (sender, stop, running)
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_goes_each_interval_and_the_last_at_the_stop() {
        let held = Held::new();
        let (sender, stop, running) = start(&held);
        sender.offer(key("a"), acknowledged(0, 1, 1));
        sender.settled().await;
        for passed in 2..5 {
            sender.offer(key("a"), acknowledged(0, 1, passed));
        }
        let before = Instant::now();
        sender.settled().await;
        assert!(before.elapsed() >= Duration::from_secs(4), "{:?}", before.elapsed());
        assert_eq!(held.arrived(), [(0, 1), (0, 4)]);
        sender.offer(key("a"), acknowledged(0, 1, 9));
        stop.cancel();
        running.await.unwrap();
        assert_eq!(held.arrived(), [(0, 1), (0, 4), (0, 9)]);
        let counts = AckCounts { sent: 3, ..AckCounts::default() };
        assert_eq!((sender.take_counts(), sender.take_counts()), (counts, AckCounts::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_go_is_tried_again_as_the_newest() {
        let held = Held::new();
        held.away.send_replace(true);
        let (sender, _stop, _running) = start(&held);
        sender.offer(key("a"), acknowledged(0, 1, 1));
        held.asked.subscribe().wait_for(|asked| *asked == 2).await.unwrap();
        sender.offer(key("a"), acknowledged(1, 1, 0));
        assert_eq!(sender.take_counts().waiting, 1);
        held.away.send_replace(false);
        sender.settled().await;
        assert_eq!(held.arrived(), [(1, 0)]);
        assert!(sender.take_counts().failures < 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_log_that_is_away() {
        let held = Held::new();
        held.away.send_replace(true);
        let (sender, stop, running) = start(&held);
        sender.offer(key("a"), acknowledged(0, 1, 1));
        stop.cancel();
        running.await.unwrap();
        assert_eq!((held.arrived(), sender.take_counts().waiting), (vec![], 1));
    }
}
