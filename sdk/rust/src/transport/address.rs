//! A server's address as applications write it, and the URLs that follow from it.

use meridian_core::protocol::Codec;
use url::{Host, Url};

use crate::error::ConnectError;

/// Scheme, host, port and path prefix of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) secure: bool,
    pub(crate) host: Host,
    pub(crate) port: u16,
    prefix: String,
}

impl Address {
    /// Reads `http`, `https`, `ws` and `wss` URLs; the path is a prefix.
    pub(crate) fn parse(text: &str) -> Result<Self, ConnectError> {
        let url = Url::parse(text)?;
        let secure = match url.scheme() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return Err(ConnectError::Address),
        };
        // Only the schemes that the URL standard knows as special have parsed hosts; all four are.
        let host = url.host().ok_or(ConnectError::Address)?.to_owned();
        let port = url.port_or_known_default().ok_or(ConnectError::Address)?;
        let prefix = url.path().trim_end_matches('/').to_owned();
        Ok(Self { secure, host, port, prefix })
    }

    /// Host and port, as they stand in a URL.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Host and port, as a resolver takes them.
    pub(crate) fn lookup(&self) -> (String, u16) {
        let host = match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        (host, self.port)
    }

    /// The address as it is compared and told.
    pub(crate) fn base_url(&self) -> String {
        let (scheme, default) = if self.secure { ("https", 443) } else { ("http", 80) };
        if self.port == default {
            return format!("{scheme}://{}{}", self.host, self.prefix);
        }
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }

    /// Where the region tells how it is.
    pub(crate) fn probe_path(&self) -> String {
        format!("{}/v1/regions", self.prefix)
    }

    pub(crate) fn websocket_url(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}{}/v1/ws", self.authority(), self.prefix)
    }

    /// WebTransport is always secure.
    pub(crate) fn webtransport_url(&self, codec: Codec) -> String {
        format!("https://{}{}/v1/wt?codec={}", self.authority(), self.prefix, codec.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_follow_from_the_address() {
        let address = Address::parse("http://127.0.0.1:8080/").unwrap();
        assert_eq!(address.websocket_url(), "ws://127.0.0.1:8080/v1/ws");
        assert_eq!(
            address.webtransport_url(Codec::Json),
            "https://127.0.0.1:8080/v1/wt?codec=json"
        );
        let address = Address::parse("wss://[::1]/eu").unwrap();
        assert_eq!(address.websocket_url(), "wss://[::1]:443/eu/v1/ws");
        assert_eq!(address.base_url(), "https://[::1]/eu");
        assert_eq!(address.probe_path(), "/eu/v1/regions");
        assert_eq!(address.lookup(), ("::1".to_owned(), 443));
        for bad in ["", "127.0.0.1:80", "ftp://a", "http://"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
