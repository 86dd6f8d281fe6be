//! Addresses of services that a node itself asks: HTTPS, or plain HTTP on this host.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::network::{Origin, OriginError};

const MOST_BYTES: usize = 2048;

/// An address that may be asked without showing anything to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl(String);

/// Why a text is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServiceUrlError {
    #[error("must look like https://id.example.com/keys, without user, blanks or `#`")]
    Shape,
    #[error("must be `https`; plain `http` only to this host (127.0.0.1, [::1], localhost)")]
    Plain,
}

impl ServiceUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl FromStr for ServiceUrl {
    type Err = ServiceUrlError;

    fn from_str(text: &str) -> Result<Self, ServiceUrlError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !visible || text.len() > MOST_BYTES {
            return Err(ServiceUrlError::Shape);
        }
        let (scheme, rest) = text.split_once("://").ok_or(ServiceUrlError::Shape)?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let origin: Origin = format!("{scheme}://{authority}")
            .parse()
            .map_err(|OriginError| ServiceUrlError::Shape)?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = Self(format!("{}{slash}{path}", origin.as_str()));
        if url.is_https() || is_loopback(origin.as_str()) {
            Ok(url)
        } else {
            Err(ServiceUrlError::Plain)
        }
    }
}

fn is_loopback(origin: &str) -> bool {
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_shows_nothing_to_the_network() {
        let read = |text: &str| text.parse::<ServiceUrl>().map(|url| url.to_string());
        assert_eq!(read("https://ID.example/Keys?a=B"), Ok("https://id.example/Keys?a=B".into()));
        assert_eq!(read("https://id.example"), Ok("https://id.example/".into()));
        assert_eq!(read("https://id.example:8443?x"), Ok("https://id.example:8443/?x".into()));
        for local in ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.9.9"] {
            assert_eq!(read(&format!("http://{local}/k")), Ok(format!("http://{local}/k")));
        }
        for plain in ["http://id.example/", "http://10.0.0.1/", "http://localhost.example/"] {
            assert_eq!(read(plain), Err(ServiceUrlError::Plain), "{plain}");
        }
        for bad in ["", "id.example", "ftp://a/", "https://u@a/", "https://a/#b", "https://a/ b"] {
            assert_eq!(read(bad), Err(ServiceUrlError::Shape), "{bad}");
        }
    }
}
