//! The links of an in-process backplane: who follows which channel, and the bounded way to each.
//! A full link loses messages and learns of it; it never holds anyone up.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use tokio::sync::mpsc;

use crate::seams::Delivery;
use crate::vocabulary::ChannelKey;

/// All links, and the followers of each channel.
#[derive(Default)]
pub(super) struct Links {
    followers: RwLock<HashMap<ChannelKey, Vec<Arc<Outlet>>>>,
    all: Mutex<Vec<Weak<Outlet>>>,
}

/// The backplane's end of one link.
pub(super) struct Outlet {
    sender: mpsc::Sender<Delivery>,
    /// A place kept free for `Lossy`. `None`: a `Lossy` is on its way behind everything sent, and
    /// what comes before the reader takes it is covered by it.
    spare: Mutex<Option<mpsc::OwnedPermit<Delivery>>>,
    followed: Mutex<HashSet<ChannelKey>>,
}

impl Links {
    /// A new link that holds `capacity` deliveries.
    pub(super) fn open(&self, capacity: usize) -> (Arc<Outlet>, mpsc::Receiver<Delivery>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1) + 1);
        let spare = Mutex::new(sender.clone().try_reserve_owned().ok());
        let outlet = Arc::new(Outlet { sender, spare, followed: Mutex::default() });
        self.prune();
        lock(&self.all).push(Arc::downgrade(&outlet));
        (outlet, receiver)
    }

    /// From the return on, deliveries of these channels reach the link.
    pub(super) fn follow<'a>(
        &self,
        outlet: &Arc<Outlet>,
        keys: impl Iterator<Item = &'a ChannelKey>,
    ) {
        let mut followers = self.followers.write().unwrap_or_else(PoisonError::into_inner);
        let mut followed = lock(&outlet.followed);
        for key in keys {
            if followed.insert(key.clone()) {
                followers.entry(key.clone()).or_default().push(outlet.clone());
            }
        }
    }

    pub(super) fn unfollow<'a>(
        &self,
        outlet: &Arc<Outlet>,
        keys: impl Iterator<Item = &'a ChannelKey>,
    ) {
        let mut followers = self.followers.write().unwrap_or_else(PoisonError::into_inner);
        let mut followed = lock(&outlet.followed);
        for key in keys {
            if followed.remove(key)
                && let Some(of_channel) = followers.get_mut(key)
            {
                of_channel.retain(|other| !Arc::ptr_eq(other, outlet));
                if of_channel.is_empty() {
                    followers.remove(key);
                }
            }
        }
    }

    /// Sends to every link that follows the channel.
    pub(super) fn deliver(&self, key: &ChannelKey, delivery: &Delivery) {
        let followers = self.followers.read().unwrap_or_else(PoisonError::into_inner);
        for outlet in followers.get(key).into_iter().flatten() {
            outlet.send(delivery.clone());
        }
    }

    /// Forgets a link whose reader is gone.
    pub(super) fn end(&self, outlet: &Arc<Outlet>) {
        let followed: Vec<ChannelKey> = lock(&outlet.followed).iter().cloned().collect();
        self.unfollow(outlet, followed.iter());
    }

    /// Forgets the links whose readers are gone.
    fn prune(&self) {
        let mut all = lock(&self.all);
        let known: Vec<Arc<Outlet>> = all.iter().filter_map(Weak::upgrade).collect();
        for outlet in known.iter().filter(|outlet| outlet.is_closed()) {
            self.end(outlet);
        }
        all.retain(|outlet| outlet.upgrade().is_some_and(|outlet| !outlet.is_closed()));
    }
}

impl Outlet {
    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn send(&self, delivery: Delivery) {
        let mut spare = lock(&self.spare);
        let permit = match spare.take() {
            Some(permit) => permit,
            // Without room for a spare place and a delivery the `Lossy` is still on its way.
            None if self.sender.capacity() < 2 => return,
            None => match self.sender.clone().try_reserve_owned() {
                Ok(permit) => permit,
                Err(_) => return,
            },
        };
        if self.sender.try_send(delivery).is_ok() {
            *spare = Some(permit);
        } else {
            permit.send(Delivery::Lossy);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
