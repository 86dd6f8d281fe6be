//! Which faults speak against a region.

use meridian_core::protocol::{Action, Code};

use crate::error::Lost;

/// Whether this speaks against a region rather than against a token or this client.
pub(super) fn speaks_against(lost: &Lost) -> bool {
    let heals = matches!(lost.action(), Action::Reconnect | Action::Retry);
    let is_own = matches!(lost, Lost::NoToken(_))
        || matches!(lost.code(), Some(Code::SlowReader | Code::TakenOver));
    heals && !is_own
}
