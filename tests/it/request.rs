//! The smallest HTTP/1.1 client that tests need: one request a connection, sent as written.

use std::io;
use std::net::SocketAddr;

use meridian_client::Io;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::client::operator_token;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// A header's value, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Checks that it is a problem document with this code, which the status fits.
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code);
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail", "action"] {
            assert!(problem[member].is_string(), "{member}: {problem}");
        }
    }

    /// The same of the admin listener, which tells no action.
    pub(crate) fn assert_refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!((&self.json()["code"], &self.json()["status"]), (&code.into(), &status.into()));
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "not a whole answer");
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self { status: status.ok_or_else(broken)?, headers, body: body.to_owned() })
    }
}

impl Request {
    pub(crate) fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// A publish of a JSON body with a token.
    pub(crate) fn publish(token: &str, body: &Value) -> Self {
        Self::new("POST", "/v1/publish")
            .header("Authorization", &format!("Bearer {token}"))
            .body("application/json", body.to_string())
    }

    /// From an operator.
    pub(crate) fn by_operator(self) -> Self {
        self.header("Authorization", &format!("Bearer {}", operator_token()))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", media_type)
    }

    /// Sends it over a connection of its own.
    pub(crate) async fn send(self, to: SocketAddr) -> io::Result<Answer> {
        self.send_over(Io::connect(to, None).await?, &to.to_string()).await
    }

    /// Sends it over a connection and reads the answer to its end.
    pub(crate) async fn send_over(
        self,
        mut connection: impl AsyncRead + AsyncWrite + Unpin,
        host: &str,
    ) -> io::Result<Answer> {
        connection.write_all(&self.bytes(host)).await?;
        connection.flush().await?;
        let mut bytes = Vec::new();
        let read = connection.read_to_end(&mut bytes).await;
        // A server that refuses a body which it did not read may reset behind its answer.
        if bytes.is_empty() {
            read?;
        }
        Answer::parse(&bytes)
    }

    /// How it stands on the wire.
    pub(crate) fn bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.method,
            self.path,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

pub(crate) async fn get(to: SocketAddr, path: &str) -> io::Result<Answer> {
    Request::new("GET", path).send(to).await
}
