//! Keeps an issuer's published keys fresh: fetches them on their schedule and when a token names one that
//! is not there. Owns the only fetch under way. It never says who passes, and shows no key.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use meridian_core::auth::{
    JWKS_BYTES_MOST, Jwks, JwksError, KeyPlace, KeySource, Published, Verifier,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::schedule::{Schedule, max_age};
use crate::outbound::{AskError, Outbound, OutboundError, Tls};

/// A fetch that takes longer has failed.
const FETCH_TIME: Duration = Duration::from_secs(5);
/// A client waits so long for a key that was not there.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What came of the last time that somebody looked.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    number: u64,
    /// The issuer answered with keys.
    reached: bool,
}

/// Asks a keeper to look again.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    ask: Arc<Notify>,
    rounds: watch::Receiver<Round>,
}

/// Fetches the keys of one issuer.
pub(super) struct Keeper {
    issuer: String,
    source: KeySource,
    published: Published,
    /// `None`: they are in a file.
    outbound: Option<Outbound>,
    ask: Arc<Notify>,
    rounds: watch::Sender<Round>,
}

/// Why no keys came.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("cannot read the file")]
    File(#[source] std::io::Error),
    #[error("the address is none")]
    Address(#[source] http::Error),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the answer's status is {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Keys(#[from] JwksError),
}

impl Asker {
    /// Has the keys fetched, or waits for the fetch under way. `true`: what there is now is what the
    /// issuer publishes.
    pub(super) async fn look_again(&self) -> bool {
        let mut rounds = self.rounds.clone();
        rounds.mark_unchanged();
        self.ask.notify_one();
        matches!(timeout(PATIENCE, rounds.changed()).await, Ok(Ok(())))
            && rounds.borrow_and_update().reached
    }
}

impl Keeper {
    pub(super) fn new(issuer: &str, published: &Published) -> Result<(Self, Asker), OutboundError> {
        let source = published.source.clone();
        let outbound = match &source.place {
            KeyPlace::File(_) => None,
            KeyPlace::Url { url, ca } => {
                let tls = Tls::of(url, ca.as_deref());
                Some(Outbound::new(tls, FETCH_TIME, JWKS_BYTES_MOST)?)
            }
        };
        let (ask, rounds) = (Arc::new(Notify::new()), watch::Sender::default());
        let asker = Asker { ask: ask.clone(), rounds: rounds.subscribe() };
        let published = published.clone();
        Ok((Self { issuer: issuer.to_owned(), source, published, outbound, ask, rounds }, asker))
    }

    /// Fetches for ever.
    pub(super) async fn run(self) {
        let has_keys = self.published.set.keys().is_some();
        let mut schedule = Schedule::new(&self.source, has_keys, Instant::now().into_std());
        let mut reached = has_keys;
        loop {
            let asked = tokio::select! {
                () = sleep_until(Instant::from_std(schedule.next())) => false,
                () = self.ask.notified() => true,
            };
            if !asked || schedule.may_ask(Instant::now().into_std()) {
                reached = self.round(&mut schedule).await;
            }
            self.rounds.send_modify(|round| {
                *round = Round { number: round.number.wrapping_add(1), reached };
            });
        }
    }

    async fn round(&self, schedule: &mut Schedule) -> bool {
        let fetched = self.fetch().await;
        let now = Instant::now().into_std();
        match fetched {
            Ok((jwks, good_for)) => {
                schedule.fetched(now, good_for);
                let (keys, left_out) = (jwks.keys.len(), jwks.left_out);
                tracing::debug!(issuer = self.issuer, keys, left_out, "keys fetched");
                self.published.set.replace(Some(jwks.keys));
                true
            }
            Err(error) => {
                let kept = schedule.failed(now);
                let error = &error as &dyn std::error::Error;
                tracing::warn!(issuer = self.issuer, error, kept, "the issuer's keys did not come");
                if !kept {
                    self.published.set.replace(None);
                }
                false
            }
        }
    }

    async fn fetch(&self) -> Result<(Jwks, Option<Duration>), FetchError> {
        match (&self.source.place, &self.outbound) {
            (KeyPlace::Url { url, .. }, Some(outbound)) => fetch(outbound, url).await,
            (KeyPlace::File(path), _) => Ok((read(path).await?, None)),
            (KeyPlace::Url { .. }, None) => Err(FetchError::Status(StatusCode::BAD_GATEWAY)),
        }
    }
}

/// Runs the keepers of a verifier's issuers.
pub(super) fn start(
    verifier: &Verifier,
    tasks: &mut JoinSet<()>,
) -> Result<Vec<(String, Asker)>, OutboundError> {
    let mut askers = Vec::new();
    for issuer in verifier.issuers() {
        if let Some(published) = &issuer.published {
            let (keeper, asker) = Keeper::new(&issuer.name, published)?;
            tasks.spawn(keeper.run());
            askers.push((issuer.name.clone(), asker));
        }
    }
    Ok(askers)
}

async fn fetch(outbound: &Outbound, url: &str) -> Result<(Jwks, Option<Duration>), FetchError> {
    let request = Request::get(url)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .body(Full::new(Bytes::new()))
        .map_err(FetchError::Address)?;
    let answer = outbound.ask(request).await?;
    // A redirect is none either: whoever publishes elsewhere is configured there.
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    Ok((Jwks::parse(answer.body())?, said_age(answer.headers())))
}

fn said_age(headers: &HeaderMap) -> Option<Duration> {
    headers.get(CACHE_CONTROL).map(HeaderValue::to_str)?.ok().and_then(max_age)
}

async fn read(path: &Path) -> Result<Jwks, FetchError> {
    let text = tokio::fs::read(path).await.map_err(FetchError::File)?;
    Ok(Jwks::parse(&text)?)
}
