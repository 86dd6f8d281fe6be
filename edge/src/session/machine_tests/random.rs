//! Random inputs: nothing panics, and each command with an id is answered once or the session closes.

use std::collections::HashMap;

use meridian_core::auth::Decision;
use meridian_core::embedded::faulty::Chance;
use meridian_core::protocol::{
    Ack, Code, Command, CommandFrame, Connect, HistoryRequest, Message, PublishItem, ReplyError,
};
use meridian_core::vocabulary::Channel;

use super::super::machine::Act;
use super::{SECOND, Session, channel, identity, limits, subscribe, unsubscribe};

const CHANNELS: [&str; 6] = ["a:0", "a:1", "a:2", "a:3", "a:4", "nonsense"];

/// What the driver has to do yet.
enum Pending {
    Verify,
    Follow(u64, u32, Channel),
    Authorise(u32, Channel),
    Reply(Option<u64>),
}

struct Run {
    session: Session,
    chance: Chance,
    pending: Vec<Pending>,
    /// How often each command was answered.
    asked: HashMap<u64, u32>,
    attached: HashMap<Channel, bool>,
    next_id: u64,
    closed: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut limits = limits();
        limits.commands_burst = 200;
        Self {
            session: Session::with_limits(limits),
            chance: Chance::new(seed),
            pending: Vec::new(),
            asked: HashMap::new(),
            attached: HashMap::new(),
            next_id: 0,
            closed: false,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    fn command(&mut self) -> Command {
        let name = CHANNELS[self.below(CHANNELS.len() as u64) as usize];
        match self.below(14) {
            0 => Command::Connect(Connect { protocol: 1, ..Connect::default() }),
            1..5 => subscribe(name),
            5 | 6 => unsubscribe(name),
            7 => Command::Publish(PublishItem::default()),
            8 => {
                let count = self.below(5) as usize;
                Command::PublishBatch { events: vec![PublishItem::default(); count] }
            }
            9 => Command::Ack(Ack { channel: name.into(), ..Ack::default() }),
            10 => Command::History(HistoryRequest::default()),
            11 => Command::Refresh { token: String::new() },
            12 => Command::Ping,
            _ => Command::Unknown,
        }
    }

    fn send(&mut self) {
        let count = 1 + self.below(3);
        let frame = (0..count).map(|_| {
            self.next_id += 1;
            let id = (self.below(5) > 0).then_some(self.next_id);
            CommandFrame { id, command: self.command() }
        });
        let frame: Vec<_> = frame.collect();
        self.asked.extend(frame.iter().filter_map(|command| Some((command.id?, 0))));
        let acts = self.session.machine.frame(frame, self.session.now);
        self.take(acts);
    }

    fn finish_one(&mut self) {
        let count = self.pending.len() as u64;
        if count == 0 {
            return;
        }
        let at = self.below(count) as usize;
        let now = self.session.now;
        let luck = self.below(4);
        let refused = ReplyError::of(Code::Forbidden);
        let machine = &mut self.session.machine;
        let acts = match self.pending.swap_remove(at) {
            Pending::Verify => match luck {
                0 => machine.verified(Err(Code::Unauthenticated), now),
                1 => machine.verified(Ok((identity("v"), None)), now),
                _ => machine.verified(Ok((identity("u"), Some(now + 600 * SECOND))), now),
            },
            Pending::Follow(op, generation, channel) => {
                let result = if luck == 0 { Err(refused) } else { Ok(()) };
                machine.followed(op, generation, channel, result)
            }
            Pending::Authorise(generation, channel) => {
                let decision = match luck {
                    0 => Decision::Deny,
                    1 => Decision::Unavailable,
                    _ => Decision::Allow,
                };
                machine.authorised(generation, &channel, decision, now)
            }
            Pending::Reply(id) => machine.finished(Message::Error(id, refused)),
        };
        self.take(acts);
    }

    fn take(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Send(message) | Act::SendOn(_, message) => self.answered(message.id()),
                Act::Verify { .. } => self.pending.push(Pending::Verify),
                Act::Follow { op, generation, channel, .. } => {
                    self.pending.push(Pending::Follow(op, generation, channel));
                }
                Act::Attach { channel, reply_to, .. } => {
                    self.answered(reply_to);
                    assert!(self.attached.insert(channel, true).is_none(), "attached twice");
                }
                Act::Detach(channel) => {
                    assert!(self.attached.remove(&channel).is_some(), "{channel:?} not attached");
                }
                Act::Pause(channel) => {
                    let live = self.attached.insert(channel, false);
                    assert_eq!(live, Some(true), "only what is live is paused");
                }
                Act::Resume(channel) => {
                    let live = self.attached.get_mut(&channel).expect("attached");
                    *live = true;
                }
                Act::Authorise { generation, channel } => {
                    self.pending.push(Pending::Authorise(generation, channel));
                }
                Act::Publish { id, .. } | Act::History { id, .. } | Act::Ack { id, .. } => {
                    self.pending.push(Pending::Reply(id));
                }
                Act::Close(_) => {
                    assert!(!self.closed, "closed twice");
                    self.closed = true;
                }
                Act::Abandon { .. } | Act::Told { .. } | Act::TakeName(_) => {}
            }
        }
    }

    fn answered(&mut self, id: Option<u64>) {
        if let Some(id) = id {
            let count = self.asked.get_mut(&id).expect("asked");
            *count += 1;
            assert_eq!(*count, 1, "{id} is answered twice");
        }
    }

    fn step(&mut self) {
        match self.below(100) {
            0..50 => self.send(),
            50..90 => self.finish_one(),
            90..94 => {
                let acts = self.session.pass(SECOND * 3);
                self.take(acts);
            }
            94..98 => {
                let name = CHANNELS[self.below(5) as usize];
                if self.attached.contains_key(&channel(name)) {
                    let acts = self.session.machine.end(&channel(name), Code::LaneStopped);
                    self.take(acts);
                }
            }
            98 if self.below(10) == 0 => {
                let acts = self.session.machine.shut(Code::TakenOver);
                self.take(acts);
            }
            _ => {
                let now = self.session.now;
                self.session.machine.heard(now);
            }
        }
        assert_eq!(self.closed, self.session.machine.is_closed());
    }

    fn run(mut self) {
        let connect = Connect { protocol: 1, subscriber: Some("d".into()), ..Connect::default() };
        let first = CommandFrame { id: None, command: Command::Connect(connect) };
        let acts = self.session.machine.frame(vec![first], self.session.now);
        self.take(acts);
        let steps = 20 + self.below(150);
        (0..steps).for_each(|_| self.step());
        while !self.pending.is_empty() {
            self.finish_one();
        }
        if self.closed {
            return;
        }
        let open: Vec<_> = self.asked.iter().filter(|(_, answers)| **answers == 0).collect();
        assert!(open.is_empty(), "never answered: {open:?}");
        assert!(self.attached.values().all(|live| *live), "paused for ever");
        assert!(self.session.machine.wants_more(), "something counts as under way for ever");
    }
}

#[test]
fn each_command_with_an_id_has_one_answer() {
    for seed in 0..3_000 {
        let ran = std::panic::catch_unwind(|| Run::new(seed).run());
        assert!(ran.is_ok(), "seed {seed}");
    }
}
