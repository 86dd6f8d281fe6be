//! Channels on their lanes: attaching and leaving, which lane a channel has, what a stopped lane ends.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use meridian_core::policy::DeliveryClass;
use meridian_core::protocol::{Ack, Code, Message, Subscribed};
use meridian_core::seams::AcknowledgedKey;
use meridian_core::vocabulary::{Channel, Stream};
use tokio::time::Instant;

use super::{Connection, Driver};
use crate::hub::{LaneId, Outlet};
use crate::session::machine::{Act, OpId};
use crate::session::work;

impl<C: Connection> Driver<C> {
    pub(super) fn attach(&mut self, op: OpId, channel: Channel, reply_to: Option<u64>) {
        let Some(following) = self.prepared.remove(&op) else { return };
        let stored = following.class != DeliveryClass::Ephemeral;
        // A client makes its cursor of the two: of an older epoch's position, in that epoch's stream.
        let start = Stream { epoch: following.position.epoch, ..following.stream.clone() };
        let message = Message::Subscribed(
            reply_to,
            Subscribed {
                channel: channel.as_str().to_owned(),
                class: crate::publish::class_name(following.class).to_owned(),
                at: stored.then(|| (start.to_string(), following.position)),
                behind: following.behind,
            },
        );
        let lane = self.lane_of(&channel);
        self.send(lane, &message);
        let outlet: Rc<dyn Outlet> = self.session.clone();
        let pinned = following.pin.pinned;
        let follower =
            self.context.hands.hub.borrow_mut().attach(pinned, outlet, lane, following.position);
        self.followers.insert(channel, (follower, following.stream, lane));
    }

    pub(super) fn detach(&mut self, channel: &Channel) {
        if let Some((follower, ..)) = self.followers.remove(channel) {
            self.context.hands.hub.borrow_mut().detach(follower, Instant::now());
        }
    }

    /// A channel keeps its lane as long as the session lives.
    pub(super) fn lane_of(&mut self, channel: &Channel) -> LaneId {
        if let Some((_, _, lane)) = self.followers.get(channel) {
            return *lane;
        }
        if self.lanes == 0 {
            return 0;
        }
        let wanted = wanted_lane(channel, self.lanes);
        let mut outbox = self.session.outbox.borrow_mut();
        while outbox.lanes() <= usize::from(wanted) && !self.no_more_lanes {
            match self.connection.open_lane() {
                Some(writer) => outbox.add_lane(writer),
                // From now on the channels share what there is; those that have a lane keep it.
                None => self.no_more_lanes = true,
            }
        }
        let lane = lane_among(wanted, outbox.lanes());
        outbox.usable(lane)
    }

    pub(super) fn acknowledge(&mut self, id: Option<u64>, ack: Ack, key: AcknowledgedKey) {
        let sent = self.followers.get(&key.channel).and_then(|(follower, stream, _)| {
            let position = self.context.hands.hub.borrow_mut().told(*follower)?;
            Some((stream.clone(), position))
        });
        self.start(work::acknowledge(self.context.clone(), id, ack, key, sent));
    }

    /// The peer stopped a lane: its subscriptions end, the session goes on.
    pub(super) fn end_stopped_lanes(&mut self) {
        let stopped = self.session.outbox.borrow_mut().take_stopped();
        for lane in stopped {
            let channels: Vec<Channel> = self
                .followers
                .iter()
                .filter(|(_, (_, _, of))| *of == lane)
                .map(|(channel, _)| channel.clone())
                .collect();
            for channel in channels {
                self.detach(&channel);
                let acts = self.machine.end(&channel, Code::LaneStopped);
                // Its lane is gone; the session's own stream tells it.
                for act in acts {
                    match act {
                        Act::SendOn(_, message) => self.send(0, &message),
                        act => self.act_one(act),
                    }
                }
            }
        }
    }
}

/// The lane that a channel has where there are as many as we like.
fn wanted_lane(channel: &Channel, lanes: usize) -> LaneId {
    let mut hasher = DefaultHasher::new();
    channel.as_str().hash(&mut hasher);
    1 + (hasher.finish() % lanes as u64) as LaneId
}

/// The lane among those that are open, the session's own included. One that was open keeps its
/// channels: what ends a subscription must not overtake its events.
fn lane_among(wanted: LaneId, open: usize) -> LaneId {
    match open - 1 {
        0 => 0,
        others if usize::from(wanted) <= others => wanted,
        others => 1 + ((usize::from(wanted) - 1) % others) as LaneId,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_keeps_its_lane_when_the_peer_lets_us_open_no_more() {
        for channel in (0..100).map(|n| Channel::parse(&format!("a:{n}")).unwrap()) {
            let wanted = wanted_lane(&channel, 8);
            assert!((1..=8).contains(&wanted));
            for open in usize::from(wanted) + 1..9 {
                assert_eq!(lane_among(wanted, open), wanted);
            }
            for open in 2..9 {
                assert!((1..open as LaneId).contains(&lane_among(wanted, open)));
            }
            assert_eq!(lane_among(wanted, 1), 0);
        }
    }
}
