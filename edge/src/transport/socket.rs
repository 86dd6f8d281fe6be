//! A TCP client's socket, plain or TLS, read by its session's task and written from the fan-out.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::session::{LaneBroken, LaneWriter};

/// A client's byte stream before it is upgraded.
pub(crate) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client's socket after its upgrade. Plain bytes in and out; owns no buffer of its own while idle
/// (TLS keeps what its records need).
pub(crate) struct Socket {
    tcp: TcpStream,
    tls: Option<RefCell<Box<ServerConnection>>>,
}

impl From<ClientStream> for Socket {
    fn from(stream: ClientStream) -> Self {
        match stream {
            ClientStream::Plain(tcp) => Self { tcp, tls: None },
            ClientStream::Tls(stream) => {
                let (tcp, mut connection) = stream.into_inner();
                connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
                Self { tcp, tls: Some(RefCell::new(Box::new(connection))) }
            }
        }
    }
}

/// Sealed bytes that may wait for a slow socket.
const TLS_BUFFER_BYTES: usize = 64 * 1024;

impl Socket {
    /// Waits until something can be read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.tcp.ready(Interest::READABLE).await.map(|_| ())
    }

    /// Reads what is there; `WouldBlock` if nothing is, 0 at the end.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.tcp.try_read(buffer) };
        let mut tls = tls.borrow_mut();
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if tls.read_tls(&mut Sync(&self.tcp))? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            // Tickets, key updates and alerts; what does not fit goes with the next write.
            let _ = tls.write_tls(&mut Sync(&self.tcp));
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.tcp.try_write(bytes) };
        self.try_flush()?;
        let written = tls.borrow_mut().writer().write(bytes)?;
        match self.try_flush() {
            // Sealed and kept: it goes out before anything else.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(written),
            Err(error) => Err(error),
            Ok(()) => Ok(written),
        }
    }

    fn try_flush(&self) -> io::Result<()> {
        let Some(tls) = &self.tls else { return Ok(()) };
        let mut tls = tls.borrow_mut();
        while tls.wants_write() {
            tls.write_tls(&mut Sync(&self.tcp))?;
        }
        Ok(())
    }

    fn poll<T>(
        &self,
        mut context: Option<&mut Context<'_>>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<Result<T, LaneBroken>> {
        loop {
            match attempt() {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Err(LaneBroken::Connection)),
            }
            let Some(context) = context.as_deref_mut() else { return Poll::Pending };
            if ready!(self.tcp.poll_write_ready(context)).is_err() {
                return Poll::Ready(Err(LaneBroken::Connection));
            }
        }
    }

    /// Writes all of it, waiting as needed.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tcp.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tcp.writable().await?;
                }
                other => return other,
            }
        }
    }

    /// Tells the peer that nothing more comes.
    pub(crate) async fn shut_down(&self) {
        if let Some(tls) = &self.tls {
            tls.borrow_mut().send_close_notify();
            let _ = self.write_all(&[]).await;
        }
        let _ = socket2::SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write);
    }
}

/// Lane 0 of a TCP client.
pub(crate) struct SocketLane(pub(crate) Rc<Socket>);

impl LaneWriter for SocketLane {
    fn poll_write(
        &mut self,
        context: Option<&mut Context<'_>>,
        bytes: &[u8],
    ) -> Poll<Result<usize, LaneBroken>> {
        self.0.poll(context, || self.0.try_write(bytes))
    }

    fn poll_flush(&mut self, context: Option<&mut Context<'_>>) -> Poll<Result<(), LaneBroken>> {
        self.0.poll(context, || self.0.try_flush())
    }
}

/// Non-blocking reads and writes of a socket, as rustls wants them.
struct Sync<'a>(&'a TcpStream);

impl Read for Sync<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Sync<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
