//! Which of a log's partitions this process owns. Owns its membership in the routers' group, and nothing
//! else: it commits no offset, since a router's checkpoint is in the history.

use std::collections::BTreeSet;
use std::sync::Arc;

use meridian_core::vocabulary::Partition;
use tokio::sync::watch;

use crate::cluster::blocking;
use crate::epochs::OpenError;
use crate::log::KafkaLog;
use crate::member::{GroupOptions, Member};

/// This process as a member. Dropping it leaves the group, a little later; `leave` waits for that.
pub struct KafkaGroup(Arc<Member<Partition>>);

impl KafkaGroup {
    /// Joins the group that shares the log's partitions; what is owned comes later, and changes.
    pub fn join(log: &KafkaLog, group: &GroupOptions) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(Member::join(log.options(), &log.record().topic, group)?)))
    }

    /// What this process owns. A partition is out of it before another member has it, unless this one
    /// was taken for dead.
    pub fn owned(&self) -> watch::Receiver<BTreeSet<Partition>> {
        self.0.owned()
    }

    /// Returns once this process is no member any more: another one joined under its name.
    pub async fn replaced(&self) {
        self.0.replaced().await;
    }

    /// Leaves, so that the others need not wait for the session to end.
    pub async fn leave(self) {
        let _ = blocking(move || self.0.leave()).await;
    }
}
