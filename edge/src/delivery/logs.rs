//! The logs that this region consumes. Owns which of them a channel's records are in; reads none.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_core::seams::Log;
use meridian_core::vocabulary::LogName;

/// Logs by name. A namespace's zone names one.
#[derive(Clone, Default)]
pub struct Logs(Arc<BTreeMap<LogName, Arc<dyn Log>>>);

impl Logs {
    /// Each under the name that it has itself.
    pub fn new(logs: impl IntoIterator<Item = Arc<dyn Log>>) -> Self {
        let named = logs.into_iter().map(|log| (log.incarnation().log.clone(), log));
        Self(Arc::new(named.collect()))
    }

    /// `None`: its records stay in other regions.
    pub fn get(&self, name: &LogName) -> Option<&Arc<dyn Log>> {
        self.0.get(name)
    }
}
