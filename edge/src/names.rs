//! Which session owns a subscriber name on this node: the newest one. The older is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meridian_core::auth::Identity;
use meridian_core::vocabulary::{SubscriberName, Tenant, UserId};
use tokio_util::sync::CancellationToken;

type Name = (Tenant, UserId, SubscriberName);

/// The owners of subscriber names; shared by the workers, held for single look-ups only.
#[derive(Default)]
pub(crate) struct Names {
    owners: Mutex<HashMap<Name, (u64, CancellationToken)>>,
}

/// Owns a name until it is dropped or taken over.
pub(crate) struct Ownership {
    names: Arc<Names>,
    name: Name,
    serial: u64,
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, (u64, CancellationToken)>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the name; `taken_over` is cancelled when somebody else does.
    pub(crate) fn take(
        self: Arc<Self>,
        identity: &Identity,
        subscriber: SubscriberName,
        taken_over: CancellationToken,
    ) -> Ownership {
        let name = (identity.tenant.clone(), identity.user.clone(), subscriber);
        let mut owners = self.lock();
        let older = owners.remove(&name);
        let serial = older.as_ref().map_or(1, |(serial, _)| serial + 1);
        owners.insert(name.clone(), (serial, taken_over));
        drop(owners);
        if let Some((_, older)) = older {
            older.cancel();
        }
        Ownership { names: self, name, serial }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        let mut owners = self.names.lock();
        if owners.get(&self.name).is_some_and(|(serial, _)| *serial == self.serial) {
            owners.remove(&self.name);
        }
    }
}
