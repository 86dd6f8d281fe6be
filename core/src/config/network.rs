//! Networks and origins: who may come from where. Owns their text forms; resolves no name.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses (`10.0.0.0/8`, `fd00::/8`, or one address).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

/// A web origin: `scheme://host[:port]`, in lower case, without the scheme's own port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(String);

/// Which pages' origins are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every origin (`*`).
    Any,
    /// These only.
    Listed(BTreeSet<Origin>),
}

/// The text is no range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an address, or a range such as 10.0.0.0/8 whose bits past the prefix are zero")]
pub struct NetworkError;

/// The text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must look like https://app.example.com or http://localhost:3000, without a path")]
pub struct OriginError;

impl Network {
    /// Whether the address is in the range; an IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                shared_bits(32, u128::from(u32::from(own) ^ u32::from(other))) >= self.prefix_bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                shared_bits(128, u128::from(own) ^ u128::from(other)) >= self.prefix_bits
            }
            _ => false,
        }
    }
}

impl Origin {
    /// The text, as a browser sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Origins {
    /// Whether the value of a request's `Origin` header is let in.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.iter().any(|own| own.0 == origin),
        }
    }

    /// Whether the value of a request's `Origin` header is named; `*` names nobody.
    pub fn names(&self, origin: &str) -> bool {
        matches!(self, Self::Listed(_)) && self.allows(origin)
    }

    pub(super) fn from_list(texts: Vec<Option<Origin>>) -> Self {
        match texts.into_iter().collect::<Option<BTreeSet<Origin>>>() {
            Some(listed) => Self::Listed(listed),
            None => Self::Any,
        }
    }
}

/// How many leading bits are zero in a difference of `width` bits.
fn shared_bits(width: u32, difference: u128) -> u32 {
    difference.leading_zeros() - (128 - width)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let (width, number) = match address {
            IpAddr::V4(address) => (32, u128::from(u32::from(address)) << 96),
            IpAddr::V6(address) => (128, u128::from(address)),
        };
        let prefix_bits = bits.map_or(Ok(width), str::parse::<u32>).map_err(|_| NetworkError)?;
        let host_bits = number.checked_shl(prefix_bits).unwrap_or(0);
        if prefix_bits > width || host_bits != 0 {
            return Err(NetworkError);
        }
        Ok(Self { address, prefix_bits })
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(OriginError)?;
        let own_port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return Err(OriginError),
        };
        let authority = authority.strip_suffix(own_port).unwrap_or(authority);
        let bracketed = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority[bracketed..].split_once(':') {
            Some((rest, port)) => (&authority[..bracketed + rest.len()], Some(port)),
            None => (authority, None),
        };
        let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
        if !is_host(host) || !port_fits {
            return Err(OriginError);
        }
        Ok(Self(format!("{scheme}://{authority}")))
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(address) => address.is_some_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            !host.is_empty() && host.bytes().all(allowed)
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.1.2"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.6"));
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe80::1"));
        assert!(contains("::/0", "2001:db8::1"));
        for bad in ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "host", "10.0.0.0/"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn origins() {
        let text = |origin: &str| origin.parse::<Origin>().map(|origin| origin.to_string());
        assert_eq!(text("https://App.example.com"), Ok("https://app.example.com".into()));
        assert_eq!(text("https://a.example:443"), Ok("https://a.example".into()));
        assert_eq!(text("http://localhost:3000"), Ok("http://localhost:3000".into()));
        assert_eq!(text("http://[::1]:3000"), Ok("http://[::1]:3000".into()));
        for bad in [
            "",
            "null",
            "app.example.com",
            "https://",
            "https://a/",
            "https://a/b",
            "ftp://a",
            "https://a:99999",
            "https://*.example.com",
            "https://u@a",
            "http://[::1",
            "http://[x]",
        ] {
            assert_eq!(text(bad), Err(OriginError), "{bad}");
        }
    }

    #[test]
    fn listed_origins_only() {
        let listed = Origins::from_list(vec![Some("https://a.example".parse().unwrap())]);
        assert!(listed.allows("https://a.example") && !listed.allows("https://b.example"));
        assert!(!Origins::from_list(Vec::new()).allows("null"));
        assert!(Origins::from_list(vec![None]).allows("https://b.example"));
    }
}
