//! A session's token: has it checked, and lets its holder in where there is room. Decides no right.

use std::rc::Rc;
use std::time::Duration;

use meridian_core::auth::Identity;
use meridian_core::protocol::Code;
use tokio::time::Instant;

use super::{Connection, Driver};
use crate::clock::now_ms;
use crate::quota::Exceeded;
use crate::session::work;
use crate::tokens::{Checked, code_of, is_ticket};

impl<C: Connection> Driver<C> {
    pub(super) fn verify(&mut self, token: Option<String>) {
        let Some(token) = token else { return self.verified(Err(Code::Unauthenticated)) };
        if is_ticket(&token) {
            return self.start(work::redeem(self.context.clone(), token));
        }
        match self.context.node.tokens.verify_now(&token) {
            Checked::Decided(decided) => self.verified(decided.map_err(code_of)),
            Checked::NeedsKey(first) => {
                self.start(work::verify(self.context.clone(), token, first));
            }
        }
    }

    pub(super) fn verified(&mut self, result: Result<Identity, Code>) {
        let (now, wall) = (Instant::now().into_std(), now_ms());
        if let Err(code) = result {
            tracing::debug!(session = self.id, %code, "token refused");
        }
        // What was revoked while it was being checked was not this session's yet.
        let revoked = |identity: &Identity| self.context.node.tokens.revoked().cover(identity);
        let result = match result {
            Ok(identity) if revoked(&identity) => Err(Code::TokenRevoked),
            result => result,
        };
        let result = result.map(|identity| {
            let left = identity.expires_at_ms.map(|at| at.saturating_sub(wall));
            let expires_at = left.map(|left| now + Duration::from_millis(left));
            (Rc::new(identity), expires_at)
        });
        let room = |came| self.context.node.room.keeps(self.context.node.connections(), came);
        let result = match self.machine.came() {
            Some(came) if result.is_ok() && !room(came) => Err(Code::TooManySessions),
            _ => result,
        };
        let acts = match self.take_places(&result) {
            Ok(()) => self.machine.verified(result, now),
            Err(exceeded) => self.machine.refused(exceeded.told(Code::QuotaExceeded)),
        };
        *self.identity.borrow_mut() = self.machine.identity();
        self.act(acts);
    }

    /// The places of a client that is let in, where it has none yet.
    fn take_places(
        &mut self,
        result: &Result<(Rc<Identity>, Option<std::time::Instant>), Code>,
    ) -> Result<(), Exceeded> {
        if let (Ok((identity, _)), Some(_)) = (result, self.machine.came()) {
            self.places = self.context.node.quotas.connection(identity, self.client)?;
        }
        Ok(())
    }
}
