//! A backplane that loses messages, writes and acknowledgements, and fails over to an older state.

mod journal;
mod link;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::journal::{Journal, Write};
use self::link::{Outer, Script};
use super::{Chance, Rule};
use crate::seams::{
    Applied, ApplyOutcome, Backplane, BackplaneError, Ephemeral, HotHead, HotRead, Link, Stale,
};
use crate::vocabulary::{ChannelKey, Position, Stream};

/// How often something fails, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackplaneFaults {
    /// A delivery never arrives.
    pub dropped: u32,
    /// A delivery arrives after up to four later ones, or when it is released.
    pub delayed: u32,
    /// An `apply` stores a prefix or all of it, and answers an error.
    pub lost_acknowledgement: u32,
    /// An `apply` stores nothing, and answers an error.
    pub lost_request: u32,
}

/// Whether the links learn of a lost state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// `Lossy` on every link, as after a reconnect.
    Lossy,
    /// Nothing: only a comparison of markers or heads finds out.
    Silent,
}

/// A backplane between its users and a `B` that fails by seed and by script. Keeps every write in
/// memory, to be able to fail over. Needs a tokio runtime for its links.
pub struct FaultyBackplane<B> {
    make: Box<dyn Fn() -> B + Send + Sync>,
    inner: Mutex<Arc<B>>,
    journal: Mutex<Journal>,
    script: Arc<Mutex<Script>>,
    chance: Mutex<Chance>,
    links: Mutex<Vec<Arc<Outer>>>,
}

impl<B: Backplane> FaultyBackplane<B> {
    /// `make` makes an empty backplane; it is called again for each failover.
    pub fn new(
        make: impl Fn() -> B + Send + Sync + 'static,
        seed: u64,
        faults: BackplaneFaults,
    ) -> Self {
        Self {
            inner: Mutex::new(Arc::new(make())),
            make: Box::new(make),
            journal: Mutex::default(),
            script: Arc::new(Mutex::new(Script { faults, rules: Vec::new() })),
            chance: Mutex::new(Chance::new(seed)),
            links: Mutex::default(),
        }
    }

    /// Other faults from now on.
    pub fn set_faults(&self, faults: BackplaneFaults) {
        lock(&self.script).faults = faults;
    }

    /// Other rules from now on.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        lock(&self.script).rules = rules;
    }

    /// Lets everything arrive that was held back.
    pub async fn release(&self) {
        let links = lock(&self.links).clone();
        for link in links {
            link.release().await;
        }
    }

    /// An emptied backplane.
    pub async fn forget_everything(&self, announce: Announce) -> Result<(), BackplaneError> {
        lock(&self.journal).clear();
        self.replace(announce).await
    }

    /// A failover that loses the last `writes` writes (events, repairs, trims) of a partition.
    pub async fn lose_writes(
        &self,
        stream: &Stream,
        writes: usize,
        announce: Announce,
    ) -> Result<(), BackplaneError> {
        lock(&self.journal).lose(stream, writes);
        self.replace(announce).await
    }

    /// A new inner backplane with what the journal holds.
    async fn replace(&self, announce: Announce) -> Result<(), BackplaneError> {
        let fresh = Arc::new((self.make)());
        let writes = lock(&self.journal).writes();
        for write in &writes {
            write.repeat(&*fresh).await?;
        }
        *lock(&self.inner) = fresh.clone();
        let links = lock(&self.links).clone();
        for link in links {
            link.reconnect(&*fresh, announce).await?;
        }
        Ok(())
    }

    fn inner(&self) -> Arc<B> {
        lock(&self.inner).clone()
    }

    /// How many of an apply's events reach the backplane, and whether the answer is lost.
    fn fate(&self, events: usize) -> (usize, bool) {
        let (faults, mut chance) = (lock(&self.script).faults, lock(&self.chance));
        if chance.happens(faults.lost_request) {
            return (0, true);
        }
        if chance.happens(faults.lost_acknowledgement) {
            return (1 + chance.below(events as u64) as usize, true);
        }
        (events, false)
    }
}

#[async_trait]
impl<B: Backplane> Backplane for FaultyBackplane<B> {
    async fn apply(
        &self,
        stream: &Stream,
        events: &[Applied],
    ) -> Result<Vec<ApplyOutcome>, BackplaneError> {
        let (reaching, lost) = self.fate(events.len());
        let reaching = &events[..reaching.min(events.len())];
        let outcomes = self.inner().apply(stream, reaching).await?;
        let mut journal = lock(&self.journal);
        for (applied, outcome) in reaching.iter().zip(&outcomes) {
            if *outcome == ApplyOutcome::Applied {
                journal.note(stream, Write::Apply(applied.clone()));
            }
        }
        if lost { Err(BackplaneError) } else { Ok(outcomes) }
    }

    async fn marker(&self, stream: &Stream) -> Result<Option<Position>, BackplaneError> {
        self.inner().marker(stream).await
    }

    async fn repair(
        &self,
        stream: &Stream,
        found: Option<Position>,
        stale: Stale<'_>,
        restored: Position,
    ) -> Result<bool, BackplaneError> {
        let done = self.inner().repair(stream, found, stale, restored).await?;
        if done {
            let stale = match stale {
                Stale::All => None,
                Stale::Channels(keys) => Some(keys.to_vec()),
            };
            lock(&self.journal).note(stream, Write::Repair { found, stale, restored });
        }
        Ok(done)
    }

    async fn trim_below(
        &self,
        stream: &Stream,
        checkpoint: Position,
    ) -> Result<(), BackplaneError> {
        self.inner().trim_below(stream, checkpoint).await?;
        lock(&self.journal).note(stream, Write::Trim(checkpoint));
        Ok(())
    }

    async fn heads(
        &self,
        stream: &Stream,
        keys: &[ChannelKey],
    ) -> Result<Vec<HotHead>, BackplaneError> {
        self.inner().heads(stream, keys).await
    }

    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        after: Position,
        max_events: usize,
    ) -> Result<HotRead, BackplaneError> {
        self.inner().read(key, stream, after, max_events).await
    }

    async fn send(&self, event: Arc<Ephemeral>) -> Result<(), BackplaneError> {
        self.inner().send(event).await
    }

    async fn link(&self) -> Result<Link, BackplaneError> {
        let seed = lock(&self.chance).number();
        let inner = self.inner();
        let (outer, link) = Outer::open(&*inner, seed, self.script.clone()).await?;
        let mut links = lock(&self.links);
        links.retain(|link| !link.is_closed());
        links.push(outer);
        Ok(link)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
