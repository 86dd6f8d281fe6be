//! Events, sessions and chain-checking clients for the hub's tests.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_core::policy::DeliveryClass;
use meridian_core::protocol::{Codec, FrameReader, Message, decode_messages};
use meridian_core::seams::{Gone, GoneReason};
use meridian_core::vocabulary::{
    Body, Channel, ChannelKey, Cursor, Epoch, Event, EventId, EventKind, LogName, Offset,
    Partition, Position, Prev, Stream, Tenant, Verdict, judge,
};

use super::{
    Bounds, FollowerRef, Hub, LaneId, Offer, Outlet, Page, Pinned, Pulled, RingBounds, Slice, Turns,
};
use crate::frame::{EncodedEvents, Format, Framing};

pub(crate) fn at(epoch: u32, passed: i64) -> Position {
    Position { epoch: Epoch(epoch), passed }
}

pub(crate) fn key(channel: &str) -> ChannelKey {
    ChannelKey { tenant: Tenant::parse("t").unwrap(), channel: Channel::parse(channel).unwrap() }
}

pub(crate) fn stream() -> Stream {
    Stream { log: LogName::parse("global").unwrap(), epoch: Epoch(1), partition: Partition(0) }
}

/// An event of `a:b` in epoch 1.
pub(crate) fn event(offset: u64, prev: Option<i64>) -> Arc<Event> {
    Arc::new(Event {
        key: key("a:b"),
        stream: stream(),
        offset: Offset(offset),
        prev: prev.map_or(Prev::None, |passed| Prev::At(at(1, passed))),
        time_ms: 1,
        id: EventId::parse(&format!("e{offset}")).unwrap(),
        body: Body { data: Bytes::from(offset.to_string()), ..Body::default() },
    })
}

/// Small bounds.
pub(crate) fn bounds(ring_events: usize) -> Bounds {
    Bounds {
        ring: RingBounds { events: ring_events, bytes: 1 << 20 },
        linger: Duration::from_secs(10),
        ephemeral_events: 4,
        page_bytes: 1 << 20,
    }
}

/// The format of the tests' clients.
pub(crate) const FORMAT: Format = Format { codec: Codec::Json, framing: Framing::Stream };

/// Messages out of bytes as a client reads them.
pub(crate) fn messages(reader: &mut FrameReader) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        messages.extend(decode_messages(Codec::Json, &frame).unwrap());
    }
    messages
}

/// A client that holds what it received of one channel, and believes nothing but the chain.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) position: Position,
    pub(crate) held: Vec<Position>,
    pub(crate) gaps: Vec<(Position, Position)>,
    pub(crate) skipped: u64,
    /// Of a feed.
    pub(crate) values: BTreeMap<String, Position>,
}

impl Chain {
    pub(crate) fn at(position: Position) -> Self {
        Self { position, held: Vec::new(), gaps: Vec::new(), skipped: 0, values: BTreeMap::new() }
    }

    /// Takes what came of the channel.
    pub(crate) fn take(&mut self, message: &Message) {
        match message {
            Message::Events { epoch: Some(epoch), events, .. } => {
                for event in events {
                    let (offset, prev) = event.at.unwrap();
                    let position = Position::at(*epoch, offset);
                    let next = self.position == Position::before(*epoch, offset);
                    let verdict = judge(self.position, prev, position);
                    assert!(
                        verdict == Verdict::Accept || (next && prev == Prev::Unknown),
                        "{position} with {prev:?} is {verdict:?} for {self:?}"
                    );
                    self.position = position;
                    self.held.push(position);
                    self.value(position, &event.body);
                }
            }
            Message::Values { epoch, events, .. } => {
                for event in events {
                    let position = Position::at(*epoch, event.at.unwrap().0);
                    self.held.push(position);
                    self.value(position, &event.body);
                }
            }
            Message::Conflated { position, .. } => self.position = *position,
            Message::Events { epoch: None, events, .. } => {
                self.held.extend(events.iter().map(|event| at(0, event.time_ms as i64)));
            }
            Message::Gap(gap) => {
                assert_eq!(Cursor::parse(&gap.from).unwrap().position, self.position, "{gap:?}");
                let snapshot = gap.position == Position::BEGINNING;
                assert!(snapshot || gap.position > self.position, "{gap:?}");
                self.values.clear();
                self.gaps.push((self.position, gap.position));
                self.position = gap.position;
            }
            Message::Skipped { count, .. } => self.skipped += count,
            other => panic!("{other:?}"),
        }
    }

    fn value(&mut self, position: Position, body: &Body) {
        let Some(key) = &body.key else { return };
        if self.values.get(key).is_some_and(|held| *held > position) {
            return;
        }
        match body.kind {
            EventKind::Publish => drop(self.values.insert(key.clone(), position)),
            _ => drop(self.values.remove(key)),
        }
        for evicted in &body.evicts {
            self.values.remove(evicted);
        }
    }

    pub(crate) fn offsets(&self) -> Vec<i64> {
        self.held.iter().map(|position| position.passed).collect()
    }
}

/// A session that takes so many frames at once, and pulls when it is told to.
pub(crate) struct Probe {
    turns: Turns,
    pub(crate) room: Cell<usize>,
    pub(crate) offers: Cell<usize>,
    pub(crate) behind: RefCell<VecDeque<FollowerRef>>,
    reader: RefCell<FrameReader>,
    pub(crate) chain: RefCell<Chain>,
}

impl Probe {
    pub(crate) fn new(position: Position) -> Rc<Self> {
        Rc::new(Self {
            turns: Turns::default(),
            room: Cell::new(usize::MAX),
            offers: Cell::new(0),
            behind: RefCell::default(),
            reader: RefCell::new(FrameReader::new(1 << 24)),
            chain: RefCell::new(Chain::at(position)),
        })
    }

    /// Pulls for all who wait, until nothing is there to take.
    pub(crate) fn pull(&self, hub: &mut Hub) {
        let mut frames = Vec::new();
        let waiting = self.behind.borrow().len();
        for _ in 0..waiting * 100 {
            let Some(follower) = self.behind.borrow_mut().pop_front() else { break };
            let pulled = hub.pull(follower, 1, &mut frames);
            if pulled != Pulled::Done {
                self.behind.borrow_mut().push_back(follower);
            }
        }
        frames.iter().for_each(|frame| self.read(frame));
    }

    fn read(&self, frame: &Bytes) {
        let mut reader = self.reader.borrow_mut();
        reader.push(frame);
        messages(&mut reader).iter().for_each(|message| self.chain.borrow_mut().take(message));
    }

    pub(crate) fn offsets(&self) -> Vec<i64> {
        self.chain.borrow().offsets()
    }

    pub(crate) fn gaps(&self) -> Vec<(i64, i64)> {
        self.chain.borrow().gaps.iter().map(|(from, to)| (from.passed, to.passed)).collect()
    }
}

impl Outlet for Probe {
    fn format(&self) -> Format {
        FORMAT
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn offer(&self, _: LaneId, frame: &Bytes) -> Offer {
        self.offers.set(self.offers.get() + 1);
        if self.room.get() == 0 || !self.behind.borrow().is_empty() {
            return Offer::Blocked;
        }
        self.room.set(self.room.get() - 1);
        self.read(frame);
        Offer::Taken
    }

    fn behind(&self, _: LaneId, follower: FollowerRef) {
        self.behind.borrow_mut().push_back(follower);
    }
}

/// A page as a store read it.
pub(crate) fn page(gone: Option<i64>, events: Vec<Arc<Event>>, passed: i64) -> Page {
    let gone = gone.map(|through| Gone { reason: GoneReason::Retention, through: at(1, through) });
    let chunks = events.into_iter().map(|event| EncodedEvents::new(vec![event])).collect();
    Page { gone, chunks, position: at(1, passed), values: None }
}

/// Opens the channel of `event` at a floor, and keeps it open.
pub(crate) fn opened(hub: &mut Hub, class: DeliveryClass, floor: i64) -> Pinned {
    let (pinned, _) = hub.pin(&key("a:b"), &stream(), class);
    hub.take_jobs();
    hub.opened(pinned.0, at(1, floor));
    pinned
}

/// Lets the fan-out finish.
pub(crate) fn fan_out(hub: &mut Hub) {
    while hub.fan_out() == Slice::More {}
}
