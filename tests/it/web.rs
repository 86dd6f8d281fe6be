//! A bare HTTP client over HTTP/1.1, 2 and 3 whose answers are read as they come, and what reads an event
//! stream as a page's EventSource does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meridian_client::CertificateHash;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::node::{Node, in_time};

/// Every version that a node speaks.
pub(crate) const VERSIONS: [Version; 3] = [Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];

/// Why nothing was answered.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request to be sent.
#[derive(Clone)]
pub(crate) struct Ask {
    at: (SocketAddr, CertificateHash),
    version: Version,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// An answer whose body may still be coming. Dropping it drops its connection.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: mpsc::Receiver<Bytes>,
    _tasks: JoinSet<()>,
}

impl Ask {
    pub(crate) fn get(node: &Node, path: &str) -> Self {
        Self::get_at((node.client, node.certificate), path)
    }

    pub(crate) fn get_at(at: (SocketAddr, CertificateHash), path: &str) -> Self {
        let (version, method) = (Version::HTTP_11, Method::GET);
        let (headers, body) = (Vec::new(), Bytes::new());
        Self { at, version, method, path: path.to_owned(), headers, body }
    }

    /// A JSON body, by POST.
    pub(crate) fn post(self, body: &Value) -> Self {
        self.post_bytes("application/json", body.to_string())
    }

    pub(crate) fn post_bytes(mut self, media_type: &str, body: impl Into<Bytes>) -> Self {
        (self.method, self.body) = (Method::POST, body.into());
        self.header("content-type", media_type)
    }

    pub(crate) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn over(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn request<B>(&self, body: B) -> Request<B> {
        let scheme = if self.version == Version::HTTP_3 { "https" } else { "http" };
        let uri = match self.version {
            Version::HTTP_11 => self.path.clone(),
            _ => format!("{scheme}://{}{}", self.at.0, self.path),
        };
        let mut request = Request::builder().method(self.method.clone()).uri(uri);
        if self.version == Version::HTTP_11 {
            request = request.header("host", self.at.0.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(body).expect("a request")
    }

    /// Sends it over a connection of its own and waits for the answer's head.
    pub(crate) async fn send(&self) -> Answer {
        let what = format!("the answer to {} {} over {:?}", self.method, self.path, self.version);
        in_time(&what, self.try_send()).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The same of a node that may be away.
    pub(crate) async fn try_send(&self) -> Result<Answer, Failure> {
        let sending: BoxFuture<'_, Result<Answer, Failure>> = match self.version {
            Version::HTTP_3 => Box::pin(self.send_quic()),
            _ => Box::pin(self.send_tcp()),
        };
        sending.await
    }

    /// The whole answer.
    pub(crate) async fn whole(&self) -> (u16, Value) {
        self.send().await.whole().await
    }

    async fn send_tcp(&self) -> Result<Answer, Failure> {
        let stream = TokioIo::new(TcpStream::connect(self.at.0).await?);
        let request = self.request(Full::new(self.body.clone()));
        let mut tasks = JoinSet::new();
        let response = if self.version == Version::HTTP_2 {
            let executor = TokioExecutor::new();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(executor, stream).await?;
            tasks.spawn(async move { drop(connection.await) });
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
            tasks.spawn(async move { drop(connection.await) });
            sender.send_request(request).await
        };
        let (head, mut incoming): (_, Incoming) = response?.into_parts();
        let (put, body) = mpsc::channel(1);
        tasks.spawn(async move {
            while let Some(Ok(frame)) = incoming.frame().await {
                let data = frame.into_data().unwrap_or_default();
                if put.send(data).await.is_err() {
                    return;
                }
            }
        });
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, _tasks: tasks })
    }

    async fn send_quic(&self) -> Result<Answer, Failure> {
        let trust = meridian_client::Trust::Hashes(vec![self.at.1]);
        let tls = trust.client_config(&[b"h3"]).expect("a configuration");
        let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
        let local = "127.0.0.1:0".parse().expect("an address");
        let endpoint = quinn::Endpoint::client(local).expect("a UDP socket");
        let config = quinn::ClientConfig::new(Arc::new(tls));
        let connecting = endpoint.connect_with(config, self.at.0, "localhost").expect("a dial");
        let quic = connecting.await?;
        let h3 = h3_quinn::Connection::new(quic.clone());
        let (mut driver, mut requests) = h3::client::new(h3).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(driver.wait_idle().await) });
        let mut stream = requests.send_request(self.request(())).await?;
        // A body that is too large may be refused before it is sent whole.
        if !self.body.is_empty() {
            let _ = stream.send_data(self.body.clone()).await;
        }
        let _ = stream.finish().await;
        let response: Response<()> = stream.recv_response().await?;
        let (head, ()) = response.into_parts();
        let (put, body) = mpsc::channel(1);
        tasks.spawn(async move {
            let _alive = (requests, Leaving(quic, endpoint));
            while let Ok(Some(mut data)) = stream.recv_data().await {
                if put.send(data.copy_to_bytes(data.remaining())).await.is_err() {
                    return;
                }
            }
        });
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, _tasks: tasks })
    }
}

/// Says that it leaves.
struct Leaving(quinn::Connection, quinn::Endpoint);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.close(0u32.into(), b"");
        let endpoint = self.1.clone();
        tokio::spawn(async move { endpoint.wait_idle().await });
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        in_time("more of an answer", self.body.recv()).await
    }

    /// Status and JSON of an answer that ends.
    pub(crate) async fn whole(mut self) -> (u16, Value) {
        let mut bytes = Vec::new();
        while let Some(more) = self.next().await {
            bytes.extend_from_slice(&more);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let value = serde_json::from_slice(&bytes).unwrap_or(Value::String(text));
        (self.status, value)
    }
}

/// What an event stream dispatches.
#[derive(Debug, Clone)]
pub(crate) struct Dispatched {
    pub(crate) event: String,
    pub(crate) data: Value,
    /// What a reconnect would send after it.
    id: String,
}

/// Reads an event stream by the rules of the HTML standard (§9.2.6).
pub(crate) struct EventSource {
    answer: Answer,
    buffer: Vec<u8>,
    ready: VecDeque<Dispatched>,
    event: String,
    data: String,
    id_buffer: String,
    /// What a reconnect would send after the message that was taken last.
    pub(crate) last_event_id: String,
    pub(crate) retry_ms: Option<u64>,
    pub(crate) comments: usize,
}

impl EventSource {
    /// Opens a stream that must begin.
    pub(crate) async fn open(ask: &Ask) -> Self {
        Self::of(ask.send().await).await
    }

    /// The stream of an answer, which must be one.
    pub(crate) async fn of(answer: Answer) -> Self {
        if answer.status != 200 {
            panic!("not a stream: {:?}", answer.whole().await);
        }
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        Self {
            answer,
            buffer: Vec::new(),
            ready: VecDeque::new(),
            event: String::new(),
            data: String::new(),
            id_buffer: String::new(),
            last_event_id: String::new(),
            retry_ms: None,
            comments: 0,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.answer.header(name)
    }

    /// The next message; `None`: the stream is over.
    pub(crate) async fn next(&mut self) -> Option<Dispatched> {
        loop {
            if let Some(dispatched) = self.ready.pop_front() {
                self.last_event_id.clone_from(&dispatched.id);
                return Some(dispatched);
            }
            if !self.pull().await {
                return None;
            }
        }
    }

    /// Reads one piece; whether there was one.
    pub(crate) async fn pull(&mut self) -> bool {
        let Some(bytes) = self.answer.next().await else { return false };
        self.buffer.extend_from_slice(&bytes);
        while let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=at).collect();
            self.line(std::str::from_utf8(&line[..at]).expect("UTF-8"));
        }
        true
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return self.dispatch();
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => self.comments += 1,
            "event" => self.event = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" => self.id_buffer = value.to_owned(),
            "retry" => self.retry_ms = value.parse().ok(),
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        if data.is_empty() {
            return;
        }
        let event = if event.is_empty() { "message".to_owned() } else { event };
        let data = serde_json::from_str(&data).expect("data is JSON");
        self.ready.push_back(Dispatched { event, data, id: self.id_buffer.clone() });
    }

    /// The data of the next message of this name; those before it are passed over.
    pub(crate) async fn find(&mut self, event: &str) -> Value {
        loop {
            match self.next().await {
                Some(dispatched) if dispatched.event == event => return dispatched.data,
                Some(_) => {}
                None => panic!("the stream ended before `{event}`"),
            }
        }
    }

    /// The next events of any channel, at least so many.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(events_of(&self.find("message").await));
        }
        events
    }

    /// The ids of the next `count` events.
    pub(crate) async fn ids(&mut self, count: usize) -> Vec<String> {
        let events = self.events(count).await;
        let ids: Vec<_> = events.iter().map(crate::peer::id_of).collect();
        assert_eq!(ids.len(), count, "more than was asked for: {ids:?}");
        ids
    }
}

/// A push's events, each with the channel and the cursor that it brings its reader to.
pub(crate) fn events_of(push: &Value) -> Vec<Value> {
    let events = &push["events"];
    let with_cursor = |event: &Value| {
        let mut event = event.clone();
        event["channel"] = events["channel"].clone();
        if let (Some(stream), Some(offset)) = (events["stream"].as_str(), event["offset"].as_i64())
        {
            event["cursor"] = format!("{stream}.{offset}").into();
        }
        event
    };
    events["events"].as_array().into_iter().flatten().map(with_cursor).collect()
}
