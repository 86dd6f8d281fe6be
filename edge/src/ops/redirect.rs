//! `/ops/v1/redirect`: sends a node's clients to another region, tells whether they are, and ends it.
//! Owns the request's shape and its bounds; what each session is told is the session's affair.
//! Needs a token of an operator for all tenants, and is logged.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use meridian_core::protocol::Code;
use serde::Deserialize;

use super::operator::{Level, NotAllowed, Operator};
use super::{is_json, problem, text};
use crate::node::Node;
use crate::orders::Diversion;

pub(super) const PATH: &str = "/ops/v1/redirect";

const BODY_MOST: usize = 4096;
/// Nobody waits longer to be moved.
const SPREAD_MOST_MS: u64 = 86_400_000;
const WHY_MOST: usize = 200;

/// What an operator asks for.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// One of the configuration's other regions.
    region: String,
    /// Clients move over this time; by default as in a drain.
    spread_ms: Option<u64>,
    /// Sessions still there then are closed; by default they stay.
    deadline_ms: Option<u64>,
    /// For the log.
    #[serde(default)]
    why: String,
}

/// Why an order is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error("the body must be JSON like {{\"region\":\"us\",\"spread_ms\":60000}}: {0}")]
    Body(String),
    #[error(
        "`spread_ms` and `deadline_ms` are at most a day, and the deadline is not before the spread's end"
    )]
    Times,
    #[error("no other region of that name has an address in the configuration")]
    UnknownRegion,
    #[error("the node stops; its clients are told to move already")]
    Stopping,
}

pub(super) async fn answer(node: &Node, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let level = match *request.method() {
        Method::GET => Level::Viewer,
        _ => Level::Operator,
    };
    match Operator::of_all(node, request.headers(), level).await {
        Ok(operator) => act(node, &operator, request).await,
        Err(error) => refuse(&error.into()),
    }
}

async fn act(
    node: &Node,
    operator: &Operator,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    match *request.method() {
        Method::GET => standing(node, StatusCode::OK),
        Method::DELETE => match node.divert(None) {
            true => {
                tracing::warn!(actor = operator.name, "clients are sent to another region no more");
                standing(node, StatusCode::OK)
            }
            false => refuse(&Refusal::Stopping),
        },
        // A page of another site cannot send JSON here unasked.
        Method::POST if is_json(&request) => {
            let body = Limited::new(request.into_body(), BODY_MOST).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            match order(node, operator, &body) {
                Ok(()) => standing(node, StatusCode::ACCEPTED),
                Err(refusal) => refuse(&refusal),
            }
        }
        Method::POST => {
            text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text/plain", "only application/json\n")
        }
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET, POST, DELETE\n"),
    }
}

fn order(node: &Node, operator: &Operator, body: &[u8]) -> Result<(), Refusal> {
    let ask = read(body)?;
    let place = node.regions.place(&ask.region).ok_or(Refusal::UnknownRegion)?;
    let (spread, deadline) = times(&ask, node.leave.spread)?;
    if !node.divert(Some(Diversion { place, spread, deadline })) {
        return Err(Refusal::Stopping);
    }
    tracing::warn!(
        actor = operator.name,
        region = ask.region,
        spread_ms = spread.as_millis() as u64,
        why = ask.why,
        "clients are sent to another region"
    );
    Ok(())
}

fn read(body: &[u8]) -> Result<Ask, Refusal> {
    let mut ask: Ask =
        serde_json::from_slice(body).map_err(|error| Refusal::Body(error.to_string()))?;
    ask.why = ask.why.chars().take(WHY_MOST).collect();
    Ok(ask)
}

/// Spread and deadline.
fn times(ask: &Ask, usual: Duration) -> Result<(Duration, Option<Duration>), Refusal> {
    let given = |ms: u64| {
        if ms <= SPREAD_MOST_MS { Ok(Duration::from_millis(ms)) } else { Err(Refusal::Times) }
    };
    let deadline = ask.deadline_ms.map(given).transpose()?;
    let spread = match (ask.spread_ms, deadline) {
        (Some(ms), _) => given(ms)?,
        (None, Some(deadline)) => usual.min(deadline),
        (None, None) => usual,
    };
    if deadline.is_some_and(|deadline| deadline < spread) {
        return Err(Refusal::Times);
    }
    Ok((spread, deadline))
}

/// What is in force, and how many connections are left.
fn standing(node: &Node, status: StatusCode) -> Response<Full<Bytes>> {
    let redirect = node.diversion().map(|diversion| {
        serde_json::json!({
            "region": diversion.place.region,
            "url": diversion.place.url,
            "spread_ms": diversion.spread.as_millis() as u64,
            "deadline_ms": diversion.deadline.map(|deadline| deadline.as_millis() as u64),
        })
    });
    let body = serde_json::json!({ "redirect": redirect, "connections": node.connections() });
    text(status, "application/json", body.to_string())
}

fn refuse(refusal: &Refusal) -> Response<Full<Bytes>> {
    let answer = match refusal {
        Refusal::NotAllowed(why) => why.answer(),
        Refusal::Body(_) | Refusal::Times => (StatusCode::BAD_REQUEST, Code::BadRequest),
        Refusal::UnknownRegion => (StatusCode::NOT_FOUND, Code::NotFound),
        Refusal::Stopping => (StatusCode::CONFLICT, Code::Draining),
    };
    problem(answer, &refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(10);

    fn asked(json: &str) -> Result<(Duration, Option<Duration>), Refusal> {
        times(&read(json.as_bytes())?, USUAL)
    }

    #[test]
    fn times_have_defaults_and_bounds() {
        let s = Duration::from_secs;
        assert_eq!(asked(r#"{"region":"us"}"#), Ok((USUAL, None)));
        assert_eq!(asked(r#"{"region":"us","spread_ms":0,"why":"x"}"#), Ok((s(0), None)));
        assert_eq!(asked(r#"{"region":"us","deadline_ms":3000}"#), Ok((s(3), Some(s(3)))));
        let both = r#"{"region":"us","spread_ms":60000,"deadline_ms":90000}"#;
        assert_eq!(asked(both), Ok((s(60), Some(s(90)))));
        for bad in [
            r#"{"region":"us","spread_ms":60000,"deadline_ms":59999}"#,
            r#"{"region":"us","spread_ms":86400001}"#,
        ] {
            assert_eq!(asked(bad), Err(Refusal::Times), "{bad}");
        }
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for bad in ["", "{}", "[]", r#"{"region":1}"#, r#"{"region":"us","spread":1}"#] {
            assert!(matches!(asked(bad), Err(Refusal::Body(_))), "{bad}");
        }
    }
}
