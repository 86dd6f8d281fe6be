//! The bridge's part of the admin API: looking is free on the admin address; changing needs a token with the
//! role `meridian-operator`, and is logged with actor and reason.

use async_trait::async_trait;
use http::{Method, StatusCode};
use meridian_core::auth::Verifier;
use meridian_core::seams::SourceCommit;
use meridian_edge::{OpsAnswer, OpsApi, OpsRequest};
use meridian_region_router::bridge::{
    AskError, BridgeHandle, Change, PartitionStatus, Refusal, ReplayMode, RouteStatus,
};
use serde_json::{Value, json};

use crate::process::now_ms;

const PREFIX: &str = "/ops/v1/bridge";
const ROLES: [&str; 2] = ["meridian-operator", "meridian-admin"];

/// Answers `/ops/v1/bridge…`.
pub(super) struct BridgeApi {
    handle: BridgeHandle,
    verifier: Verifier,
}

/// What a body asks for.
struct Asked {
    reason: String,
    partition: Option<u32>,
    change: Change,
}

impl BridgeApi {
    pub(super) fn new(handle: BridgeHandle, verifier: Verifier) -> Self {
        Self { handle, verifier }
    }

    /// The operator's name.
    fn actor(&self, token: Option<&str>) -> Result<String, OpsAnswer> {
        let token = token.ok_or_else(|| problem(StatusCode::UNAUTHORIZED, "a token is needed"))?;
        let identity = self.verifier.verify(token, now_ms());
        let identity =
            identity.map_err(|error| problem(StatusCode::UNAUTHORIZED, &error.to_string()))?;
        // An issuer that speaks for some tenants makes nobody an operator of all.
        let of_all = self.verifier.speaks_for_all(&identity.issuer);
        match of_all && ROLES.iter().any(|role| identity.roles.contains(*role)) {
            true => Ok(identity.user.to_string()),
            false => Err(problem(StatusCode::FORBIDDEN, "the token lacks the role of an operator")),
        }
    }

    async fn change(&self, request: &OpsRequest) -> Result<OpsAnswer, OpsAnswer> {
        let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
        let (route, action) = path
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .ok_or_else(|| problem(StatusCode::NOT_FOUND, "not found"))?;
        let actor = self.actor(request.token.as_deref())?;
        let asked = asked(action, &request.body)?;
        let Asked { reason, partition, change } = &asked;
        tracing::warn!(actor, reason, route, ?partition, ?change, "a change is asked for");
        let answers = self.handle.ask(route, *partition, *change).await.map_err(|error| {
            let status = match error {
                AskError::NoRoute => StatusCode::NOT_FOUND,
                AskError::NotHere => StatusCode::CONFLICT,
            };
            problem(status, &error.to_string())
        })?;
        let refused = answers.iter().any(|(_, answer)| answer.is_err());
        let partitions: Vec<Value> = answers.into_iter().map(made).collect();
        let status = if refused { StatusCode::CONFLICT } else { StatusCode::OK };
        Ok(OpsAnswer { status, body: json!({ "partitions": partitions }).to_string() })
    }
}

#[async_trait]
impl OpsApi for BridgeApi {
    fn prefix(&self) -> &str {
        PREFIX
    }

    async fn answer(&self, request: OpsRequest) -> OpsAnswer {
        if request.method == Method::GET && request.path == PREFIX {
            let routes: Vec<Value> = self.handle.status().iter().map(shown).collect();
            return OpsAnswer {
                status: StatusCode::OK,
                body: json!({ "routes": routes }).to_string(),
            };
        }
        if request.method != Method::POST {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "only POST");
        }
        self.change(&request).await.unwrap_or_else(|refused| refused)
    }
}

fn asked(action: &str, body: &[u8]) -> Result<Asked, OpsAnswer> {
    let bad = |why: &str| problem(StatusCode::BAD_REQUEST, why);
    let body: Value = serde_json::from_slice(body).map_err(|_| bad("the body is no JSON"))?;
    let number = |key: &str| match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| bad("a number is expected")),
    };
    let reason = body.get("reason").and_then(Value::as_str).filter(|reason| !reason.is_empty());
    let reason = reason.ok_or_else(|| bad("`reason` is missing"))?.to_owned();
    let partition = number("partition")?.map(u32::try_from).transpose();
    let partition = partition.map_err(|_| bad("there is no such partition"))?;
    let from = number("offset")?;
    let change = match (action, body.get("mode").and_then(Value::as_str)) {
        ("pause", None) => Change::Pause,
        ("resume", None) => Change::Resume,
        ("replay", Some("fill")) => Change::Replay { mode: ReplayMode::Fill, from },
        ("replay", Some("redeliver")) => Change::Replay { mode: ReplayMode::Redeliver, from },
        ("replay", _) => return Err(bad("`mode` must be `fill` or `redeliver`")),
        _ => return Err(problem(StatusCode::NOT_FOUND, "not found")),
    };
    if from.is_some() && partition.is_none() {
        return Err(bad("an offset belongs to one partition: name it"));
    }
    Ok(Asked { reason, partition, change })
}

fn made((partition, answer): (u32, Result<SourceCommit, Refusal>)) -> Value {
    match answer {
        Ok(commit) => json!({
            "partition": partition, "generation": commit.generation, "next": commit.next,
            "paused": commit.paused,
        }),
        Err(refusal) => json!({ "partition": partition, "refused": refusal.to_string() }),
    }
}

fn shown(route: &RouteStatus) -> Value {
    let partition = |status: &PartitionStatus| {
        json!({
            "partition": status.partition,
            "state": status.state.name(),
            "detail": status.state.to_string(),
            "generation": status.commit.map(|commit| commit.generation),
            "next": status.commit.map(|commit| commit.next),
            "lag_records": status.lag_records,
            "events": status.events,
            "skipped": status.skipped,
            "dead_letters": status.dead_letters,
        })
    };
    let partitions: Vec<Value> = route.partitions.iter().map(partition).collect();
    json!({ "route": route.route.as_str(), "partitions": partitions })
}

fn problem(status: StatusCode, detail: &str) -> OpsAnswer {
    OpsAnswer { status, body: json!({ "status": status.as_u16(), "detail": detail }).to_string() }
}
