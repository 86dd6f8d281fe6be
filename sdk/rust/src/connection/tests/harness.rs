//! A machine with everything around it played by the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meridian_core::protocol::{
    Command, CommandFrame, Connect, Connected, EventView, Limits, Message, ModePush, PublishItem,
    ReplyError, Subscribed,
};
use meridian_core::vocabulary::{Body, Epoch, Offset, Position, Prev};
use tokio::sync::oneshot;

use crate::connection::{
    Ask, Backoff, Config, Input, Machine, Opened, Output, Policy, Region, State,
};
use crate::error::{Lost, RequestError, SubscribeError};
use crate::mailbox::{Attention, Bounds, Reader, mailbox};
use crate::publish::Publish;
use crate::transport::{Address, Choice, Dialed, Transport};
use crate::update::{Start, Update};

pub(super) const STREAM: &str = "1.global.1.3";
pub(super) const WEBSOCKET: Dialed =
    Dialed { transport: Transport::WebSocket, lost_race: Some("timeout") };
pub(super) const HEARTBEAT: Duration = Duration::from_secs(20);

pub(super) struct Harness {
    pub(super) machine: Machine,
    pub(super) now: Instant,
    pub(super) sent: Vec<CommandFrame>,
    pub(super) dials: Vec<Choice>,
    /// Where to, of all dials so far.
    pub(super) dialed: Vec<String>,
    pub(super) probes: Vec<Address>,
    pub(super) regions: Vec<Region>,
    pub(super) modes: Option<ModePush>,
    pub(super) fetches: usize,
    pub(super) hangups: usize,
    /// New connections that were given up, and that took over.
    pub(super) dismissed: usize,
    pub(super) switches: usize,
    /// The id of the last `connect`.
    greeting: Option<u64>,
    pub(super) state: State,
    /// The last connect command.
    pub(super) connect: Connect,
    pub(super) attention: Arc<Attention>,
    bounds: Bounds,
    serials: AtomicU64,
}

pub(super) struct Subscribing {
    pub(super) reader: Reader,
    pub(super) answer: oneshot::Receiver<Result<Opened, SubscribeError>>,
}

pub(super) fn config() -> Config {
    Config {
        regions: policy(&["https://eu"]),
        subscriber: None,
        token: Some("token".to_owned()),
        has_token_source: false,
        transports: Choice::Auto,
        no_webtransport: None,
        reconnect: Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(20) },
        retry: Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) },
        handshake_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(30),
        seed: 1,
    }
}

pub(super) fn policy(urls: &[&str]) -> Policy {
    Policy {
        addresses: urls.iter().map(|url| Address::parse(url).unwrap()).collect(),
        discover: false,
        home_probe: Duration::from_secs(30),
        home_spread: Duration::from_secs(30),
    }
}

impl Harness {
    pub(super) fn new(config: Config) -> Self {
        let now = Instant::now();
        let mut harness = Self {
            machine: Machine::new(config, now),
            now,
            sent: Vec::new(),
            dials: Vec::new(),
            dialed: Vec::new(),
            probes: Vec::new(),
            regions: Vec::new(),
            modes: None,
            fetches: 0,
            hangups: 0,
            dismissed: 0,
            switches: 0,
            greeting: None,
            state: State::Connecting,
            connect: Connect::default(),
            attention: Arc::default(),
            bounds: Bounds { updates: 4, bytes: 1 << 20 },
            serials: AtomicU64::new(0),
        };
        harness.handle(Input::Start);
        harness
    }

    /// A machine that is connected.
    pub(super) fn online() -> Self {
        let mut harness = Self::new(config());
        harness.connect();
        harness
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        while let Some(output) = self.machine.next_output() {
            match output {
                Output::Send(frame) => self.sent.push(frame),
                Output::Greet(frame) => {
                    self.greeting = frame.id;
                    self.sent.push(frame);
                }
                Output::Switch => self.switches += 1,
                Output::Dismiss(_) => self.dismissed += 1,
                Output::Dial(address, choice) => {
                    self.dials.push(choice);
                    self.dialed.push(address.base_url());
                }
                Output::Probe(addresses) => self.probes.extend(addresses),
                Output::Region(region) => self.regions.push(region),
                Output::Modes(modes) => self.modes = modes,
                Output::FetchToken => self.fetches += 1,
                Output::Hangup(_) => self.hangups += 1,
                Output::State(state) => self.state = state,
            }
        }
    }

    pub(super) fn message(&mut self, message: Message) {
        let greets = message.id().is_some() && message.id() == self.greeting;
        self.handle(if greets { Input::Greeted(message) } else { Input::Message(message) });
    }

    /// Lets time pass, ticking whenever the machine asks for it.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut ticks = 0;
        while let Some(wake) = self.machine.next_wake().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.handle(Input::Tick);
            ticks += 1;
            assert!(ticks < 10_000, "the machine asks for ticks without end");
        }
        self.now = end;
    }

    /// Answers the dial and the connect command.
    pub(super) fn connect(&mut self) {
        assert!(!self.dials.is_empty(), "it dialed");
        self.dials.clear();
        self.handle(Input::Dialed(WEBSOCKET));
        let id = match &self.sent[..] {
            [CommandFrame { id, command: Command::Connect(connect) }] => {
                self.connect = connect.clone();
                *id
            }
            other => panic!("connect comes first and alone: {other:?}"),
        };
        self.sent.clear();
        self.message(Message::Connected(id, Box::new(connected())));
        assert!(matches!(self.state, State::Connected(_)));
    }

    /// What the server says to the last `connect`.
    pub(super) fn welcome(&self) -> Message {
        Message::Connected(self.greeting, Box::new(connected()))
    }

    /// Loses the connection and gets another.
    pub(super) fn reconnect(&mut self) {
        self.handle(Input::Lost(Lost::TimedOut));
        self.sent.clear();
        self.pass(Duration::from_secs(20));
        self.connect();
    }

    pub(super) fn subscribe(&mut self, channel: &str, start: Start) -> Subscribing {
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let (mailbox, reader) = mailbox(serial, self.bounds, self.attention.clone());
        let (reply, answer) = oneshot::channel();
        let channel = channel.to_owned();
        self.handle(Input::Ask(Ask::Subscribe { channel, start, mailbox, reply }));
        Subscribing { reader, answer }
    }

    /// A subscription that the server answered with a position.
    pub(super) fn subscribed(&mut self, channel: &str, passed: i64) -> Subscribing {
        let subscribing = self.subscribe(channel, Start::Now);
        self.answer_subscribe(channel, passed);
        subscribing
    }

    /// Answers the one command sent, a subscribe; its cursor.
    pub(super) fn answer_subscribe(&mut self, channel: &str, passed: i64) -> Option<String> {
        let frame = self.only_sent();
        let Command::Subscribe(subscribe) = frame.command else { panic!("{frame:?}") };
        assert_eq!(subscribe.channel, channel);
        self.message(Message::Subscribed(frame.id, answer(channel, passed)));
        subscribe.cursor
    }

    /// Answers the one command sent, an unsubscribe.
    pub(super) fn answer_unsubscribe(&mut self, channel: &str) {
        let frame = self.only_sent();
        assert_eq!(frame.command, Command::Unsubscribe { channel: channel.to_owned() });
        let (channel, code) = (channel.to_owned(), "requested".to_owned());
        self.message(Message::Unsubscribed {
            id: frame.id,
            channel,
            code,
            action: meridian_core::protocol::Action::Stop,
        });
    }

    pub(super) fn only_sent(&mut self) -> CommandFrame {
        assert_eq!(self.sent.len(), 1, "{:?}", self.sent);
        self.sent.remove(0)
    }

    pub(super) fn publish(&mut self, id: &str) -> oneshot::Receiver<Result<Message, RequestError>> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Publish(Publish::json("a:b", "1").id(id).0);
        self.handle(Input::Ask(Ask::Request { command, reply }));
        answer
    }

    /// The one command sent, a publish, with its id on the wire.
    pub(super) fn sent_publish(&mut self) -> (Option<u64>, PublishItem) {
        let frame = self.only_sent();
        match frame.command {
            Command::Publish(item) => (frame.id, item),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn events(&mut self, channel: &str, events: &[(u64, i64)]) {
        let events = events.iter().map(|(offset, prev)| view(*offset, *prev)).collect();
        self.message(Message::Events {
            channel: channel.to_owned(),
            stream: Some(STREAM.to_owned()),
            epoch: Some(Epoch(1)),
            events,
        });
    }

    pub(super) fn error(&mut self, id: Option<u64>, error: ReplyError) {
        self.message(Message::Error(id, error));
    }

    /// Tells the machine which readers took something.
    pub(super) async fn attend(&mut self) {
        let serials = self.attention.wait().await;
        self.handle(Input::Attention(serials));
    }
}

impl Subscribing {
    /// The offsets of the events that are there.
    pub(super) fn offsets(&mut self) -> Vec<i64> {
        std::iter::from_fn(|| self.reader.take().ok().flatten())
            .map(|update| match update {
                Update::Event(event) => event.place.map_or(-1, |place| place.position.passed),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    pub(super) fn take(&mut self) -> Option<Update> {
        self.reader.take().ok().flatten()
    }
}

pub(super) fn view(offset: u64, prev: i64) -> EventView {
    let prev = Prev::At(Position { epoch: Epoch(1), passed: prev });
    EventView { at: Some((Offset(offset), prev)), time_ms: 0, id: None, body: Body::default() }
}

pub(super) fn answer(channel: &str, passed: i64) -> Subscribed {
    Subscribed {
        channel: channel.to_owned(),
        class: "strict".to_owned(),
        at: Some((STREAM.to_owned(), Position { epoch: Epoch(1), passed })),
        behind: None,
    }
}

fn connected() -> Connected {
    let heartbeat_ms = HEARTBEAT.as_millis() as u64;
    Connected { limits: Limits { heartbeat_ms, ..Limits::default() }, ..Connected::default() }
}
