//! The authoriser that asks a service of the application's own, beside the policies. What a policy denies is
//! not asked about; what it allows, the service may still deny. Fails closed: without an answer nothing
//! is allowed, and nothing of that is remembered.

mod cache;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::Full;
use meridian_core::auth::{Action, Authoriser, Decision, Identity, PolicyAuthoriser};
use meridian_core::config;
use meridian_core::policy::Policies;
use meridian_core::vocabulary::Channel;
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::cache::Cache;
use crate::clock::now_ms;
use crate::outbound::{AskError, Outbound, OutboundError, Tls};

/// An answer is a few words.
const ANSWER_BYTES: usize = 16 * 1024;
/// Seconds since 1970 at which the question was asked.
const TIMESTAMP: &str = "meridian-timestamp";
const SIGNATURE: &str = "meridian-signature";

/// The authoriser that a configuration asks for.
pub fn authoriser(
    config: Option<&config::HttpAuthoriser>,
    policies: Arc<Policies>,
) -> Result<Arc<dyn Authoriser>, OutboundError> {
    let policies = PolicyAuthoriser::new(policies);
    Ok(match config {
        None => Arc::new(policies),
        Some(config) => Arc::new(HttpAuthoriser::new(config, policies)?),
    })
}

/// Asks by HTTP.
pub(crate) struct HttpAuthoriser {
    policies: PolicyAuthoriser,
    outbound: Outbound,
    url: String,
    key: hmac::Key,
    within: Duration,
    cached_for: Duration,
    namespaces: BTreeSet<String>,
    /// Questions under way.
    turns: Semaphore,
    cache: Cache,
}

/// What is asked. Its text is what is signed.
#[derive(Debug, Serialize)]
struct Question<'a> {
    action: &'static str,
    channel: &'a str,
    tenant: &'a str,
    user: &'a str,
    device: Option<&'a str>,
    issuer: &'a str,
    token_id: Option<&'a str>,
    roles: &'a BTreeSet<String>,
    permissions: &'a BTreeSet<String>,
}

/// What is answered; further members are for later.
#[derive(Debug, Deserialize)]
struct Answer {
    allow: bool,
    /// How long it is good, where that is shorter than we would keep it.
    cache_s: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("too many questions are under way")]
    Busy,
    #[error("the address is none")]
    Address(#[source] http::Error),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the answer's status is {0}")]
    Status(StatusCode),
    #[error("the answer is not JSON like {{\"allow\":true}}")]
    Malformed,
}

impl HttpAuthoriser {
    fn new(
        config: &config::HttpAuthoriser,
        policies: PolicyAuthoriser,
    ) -> Result<Self, OutboundError> {
        let url = config.url.as_str().to_owned();
        let tls = Tls::of(&url, config.ca.as_deref());
        Ok(Self {
            policies,
            outbound: Outbound::new(tls, config.timeout, ANSWER_BYTES)?,
            url,
            key: hmac::Key::new(hmac::HMAC_SHA256, config.secret.expose().as_bytes()),
            within: config.timeout,
            cached_for: config.cache,
            namespaces: config.namespaces.clone(),
            turns: Semaphore::new(config.concurrency),
            cache: Cache::default(),
        })
    }

    fn is_asked_about(&self, channel: &Channel) -> bool {
        let namespace = channel.as_str().split(':').next().unwrap_or("");
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    async fn decide(&self, identity: &Identity, question: &Question<'_>) -> Decision {
        let body = serde_json::to_string(question).expect("invariant: texts and sets are JSON");
        let key = key(identity, &body);
        if let Some(allow) = self.cache.get(&key, Instant::now()) {
            return decision(allow);
        }
        // Whoever waits for a turn waits no longer than for an answer.
        let asking = async {
            let _turn = self.turns.acquire().await.map_err(|_| NoAnswer::Busy)?;
            self.ask(body).await
        };
        match timeout(self.within, asking).await.unwrap_or(Err(NoAnswer::Busy)) {
            Ok(answer) => {
                let said = answer.cache_s.map_or(self.cached_for, Duration::from_secs);
                let until = Instant::now() + said.min(self.cached_for);
                self.cache.put(key, answer.allow, until, Instant::now());
                decision(answer.allow)
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, action = question.action, "the authoriser gives no answer");
                Decision::Unavailable
            }
        }
    }

    async fn ask(&self, body: String) -> Result<Answer, NoAnswer> {
        let timestamp = (now_ms() / 1000).to_string();
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(SIGNATURE, self.signature(&timestamp, &body))
            .header(TIMESTAMP, timestamp)
            .body(Full::new(Bytes::from(body)))
            .map_err(NoAnswer::Address)?;
        let answer = self.outbound.ask(request).await?;
        match answer.status() {
            StatusCode::OK => {
                serde_json::from_slice(answer.body()).map_err(|_| NoAnswer::Malformed)
            }
            status => Err(NoAnswer::Status(status)),
        }
    }

    fn signature(&self, timestamp: &str, body: &str) -> String {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(timestamp.as_bytes());
        signing.update(b".");
        signing.update(body.as_bytes());
        let hex = signing
            .sign()
            .as_ref()
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        format!("v1={hex}")
    }
}

#[async_trait]
impl Authoriser for HttpAuthoriser {
    async fn authorise(&self, identity: &Identity, action: Action, channel: &Channel) -> Decision {
        if !self.policies.decide(identity, action, channel) {
            return Decision::Deny;
        }
        if !self.is_asked_about(channel) {
            return Decision::Allow;
        }
        let question = Question {
            action: action.as_str(),
            channel: channel.as_str(),
            tenant: identity.tenant.as_str(),
            user: identity.user.as_str(),
            device: identity.device.as_ref().map(|device| device.as_str()),
            issuer: &identity.issuer,
            token_id: identity.token_id.as_deref(),
            roles: &identity.roles,
            permissions: &identity.permissions,
        };
        self.decide(identity, &question).await
    }
}

fn decision(allow: bool) -> Decision {
    if allow { Decision::Allow } else { Decision::Deny }
}

/// What was asked, for which token: a refresh asks anew.
fn key(identity: &Identity, body: &str) -> [u8; 32] {
    let times = [identity.issued_at_ms, identity.expires_at_ms].map(Option::unwrap_or_default);
    let mut digest = Sha256::new();
    for time in times {
        digest.update(time.to_be_bytes());
    }
    digest.chain_update(body).finalize().into()
}
