//! The revocations that the node knows of, and how it learns of those that others made. Owns their list and
//! its place in the region's ledger; ends no session itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use meridian_core::auth::{Identity, Revocation, Revocations, TooMany};
use meridian_core::seams::{BackplaneError, LedgerPlace, TokenLedger};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::clock::now_ms;

/// A revocation reaches a node within this, an answer of the ledger, and a session's turn: together well
/// below a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a look may take.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// The ledger may lose what it was told; who knows of it tells it again.
const TELL_AGAIN_EVERY: Duration = Duration::from_secs(60);

/// What the node knows.
pub(crate) struct RevokedTokens {
    list: RwLock<Revocations>,
    ledger: Arc<dyn TokenLedger>,
    /// Made here, and not in the ledger yet.
    untold: Mutex<Vec<Revocation>>,
}

/// Who knows of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Region,
    /// The ledger does not answer; it is told as soon as it does.
    Node,
}

impl RevokedTokens {
    pub(super) fn new(ledger: Arc<dyn TokenLedger>) -> Self {
        Self { list: RwLock::default(), ledger, untold: Mutex::default() }
    }

    /// Whether the holder's token counts no more.
    pub(crate) fn cover(&self, identity: &Identity) -> bool {
        self.list.read().unwrap_or_else(PoisonError::into_inner).cover(identity)
    }

    /// Those that stand.
    pub(crate) fn all(&self) -> BTreeSet<Revocation> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// Tells the region of one that counts here already; later, if the ledger does not answer.
    pub(crate) async fn tell(&self, revocation: &Revocation) -> Reach {
        let told = timeout(LOOK_TIME, self.ledger.revoke(revocation)).await;
        if matches!(told, Ok(Ok(()))) {
            return Reach::Region;
        }
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).push(revocation.clone());
        Reach::Node
    }

    /// Counts here from now on. `true`: it says more than what stood.
    pub(crate) fn add(&self, revocation: &Revocation) -> Result<bool, TooMany> {
        self.list.write().unwrap_or_else(PoisonError::into_inner).add(revocation)
    }

    /// Reads what is in the ledger before anybody is let in; an unreachable one is read later.
    pub(crate) async fn read_first(&self) -> LedgerPlace {
        let mut place = LedgerPlace::default();
        if !matches!(timeout(LOOK_TIME, self.read_on(&mut place)).await, Ok(Ok(_))) {
            tracing::warn!("the region's revocations are not to be had yet");
        }
        place
    }

    /// Looks for ever; `news` is called after the list has grown.
    pub(crate) async fn run(&self, mut place: LedgerPlace, news: impl Fn()) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told_again = Instant::now();
        loop {
            ticks.tick().await;
            if let Ok(Ok(true)) = timeout(LOOK_TIME, self.read_on(&mut place)).await {
                news();
            }
            let _ = timeout(LOOK_TIME, self.tell_untold()).await;
            if told_again.elapsed() >= TELL_AGAIN_EVERY {
                told_again = Instant::now();
                self.list.write().unwrap_or_else(PoisonError::into_inner).sweep(now_ms());
                let _ = timeout(LOOK_TIME, self.tell_again()).await;
            }
        }
    }

    /// Takes what is behind the place. `true`: there was something new.
    async fn read_on(&self, place: &mut LedgerPlace) -> Result<bool, BackplaneError> {
        let (now, mut grown) = (now_ms(), false);
        loop {
            let (some, next) = self.ledger.revocations(place).await?;
            *place = next;
            if some.is_empty() {
                return Ok(grown);
            }
            for revocation in some.iter().filter(|revocation| revocation.until_ms > now) {
                match self.add(revocation) {
                    Ok(new) => grown |= new,
                    Err(error) => tracing::error!(%error, "a revocation has no room"),
                }
            }
        }
    }

    async fn tell_untold(&self) -> Result<(), BackplaneError> {
        let waiting = || self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(revocation) = waiting().last().cloned() else { return Ok(()) };
            self.ledger.revoke(&revocation).await?;
            waiting().retain(|other| *other != revocation);
        }
    }

    async fn tell_again(&self) -> Result<(), BackplaneError> {
        let (mut place, mut there) = (LedgerPlace::default(), BTreeSet::new());
        loop {
            let (some, next) = self.ledger.revocations(&place).await?;
            place = next;
            if some.is_empty() {
                break;
            }
            there.extend(some);
        }
        for revocation in self.all().difference(&there) {
            self.ledger.revoke(revocation).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;
    use meridian_core::auth::{Claims, Revoked, SigningKey, VerificationKey, Verifier, mint};
    use meridian_core::embedded::InProcessLedger;
    use meridian_core::seams::KeptTicket;
    use meridian_core::vocabulary::{Tenant, UserId};
    use tokio::time::sleep;

    use super::*;

    /// A ledger that can be away.
    #[derive(Default)]
    struct Ledger {
        inner: InProcessLedger,
        away: AtomicBool,
    }

    impl Ledger {
        fn there(&self) -> Result<&InProcessLedger, BackplaneError> {
            if self.away.load(Ordering::SeqCst) { Err(BackplaneError) } else { Ok(&self.inner) }
        }
    }

    #[async_trait]
    impl TokenLedger for Ledger {
        async fn revoke(&self, revocation: &Revocation) -> Result<(), BackplaneError> {
            self.there()?.revoke(revocation).await
        }

        async fn revocations(
            &self,
            after: &LedgerPlace,
        ) -> Result<(Vec<Revocation>, LedgerPlace), BackplaneError> {
            self.there()?.revocations(after).await
        }

        async fn put_ticket(&self, ticket: &KeptTicket, now_ms: u64) -> Result<(), BackplaneError> {
            self.there()?.put_ticket(ticket, now_ms).await
        }

        async fn take_ticket(&self, id: &str) -> Result<Option<KeptTicket>, BackplaneError> {
            self.there()?.take_ticket(id).await
        }
    }

    fn ann() -> Identity {
        let secret = [7; 32];
        let claims = Claims::new(Tenant::parse("acme").unwrap(), UserId::parse("ann").unwrap());
        let token = mint(&SigningKey::hs256("k", &secret).unwrap(), &claims, now_ms()).unwrap();
        let key = VerificationKey::hs256("k", &secret).unwrap();
        let verifier = Verifier::new(vec![key], meridian_core::auth::VerifierOptions::default());
        verifier.verify(&token, now_ms()).unwrap()
    }

    fn revocation() -> Revocation {
        let what = Revoked::User(UserId::parse("ann").unwrap());
        let (at_ms, until_ms) = (now_ms(), now_ms() + 60_000);
        Revocation { tenant: Tenant::parse("acme").unwrap(), what, at_ms, until_ms }
    }

    async fn covers_within(node: &RevokedTokens, identity: &Identity, limit: Duration) {
        let began = Instant::now();
        while !node.cover(identity) {
            assert!(began.elapsed() < limit, "not within {limit:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_revocation_reaches_every_node_within_a_second() {
        let ledger = Arc::new(Ledger::default());
        let here = RevokedTokens::new(ledger.clone());
        let there = Arc::new(RevokedTokens::new(ledger.clone()));
        let (identity, news) = (ann(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        let (running, told) = (there.clone(), news.clone());
        let place = there.read_first().await;
        tasks.spawn(async move {
            running
                .run(place, || {
                    told.fetch_add(1, Ordering::SeqCst);
                })
                .await;
        });
        assert!(!there.cover(&identity));
        let revocation = revocation();
        assert_eq!(here.add(&revocation), Ok(true));
        assert!(here.cover(&identity), "here at once");
        assert_eq!(here.tell(&revocation).await, Reach::Region);
        covers_within(&there, &identity, Duration::from_secs(1)).await;
        let began = Instant::now();
        while news.load(Ordering::SeqCst) != 1 {
            assert!(began.elapsed() < Duration::from_secs(1), "sessions are not told");
            sleep(Duration::from_millis(5)).await;
        }
        let late = RevokedTokens::new(ledger);
        late.read_first().await;
        assert!(late.cover(&identity), "a node that starts knows it before anybody is let in");
    }

    #[tokio::test]
    async fn what_could_not_be_told_is_told_later() {
        let ledger = Arc::new(Ledger::default());
        ledger.away.store(true, Ordering::SeqCst);
        let here = Arc::new(RevokedTokens::new(ledger.clone()));
        let (identity, revocation) = (ann(), revocation());
        here.add(&revocation).unwrap();
        assert_eq!(here.tell(&revocation).await, Reach::Node);
        assert!(here.cover(&identity));
        let mut tasks = tokio::task::JoinSet::new();
        let running = here.clone();
        tasks.spawn(async move { running.run(LedgerPlace::default(), || {}).await });
        ledger.away.store(false, Ordering::SeqCst);
        let there = RevokedTokens::new(ledger);
        let began = Instant::now();
        while !there.cover(&identity) {
            assert!(began.elapsed() < Duration::from_secs(20));
            there.read_first().await;
            sleep(Duration::from_millis(5)).await;
        }
    }
}
