//! A session's end: leaves the hub, says what is still to be said, and closes. Never decides that it ends.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Connection, Driver, flush};
use crate::session::outbox::Flushed;

/// A client that does not take even the close within this time is dropped.
const CLOSE_TIME: Duration = Duration::from_secs(5);

impl<C: Connection> Driver<C> {
    pub(super) async fn finish(mut self) {
        let code = self.closing;
        for (channel, (follower, stream, _)) in std::mem::take(&mut self.followers) {
            self.context.hands.hub.borrow_mut().detach(follower, Instant::now());
            if let Some(name) = &self.name {
                self.context.node.acks.hurry(&stream.log, &name.acknowledged_key(channel));
            }
        }
        let cause = match code {
            Some(code) => code.name(),
            None if self.peer_closed => "peer",
            None => "lost",
        };
        self.context.node.metrics.session_ended(self.transport, cause);
        if code.is_some() || self.peer_closed {
            let session = self.session.clone();
            // What was said before the close should arrive; a reader that is stuck must not hold us.
            let _ = timeout(CLOSE_TIME, async {
                while matches!(
                    flush(&session, &self.context).await,
                    Flushed::More | Flushed::Blocked
                ) {}
            })
            .await;
        }
        if let Some(code) = code {
            let _ = timeout(CLOSE_TIME, self.connection.close(code)).await;
        }
    }
}
