//! `POST /v1/ticket`: a page's cookie, or a token, becomes a ticket. Owns whose pages may do so: a cookie
//! goes with every page's requests, so only pages that the configuration names count.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use meridian_core::protocol::Code;

use super::code_of;
use super::tickets::TICKET_TIME;
use crate::http_api::{bearer, origin_named, problem};
use crate::worker::Context;

pub(crate) const PATH: &str = "/v1/ticket";

/// Answers the request.
pub(crate) async fn answer(context: &Context, head: &Parts) -> Response<Bytes> {
    match exchange(context, head).await {
        Ok(ticket) => {
            let body = serde_json::json!({
                "ticket": ticket, "expires_in_ms": TICKET_TIME.as_millis() as u64,
            });
            let mut response = Response::new(Bytes::from(body.to_string()));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(code) => problem(code),
    }
}

async fn exchange(context: &Context, head: &Parts) -> Result<String, Code> {
    let tokens = &context.node.tokens;
    let token = match bearer(&head.headers) {
        Some(token) => token,
        None => from_cookie(context, head)?,
    };
    tokens.verify(&token).await.map_err(code_of)?;
    tokens.tickets().issue(&token).await.map_err(|_| Code::AuthoriserUnavailable)
}

fn from_cookie(context: &Context, head: &Parts) -> Result<String, Code> {
    let name = context.node.cookie.as_deref().ok_or(Code::Unauthenticated)?;
    // Browsers send it with every POST; without one this is no page, and has no cookie of a page's.
    let origin = head.headers.get(ORIGIN).ok_or(Code::OriginForbidden)?;
    if !origin_named(&context.node.origins, origin, &head.headers, &head.uri) {
        return Err(Code::OriginForbidden);
    }
    cookie(&head.headers, name).ok_or(Code::Unauthenticated)
}

/// The value of a cookie (RFC 6265 §4.2); of two with one name neither, for one of them is another's.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(own, _)| own.trim() == name);
    let (_, value) = named.next()?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
    named.next().is_none().then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, line.parse().unwrap());
            }
            cookie(&headers, "token")
        };
        assert_eq!(of(&["a=1; token=x.y.z; b=2"]).as_deref(), Some("x.y.z"));
        assert_eq!(of(&["token=\"x=\""]).as_deref(), Some("x="));
        assert_eq!(of(&["a=1", "token=x"]).as_deref(), Some("x"));
        for none in [&[][..], &["xtoken=x"], &["token2=x"], &["token"], &["a=token=x"]] {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert_eq!(of(&["token=x; token=y"]), None, "one of them is not ours");
    }
}
