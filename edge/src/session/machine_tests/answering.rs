//! Sessions that answer one request: where its channels start.

use std::rc::Rc;

use meridian_core::protocol::{Bookmark, Command, Connect, Subscribe, Tag};
use meridian_core::vocabulary::Cursor;

use super::super::machine::Act;
use super::{Session, channel, command, identity, subscribe};
use crate::delivery::From;

fn cursor(offset: u64) -> Cursor {
    Cursor::parse(&format!("1.global.1.3.{offset}")).unwrap()
}

/// A session whose token subscribes it to `t:own` and `t:asked`, and what it follows from where.
fn follows(bookmark: Option<Bookmark>, asked: Vec<Command>) -> Vec<(String, From)> {
    let mut session = Session::new();
    if let Some(bookmark) = bookmark {
        session.machine = session.machine.answering(bookmark);
    }
    let connect = Command::Connect(Connect { protocol: 1, ..Connect::default() });
    let commands = std::iter::once(connect).chain(asked);
    let frames = commands.zip(1..).map(|(what, id)| command(id, what)).collect();
    session.machine.frame(frames, session.now);
    let mut identity = Rc::unwrap_or_clone(identity("u"));
    identity.subscribe = vec![channel("t:own"), channel("t:asked")];
    let acts = session.machine.verified(Ok((Rc::new(identity), None)), session.now);
    let follow = |act| match act {
        Act::Follow { channel, from, .. } => Some((channel.as_str().to_owned(), from)),
        _ => None,
    };
    acts.into_iter().filter_map(follow).collect()
}

fn from_cursor(name: &str, offset: u64) -> Command {
    let cursor = Some(cursor(offset).to_string());
    Command::Subscribe(Subscribe { channel: name.to_owned(), cursor, ..Subscribe::default() })
}

fn is(name: &str, from: From) -> (String, From) {
    (name.to_owned(), from)
}

#[test]
fn what_the_request_says_of_a_channel_goes_before_what_the_token_says() {
    let asked = || vec![from_cursor("t:asked", 7), subscribe("a:b")];
    let answered = follows(Some(Bookmark::default()), asked());
    let wanted =
        [is("t:own", From::Now), is("t:asked", From::Cursor(cursor(7))), is("a:b", From::Now)];
    assert_eq!(answered, wanted);
    // A session that goes on uses the subscription that is there.
    let other = follows(None, asked());
    assert_eq!(other, [is("t:own", From::Now), is("t:asked", From::Now), is("a:b", From::Now)]);
}

#[test]
fn a_bookmark_goes_before_both() {
    let mut bookmark = Bookmark::default();
    for (name, offset) in [("t:own", 1), ("t:asked", 2), ("a:b", 3)] {
        bookmark.insert(Tag::of(&channel(name)), cursor(offset));
    }
    let last = Subscribe { channel: "a:b".into(), last: Some(5), ..Subscribe::default() };
    let asked = vec![from_cursor("t:asked", 7), Command::Subscribe(last), subscribe("a:c")];
    let wanted = [
        is("t:own", From::Cursor(cursor(1))),
        is("t:asked", From::Cursor(cursor(2))),
        is("a:b", From::Cursor(cursor(3))),
        is("a:c", From::Now),
    ];
    assert_eq!(follows(Some(bookmark), asked), wanted);
}
