//! Whose address a connection comes from: the socket's, unless a listed proxy says otherwise, by PROXY
//! protocol or forwarding headers. What others say is ignored.

use std::io;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use meridian_core::config::Proxies;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// A PROXY protocol header is never longer: 16 bytes and the longest address block that is of use.
const PROXY_HEADER_MOST: usize = 536;

/// The client's address, as far as the node can know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress {
    /// Who opened the connection.
    peer: IpAddr,
    /// Whom a listed proxy's PROXY header named.
    named: Option<IpAddr>,
}

impl ClientAddress {
    /// The address of a connection without a PROXY header.
    pub(crate) fn of_peer(peer: SocketAddr) -> Self {
        Self { peer: peer.ip().to_canonical(), named: None }
    }

    /// The client of a request: walks `X-Forwarded-For` from its end as long as listed proxies speak.
    pub(crate) fn of_request(self, headers: &HeaderMap, proxies: &Proxies) -> IpAddr {
        let mut client = self.named.unwrap_or(self.peer);
        let hops: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for hop in hops.iter().rev() {
            if !proxies.trusts(client) {
                break;
            }
            let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
            client = address.to_canonical();
        }
        client
    }
}

/// Reads the PROXY protocol header (version 1 or 2) that a listed proxy sends first. Anyone else, and
/// a proxy without one, is refused.
pub(crate) async fn read_proxy_header(
    stream: &mut TcpStream,
    peer: SocketAddr,
    proxies: &Proxies,
) -> io::Result<ClientAddress> {
    let refused = || io::Error::from(io::ErrorKind::InvalidData);
    let own = ClientAddress::of_peer(peer);
    if !proxies.trusts(own.peer) {
        return Err(refused());
    }
    let mut header = Vec::with_capacity(108);
    loop {
        if header.len() >= PROXY_HEADER_MOST {
            return Err(refused());
        }
        // Byte by byte: what follows the header belongs to the connection.
        header.push(stream.read_u8().await?);
        if !may_become_header(&header) {
            return Err(refused());
        }
        if !is_whole(&header) {
            continue;
        }
        // Parsed once and whole: on a part, the parser takes some addresses for broken ones.
        return match ppp::HeaderResult::parse(&header) {
            ppp::HeaderResult::V1(Ok(parsed)) => {
                Ok(ClientAddress { named: source_v1(&parsed), ..own })
            }
            ppp::HeaderResult::V2(Ok(parsed)) => {
                Ok(ClientAddress { named: source_v2(&parsed), ..own })
            }
            _ => Err(refused()),
        };
    }
}

const PREFIX_V1: &[u8] = b"PROXY ";
const PREFIX_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1.
const V1_MOST: usize = 107;

fn may_become_header(bytes: &[u8]) -> bool {
    let begins = |prefix: &[u8]| bytes.iter().zip(prefix).all(|(byte, wanted)| byte == wanted);
    begins(PREFIX_V2) || (begins(PREFIX_V1) && bytes.len() <= V1_MOST)
}

/// Version 1 is a line, version 2 tells the length of what follows its first 16 bytes.
fn is_whole(bytes: &[u8]) -> bool {
    match bytes {
        [b'P', ..] => bytes.ends_with(b"\r\n"),
        [_, rest @ ..] => match rest.get(13..15) {
            Some(length) => {
                rest.len() >= 15 + usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
            None => false,
        },
        [] => false,
    }
}

fn source_v1(header: &ppp::v1::Header<'_>) -> Option<IpAddr> {
    match header.addresses {
        ppp::v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        ppp::v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
        ppp::v1::Addresses::Unknown => None,
    }
}

fn source_v2(header: &ppp::v2::Header<'_>) -> Option<IpAddr> {
    if header.command == ppp::v2::Command::Local {
        return None;
    }
    match header.addresses {
        ppp::v2::Addresses::IPv4(addresses) => Some(addresses.source_address.into()),
        ppp::v2::Addresses::IPv6(addresses) => Some(addresses.source_address.into()),
        ppp::v2::Addresses::Unix(_) | ppp::v2::Addresses::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn proxies(networks: &[&str]) -> Proxies {
        let trusted = networks.iter().map(|network| network.parse().unwrap()).collect();
        Proxies { trusted, proxy_protocol: true }
    }

    fn forwarded(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_listed_proxies_are_believed() {
        let peer = ClientAddress::of_peer("10.0.0.1:4000".parse().unwrap());
        let client = |headers: &[&str], networks: &[&str]| {
            peer.of_request(&forwarded(headers), &proxies(networks)).to_string()
        };
        assert_eq!(client(&["1.2.3.4"], &[]), "10.0.0.1");
        assert_eq!(client(&["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(client(&["6.6.6.6, 1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(client(&["6.6.6.6, 1.2.3.4", "10.9.9.9"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(client(&["nonsense"], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(client(&[], &["10.0.0.0/8"]), "10.0.0.1");
    }

    async fn read(header: &[u8], networks: &[&str]) -> (io::Result<ClientAddress>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(header).await.unwrap();
        client.shutdown().await.unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        let address = read_proxy_header(&mut stream, peer, &proxies(networks)).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        (address, rest)
    }

    #[tokio::test]
    async fn both_versions_are_read_and_what_follows_is_left() {
        let v1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 443\r\nGET /";
        let (address, rest) = read(v1, &["127.0.0.0/8"]).await;
        let named = address.unwrap().of_request(&HeaderMap::new(), &proxies(&[]));
        assert_eq!((named.to_string().as_str(), &rest[..]), ("1.2.3.4", &b"GET /"[..]));

        let v1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 40000 8440\r\nGET /";
        let (address, rest) = read(v1, &["127.0.0.1"]).await;
        let named = address.unwrap().of_request(&HeaderMap::new(), &proxies(&[]));
        assert_eq!((named.to_string().as_str(), &rest[..]), ("203.0.113.7", &b"GET /"[..]));

        let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        v2.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 4, 87, 1, 187]);
        v2.extend_from_slice(b"GET /");
        let (address, rest) = read(&v2, &["127.0.0.0/8"]).await;
        let named = address.unwrap().of_request(&HeaderMap::new(), &proxies(&[]));
        assert_eq!((named.to_string().as_str(), &rest[..]), ("1.2.3.4", &b"GET /"[..]));
    }

    #[tokio::test]
    async fn strangers_and_nonsense_are_refused() {
        let v1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 443\r\n";
        assert!(read(v1, &["10.0.0.0/8"]).await.0.is_err());
        assert!(read(b"GET / HTTP/1.1\r\n\r\n", &["127.0.0.0/8"]).await.0.is_err());
        assert!(read(&[b'x'; 1000], &["127.0.0.0/8"]).await.0.is_err());
        assert!(read(b"PROXY TCP4 1.2", &["127.0.0.0/8"]).await.0.is_err());
    }
}
