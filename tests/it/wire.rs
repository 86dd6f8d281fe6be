//! A connection to a Redis that loses a message that was published: everything else passes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How a message of a shard channel begins (RESP3).
const PUSH: &[u8] = b">3\r\n$8\r\nsmessage\r\n";

/// Listens, and passes on to the server. Ends with its owner.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    lost: Arc<Lost>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Lost {
    /// What the next message to lose holds.
    wanted: Mutex<Option<Vec<u8>>>,
    count: AtomicUsize,
}

impl Wire {
    pub(crate) async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (server, lost, mut tasks) = (server.to_owned(), Arc::<Lost>::default(), JoinSet::new());
        let loses = lost.clone();
        tasks.spawn(async move {
            let mut pumps = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&server).await else { continue };
                let ((mut near_in, near_out), (far_in, mut far_out)) =
                    (near.into_split(), far.into_split());
                pumps.spawn(async move {
                    let _ = copy(&mut near_in, &mut far_out).await;
                });
                pumps.spawn(answers(far_in, near_out, loses.clone()));
            }
        });
        Self { address, lost, _tasks: tasks }
    }

    /// Loses the next message that holds this.
    pub(crate) fn drop_message_with(&self, part: &str) {
        let mut wanted = self.lost.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        *wanted = Some(part.as_bytes().to_vec());
    }

    /// How many it has lost.
    pub(crate) fn dropped(&self) -> usize {
        self.lost.count.load(Ordering::Relaxed)
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lost: Arc<Lost>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut chunk = buffer[..count].to_vec();
        lost.take_out_of(&mut chunk);
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

impl Lost {
    /// Takes the message out of what arrived, if it is there as a whole.
    fn take_out_of(&self, chunk: &mut Vec<u8>) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(part) = &*wanted else { return };
        let starts = chunk.windows(PUSH.len()).enumerate().filter(|(_, bytes)| *bytes == PUSH);
        let found = starts.map(|(start, _)| start).find_map(|start| {
            let channel = bulk_end(chunk, start + PUSH.len())?;
            let end = bulk_end(chunk, channel)?;
            let holds = chunk[channel..end].windows(part.len()).any(|bytes| bytes == part);
            holds.then_some(start..end)
        });
        if let Some(message) = found {
            chunk.drain(message);
            *wanted = None;
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where the bulk string that begins here ends.
fn bulk_end(bytes: &[u8], start: usize) -> Option<usize> {
    let line = bytes.get(start..)?.strip_prefix(b"$")?;
    let digits = line.iter().position(|byte| *byte == b'\r')?;
    let length: usize = std::str::from_utf8(&line[..digits]).ok()?.parse().ok()?;
    let end = start + 1 + digits + 2 + length + 2;
    (end <= bytes.len()).then_some(end)
}
