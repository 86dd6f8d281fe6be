//! `/ops/v1/mode`: puts the node or one of its namespaces in a mode, and tells which stand. Owns the
//! request's shape and its bounds. Needs a token of an operator for all tenants, and is logged.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use meridian_core::mode::{Mode, ModeError};
use meridian_core::protocol::Code;
use serde::Deserialize;
use serde_json::json;

use super::operator::{Level, NotAllowed, Operator};
use super::{is_json, problem, text};
use crate::node::Node;

pub(super) const PATH: &str = "/ops/v1/mode";

const BODY_MOST: usize = 4096;
const REASON_MOST: usize = 200;
/// Nobody waits longer to be moved.
const SPREAD_MOST_MS: u64 = 86_400_000;

/// What an operator asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// `None`: the namespace has none of its own any more.
    mode: Option<String>,
    /// `None`: the node.
    namespace: Option<String>,
    /// Clients do what follows from it over this time; by default as in a drain.
    spread_ms: Option<u64>,
    /// For the log.
    reason: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error(
        "the body must be JSON like {{\"mode\":\"read-only\",\"namespace\":\"board\",\"reason\":\"upgrade\"}}: {0}"
    )]
    Body(String),
    #[error("`mode` {0}; `null` only with a namespace")]
    Mode(#[from] ModeError),
    #[error("`reason` must say why, and `spread_ms` is at most a day")]
    Member,
    #[error("the node has no such namespace")]
    Namespace,
    #[error("only GET and POST of application/json")]
    Method,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    mode: Option<Mode>,
    namespace: Option<String>,
    spread: Duration,
    reason: String,
}

pub(super) async fn answer(node: &Node, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answered = match *request.method() {
        Method::GET => Operator::of_all(node, request.headers(), Level::Viewer)
            .await
            .map(|_| standing(node))
            .map_err(Refusal::from),
        Method::POST if is_json(&request) => change(node, request).await,
        _ => Err(Refusal::Method),
    };
    answered.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn change(node: &Node, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
    let operator = Operator::of_all(node, request.headers(), Level::Operator).await?;
    let body = Limited::new(request.into_body(), BODY_MOST).collect().await;
    let body = body.map_err(|_| Refusal::Body(format!("more than {BODY_MOST} bytes")))?.to_bytes();
    let order = read(&body, node.leave.spread)?;
    let put = node.put_mode(order.namespace.as_deref(), order.mode, order.spread);
    put.map_err(|_| Refusal::Namespace)?;
    tracing::warn!(
        actor = operator.name,
        reason = order.reason,
        namespace = order.namespace,
        mode = order.mode.map(Mode::name),
        spread_ms = order.spread.as_millis() as u64,
        "the mode is changed"
    );
    Ok(standing(node))
}

fn read(body: &[u8], usual: Duration) -> Result<Order, Refusal> {
    let ask: Ask = serde_json::from_slice(body).map_err(|it| Refusal::Body(it.to_string()))?;
    let mode = ask.mode.map(|name| name.parse::<Mode>()).transpose()?;
    if mode.is_none() && ask.namespace.is_none() {
        return Err(ModeError.into());
    }
    let reason: String = ask.reason.trim().chars().take(REASON_MOST).collect();
    if reason.is_empty() || ask.spread_ms.is_some_and(|ms| ms > SPREAD_MOST_MS) {
        return Err(Refusal::Member);
    }
    let spread = ask.spread_ms.map_or(usual, Duration::from_millis);
    Ok(Order { mode, namespace: ask.namespace, spread, reason })
}

fn standing(node: &Node) -> Response<Full<Bytes>> {
    let told = node.modes.push(0);
    let body = json!({ "mode": told.mode, "namespaces": told.namespaces });
    text(StatusCode::OK, "application/json", body.to_string())
}

fn refuse(refusal: &Refusal) -> Response<Full<Bytes>> {
    let answer = match refusal {
        Refusal::NotAllowed(why) => why.answer(),
        Refusal::Body(_) | Refusal::Mode(_) | Refusal::Member => {
            (StatusCode::BAD_REQUEST, Code::BadRequest)
        }
        Refusal::Namespace => (StatusCode::NOT_FOUND, Code::NotFound),
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed),
    };
    problem(answer, &refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let usual = Duration::from_secs(10);
        let order = |json: &str| read(json.as_bytes(), usual);
        let whole = order(r#"{"mode":"read-only","reason":" an upgrade "}"#).unwrap();
        assert_eq!((whole.mode, whole.namespace), (Some(Mode::ReadOnly), None));
        assert_eq!((whole.spread, whole.reason.as_str()), (usual, "an upgrade"));
        let one = r#"{"mode":null,"namespace":"board","spread_ms":0,"reason":"over"}"#;
        let one = order(one).unwrap();
        assert_eq!((one.mode, one.namespace.as_deref()), (None, Some("board")));
        assert_eq!(one.spread, Duration::ZERO);
        for bad in [
            "",
            "[]",
            r#"{"mode":"read-only"}"#,
            r#"{"mode":"readonly","reason":"x"}"#,
            r#"{"mode":null,"reason":"x"}"#,
            r#"{"mode":"normal","reason":" "}"#,
            r#"{"mode":"normal","spread_ms":86400001,"reason":"x"}"#,
            r#"{"mode":"normal","tenant":"a","reason":"x"}"#,
        ] {
            assert!(order(bad).is_err(), "{bad}");
        }
    }
}
