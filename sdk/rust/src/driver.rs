//! The task behind a client: carries out what the machine decides and tells it what happened. Owns
//! the connection, the dial under way and the token being fetched; decides nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use meridian_core::protocol::{
    Code, Codec, Command, CommandFrame, Message, ModePush, decode_messages, encode_command,
    encode_commands,
};
use tokio::sync::{mpsc, watch};

use crate::connection::{Ask, Health, Input, Machine, Output, Region, State};
use crate::error::Lost;
use crate::mailbox::Attention;
use crate::transport::{Address, Dialed, Dialer, Link};

/// Commands are joined into frames of about this size.
const FRAME_BYTES: usize = 64 * 1024;
/// Pushes that may come before the answer to `connect`, or in its frame.
const EARLY: usize = 1_024;
/// A close may take so long.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

type Probe = Pin<Box<dyn Future<Output = (Address, Option<Health>)> + Send>>;

/// Fetches a token from the application.
pub(crate) type TokenSource =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, Lost>> + Send>> + Send + Sync>;

/// A client's I/O.
pub(crate) struct Driver {
    pub(crate) machine: Machine,
    pub(crate) dialer: Dialer,
    pub(crate) codec: Codec,
    pub(crate) token_source: Option<TokenSource>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) attention: Arc<Attention>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) region: watch::Sender<Option<Region>>,
    pub(crate) modes: watch::Sender<Option<ModePush>>,
    pub(crate) io: Io,
}

/// What is open or under way.
#[derive(Default)]
pub(crate) struct Io {
    link: Option<Link>,
    /// A new connection that does not serve yet.
    greeting: Option<Greeting>,
    dialing: Pending<Result<(Link, Dialed), Lost>>,
    fetching: Pending<Result<String, Lost>>,
    /// The connection before this one, until it is closed.
    closing: Pending<()>,
    /// As many as there are regions at most, and each ends by itself.
    probes: FuturesUnordered<Probe>,
}

/// A connection whose answer to `connect` is awaited.
struct Greeting {
    link: Link,
    /// Pushes that came before that answer, or in the same frame.
    early: VecDeque<Message>,
}

impl Greeting {
    /// The answer, if it is there; everything else waits for it.
    fn sort(&mut self, messages: Vec<Message>) -> Option<Message> {
        let mut answer = None;
        for message in messages {
            let answers = message.id().is_some() || matches!(message, Message::Error(..));
            if answers && answer.is_none() {
                answer = Some(message);
            } else if self.early.len() < EARLY {
                self.early.push_back(message);
            }
        }
        answer
    }
}

impl Driver {
    /// Runs until the machine ends or nobody can ask any more.
    pub(crate) async fn run(mut self) {
        self.machine.handle(Input::Start, Instant::now());
        loop {
            self.carry_out().await;
            if self.machine.is_ended() {
                return;
            }
            let input = self.wait().await;
            self.machine.handle(input, Instant::now());
        }
    }

    /// The next thing that happens.
    async fn wait(&mut self) -> Input {
        let wake = self.machine.next_wake();
        tokio::select! {
            frame = next_frame(&mut self.io.link) => self.received(frame),
            frame = first_frame(&mut self.io.greeting) => self.greeted(frame),
            dialed = finish(&mut self.io.dialing) => self.dialed(dialed),
            token = finish(&mut self.io.fetching) => Input::Token(token),
            Some((address, health)) = self.io.probes.next() => Input::Probed(address, health),
            ask = self.asks.recv() => ask.map_or(Input::Close, Input::Ask),
            serials = self.attention.wait() => Input::Attention(serials),
            () = finish(&mut self.io.closing) => Input::Tick,
            () = sleep_until(wake) => Input::Tick,
        }
    }

    fn received(&mut self, frame: Result<Bytes, Lost>) -> Input {
        let decoded = frame
            .and_then(|frame| decode_messages(self.codec, &frame).map_err(|_| Lost::Malformed));
        match decoded {
            Ok(mut messages) if messages.len() == 1 => match messages.pop() {
                Some(message) => Input::Message(message),
                None => Input::Tick,
            },
            Ok(messages) => {
                let now = Instant::now();
                for message in messages {
                    self.machine.handle(Input::Message(message), now);
                }
                Input::Tick
            }
            Err(lost) => {
                self.io.link = None;
                Input::Lost(lost)
            }
        }
    }

    fn dialed(&mut self, dialed: Result<(Link, Dialed), Lost>) -> Input {
        match dialed {
            Ok((link, dialed)) => {
                self.io.greeting = Some(Greeting { link, early: VecDeque::new() });
                Input::Dialed(dialed)
            }
            Err(lost) => Input::DialFailed(lost),
        }
    }

    fn greeted(&mut self, frame: Result<Bytes, Lost>) -> Input {
        let decoded = frame
            .and_then(|frame| decode_messages(self.codec, &frame).map_err(|_| Lost::Malformed));
        match decoded {
            Ok(messages) => {
                let greeting = self.io.greeting.as_mut();
                let answer = greeting.and_then(|greeting| greeting.sort(messages));
                answer.map_or(Input::Tick, Input::Greeted)
            }
            Err(lost) => {
                self.io.greeting = None;
                Input::GreetingLost(lost)
            }
        }
    }

    /// Lets the new connection serve, and hands on what it has already said.
    fn switch(&mut self) {
        let Some(Greeting { link, early }) = self.io.greeting.take() else { return };
        let old = self.io.link.replace(link);
        if old.is_some() {
            self.io.closing = Some(Box::pin(hang_up(old, Code::Requested)));
        }
        let now = Instant::now();
        for message in early {
            self.machine.handle(Input::Message(message), now);
        }
    }

    async fn carry_out(&mut self) {
        let mut batch = Batch::new(self.codec);
        while let Some(output) = self.machine.next_output() {
            match output {
                Output::Send(frame) => batch.push(frame, &mut self.io.link),
                Output::Greet(frame) => {
                    if let Some(greeting) = &mut self.io.greeting {
                        greeting.link.send(&encode_command(self.codec, &frame));
                    }
                }
                Output::Switch => {
                    batch.flush(&mut self.io.link);
                    self.switch();
                }
                Output::Dismiss(code) => {
                    let link = self.io.greeting.take().map(|greeting| greeting.link);
                    self.io.closing = Some(Box::pin(hang_up(link, code)));
                }
                Output::Dial(address, choice) => {
                    self.io.dialing = Some(Box::pin(self.dialer.clone().dial(address, choice)));
                }
                Output::Probe(addresses) => {
                    let probe = |address| Box::pin(self.dialer.clone().probe(address)) as Probe;
                    self.io.probes.extend(addresses.into_iter().map(probe));
                }
                Output::FetchToken => {
                    self.io.fetching = self.token_source.as_ref().map(|source| source());
                }
                Output::Hangup(code) => {
                    batch.flush(&mut self.io.link);
                    hang_up(self.io.link.take(), code).await;
                }
                Output::State(state) => {
                    self.state.send_replace(state);
                }
                Output::Modes(modes) => {
                    self.modes.send_if_modified(|held| {
                        let news = *held != modes;
                        *held = modes;
                        news
                    });
                }
                Output::Region(region) => {
                    self.region.send_replace(Some(region));
                }
            }
        }
        batch.flush(&mut self.io.link);
    }
}

/// Commands on their way into one frame.
struct Batch {
    codec: Codec,
    commands: Vec<CommandFrame>,
    bytes: usize,
}

impl Batch {
    fn new(codec: Codec) -> Self {
        Self { codec, commands: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, command: CommandFrame, link: &mut Option<Link>) {
        let bytes = weight(&command.command);
        if self.bytes + bytes > FRAME_BYTES {
            self.flush(link);
        }
        self.bytes += bytes;
        self.commands.push(command);
    }

    fn flush(&mut self, link: &mut Option<Link>) {
        let commands = std::mem::take(&mut self.commands);
        self.bytes = 0;
        let Some(link) = link else { return };
        match &commands[..] {
            [] => {}
            [one] => link.send(&encode_command(self.codec, one)),
            several => link.send(&encode_commands(self.codec, several)),
        }
    }
}

/// About what a command takes on the wire, in bytes.
fn weight(command: &Command) -> usize {
    match command {
        Command::Publish(item) => 512 + item.content.data.len(),
        Command::PublishBatch { events } => {
            events.iter().map(|item| 512 + item.content.data.len()).sum()
        }
        _ => 512,
    }
}

async fn hang_up(link: Option<Link>, code: Code) {
    if let Some(link) = link {
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, link.close(code)).await;
    }
}

async fn next_frame(link: &mut Option<Link>) -> Result<Bytes, Lost> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn first_frame(greeting: &mut Option<Greeting>) -> Result<Bytes, Lost> {
    match greeting {
        Some(greeting) => greeting.link.next().await,
        None => std::future::pending().await,
    }
}

/// The end of what is under way, once.
async fn finish<T>(pending: &mut Pending<T>) -> T {
    match pending {
        Some(future) => {
            let done = future.await;
            *pending = None;
            done
        }
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
