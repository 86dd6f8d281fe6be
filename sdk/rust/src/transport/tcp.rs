//! Opening a TCP connection to a server by its name, with TLS where wanted.

use std::sync::Arc;

use rustls::pki_types::{InvalidDnsNameError, ServerName};

use super::{Address, failure};
use crate::error::Lost;
use crate::io::Io;

/// The first address of the host that answers.
pub(super) async fn connect(
    address: &Address,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<Io, Lost> {
    let (host, port) = address.lookup();
    let io = first(&host, port).await.map_err(failure)?;
    let Some(tls) = tls else { return Ok(io) };
    let name = ServerName::try_from(host).map_err(|e: InvalidDnsNameError| failure(e))?;
    io.secure(tls, name).await.map_err(failure)
}

async fn first(host: &str, port: u16) -> std::io::Result<Io> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for addr in tokio::net::lookup_host((host, port)).await? {
        match Io::connect(addr, None).await {
            Ok(io) => return Ok(io),
            Err(error) => last = error,
        }
    }
    Err(last)
}
