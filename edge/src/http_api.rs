//! The HTTP API of the client listener, the same over HTTP/1.1, 2 and 3: routes, CORS, origins, tokens
//! and problem documents.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, ORIGIN, RETRY_AFTER,
    VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use meridian_core::auth::Identity;
use meridian_core::config::Origins;
use meridian_core::protocol::{Code, Codec, Place, Published, ReplyError, decode_publish};
use meridian_core::vocabulary::Channel;
use tokio::time::timeout;

use crate::polling::{self, Question};
use crate::tokens::{TICKET_PATH, answer_ticket, code_of};
use crate::transport::{AnswerBody, ClientAddress, event_stream, poll};
use crate::worker::Context;

/// What pages may read beside the usual.
const EXPOSED: &str = "etag, retry-after, poll-interval-ms, meridian-mode";
/// Where the regions are told.
const REGIONS: &str = "/v1/regions";
/// Sessions that are answers.
const EVENT_STREAM: &str = "/v1/sse";
const POLL: &str = "/v1/poll";
/// What operators poll.
const CHANNELS: &str = "/v1/channels/";

/// What a session's request asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) codec: Option<String>,
    pub(crate) token: Option<String>,
    /// From where the client came.
    pub(crate) client: IpAddr,
}

/// Checks a session request's origin and reads its query and token.
pub(crate) fn admit_session(
    context: &Context,
    headers: &HeaderMap,
    uri: &Uri,
    address: ClientAddress,
) -> Result<Asked, ReplyError> {
    let client = address.of_request(headers, &context.node.proxies);
    tracing::debug!(%client, path = uri.path(), "session request");
    if context.node.draining.is_cancelled() {
        return Err(ReplyError::of(Code::Draining));
    }
    let handshake = context.node.quotas.handshake(client, Instant::now());
    handshake.map_err(|exceeded| exceeded.told(Code::RateLimited))?;
    if let Some(origin) = headers.get(ORIGIN)
        && !origin_allowed(&context.node.origins, origin, headers, uri)
    {
        return Err(ReplyError::of(Code::OriginForbidden));
    }
    let query = |name: &str| query_value(uri.query().unwrap_or(""), name);
    Ok(Asked { codec: query("codec"), token: bearer(headers).or_else(|| query("token")), client })
}

/// A listed origin, or the node's own.
fn origin_allowed(listed: &Origins, origin: &HeaderValue, headers: &HeaderMap, uri: &Uri) -> bool {
    origin.to_str().is_ok_and(|origin| listed.allows(origin))
        || origin_named(listed, origin, headers, uri)
}

/// The same where `*` does not count.
pub(crate) fn origin_named(
    listed: &Origins,
    origin: &HeaderValue,
    headers: &HeaderMap,
    uri: &Uri,
) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    if listed.names(origin) {
        return true;
    }
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .or(uri.authority().map(|a| a.as_str()));
    let own = origin.split_once("://").map(|(_, authority)| authority);
    own.is_some() && own == host
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The first value of a query parameter, percent-decoded.
fn query_value(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| percent_decode(value))?
    })
}

/// `None`: it is no UTF-8, or not encoded as it should be.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Reads a request's body within the frame limit and the handshake's time.
pub(crate) async fn read_body(context: &Context, body: Incoming) -> Result<Bytes, Code> {
    let most = context.node.settings.limits.frame_bytes as usize;
    let read = Limited::new(body, most).collect();
    match timeout(context.node.handshake_timeout, read).await {
        Err(_) => Err(Code::ConnectTimeout),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Code::FrameTooLarge),
        Ok(Err(_)) => Err(Code::Malformed),
    }
}

/// Answers a request.
pub(crate) async fn handle(
    context: &Rc<Context>,
    head: &Parts,
    body: Bytes,
    address: ClientAddress,
) -> Response<AnswerBody> {
    let client: IpAddr = address.of_request(&head.headers, &context.node.proxies);
    // Before anything is done: a page that may not read the answer may not cause the effect either.
    let readable_by = match reader_origin(context, head) {
        Ok(origin) => origin,
        Err(code) => return problem(code).map(Into::into),
    };
    let mut response = if head.method == Method::OPTIONS {
        preflight().map(Into::into)
    } else {
        Box::pin(route(context, head, &body, address)).await
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = readable_by {
        // Cookies come along only where they are of use, and only for pages that are named.
        let cookies = head.uri.path() == TICKET_PATH
            && origin_named(&context.node.origins, &origin, &head.headers, &head.uri);
        if cookies {
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    tracing::debug!(%client, method = %head.method, path = head.uri.path(), status = response.status().as_u16(), "request");
    response
}

async fn route(
    context: &Rc<Context>,
    head: &Parts,
    body: &Bytes,
    address: ClientAddress,
) -> Response<AnswerBody> {
    let answer = match (head.uri.path(), &head.method) {
        (EVENT_STREAM, &Method::GET | &Method::POST) => {
            return event_stream(context, head, body, address).await;
        }
        (POLL, &Method::GET | &Method::POST) => return poll(context, head, body, address).await,
        (EVENT_STREAM | POLL, _) => not_allowed("GET, POST, OPTIONS"),
        ("/v1/publish", &Method::POST) => publish(context, head, body).await,
        ("/v1/publish", _) => not_allowed("POST, OPTIONS"),
        (path, method) if path.starts_with(CHANNELS) => match method {
            &Method::GET => poll_channel(context, head, &path[CHANNELS.len()..]).await,
            _ => not_allowed("GET, OPTIONS"),
        },
        (REGIONS, &Method::GET) => regions(context),
        (REGIONS, _) => not_allowed("GET, OPTIONS"),
        ("/v1/ws" | "/v1/wt", _) => not_allowed("GET"),
        (TICKET_PATH, &Method::POST) => answer_ticket(context, head).await,
        (TICKET_PATH, _) => not_allowed("POST, OPTIONS"),
        _ => problem(Code::NotFound),
    };
    answer.map(Into::into)
}

/// `{channel}/latest` or `{channel}/events`.
async fn poll_channel(context: &Rc<Context>, head: &Parts, rest: &str) -> Response<Bytes> {
    let query = head.uri.query().unwrap_or("");
    let asked = rest.rsplit_once('/').and_then(|(channel, what)| {
        let what = Question::parse(what, |name| query_value(query, name))?;
        Some((percent_decode(channel), what))
    });
    let Some((channel, question)) = asked else { return problem(Code::NotFound) };
    let identity = match authenticate(context, head).await {
        Ok(identity) => identity,
        Err(code) => return problem(code),
    };
    let mode = channel.as_deref().and_then(|name| Channel::parse(name).ok());
    let mode = mode.map(|channel| context.node.modes.of(&channel));
    let question = question.and_then(|question| Ok((channel.ok_or(Code::BadChannel)?, question)));
    let polled = match question {
        Ok((channel, question)) => polling::poll(context, &identity, &channel, question).await,
        Err(code) => Err(polling::Refused { error: ReplyError::of(code), interval: None }),
    };
    let (mut response, interval) = match polled {
        Ok(polled) => (polled_answer(context, head, &polled.answer), Some(polled.interval)),
        Err(polling::Refused { error, interval }) => (refusal(&error, None), interval),
    };
    if let Some(mode) = mode {
        let mode = HeaderValue::from_static(mode.name());
        response.headers_mut().insert("meridian-mode", mode);
    }
    if let Some(interval) = interval {
        let ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        response.headers_mut().insert("poll-interval-ms", HeaderValue::from(ms));
    }
    response
}

/// The answer, or that it is the one that the client has.
fn polled_answer(context: &Context, head: &Parts, answer: &polling::Answer) -> Response<Bytes> {
    let known = head.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|tag| tag.trim());
    let unchanged = known.any(|tag| tag == "*" || tag.trim_start_matches("W/") == answer.tag);
    context.node.metrics.polled(if unchanged { "unchanged" } else { "ok" });
    let response =
        Response::builder().header(ETAG, &answer.tag).header(CACHE_CONTROL, "private, no-cache");
    let response = match unchanged {
        true => response.status(StatusCode::NOT_MODIFIED).body(Bytes::new()),
        false => response.header(CONTENT_TYPE, "application/json").body(answer.body.clone()),
    };
    response.expect("invariant: the headers are plain ASCII")
}

fn regions(context: &Context) -> Response<Bytes> {
    let node = &context.node;
    let (phase, sessions) = (node.told_phase(), node.connections());
    let answer = node.regions.answer(phase, sessions, node.room.most());
    Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .header(CACHE_CONTROL, "no-store")
        .body(Bytes::from(answer))
        .expect("invariant: the headers are literals")
}

/// The origin of the page that asks, if there is one and it may.
fn reader_origin(context: &Context, head: &Parts) -> Result<Option<HeaderValue>, Code> {
    let Some(origin) = head.headers.get(ORIGIN) else { return Ok(None) };
    let allowed = |list| origin_allowed(list, origin, &head.headers, &head.uri);
    let (sessions, answers) = (&context.node.origins, &context.node.cors);
    let may = match head.uri.path() {
        EVENT_STREAM | POLL => allowed(sessions),
        // Whoever may open a session has to find out where.
        REGIONS | TICKET_PATH => allowed(sessions) || allowed(answers),
        _ => allowed(answers),
    };
    if may { Ok(Some(origin.clone())) } else { Err(Code::OriginForbidden) }
}

fn preflight() -> Response<Bytes> {
    Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(ACCESS_CONTROL_ALLOW_METHODS, "GET, POST")
        .header(
            ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, if-none-match, last-event-id",
        )
        .header(ACCESS_CONTROL_MAX_AGE, "600")
        .body(Bytes::new())
        .expect("invariant: the headers are literals")
}

fn not_allowed(methods: &'static str) -> Response<Bytes> {
    let mut response = problem(Code::MethodNotAllowed);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

async fn authenticate(context: &Context, head: &Parts) -> Result<Identity, Code> {
    let token = bearer(&head.headers)
        .or_else(|| query_value(head.uri.query().unwrap_or(""), "token"))
        .ok_or(Code::Unauthenticated)?;
    context.node.tokens.verify(&token).await.map_err(code_of)
}

async fn publish(context: &Rc<Context>, head: &Parts, body: &Bytes) -> Response<Bytes> {
    let identity = match authenticate(context, head).await {
        Ok(identity) => Rc::new(identity),
        Err(code) => return problem(code),
    };
    let media_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let codec = match media_type.map(|value| value.split(';').next().unwrap_or("").trim()) {
        None | Some("application/json") => Codec::Json,
        Some("application/msgpack") => Codec::MessagePack,
        Some(_) => return problem(Code::Unsupported),
    };
    let Ok((items, batch)) = decode_publish(codec, body) else { return problem(Code::Malformed) };
    let limit = context.node.settings.limits.batch_events;
    if items.len() as u64 > limit {
        return problem_of(Code::BatchTooLarge, &ReplyError::of(Code::BatchTooLarge).limit(limit));
    }
    let mut results = context.node.publisher.publish(|| Some((0, identity.clone())), items).await;
    if batch {
        let results: Vec<_> = results.iter().map(result_json).collect();
        return json(StatusCode::OK, &serde_json::json!({ "results": results }));
    }
    match results.pop() {
        Some(Published::Refused(error)) => {
            problem_of(error.known_code().unwrap_or(Code::Internal), &error)
        }
        Some(stored @ Published::Stored { .. }) => json(StatusCode::OK, &result_json(&stored)),
        None => problem(Code::Internal),
    }
}

fn result_json(result: &Published) -> serde_json::Value {
    match result {
        Published::Stored { cursor: Some(cursor) } => serde_json::json!({ "cursor": cursor }),
        Published::Stored { cursor: None } => serde_json::json!({}),
        Published::Refused(error) => serde_json::json!({ "error": error_json(error) }),
    }
}

fn error_json(error: &ReplyError) -> serde_json::Value {
    let mut value = serde_json::json!({
        "code": error.code, "message": error.message, "action": error.action.name(),
    });
    let members = [("retry_after_ms", error.retry_after_ms), ("limit", error.limit)];
    for (name, member) in members {
        if let Some(member) = member {
            value[name] = member.into();
        }
    }
    if !error.elsewhere.is_empty() {
        let place = |place: &Place| serde_json::json!({ "region": place.region, "url": place.url });
        value["elsewhere"] = error.elsewhere.iter().map(place).collect();
    }
    value
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(Bytes::from(value.to_string()))
        .expect("invariant: the headers are literals")
}

/// A problem document (RFC 9457) for a code.
pub(crate) fn problem(code: Code) -> Response<Bytes> {
    problem_of(code, &ReplyError::of(code))
}

/// The same for what a session would say, and the channel that it is about.
pub(crate) fn refusal(error: &ReplyError, channel: Option<&str>) -> Response<Bytes> {
    problem_about(error.known_code().unwrap_or(Code::Internal), error, channel)
}

fn problem_of(code: Code, error: &ReplyError) -> Response<Bytes> {
    problem_about(code, error, None)
}

fn problem_about(code: Code, error: &ReplyError, channel: Option<&str>) -> Response<Bytes> {
    let status =
        StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut value = error_json(error);
    value["type"] = "about:blank".into();
    value["title"] = status.canonical_reason().unwrap_or("error").into();
    value["status"] = status.as_u16().into();
    value["detail"] = error.message.as_str().into();
    if let Some(channel) = channel {
        value["channel"] = channel.into();
    }
    let mut response = json(status, &value);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(ms) = error.retry_after_ms {
        headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_decoded() {
        assert_eq!(query_value("codec=json&token=a%2Bb", "token").as_deref(), Some("a+b"));
        assert_eq!(query_value("token=%zz", "token"), None);
        assert_eq!(query_value("atoken=x", "token"), None);
        assert_eq!(query_value("", "token"), None);
    }
}
