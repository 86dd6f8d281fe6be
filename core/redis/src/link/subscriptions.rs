//! One connection's subscriptions: made in batches, confirmed, made again after every change of the
//! connection. Owns the connection; what its loss may have cost is announced as `Lossy`.
//!
//! `fred` takes the first push of an `SSUBSCRIBE` for its answer and the further ones, one a channel,
//! for answers to what was sent next. So each batch begins with a fence: a name of its own, whose push
//! alone proves that the server ran the command; and after each batch single fences are sent
//! until one gets its own answer, which proves that no push is left.

use std::sync::Arc;
use std::time::Duration;

use fred::error::Error;
use fred::interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _};
use fred::types::config::Server;
use fred::types::{ClusterHash, ClusterStateChange, CustomCommand, Value};
use meridian_core::seams::BackplaneError;
use tokio::sync::broadcast::Receiver;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::followed::{Followed, Name};
use crate::connect::Connection;
use crate::keys::fence;
use crate::scripts::unavailable;

/// Shard channels of one command.
const BATCH: usize = 500;
/// Pushes that may be left are fewer than this.
const MOST_FENCES: usize = 4 * BATCH;
const RETRY: Duration = Duration::from_millis(50);
/// How long a link waits for its first connection before it is handed out without.
const SETTLE: Duration = Duration::from_secs(1);

/// A change of what is followed.
pub(super) struct Change {
    pub(super) kind: ChangeKind,
    pub(super) names: Vec<Name>,
    pub(super) reply: oneshot::Sender<Result<(), BackplaneError>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum ChangeKind {
    Follow,
    Unfollow,
}

pub(super) struct Subscriptions {
    connection: Connection,
    followed: Arc<Followed>,
    alarm: Arc<Notify>,
    reconnects: Receiver<Server>,
    moves: Receiver<Vec<ClusterStateChange>>,
    fences: u64,
    /// When to subscribe to everything again.
    renew_at: Option<Instant>,
}

impl Subscriptions {
    pub(super) fn new(connection: Connection, followed: Arc<Followed>, alarm: Arc<Notify>) -> Self {
        let client = connection.client();
        let (reconnects, moves) = (client.reconnect_rx(), client.cluster_change_rx());
        Self { connection, followed, alarm, reconnects, moves, fences: 0, renew_at: None }
    }

    /// Waits a moment for the first connection, which is no reason to subscribe again.
    pub(super) async fn settle(&mut self) {
        self.connection.connected(SETTLE).await;
        self.forget_events();
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self, mut changes: mpsc::Receiver<Change>, probe_every: Duration) {
        let mut probes = interval(probe_every);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut controlled = true;
        loop {
            let renew_at = self.renew_at;
            tokio::select! {
                biased;
                // Lagging behind events means that there were some.
                _ = self.reconnects.recv() => self.renew_at = Some(Instant::now()),
                _ = self.moves.recv() => self.renew_at = Some(Instant::now()),
                () = until(renew_at) => self.renew().await,
                change = changes.recv(), if controlled => match change {
                    Some(change) => self.change(change).await,
                    None => controlled = false,
                },
                _ = probes.tick() => self.probe().await,
            }
        }
    }

    async fn change(&mut self, change: Change) {
        let outcome = match change.kind {
            ChangeKind::Follow => self.follow(change.names).await,
            ChangeKind::Unfollow => {
                let gone = self.followed.remove(change.names);
                self.unsubscribe(gone).await;
                Ok(())
            }
        };
        let _ = change.reply.send(outcome);
    }

    async fn follow(&mut self, names: Vec<Name>) -> Result<(), BackplaneError> {
        // Before they are subscribed: a message may come right behind the confirmation.
        let new = self.followed.add(names);
        // As if the connection broke right behind the confirmation: readers begin with what the
        // history has, and the renewal announces what they may have missed.
        if !self.connection.client().is_connected() {
            self.renew_at.get_or_insert_with(|| Instant::now() + RETRY);
            return Ok(());
        }
        let mut by_base = std::collections::BTreeMap::<Arc<str>, Vec<String>>::new();
        for name in &new {
            by_base.entry(name.base.clone()).or_default().push(name.text.clone());
        }
        for (base, names) in by_base {
            if let Err(error) = self.subscribe(&base, &names).await {
                let gone = self.followed.remove(new);
                self.unsubscribe(gone).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Once it is confirmed, what was missed before is announced.
    async fn renew(&mut self) {
        self.forget_events();
        self.renew_at = None;
        if !self.connection.client().is_connected() {
            // Each try would wait for the connection, and whoever follows for each try.
            self.renew_at = Some(Instant::now() + RETRY);
            return;
        }
        for (base, names) in self.followed.by_base() {
            if self.subscribe(&base, &names).await.is_err() {
                self.renew_at = Some(Instant::now() + RETRY);
                return;
            }
        }
        if !self.followed.is_empty() {
            self.alarm.notify_one();
        }
    }

    /// A subscription whose hash tag has moved to another node, or whose connection is dead without
    /// having said so, shows in the answer to any other one.
    async fn probe(&mut self) {
        for base in self.followed.bases() {
            if self.confirm(&base).await.is_err() {
                self.renew_at = Some(Instant::now() + RETRY);
                return;
            }
            if !self.connection.client().is_clustered() {
                // Here, where no push is left that could be taken for the answer.
                return self.connection.leave_replica().await;
            }
        }
    }

    async fn subscribe(&mut self, base: &str, names: &[String]) -> Result<(), BackplaneError> {
        for batch in names.chunks(BATCH) {
            let fence = self.next_fence(base);
            let mut args = Vec::with_capacity(1 + batch.len());
            args.push(fence.clone());
            args.extend_from_slice(batch);
            let answer = self.ssubscribe(args).await?;
            self.lift(fence).await;
            self.confirm(base).await?;
            if !answer {
                return Err(BackplaneError);
            }
        }
        Ok(())
    }

    /// No push of an earlier command is left, and the node of this tag answers.
    async fn confirm(&mut self, base: &str) -> Result<(), BackplaneError> {
        for _ in 0..MOST_FENCES {
            let fence = self.next_fence(base);
            let answered = self.ssubscribe(vec![fence.clone()]).await;
            self.lift(fence).await;
            if answered? {
                return Ok(());
            }
        }
        Err(BackplaneError)
    }

    /// Whether the answer is to this command: the push of the first name.
    async fn ssubscribe(&self, names: Vec<String>) -> Result<bool, BackplaneError> {
        let first = names[0].clone();
        let command = CustomCommand::new_static("SSUBSCRIBE", ClusterHash::FirstKey, false);
        let answer: Result<Value, Error> = self.connection.client().custom(command, names).await;
        let answer = answer.map_err(|error| unavailable(&error))?.into_array();
        let text = |at: usize| answer.get(at).and_then(Value::as_str);
        Ok(text(0).as_deref() == Some("ssubscribe") && text(1).as_deref() == Some(&*first))
    }

    async fn lift(&self, fence: String) {
        // Fails without a connection only, and then it is gone.
        let _ = self.connection.client().sunsubscribe(fence).await;
    }

    async fn unsubscribe(&self, names: Vec<Name>) {
        let mut by_base = std::collections::BTreeMap::<Arc<str>, Vec<String>>::new();
        for name in names {
            by_base.entry(name.base).or_default().push(name.text);
        }
        for names in by_base.values() {
            for batch in names.chunks(BATCH) {
                let _ = self.connection.client().sunsubscribe(batch.to_vec()).await;
            }
        }
    }

    fn next_fence(&mut self, base: &str) -> String {
        self.fences += 1;
        fence(base, self.fences)
    }

    fn forget_events(&mut self) {
        // A lag ends after one answer.
        while !matches!(self.reconnects.try_recv(), Err(error) if ended(&error)) {}
        while !matches!(self.moves.try_recv(), Err(error) if ended(&error)) {}
    }
}

fn ended(error: &tokio::sync::broadcast::error::TryRecvError) -> bool {
    use tokio::sync::broadcast::error::TryRecvError;
    matches!(error, TryRecvError::Empty | TryRecvError::Closed)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
