//! Clients that are sent to another region, and those that another region sent.

use meridian_core::protocol::Redirect;

use super::*;
use crate::room::Came;

fn redirect(deadline_ms: Option<u64>) -> Redirect {
    Redirect { place: place(), reason: "drain".to_owned(), after_ms: 700, deadline_ms }
}

fn connect(session: &mut Session, redirected: Option<&str>) {
    let redirected = redirected.map(str::to_owned);
    session.send(1, Command::Connect(Connect { protocol: 1, redirected, ..Connect::default() }));
}

fn sent_away(acts: &[Act]) -> usize {
    acts.iter().filter(|act| matches!(act, Act::Send(Message::Redirect(_)))).count()
}

#[test]
fn a_client_is_sent_and_may_stay_where_no_deadline_was_named() {
    let mut session = Session::connected();
    let acts = session.machine.divert(redirect(None), session.now);
    assert_eq!(acts, [Act::Send(Message::Redirect(redirect(None)))]);
    session.machine.heard(session.now + 40 * SECOND);
    assert_eq!(closes(&session.pass(60 * SECOND)), None);
}

#[test]
fn who_has_not_followed_at_the_deadline_is_closed_unless_the_order_was_taken_back() {
    for taken_back in [false, true] {
        let mut session = Session::connected();
        session.machine.divert(redirect(Some(3_000)), session.now);
        assert_eq!(closes(&session.pass(2 * SECOND)), None);
        if taken_back {
            session.machine.stay();
        }
        let expected = (!taken_back).then_some(Code::Draining);
        assert_eq!(closes(&session.pass(2 * SECOND)), expected);
    }
}

#[test]
fn who_connects_while_the_order_stands_is_sent_on_unless_it_was_sent_here() {
    for (redirected, expected) in [(None, 1), (Some("drain"), 0), (Some("whim"), 0)] {
        let mut session = Session::new();
        assert!(session.machine.divert(redirect(None), session.now).is_empty());
        connect(&mut session, redirected);
        let acts = session.machine.verified(Ok((identity("u"), None)), session.now);
        assert!(matches!(acts[0], Act::Send(Message::Connected(..))));
        assert_eq!(sent_away(&acts), expected, "{redirected:?}");
        let later = session.machine.divert(redirect(None), session.now);
        assert_eq!(sent_away(&later), 1, "an order of later is for all");
    }
}

#[test]
fn how_a_client_came_is_told_while_it_is_let_in() {
    let mut session = Session::new();
    assert_eq!(session.machine.came(), None);
    connect(&mut session, None);
    assert_eq!(session.machine.came(), Some(Came::Itself));
    session.machine.verified(Ok((identity("u"), None)), session.now);
    session.send(2, Command::Refresh { token: "t".to_owned() });
    assert_eq!(session.machine.came(), None, "a refresh lets nobody in");
    let mut sent = Session::new();
    connect(&mut sent, Some("overload"));
    assert_eq!(sent.machine.came(), Some(Came::Sent));
    let acts = sent.machine.verified(Ok((identity("u"), None)), sent.now);
    let told = acts.iter().any(
        |act| matches!(act, Act::Told { redirected: Some(reason), .. } if reason == "overload"),
    );
    assert!(told, "{acts:?}");
}

#[test]
fn a_full_node_names_the_other_regions() {
    let mut session = Session::new();
    connect(&mut session, None);
    let acts = session.machine.verified(Err(Code::TooManySessions), session.now);
    let [Act::Send(Message::Error(Some(1), error)), Act::Close(Code::TooManySessions)] = &acts[..]
    else {
        panic!("{acts:?}")
    };
    assert_eq!(error.elsewhere[..], [place()]);
}
