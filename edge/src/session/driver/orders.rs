//! What all sessions of a node are told, and what one makes of it: its own moment.

use meridian_core::protocol::{Code, Redirect};
use tokio::time::Instant;

use super::{Connection, Driver};
use crate::orders::{Order, moment};

impl<C: Connection> Driver<C> {
    /// Looks whether its token was revoked, and does what all sessions are told.
    pub(super) fn obey(&mut self) {
        let standing = self.standing_order.borrow_and_update().clone();
        self.end_if_revoked();
        if standing.serial != self.obeyed {
            self.obeyed = standing.serial;
            self.obey_order(standing.order);
        }
        if self.modes_told != Some(standing.mode_serial) {
            self.modes_told = Some(standing.mode_serial);
            let after = moment(self.id, standing.mode_spread);
            let push = self.context.node.modes.push(after.as_millis() as u64);
            let acts = self.machine.tell_mode(push);
            self.act(acts);
        }
    }

    /// Nothing more is taken for a session whose token counts no more.
    fn end_if_revoked(&mut self) {
        if let Some((_, identity)) = self.machine.identity()
            && self.context.node.tokens.revoked().cover(&identity)
        {
            let acts = self.machine.shut(Code::TokenRevoked);
            self.act(acts);
        }
    }

    fn obey_order(&mut self, order: Order) {
        let now = Instant::now().into_std();
        let acts = match order {
            Order::Stay => {
                self.machine.stay();
                Vec::new()
            }
            Order::Drain(leave) => {
                let after = moment(self.id, leave.spread).min(leave.deadline);
                self.machine.drain(after, leave.deadline, now)
            }
            Order::Divert(diversion) => {
                let after = moment(self.id, diversion.spread);
                let redirect = Redirect {
                    place: diversion.place.clone(),
                    reason: "drain".to_owned(),
                    after_ms: after.as_millis() as u64,
                    deadline_ms: diversion.deadline.map(|deadline| deadline.as_millis() as u64),
                };
                self.machine.divert(redirect, now)
            }
        };
        self.act(acts);
    }
}
