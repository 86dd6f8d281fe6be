//! The floor of fan-out: a process of one thread that writes a ready-made frame to each socket and
//! does nothing else. Speaks just enough HTTP for an upgrade; reads nothing afterwards. A control
//! connection (`/control`) brings frames: group (u16), length (u32), bytes.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use meridian_client::CertificateHash;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::cli::FloorArgs;

const MAX_REQUEST_BYTES: usize = 16 * 1024;
const MAX_FRAME_BYTES: u32 = 1 << 20;

/// Every group's sockets.
type Groups = Rc<RefCell<Vec<Vec<Socket>>>>;

/// A subscriber's socket. `unsent` holds what the kernel did not take.
struct Socket {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    unsent: Vec<u8>,
}

pub(crate) async fn run(args: FloorArgs) -> Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    println!("listening {}", listener.local_addr()?);
    let acceptor = if args.tls { Some(self_made()?) } else { None };
    let groups = Groups::default();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = accepted?.0;
                stream.set_nodelay(true)?;
                tasks.spawn_local(serve(stream, acceptor.clone(), groups.clone()));
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended? {
                    eprintln!("floor: {error:#}");
                }
            }
        }
    }
}

/// A certificate for loopback, with its hash on stdout.
fn self_made() -> Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let der = made.cert.der().clone();
    println!("certificate-hash {}", CertificateHash::of(&der));
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|reason| anyhow::anyhow!("the key cannot be read: {reason}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![der], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(mut stream: TcpStream, acceptor: Option<TlsAcceptor>, groups: Groups) -> Result<()> {
    // The control connection is plain, so that its cost is the same for both.
    let mut first = [0];
    stream.peek(&mut first).await?;
    let is_tls = first[0] == 0x16;
    let (target, socket) = match (acceptor, is_tls) {
        (Some(acceptor), true) => {
            let mut tls = acceptor.accept(stream).await?;
            let target = upgrade(&mut tls).await?;
            let (stream, connection) = tls.into_inner();
            let tls = Some(Box::new(connection));
            (target, Socket { stream, tls, unsent: Vec::new() })
        }
        (_, _) => {
            let target = upgrade(&mut stream).await?;
            (target, Socket { stream, tls: None, unsent: Vec::new() })
        }
    };
    if target == "/control" {
        return fan_out(socket.stream, &groups).await;
    }
    let group = group_of(&target)?;
    let mut groups = groups.borrow_mut();
    if groups.len() <= group {
        groups.resize_with(group + 1, Vec::new);
    }
    groups[group].push(socket);
    Ok(())
}

/// Answers the upgrade; what was asked for.
async fn upgrade<S: AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut S) -> Result<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        ensure!(request.len() < MAX_REQUEST_BYTES, "the request is too long");
        ensure!(stream.read_buf(&mut request).await? > 0, "the request is cut off");
    }
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        .await?;
    stream.flush().await?;
    let request = String::from_utf8_lossy(&request);
    Ok(request.split(' ').nth(1).context("the request is not HTTP")?.to_owned())
}

fn group_of(target: &str) -> Result<usize> {
    let group = target.rsplit_once("group=").map_or("0", |(_, group)| group);
    let group: u16 = group.parse().with_context(|| format!("{target:?} names no group"))?;
    Ok(usize::from(group))
}

/// Writes what the control connection brings to all sockets of its group.
async fn fan_out(mut control: TcpStream, groups: &Groups) -> Result<()> {
    let mut frame = Vec::new();
    loop {
        let group = match control.read_u16().await {
            Ok(group) => usize::from(group),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let len = control.read_u32().await?;
        if len > MAX_FRAME_BYTES {
            bail!("a frame of {len} bytes is too large");
        }
        frame.resize(len as usize, 0);
        control.read_exact(&mut frame).await?;
        if let Some(sockets) = groups.borrow_mut().get_mut(group) {
            sockets.retain_mut(|socket| socket.write(&frame).is_ok());
        }
    }
}

impl Socket {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let taken = taken(self.stream.try_write(&self.unsent))?;
            self.unsent.drain(..taken);
        }
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(frame)?;
            let mut records = Records { stream: &self.stream, unsent: &mut self.unsent };
            while tls.wants_write() {
                tls.write_tls(&mut records)?;
            }
            return Ok(());
        }
        Records { stream: &self.stream, unsent: &mut self.unsent }.write_all(frame)
    }
}

/// A socket that keeps what the kernel does not take.
struct Records<'a> {
    stream: &'a TcpStream,
    unsent: &'a mut Vec<u8>,
}

impl io::Write for Records<'_> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let taken = if self.unsent.is_empty() { taken(self.stream.try_write(record))? } else { 0 };
        self.unsent.extend_from_slice(&record[taken..]);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn taken(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_in_the_query() {
        assert_eq!(group_of("/v1/ws?group=7").unwrap(), 7);
        assert_eq!(group_of("/v1/ws").unwrap(), 0);
        assert!(group_of("/v1/ws?group=x").is_err());
    }
}
