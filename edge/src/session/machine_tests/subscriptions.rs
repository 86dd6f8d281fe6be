//! Subscriptions: each way that they start and end, and every race between the two.

use std::rc::Rc;

use meridian_core::auth::Identity;
use meridian_core::protocol::{Ack, Code, Command, Connect, ReplyError, Subscribe};

use super::super::machine::Act;
use super::{Session, channel, ended, identity, refusals, subscribe, unsubscribe};
use crate::delivery::From;

#[test]
fn a_subscription_from_its_begin_to_its_end() {
    let mut session = Session::connected();
    let (op, generation) = session.follow(2, "a:b");
    let twice = session.send(3, subscribe("a:b"));
    assert_eq!(refusals(&twice), [(Some(3), "already_subscribed")]);
    let acts = session.machine.followed(op, generation, channel("a:b"), Ok(()));
    assert_eq!(acts, [Act::Attach { op, channel: channel("a:b"), reply_to: Some(2) }]);
    let acts = session.send(4, unsubscribe("a:b"));
    assert_eq!(acts[0], Act::Detach(channel("a:b")));
    assert_eq!(ended(&acts), [(Some(4), "requested", "lane")]);
    let acts = session.send(5, unsubscribe("a:b"));
    assert_eq!(refusals(&acts), [(Some(5), "not_subscribed")]);
}

#[test]
fn unsubscribed_while_it_starts_both_are_answered_and_nothing_is_attached() {
    let mut session = Session::connected();
    let (op, generation) = session.follow(2, "a:b");
    let acts = session.send(3, unsubscribe("a:b"));
    assert_eq!(refusals(&acts), [(Some(2), "requested")]);
    assert_eq!(ended(&acts), [(Some(3), "requested", "lane")]);
    let (again, _) = session.follow(4, "a:b");
    let acts = session.machine.followed(op, generation, channel("a:b"), Ok(()));
    assert_eq!(acts, [Act::Abandon { op }], "that of the first");
    let acts = session.machine.followed(again, generation, channel("a:b"), Ok(()));
    assert!(matches!(acts[..], [Act::Attach { reply_to: Some(4), .. }]));
}

#[test]
fn a_refused_subscription_leaves_nothing_behind() {
    let mut session = Session::connected();
    let (op, generation) = session.follow(2, "a:b");
    let refused = Err(ReplyError::of(Code::Forbidden));
    let acts = session.machine.followed(op, generation, channel("a:b"), refused);
    assert_eq!(refusals(&acts), [(Some(2), "forbidden")]);
    session.follow(3, "a:b");
}

#[test]
fn the_servers_own_subscriptions_are_told_on_their_lanes() {
    let mut session = Session::new();
    let made = Identity {
        subscribe: vec![channel("a:x"), channel("a:x"), channel("a:y")],
        ..Identity::clone(&identity("u"))
    };
    let acts = session.connect(Rc::new(made), None);
    let ops: Vec<_> = acts
        .iter()
        .filter_map(|act| match act {
            Act::Follow { op, channel, from: From::Now, .. } => Some((*op, channel.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(ops.len(), 2);
    let acts = session.machine.followed(ops[0].0, 1, ops[0].1.clone(), Ok(()));
    assert!(matches!(acts[..], [Act::Attach { reply_to: None, .. }]));
    let refused = Err(ReplyError::of(Code::Forbidden));
    let acts = session.machine.followed(ops[1].0, 1, ops[1].1.clone(), refused);
    assert_eq!(ended(&acts), [(None, "forbidden", "lane")]);
}

#[test]
fn subscribe_names_where_it_starts_or_is_refused() {
    let mut session = Session::connected();
    let ask = |cursor: Option<&str>, last, acked| {
        let (channel, cursor) = ("a:b".to_owned(), cursor.map(str::to_owned));
        Command::Subscribe(Subscribe { channel, cursor, last, acked })
    };
    for (what, code) in [
        (ask(Some("1.global.1.0.5"), None, true), "bad_request"),
        (ask(Some("1.global.1.0.5"), Some(3), false), "bad_request"),
        (ask(Some("nonsense"), None, false), "bad_cursor"),
        (subscribe("nonsense"), "bad_channel"),
    ] {
        assert_eq!(refusals(&session.send(2, what)), [(Some(2), code)]);
    }
    for (what, last) in [(ask(None, Some(3), false), Some(3)), (ask(None, Some(0), false), None)] {
        let acts = session.send(3, what);
        let [Act::Follow { from, .. }] = &acts[..] else { panic!("{acts:?}") };
        assert_eq!(*from, last.map_or(From::Now, From::Last));
        session.send(4, unsubscribe("a:b"));
    }
    let acts = session.send(5, ask(None, Some(3), true));
    assert!(matches!(&acts[..], [Act::Follow { from: From::Acked { last: 3, .. }, .. }]));
}

#[test]
fn acknowledgements_need_a_name_and_a_subscription() {
    let mut session = Session::connected();
    let ack = || {
        let (channel, cursor) = ("a:b".to_owned(), "1.global.1.0.5".to_owned());
        Command::Ack(Ack { channel, cursor, reset: false })
    };
    assert_eq!(refusals(&session.send(2, ack())), [(Some(2), "not_subscribed")]);
    session.active("a:b");
    assert!(matches!(session.send(3, ack())[..], [Act::Ack { .. }]));
    let mut nameless = Session::new();
    nameless.send(1, Command::Connect(Connect { protocol: 1, ..Connect::default() }));
    nameless.machine.verified(Ok((identity("u"), None)), nameless.now);
    assert_eq!(refusals(&nameless.send(2, ack())), [(Some(2), "no_subscriber")]);
}

#[test]
fn a_stopped_lane_ends_its_subscription_and_not_the_session() {
    let mut session = Session::connected();
    session.active("a:b");
    let acts = session.machine.end(&channel("a:b"), Code::LaneStopped);
    assert_eq!(ended(&acts), [(None, "lane_stopped", "lane")]);
    assert!(session.machine.end(&channel("a:b"), Code::LaneStopped).is_empty());
    session.active("a:b");
}
