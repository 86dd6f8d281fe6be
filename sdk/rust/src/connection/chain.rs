//! A subscription's position, and the rule by which an event is the next one. Pure.

use std::sync::Arc;

use meridian_core::protocol::{EventView, GapPush, Subscribed};
use meridian_core::vocabulary::{Epoch, Position, Verdict, judge};

use crate::update::{Event, Gap, Place, cursor};

/// Where a subscription stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Chain {
    /// The server has not told yet.
    #[default]
    Unknown,
    /// The channel keeps no positions.
    Ephemeral,
    At {
        stream: Arc<str>,
        position: Position,
    },
}

/// What an event is to this subscription.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every value is the large one, and none is kept"
)]
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// The next one; once taken, this is the position.
    Accept(Event, Chain),
    /// It was taken before.
    Duplicate,
    /// Something may be missing before it.
    Broken,
}

impl Chain {
    /// The cursor to go on from, where there is one.
    pub(super) fn cursor(&self) -> Option<String> {
        match self {
            Chain::At { stream, position } => Some(cursor(stream, *position)),
            Chain::Unknown | Chain::Ephemeral => None,
        }
    }

    /// The server's answer to a subscribe. A position that is held is kept: it is what was asked for.
    pub(super) fn opened(&mut self, subscribed: &Subscribed) {
        match (&*self, &subscribed.at) {
            (_, None) => *self = Chain::Ephemeral,
            (Chain::At { .. }, Some(_)) => {}
            (_, Some((stream, position))) => {
                *self = Chain::At { stream: stream.as_str().into(), position: *position };
            }
        }
    }

    /// Judges an event that came in a push of `stream` and `epoch`.
    pub(super) fn judge(
        &self,
        stream: Option<&Arc<str>>,
        epoch: Option<Epoch>,
        view: EventView,
    ) -> Next {
        let (time_ms, id, body) = (view.time_ms, view.id, view.body);
        match (self, stream, epoch, view.at) {
            (Chain::Ephemeral, _, _, _) => {
                Next::Accept(Event { place: None, time_ms, id, body }, Chain::Ephemeral)
            }
            (Chain::At { position: held, .. }, Some(stream), Some(epoch), Some((offset, prev))) => {
                let position = Position::at(epoch, offset);
                match judge(*held, prev, position) {
                    Verdict::Duplicate => Next::Duplicate,
                    Verdict::Broken => Next::Broken,
                    Verdict::Accept => {
                        let place = Some(Place { stream: stream.clone(), position, prev });
                        let after = Chain::At { stream: stream.clone(), position };
                        Next::Accept(Event { place, time_ms, id, body }, after)
                    }
                }
            }
            _ => Next::Broken,
        }
    }

    /// The gap for the application and the position behind it; `None` if it lies behind this one.
    pub(super) fn behind_gap(&self, push: &GapPush) -> Option<(Gap, Chain)> {
        // From the beginning: a feed's snapshot follows.
        let behind = push.position != Position::BEGINNING;
        if behind && matches!(self, Chain::At { position, .. } if push.position < *position) {
            return None;
        }
        let gap = Gap {
            reason: push.reason.clone(),
            from: push.from.clone(),
            cursor: cursor(&push.stream, push.position),
        };
        let after = Chain::At { stream: push.stream.as_str().into(), position: push.position };
        Some((gap, after))
    }

    /// This stream's text, shared with the one held where they are the same.
    pub(super) fn share(&self, stream: Option<&str>) -> Option<Arc<str>> {
        match (self, stream) {
            (Chain::At { stream: held, .. }, Some(stream)) if **held == *stream => {
                Some(held.clone())
            }
            (_, stream) => stream.map(Arc::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_core::vocabulary::{Body, Offset, Prev};

    use super::*;

    fn at(passed: i64) -> Chain {
        Chain::At { stream: "1.global.1.3".into(), position: Position { epoch: Epoch(1), passed } }
    }

    fn event(offset: u64, prev: Prev) -> EventView {
        EventView { at: Some((Offset(offset), prev)), time_ms: 0, id: None, body: Body::default() }
    }

    fn judged(chain: &Chain, view: EventView) -> Next {
        let stream = chain.share(Some("1.global.1.3"));
        chain.judge(stream.as_ref(), Some(Epoch(1)), view)
    }

    #[test]
    fn an_event_follows_iff_its_predecessor_is_at_or_below_the_position() {
        let prev = |passed| Prev::At(Position { epoch: Epoch(1), passed });
        let Next::Accept(taken, after) = judged(&at(5), event(9, prev(5))) else {
            panic!("it follows")
        };
        assert_eq!(taken.cursor().as_deref(), Some("1.global.1.3.9"));
        assert_eq!(after, at(9));
        assert!(matches!(judged(&at(7), event(9, prev(5))), Next::Accept(..)));
        assert_eq!(judged(&at(4), event(9, prev(5))), Next::Broken);
        assert_eq!(judged(&at(9), event(9, prev(5))), Next::Duplicate);
        assert_eq!(judged(&at(8), event(9, Prev::Unknown)), Next::Broken);
        assert!(matches!(judged(&at(-1), event(9, Prev::None)), Next::Accept(..)));
        assert_eq!(judged(&Chain::Unknown, event(9, Prev::None)), Next::Broken);
    }

    #[test]
    fn a_gap_moves_forward_only() {
        let push = |passed| GapPush {
            channel: "a:b".into(),
            reason: "retention".into(),
            from: "1.global.1.3.5".into(),
            stream: "1.global.1.3".into(),
            position: Position { epoch: Epoch(1), passed },
        };
        assert!(at(5).behind_gap(&push(4)).is_none());
        let (gap, after) = at(5).behind_gap(&push(8)).unwrap();
        assert_eq!((gap.cursor.as_str(), after), ("1.global.1.3.8", at(8)));
    }

    #[test]
    fn resuming_keeps_the_position_that_is_held() {
        let answer = Subscribed {
            channel: "a:b".into(),
            class: "strict".into(),
            at: Some(("1.global.1.3".into(), Position { epoch: Epoch(1), passed: 99 })),
            behind: None,
        };
        let mut chain = at(5);
        chain.opened(&answer);
        assert_eq!(chain, at(5));
        let mut chain = Chain::Unknown;
        chain.opened(&answer);
        assert_eq!(chain, at(99));
    }
}
