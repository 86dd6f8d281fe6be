//! What all connections of the process share: the plan, the counts, one buffer to read into.

use std::cell::{Cell, RefCell};

use meridian_client::raw::{Opcode, put_client_frame};
use meridian_core::protocol::{Command, CommandFrame, Connect, Message, Subscribe, encode_command};
use tokio::sync::{Notify, Semaphore, watch};

use crate::clock::monotonic_ns;
use crate::control::LoadAnswer;
use crate::payload::Scanner;
use crate::stats::Latencies;
use crate::target::{CODEC, LoadPlan};

/// Handshakes at a time.
const OPENING: usize = 64;
const SCRATCH_BYTES: usize = 256 * 1024;

pub(super) struct Shared {
    pub(super) plan: LoadPlan,
    pub(super) opening: Semaphore,
    pub(super) scratch: RefCell<Vec<u8>>,
    latencies: RefCell<Latencies>,
    open: Cell<usize>,
    lost: Cell<u64>,
    expect: Cell<u64>,
    last_ns: Cell<u64>,
    changed: Notify,
    reached: Notify,
    go: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(plan: LoadPlan) -> Self {
        Self {
            plan,
            opening: Semaphore::new(OPENING),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
            latencies: RefCell::new(Latencies::new()),
            open: Cell::new(0),
            lost: Cell::new(0),
            expect: Cell::new(u64::MAX),
            last_ns: Cell::new(0),
            changed: Notify::new(),
            reached: Notify::new(),
            go: watch::Sender::new(false),
        }
    }

    /// Counts the times in bytes that just came.
    pub(super) fn count(&self, scanner: &mut Scanner, bytes: &[u8]) {
        let now = monotonic_ns();
        let mut latencies = self.latencies.borrow_mut();
        let before = latencies.count();
        scanner.feed(bytes, |made| latencies.record(now.saturating_sub(made)));
        if latencies.count() > before {
            self.last_ns.set(now);
        }
        if latencies.count() >= self.expect.get() {
            self.reached.notify_one();
        }
    }

    /// One more connection is open.
    pub(super) fn opened(&self) {
        self.open.set(self.open.get() + 1);
        self.changed.notify_one();
    }

    pub(super) async fn wait_open(&self) {
        while self.open.get() < self.plan.connections {
            self.changed.notified().await;
        }
    }

    pub(super) fn lost(&self) {
        self.lost.set(self.lost.get() + 1);
    }

    pub(super) fn reset(&self) {
        self.latencies.borrow_mut().clear();
        self.lost.set(0);
    }

    pub(super) fn report(&self) -> LoadAnswer {
        let latencies = self.latencies.borrow();
        LoadAnswer::Report {
            deliveries: latencies.count(),
            lost: self.lost.get(),
            latencies: latencies.buckets(),
        }
    }

    /// Lets those that hold subscribe.
    pub(super) fn go(&self) {
        self.go.send_replace(true);
    }

    pub(super) async fn wait_go(&self) {
        let mut go = self.go.subscribe();
        // The sender lives as long as `self`, so this ends with `go` only.
        let _ = go.wait_for(|go| *go).await;
    }

    /// Waits until so many events were counted; how many there are.
    pub(super) async fn wait_for(&self, expect: u64) -> u64 {
        self.expect.set(expect);
        while self.latencies.borrow().count() < expect {
            self.reached.notified().await;
        }
        self.latencies.borrow().count()
    }

    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns.get()
    }

    /// The command that opens a session.
    pub(super) fn connect(&self) -> Vec<u8> {
        let connect =
            Connect { protocol: 1, token: self.plan.target.token(), ..Connect::default() };
        encode_command(CODEC, &CommandFrame { id: Some(1), command: Command::Connect(connect) })
    }

    /// The command that subscribes connection `n`, if it follows a channel.
    pub(super) fn subscribe(&self, n: usize) -> Option<Vec<u8>> {
        let channels = &self.plan.channels;
        let wanted = channels.get(n % channels.len().max(1))?;
        let subscribe = Subscribe {
            channel: wanted.channel.clone(),
            cursor: wanted.cursor.clone(),
            ..Subscribe::default()
        };
        let command = Command::Subscribe(subscribe);
        Some(encode_command(CODEC, &CommandFrame { id: Some(2), command }))
    }
}

/// What is sent so that the server hears this side.
pub(super) fn pong() -> Vec<u8> {
    encode_command(CODEC, &CommandFrame { id: None, command: Command::Pong })
}

/// A command in a WebSocket frame.
pub(super) fn text_frame(payload: &[u8]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    put_client_frame(&mut out, Opcode::Text, payload);
    out.to_vec()
}

/// Whether a message answers command `id`; an error that does is one.
pub(super) fn answers(message: &Message, id: u64) -> anyhow::Result<bool> {
    match message {
        Message::Error(Some(of), error) if *of == id => {
            anyhow::bail!("the server refused: {} {}", error.code, error.message)
        }
        message => Ok(message.id() == Some(id)),
    }
}
