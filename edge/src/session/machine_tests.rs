//! The session's decisions, one case each; time is an argument.

mod answering;
mod leaving;
mod random;
mod subscriptions;
mod tokens;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::auth::Identity;
use meridian_core::protocol::{
    Code, Command, CommandFrame, Connect, HistoryRequest, Limits, Message, Place, PublishItem,
    ReplyError, Subscribe,
};
use meridian_core::vocabulary::{Channel, Scope, Tenant, UserId};

use super::machine::{Act, Machine, Settings};

const SECOND: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(25);

/// A machine and a clock.
struct Session {
    machine: Machine,
    now: Instant,
    last_sent: Instant,
}

fn limits() -> Limits {
    Limits {
        event_bytes: 65_536,
        frame_bytes: 1 << 20,
        batch_events: 3,
        channels: 4,
        commands_per_s: 10,
        commands_burst: 1_000,
        heartbeat_ms: HEARTBEAT.as_millis() as u64,
        publish_horizon_ms: 1_000,
    }
}

fn identity(user: &str) -> Rc<Identity> {
    Rc::new(Identity {
        tenant: Tenant::parse("t").unwrap(),
        user: UserId::parse(user).unwrap(),
        device: None,
        issuer: String::new(),
        roles: Default::default(),
        permissions: Default::default(),
        grants: Vec::new(),
        subscribe: Vec::new(),
        token_id: None,
        issued_at_ms: None,
        expires_at_ms: None,
        scope: Scope::of_token("", user),
    })
}

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

fn command(id: u64, command: Command) -> CommandFrame {
    CommandFrame { id: Some(id), command }
}

fn subscribe(name: &str) -> Command {
    Command::Subscribe(Subscribe { channel: name.to_owned(), ..Subscribe::default() })
}

fn unsubscribe(name: &str) -> Command {
    Command::Unsubscribe { channel: name.to_owned() }
}

/// Another region.
fn place() -> Place {
    Place { url: "https://us.example".to_owned(), region: Some("us".to_owned()) }
}

impl Session {
    fn with_limits(limits: Limits) -> Self {
        let settings = Settings {
            node: "n".to_owned(),
            region: "r".to_owned(),
            limits,
            others: vec![place()],
            queued_bytes: 1 << 20,
            connect_timeout: 10 * SECOND,
            commands_in_flight: 64,
        };
        let now = Instant::now();
        let machine = Machine::new(Arc::new(settings), "s".to_owned(), None, now);
        Self { machine, now, last_sent: now }
    }

    fn new() -> Self {
        Self::with_limits(limits())
    }

    fn connected() -> Self {
        let mut session = Self::new();
        session.connect(identity("u"), None);
        session
    }

    fn connect(&mut self, identity: Rc<Identity>, expires_at: Option<Instant>) -> Vec<Act> {
        let connect = Connect { protocol: 1, subscriber: Some("d".into()), ..Connect::default() };
        self.send(1, Command::Connect(connect));
        self.machine.verified(Ok((identity, expires_at)), self.now)
    }

    fn send(&mut self, id: u64, what: Command) -> Vec<Act> {
        self.machine.frame(vec![command(id, what)], self.now)
    }

    /// Subscribes, and answers what has to be followed.
    fn follow(&mut self, id: u64, name: &str) -> (u64, u32) {
        match &self.send(id, subscribe(name))[..] {
            [Act::Follow { op, generation, .. }] => (*op, *generation),
            other => panic!("{other:?}"),
        }
    }

    fn active(&mut self, name: &str) {
        let (op, generation) = self.follow(900, name);
        self.machine.followed(op, generation, channel(name), Ok(()));
    }

    /// Ticks when it is due, as its driver does, until then.
    fn pass(&mut self, time: Duration) -> Vec<Act> {
        let (end, mut all) = (self.now + time, Vec::new());
        for _ in 0..1_000 {
            let Some(next) = self.machine.next_tick(self.last_sent).filter(|at| *at <= end) else {
                self.now = end;
                return all;
            };
            self.now = next.max(self.now);
            let acts = self.machine.tick(self.now, self.last_sent);
            if acts.iter().any(|act| matches!(act, Act::Send(_))) {
                self.last_sent = self.now;
            }
            all.extend(acts);
        }
        panic!("it ticks without end: {all:?}");
    }
}

/// The codes of refusals, with whom they answer.
fn refusals(acts: &[Act]) -> Vec<(Option<u64>, &str)> {
    let refusal = |act: &'_ Act| match act {
        Act::Send(Message::Error(id, error)) => Some((*id, Code::from_name(&error.code)?.name())),
        _ => None,
    };
    acts.iter().filter_map(refusal).collect()
}

fn closes(acts: &[Act]) -> Option<Code> {
    acts.iter().find_map(|act| match act {
        Act::Close(code) => Some(*code),
        _ => None,
    })
}

/// `unsubscribed` on a channel's lane.
fn ended(acts: &[Act]) -> Vec<(Option<u64>, &str, &str)> {
    let end = |act: &'_ Act| match act {
        Act::SendOn(on, Message::Unsubscribed { id, channel, code, .. }) => {
            assert_eq!(on.as_str(), channel);
            Some((*id, Code::from_name(code)?.name(), "lane"))
        }
        _ => None,
    };
    acts.iter().filter_map(end).collect()
}

#[test]
fn connect_comes_first_and_once() {
    let mut session = Session::new();
    assert_eq!(refusals(&session.send(1, Command::Ping)), [(Some(1), "not_connected")]);
    let connect = Connect { protocol: 0, ..Connect::default() };
    assert_eq!(refusals(&session.send(2, Command::Connect(connect))), [(Some(2), "unsupported")]);
    let acts = session.connect(identity("u"), None);
    assert!(matches!(&acts[..], [Act::Send(Message::Connected(Some(1), _)), Act::TakeName(_)]));
    let again = session.send(4, Command::Connect(Connect::default()));
    assert_eq!(refusals(&again), [(Some(4), "already_connected")]);
}

#[test]
fn a_later_protocol_is_answered_with_ours() {
    let mut session = Session::new();
    session.send(1, Command::Connect(Connect { protocol: 9, ..Connect::default() }));
    let acts = session.machine.verified(Ok((identity("u"), None)), session.now);
    let [Act::Send(Message::Connected(_, connected))] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!(connected.protocol, 1);
}

#[test]
fn commands_wait_while_the_token_is_checked_and_keep_their_order() {
    let mut session = Session::new();
    session.send(1, Command::Connect(Connect { protocol: 1, ..Connect::default() }));
    assert!(session.send(2, Command::Ping).is_empty());
    assert!(session.send(3, subscribe("a:b")).is_empty());
    let acts = session.machine.verified(Ok((identity("u"), None)), session.now);
    assert!(matches!(
        &acts[..],
        [
            Act::Send(Message::Connected(Some(1), _)),
            Act::Send(Message::Pong { id: Some(2) }),
            Act::Follow { .. }
        ]
    ));
}

#[test]
fn too_many_commands_before_the_answer_close() {
    let mut session = Session::new();
    session.send(1, Command::Connect(Connect { protocol: 1, ..Connect::default() }));
    let flood = (0..200).map(|id| command(id, Command::Ping)).collect();
    let acts = session.machine.frame(flood, session.now);
    assert_eq!(acts, [Act::Close(Code::RateLimited)]);
    let acts = session.machine.verified(Ok((identity("u"), None)), session.now);
    assert!(acts.is_empty(), "it is closed: {acts:?}");
}

#[test]
fn a_refused_token_is_answered_then_closes() {
    for code in [Code::Unauthenticated, Code::TokenExpired] {
        let mut session = Session::new();
        session.send(7, Command::Connect(Connect { protocol: 1, ..Connect::default() }));
        let acts = session.machine.verified(Err(code), session.now);
        assert_eq!(refusals(&acts), [(Some(7), code.name())]);
        assert_eq!(closes(&acts), Some(code));
        assert!(session.send(8, Command::Ping).is_empty());
    }
}

#[test]
fn who_does_not_connect_in_time_is_closed() {
    let mut session = Session::new();
    assert!(session.pass(9 * SECOND).is_empty());
    assert_eq!(session.pass(2 * SECOND), [Act::Close(Code::ConnectTimeout)]);
    assert_eq!(session.machine.next_tick(session.last_sent), None);
}

#[test]
fn a_reader_that_only_answers_pings_lives() {
    let mut session = Session::connected();
    for _ in 0..50 {
        session.now += SECOND;
        session.last_sent = session.now;
        for act in session.pass(10 * SECOND) {
            assert_eq!(act, Act::Send(Message::Ping));
            session
                .machine
                .frame(vec![CommandFrame { id: None, command: Command::Pong }], session.now);
        }
    }
}

#[test]
fn a_silent_client_is_pinged_then_closed_after_two_heartbeats() {
    let mut session = Session::connected();
    let acts = session.pass(2 * HEARTBEAT - SECOND);
    assert_eq!(acts, [Act::Send(Message::Ping)]);
    assert_eq!(session.pass(2 * SECOND), [Act::Close(Code::HeartbeatTimeout)]);
}

#[test]
fn a_client_that_sends_but_hears_nothing_is_pinged() {
    let mut session = Session::connected();
    let mut pings = 0;
    for _ in 0..10 {
        session.send(1, Command::Pong);
        pings += session.pass(HEARTBEAT / 2).len();
    }
    assert!((4..=5).contains(&pings), "{pings}");
}

#[test]
fn draining_tells_then_closes_at_the_deadline() {
    let mut session = Session::connected();
    let told = session.machine.drain(2 * SECOND, 8 * SECOND, session.now);
    let drain = Message::Drain { after_ms: 2_000, deadline_ms: 8_000 };
    assert_eq!(told, [Act::Send(drain)]);
    assert!(session.pass(7 * SECOND).is_empty());
    assert_eq!(session.pass(SECOND), [Act::Close(Code::Draining)]);
    let mut early = Session::new();
    let told = early.machine.drain(2 * SECOND, 8 * SECOND, early.now);
    assert_eq!(told, [Act::Close(Code::Draining)]);
}

#[test]
fn taken_over_closes_once_and_answers_nothing_more() {
    let mut session = Session::connected();
    let (op, generation) = session.follow(2, "a:b");
    assert_eq!(session.machine.shut(Code::TakenOver), [Act::Close(Code::TakenOver)]);
    assert!(session.machine.shut(Code::Internal).is_empty());
    let acts = session.machine.followed(op, generation, channel("a:b"), Ok(()));
    assert_eq!(acts, [Act::Abandon { op }]);
    assert!(!session.machine.wants_more());
    assert!(session.machine.identity().is_none());
}

#[test]
fn limits_are_named_in_refusals() {
    let mut session = Session::connected();
    for name in ["a:1", "a:2", "a:3", "a:4"] {
        session.follow(2, name);
    }
    let many = session.send(3, subscribe("a:5"));
    assert_eq!(refusals(&many), [(Some(3), "too_many_channels")]);
    let batch = |count| Command::PublishBatch { events: vec![PublishItem::default(); count] };
    assert_eq!(refusals(&session.send(4, batch(4))), [(Some(4), "batch_too_large")]);
    assert!(matches!(session.send(5, batch(3))[..], [Act::Publish { batch: true, .. }]));
    assert_eq!(refusals(&session.send(6, Command::Unknown)), [(Some(6), "unsupported")]);
    assert_eq!(refusals(&session.send(7, Command::Invalid)), [(Some(7), "bad_request")]);
}

#[test]
fn who_sends_too_fast_is_told_when_and_in_the_end_closed() {
    let limits = Limits { commands_burst: 5, ..limits() };
    let mut session = Session::with_limits(limits);
    session.connect(identity("u"), None);
    let flood: Vec<_> = (0..20).map(|id| command(id, Command::Ping)).collect();
    let acts = session.machine.frame(flood.clone(), session.now);
    assert_eq!(refusals(&acts).len(), 16);
    let [.., Act::Send(Message::Error(_, last))] = &acts[..] else { panic!("{acts:?}") };
    assert!(last.retry_after_ms >= Some(100) && last.limit == Some(10));
    session.now += SECOND;
    assert!(refusals(&session.send(1, Command::Ping)).is_empty());
    let closed = (0..20).find_map(|_| closes(&session.machine.frame(flood.clone(), session.now)));
    assert_eq!(closed, Some(Code::RateLimited));
    assert!(session.machine.frame(flood, session.now).is_empty());
}

#[test]
fn replies_go_only_to_who_asked_with_an_id() {
    let mut session = Session::connected();
    let history = Command::History(HistoryRequest::default());
    session.machine.frame(vec![CommandFrame { id: None, command: history.clone() }], session.now);
    let reply = |id| Message::Error(id, ReplyError::of(Code::Unavailable));
    assert!(session.machine.finished(reply(None)).is_empty());
    session.send(2, history);
    assert_eq!(session.machine.finished(reply(Some(2))), [Act::Send(reply(Some(2)))]);
}

#[test]
fn no_more_is_read_while_too_much_is_under_way() {
    let mut session = Session::connected();
    for id in 0..64 {
        assert!(session.machine.wants_more());
        session.send(id, Command::History(HistoryRequest::default()));
    }
    assert!(!session.machine.wants_more());
    session.machine.finished(Message::Pong { id: None });
    assert!(session.machine.wants_more());
}
