//! What a process answers on the admin listener besides: JSON in, JSON out. Owns the bound of a request's
//! body and its media type; what may be asked, and by whom, is the process's affair.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;

use super::text;

const BODY_BYTES_MOST: usize = 16 << 10;

/// A request.
#[derive(Debug)]
pub struct OpsRequest {
    pub method: Method,
    pub path: String,
    /// The token of `Authorization: Bearer`.
    pub token: Option<String>,
    pub body: Bytes,
}

/// An answer; the body is JSON.
#[derive(Debug)]
pub struct OpsAnswer {
    pub status: StatusCode,
    pub body: String,
}

/// Answers requests.
#[async_trait]
pub trait OpsApi: Send + Sync + 'static {
    /// What its paths begin with.
    fn prefix(&self) -> &str;

    async fn answer(&self, request: OpsRequest) -> OpsAnswer;
}

pub(super) async fn serve(api: &dyn OpsApi, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let json =
        head.headers.get(CONTENT_TYPE).is_some_and(|it| it.as_bytes() == b"application/json");
    // No page of another site can send this media type here.
    if head.method == Method::POST && !json {
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text/plain", "only application/json\n");
    }
    let Ok(body) = Limited::new(body, BODY_BYTES_MOST).collect().await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "too large\n");
    };
    let token = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|text| text.strip_prefix("Bearer ")).map(str::to_owned);
    let path = head.uri.path().to_owned();
    let asked = OpsRequest { method: head.method, path, token, body: body.to_bytes() };
    let OpsAnswer { status, body } = api.answer(asked).await;
    text(status, "application/json", body)
}
