//! Which session owns a subscriber name on this node: the newest one. The older is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meridian_core::auth::Identity;
use meridian_core::seams::AcknowledgedKey;
use meridian_core::vocabulary::{Channel, SubscriberName, Tenant, UserId};
use tokio_util::sync::CancellationToken;

type Name = (Tenant, UserId, SubscriberName);

/// The owners of subscriber names; shared by the workers, held for single look-ups only.
#[derive(Default)]
pub(crate) struct Names {
    owners: Mutex<Owners>,
}

#[derive(Default)]
struct Owners {
    by_name: HashMap<Name, (u64, CancellationToken)>,
    /// Never used twice: an owner of old may end after its name has gone through other hands.
    last_serial: u64,
}

/// Owns a name until it is dropped or taken over.
pub(crate) struct Ownership {
    names: Arc<Names>,
    name: Name,
    serial: u64,
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the name; `taken_over` is cancelled when somebody else does.
    pub(crate) fn take(
        self: Arc<Self>,
        identity: &Identity,
        subscriber: SubscriberName,
        taken_over: CancellationToken,
    ) -> Ownership {
        self.take_name((identity.tenant.clone(), identity.user.clone(), subscriber), taken_over)
    }

    fn take_name(self: Arc<Self>, name: Name, taken_over: CancellationToken) -> Ownership {
        let mut owners = self.lock();
        owners.last_serial += 1;
        let serial = owners.last_serial;
        let older = owners.by_name.insert(name.clone(), (serial, taken_over));
        drop(owners);
        if let Some((_, older)) = older {
            older.cancel();
        }
        Ownership { names: self, name, serial }
    }
}

impl Ownership {
    /// The key of what its owner acknowledges on a channel.
    pub(crate) fn acknowledged_key(&self, channel: Channel) -> AcknowledgedKey {
        let (tenant, user, subscriber) = self.name.clone();
        AcknowledgedKey { tenant, user, subscriber, channel }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        let mut owners = self.names.lock();
        if owners.by_name.get(&self.name).is_some_and(|(serial, _)| *serial == self.serial) {
            owners.by_name.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_of_old_that_ends_late_takes_the_name_from_nobody() {
        let names = Arc::new(Names::default());
        let take = |taken_over: &CancellationToken| {
            let name = (
                Tenant::parse("acme").unwrap(),
                UserId::parse("ann").unwrap(),
                SubscriberName::parse("kiosk").unwrap(),
            );
            names.clone().take_name(name, taken_over.clone())
        };
        let tokens: Vec<_> = (0..4).map(|_| CancellationToken::new()).collect();
        let first = take(&tokens[0]);
        drop(take(&tokens[1]));
        let _third = take(&tokens[2]);
        drop(first);
        let _fourth = take(&tokens[3]);
        let told: Vec<_> = tokens.iter().map(CancellationToken::is_cancelled).collect();
        assert_eq!(told, [true, false, true, false]);
    }
}
