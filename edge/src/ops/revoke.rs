//! `/ops/v1/revoke`: ends a token, a user's tokens or a device's in the whole region, and tells which
//! revocations stand. Owns the request's shape; needs an operator's token, and is logged.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use meridian_core::auth::{Revocation, Revoked};
use meridian_core::protocol::Code;
use meridian_core::vocabulary::{DeviceId, Tenant, UserId};
use serde::Deserialize;
use serde_json::json;

use super::operator::{Level, NotAllowed, Operator};
use super::{is_json, problem, text};
use crate::clock::now_ms;
use crate::node::Node;
use crate::tokens::Reach;

pub(super) const PATH: &str = "/ops/v1/revoke";

const BODY_MOST: usize = 4096;
const REASON_MOST: usize = 200;
/// No revocation stands longer; no token should.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// How long one stands where the configuration bounds no token's lifetime and the request says nothing.
const USUAL: Duration = Duration::from_secs(86_400);

/// What an operator asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    tenant: String,
    token: Option<String>,
    user: Option<String>,
    device: Option<String>,
    /// When its tokens have run out; by default the longest lifetime from now.
    for_s: Option<u64>,
    reason: String,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error(
        "the body must be JSON like {{\"tenant\":\"acme\",\"user\":\"ann\",\"reason\":\"left\"}}: {0}"
    )]
    Body(String),
    #[error("name one of `token` (a `jti`), `user`, or `user` and `device`")]
    What,
    #[error("`{0}` is not valid")]
    Member(&'static str),
    #[error("there are as many revocations as there may be")]
    TooMany,
    #[error("only GET and POST of application/json")]
    Method,
}

pub(super) async fn answer(node: &Node, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answered = match *request.method() {
        Method::GET => list(node, &request).await,
        Method::POST if is_json(&request) => revoke(node, request).await,
        _ => Err(Refusal::Method),
    };
    answered.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn list(node: &Node, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
    let operator = Operator::of(node, request.headers(), Level::Viewer).await?;
    let all = node.tokens.revoked().all();
    let seen = all.iter().filter(|it| operator.check_tenant(node, &it.tenant).is_ok());
    let body = json!({ "revoked": seen.map(shown).collect::<Vec<_>>() });
    Ok(text(StatusCode::OK, "application/json", body.to_string()))
}

async fn revoke(node: &Node, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
    let operator = Operator::of(node, request.headers(), Level::Operator).await?;
    let body = Limited::new(request.into_body(), BODY_MOST).collect().await;
    let body = body.map_err(|_| Refusal::Body(format!("more than {BODY_MOST} bytes")))?.to_bytes();
    let (revocation, reason) = read(&body, node.longest_lifetime, now_ms())?;
    operator.check_tenant(node, &revocation.tenant)?;
    let reach = node.revoke(&revocation).await.map_err(|_| Refusal::TooMany)?;
    tracing::warn!(actor = operator.name, reason, ?revocation, ?reach, "tokens are revoked");
    let (status, region) = match reach {
        Reach::Region => (StatusCode::OK, true),
        // Done here; whoever needs it everywhere asks again, and loses nothing by it.
        Reach::Node => (StatusCode::ACCEPTED, false),
    };
    let body = json!({ "revoked": shown(&revocation), "region": region });
    Ok(text(status, "application/json", body.to_string()))
}

fn read(
    body: &[u8],
    longest: Option<Duration>,
    now_ms: u64,
) -> Result<(Revocation, String), Refusal> {
    let ask: Ask = serde_json::from_slice(body).map_err(|it| Refusal::Body(it.to_string()))?;
    let tenant = Tenant::parse(&ask.tenant).map_err(|_| Refusal::Member("tenant"))?;
    let user = |text: &str| UserId::parse(text).map_err(|_| Refusal::Member("user"));
    let what = match (ask.token, ask.user, ask.device) {
        (Some(id), None, None) if is_token_id(&id) => Revoked::Token(id),
        (Some(_), None, None) => return Err(Refusal::Member("token")),
        (None, Some(name), None) => Revoked::User(user(&name)?),
        (None, Some(name), Some(device)) => Revoked::Device(
            user(&name)?,
            DeviceId::parse(&device).map_err(|_| Refusal::Member("device"))?,
        ),
        _ => return Err(Refusal::What),
    };
    let reason: String = ask.reason.trim().chars().take(REASON_MOST).collect();
    if reason.is_empty() {
        return Err(Refusal::Member("reason"));
    }
    let stands = match ask.for_s {
        Some(s) if (1..=LONGEST.as_secs()).contains(&s) => Duration::from_secs(s),
        Some(_) => return Err(Refusal::Member("for_s")),
        None => longest.unwrap_or(USUAL).min(LONGEST),
    };
    let until_ms = now_ms + stands.as_millis() as u64;
    Ok((Revocation { tenant, what, at_ms: now_ms, until_ms }, reason))
}

fn is_token_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && !id.chars().any(char::is_control)
}

fn shown(revocation: &Revocation) -> serde_json::Value {
    let (at_ms, until_ms) = (revocation.at_ms, revocation.until_ms);
    let mut shown =
        json!({ "tenant": revocation.tenant.as_str(), "at_ms": at_ms, "until_ms": until_ms });
    match &revocation.what {
        Revoked::Token(id) => shown["token"] = id.as_str().into(),
        Revoked::User(user) => shown["user"] = user.as_str().into(),
        Revoked::Device(user, device) => {
            shown["user"] = user.as_str().into();
            shown["device"] = device.as_str().into();
        }
    }
    shown
}

fn refuse(refusal: &Refusal) -> Response<Full<Bytes>> {
    let answer = match refusal {
        Refusal::NotAllowed(why) => why.answer(),
        Refusal::Body(_) | Refusal::What | Refusal::Member(_) => {
            (StatusCode::BAD_REQUEST, Code::BadRequest)
        }
        Refusal::TooMany => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed),
    };
    problem(answer, &refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_for_how_long() {
        let asked = |json: &str| {
            read(json.as_bytes(), Some(Duration::from_secs(600)), 1000).map(|(it, _)| it)
        };
        let until = |json: &str| asked(json).unwrap().until_ms;
        assert_eq!(until(r#"{"tenant":"a","user":"ann","reason":"x"}"#), 601_000);
        assert_eq!(until(r#"{"tenant":"a","token":"t","for_s":5,"reason":"x"}"#), 6_000);
        let device = r#"{"tenant":"a","user":"ann","device":"d","reason":"x"}"#;
        assert!(matches!(asked(device).unwrap().what, Revoked::Device(..)));
        for bad in [
            "",
            "[]",
            r#"{"tenant":"a","user":"ann"}"#,
            r#"{"tenant":"a","user":"ann","reason":" "}"#,
            r#"{"tenant":"a","reason":"x"}"#,
            r#"{"tenant":"a","device":"d","reason":"x"}"#,
            r#"{"tenant":"a","user":"ann","token":"t","reason":"x"}"#,
            r#"{"tenant":"a b","user":"ann","reason":"x"}"#,
            r#"{"tenant":"a","user":"ann","for_s":0,"reason":"x"}"#,
            r#"{"tenant":"a","user":"ann","for_s":2592001,"reason":"x"}"#,
            r#"{"tenant":"a","user":"ann","until":1,"reason":"x"}"#,
        ] {
            assert!(asked(bad).is_err(), "{bad}");
        }
    }
}
