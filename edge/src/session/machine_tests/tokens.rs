//! Expiry and refreshes: decisions belong to the token under which they were taken.

use meridian_core::auth::Decision;
use meridian_core::protocol::{Code, Command, Message, ReplyError};

use super::super::machine::Act;
use super::{SECOND, Session, channel, closes, ended, identity, refusals, subscribe, unsubscribe};

fn refresh(session: &mut Session, id: u64) {
    let acts = session.send(id, Command::Refresh { token: "new".into() });
    assert_eq!(acts, [Act::Verify { token: Some("new".into()) }]);
}

fn refreshed(session: &mut Session) -> Vec<Act> {
    session.machine.verified(Ok((identity("u"), Some(session.now + 60 * SECOND))), session.now)
}

fn decide(session: &mut Session, generation: u32, name: &str, decision: Decision) -> Vec<Act> {
    session.machine.authorised(generation, &channel(name), decision, session.now)
}

fn is_done(acts: &[Act]) -> bool {
    acts.iter().any(|act| matches!(act, Act::Send(Message::Refreshed { .. })))
}

#[test]
fn a_token_that_ends_closes_the_session_and_a_new_one_moves_the_end() {
    let mut session = Session::new();
    let end = session.now + 10 * SECOND;
    session.connect(identity("u"), Some(end));
    session.pass(9 * SECOND);
    refresh(&mut session, 2);
    let acts = refreshed(&mut session);
    assert_eq!(acts, [Act::Send(Message::Refreshed { id: Some(2), expires_in_ms: Some(60_000) })]);
    // The client answers pings.
    for _ in 0..59 {
        session.send(3, Command::Pong);
        assert_eq!(closes(&session.pass(SECOND)), None);
    }
    assert_eq!(closes(&session.pass(SECOND)), Some(Code::TokenExpired));
}

#[test]
fn a_bad_token_or_another_users_keeps_the_session_as_it_was() {
    let mut session = Session::connected();
    session.active("a:b");
    refresh(&mut session, 2);
    let acts = session.machine.verified(Err(Code::Unauthenticated), session.now);
    assert_eq!(refusals(&acts), [(Some(2), "unauthenticated")]);
    refresh(&mut session, 3);
    let acts = session.machine.verified(Ok((identity("other"), None)), session.now);
    assert_eq!(refusals(&acts), [(Some(3), "wrong_identity")]);
    let (generation, identity) = session.machine.identity().unwrap();
    assert_eq!((generation, identity.user.as_str()), (1, "u"));
    refresh(&mut session, 4);
}

#[test]
fn one_refresh_at_a_time() {
    let mut session = Session::connected();
    session.active("a:b");
    refresh(&mut session, 2);
    let second = session.send(3, Command::Refresh { token: "x".into() });
    assert_eq!(refusals(&second), [(Some(3), "rate_limited")]);
    refreshed(&mut session);
    let third = session.send(4, Command::Refresh { token: "x".into() });
    assert_eq!(refusals(&third), [(Some(4), "rate_limited")], "its decisions are still open");
    assert!(is_done(&decide(&mut session, 2, "a:b", Decision::Allow)));
    refresh(&mut session, 5);
}

#[test]
fn a_narrowing_refresh_pauses_decides_and_ends() {
    let mut session = Session::connected();
    session.active("a:keep");
    session.active("a:lose");
    session.active("a:unsure");
    refresh(&mut session, 2);
    let acts = refreshed(&mut session);
    let pauses = acts.iter().take_while(|act| matches!(act, Act::Pause(_))).count();
    assert_eq!(pauses, 3, "before anything is decided");
    assert!(acts[3..].iter().all(|act| matches!(act, Act::Authorise { generation: 2, .. })));
    let acts = decide(&mut session, 2, "a:keep", Decision::Allow);
    assert_eq!(acts, [Act::Resume(channel("a:keep"))]);
    let acts = decide(&mut session, 2, "a:lose", Decision::Deny);
    assert_eq!(acts[0], Act::Detach(channel("a:lose")));
    assert_eq!(ended(&acts), [(None, "forbidden", "lane")]);
    let acts = decide(&mut session, 2, "a:unsure", Decision::Unavailable);
    assert_eq!(ended(&acts), [(None, "authoriser_unavailable", "lane")]);
    assert!(is_done(&acts), "after the last decision");
}

#[test]
fn what_was_decided_under_an_older_token_is_decided_again() {
    let mut session = Session::connected();
    session.active("a:b");
    let (op, _) = session.follow(2, "a:c");
    refresh(&mut session, 3);
    refreshed(&mut session);
    assert!(decide(&mut session, 1, "a:b", Decision::Deny).is_empty());
    for result in [Ok(()), Err(ReplyError::of(Code::Forbidden))] {
        let mut session = Session::connected();
        let (op, old) = session.follow(2, "a:c");
        refresh(&mut session, 3);
        refreshed(&mut session);
        let acts = session.machine.followed(op, old, channel("a:c"), result);
        let [Act::Abandon { op: left }, Act::Follow { op: again, generation: 2, .. }] = acts[..]
        else {
            panic!("{acts:?}")
        };
        assert_eq!(left, op);
        let acts = session.machine.followed(again, 2, channel("a:c"), Ok(()));
        assert!(matches!(acts[..], [Act::Attach { reply_to: Some(2), .. }]));
    }
    let acts = session.machine.followed(op, 1, channel("a:c"), Ok(()));
    assert!(matches!(acts[..], [Act::Abandon { .. }, Act::Follow { .. }]));
}

#[test]
fn one_that_left_and_came_again_meanwhile_is_not_decided_for_the_other() {
    let mut session = Session::connected();
    session.active("a:b");
    refresh(&mut session, 2);
    refreshed(&mut session);
    session.send(3, unsubscribe("a:b"));
    let acts = session.send(4, subscribe("a:b"));
    let [Act::Follow { op, generation, .. }] = acts[..] else { panic!("{acts:?}") };
    let acts = decide(&mut session, 2, "a:b", Decision::Deny);
    assert!(is_done(&acts) && ended(&acts).is_empty(), "{acts:?}");
    let refused = Err(ReplyError::of(Code::Forbidden));
    let acts = session.machine.followed(op, generation, channel("a:b"), refused);
    assert_eq!(refusals(&acts), [(Some(4), "forbidden")]);
}

#[test]
fn an_end_while_undecided_does_not_hold_up_the_refresh() {
    let mut session = Session::connected();
    session.active("a:b");
    refresh(&mut session, 2);
    refreshed(&mut session);
    session.machine.end(&channel("a:b"), Code::LaneStopped);
    let acts = decide(&mut session, 2, "a:b", Decision::Allow);
    assert!(is_done(&acts) && !acts.contains(&Act::Resume(channel("a:b"))));
}
