//! Steering of QUIC datagrams to the worker that has their connection. The kernel spreads datagrams
//! over the workers' sockets by addresses; a client whose address changed would reach another
//! worker. So each connection id carries its worker, and a datagram for another worker is handed over
//! before the endpoint sees it.
//!
//! A connection id has 12 bytes: one of the QUIC-LB plaintext layout (draft-ietf-quic-load-balancers:
//! configuration 0 in the upper three bits, the rest random), the server's id (2), the worker (1), and
//! 8 random bytes.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, counter};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, UdpPoller};
use tokio::sync::mpsc;

const CID_BYTES: usize = 12;
const WORKER_AT: usize = 3;
/// Datagrams on their way to another worker; beyond it they are lost, as datagrams may be.
const QUEUE: usize = 1024;

/// A datagram (or several of one sender) as the kernel gave it.
#[derive(Debug)]
pub(crate) struct Stray {
    bytes: Bytes,
    meta: RecvMeta,
}

/// Hands datagrams over; one for all workers.
pub(crate) struct Steering {
    server_id: [u8; 2],
    workers: Vec<mpsc::Sender<Stray>>,
    steered: Counter,
}

impl Steering {
    /// For so many workers; each gets its receiver.
    pub(crate) fn new(
        server_id: [u8; 2],
        workers: usize,
    ) -> (Arc<Self>, Vec<mpsc::Receiver<Stray>>) {
        let (workers, receivers) = (0..workers).map(|_| mpsc::channel(QUEUE)).unzip();
        let steered = counter!("meridian_quic_steered_total");
        (Arc::new(Self { server_id, workers, steered }), receivers)
    }

    /// Makes the connection ids of a worker.
    pub(crate) fn ids(&self, worker: usize) -> Box<dyn ConnectionIdGenerator> {
        Box::new(Ids { server_id: self.server_id, worker: worker as u8 })
    }

    /// The worker that made the connection id in a short header. Long headers stay where they came:
    /// they belong to handshakes, whose addresses don't change.
    fn worker_of(&self, datagram: &[u8]) -> Option<usize> {
        let (first, rest) = datagram.split_first()?;
        if first & 0x80 != 0 || rest.get(1..WORKER_AT)? != self.server_id {
            return None;
        }
        let worker = usize::from(*rest.get(WORKER_AT)?);
        (worker < self.workers.len()).then_some(worker)
    }
}

struct Ids {
    server_id: [u8; 2],
    worker: u8,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id: [u8; CID_BYTES] = rand::random();
        id[0] &= 0x1f;
        id[1..WORKER_AT].copy_from_slice(&self.server_id);
        id[WORKER_AT] = self.worker;
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A worker's UDP socket that gives away what is for others, and takes what others have for it.
pub(crate) struct SteeredSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    steering: Arc<Steering>,
    worker: usize,
    /// Polled by the endpoint's driver only.
    strays: Mutex<mpsc::Receiver<Stray>>,
}

impl SteeredSocket {
    pub(crate) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        steering: Arc<Steering>,
        worker: usize,
        strays: mpsc::Receiver<Stray>,
    ) -> Self {
        Self { inner, steering, worker, strays: Mutex::new(strays) }
    }

    fn take_strays(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> usize {
        let mut strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        while taken < buffers.len().min(meta.len()) {
            let Poll::Ready(Some(stray)) = strays.poll_recv(context) else { break };
            let Some(buffer) = buffers[taken].get_mut(..stray.bytes.len()) else { continue };
            buffer.copy_from_slice(&stray.bytes);
            meta[taken] = stray.meta;
            taken += 1;
        }
        taken
    }
}

impl fmt::Debug for SteeredSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteeredSocket").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for SteeredSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let taken = self.take_strays(context, buffers, meta);
        if taken > 0 {
            return Poll::Ready(Ok(taken));
        }
        let received = match self.inner.poll_recv(context, buffers, meta) {
            Poll::Ready(Ok(received)) => received,
            other => return other,
        };
        for (buffer, meta) in buffers.iter().zip(meta.iter_mut()).take(received) {
            // What the kernel coalesced has one sender, so one connection.
            let datagram = &buffer[..meta.stride.min(meta.len)];
            if let Some(worker) = self.steering.worker_of(datagram)
                && worker != self.worker
            {
                self.steering.steered.increment(1);
                let bytes = Bytes::copy_from_slice(&buffer[..meta.len]);
                // A full queue is a lost datagram: QUIC sends it again.
                let _ = self.steering.workers[worker].try_send(Stray { bytes, meta: *meta });
                meta.len = 0;
            }
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_worker() {
        let (steering, _receivers) = Steering::new([7, 9], 4);
        for worker in 0..4 {
            let id = steering.ids(worker).generate_cid();
            let datagram = [&[0x40][..], &id, b"payload"].concat();
            assert_eq!(steering.worker_of(&datagram), Some(worker));
            assert_eq!(id[0] & 0xe0, 0, "QUIC-LB configuration 0");
        }
    }

    #[test]
    fn what_is_not_ours_stays() {
        let (steering, _receivers) = Steering::new([7, 9], 4);
        let id = steering.ids(3).generate_cid();
        let long = [&[0xc0][..], &id].concat();
        let foreign = [&[0x40, 0, 7, 8, 3][..], &[0; 8]].concat();
        let no_such_worker = [&[0x40, 0, 7, 9, 4][..], &[0; 8]].concat();
        for datagram in [&long[..], &foreign, &no_such_worker, &[], &[0x40], &[0x40, 0, 7, 9]] {
            assert_eq!(steering.worker_of(datagram), None, "{datagram:?}");
        }
    }
}
