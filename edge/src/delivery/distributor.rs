//! The node's one link to the backplane, and which worker wants which channel. An event crosses to
//! each interested worker once. Never waits for a worker: a full one is told that it may have missed something.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meridian_core::seams::{BackplaneError, Delivery, Ephemeral, Link, LinkControl};
use meridian_core::vocabulary::{ChannelKey, Event, Stream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// What a worker's hub is fed with.
#[derive(Debug, Clone)]
pub(crate) enum HubInput {
    Event(Arc<Event>),
    Ephemeral(Arc<Ephemeral>),
    /// Compare the heads of all channels.
    Lossy,
}

/// Who wants what. Shared by the workers, which say it, and the distributor, which goes by it; held
/// for single look-ups only.
pub(crate) struct Interest {
    /// One bit a worker.
    workers: Mutex<HashMap<ChannelKey, u64>>,
    control: Arc<dyn LinkControl>,
    /// One change at a time: what one worker leaves while another comes must reach the backplane in
    /// the order in which it was noted here.
    turn: Semaphore,
}

struct Mailbox {
    sender: mpsc::Sender<HubInput>,
    missed: AtomicBool,
}

/// Feeds the workers from the link.
pub(crate) struct Distributor {
    link: mpsc::Receiver<Delivery>,
    interest: Arc<Interest>,
    mailboxes: Vec<Mailbox>,
}

impl Interest {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelKey, u64>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows for a worker; what is applied after it returns reaches the worker.
    pub(crate) async fn follow(
        &self,
        worker: usize,
        channels: &[(ChannelKey, Stream)],
    ) -> Result<(), BackplaneError> {
        let _turn = self.turn.acquire().await;
        {
            let mut workers = self.lock();
            for (key, _) in channels {
                *workers.entry(key.clone()).or_default() |= 1 << worker;
            }
        }
        // Also where another worker follows already: its own follow may still be under way.
        self.control.follow(channels).await
    }

    /// Stops for a worker; the backplane is told when no worker is left.
    pub(crate) async fn unfollow(
        &self,
        worker: usize,
        channels: &[(ChannelKey, Stream)],
    ) -> Result<(), BackplaneError> {
        let _turn = self.turn.acquire().await;
        let unwanted: Vec<_> = {
            let mut workers = self.lock();
            let gone = |key: &ChannelKey, workers: &mut HashMap<ChannelKey, u64>| {
                let Some(mask) = workers.get_mut(key) else { return false };
                *mask &= !(1 << worker);
                let unwanted = *mask == 0;
                if unwanted {
                    workers.remove(key);
                }
                unwanted
            };
            channels.iter().filter(|(key, _)| gone(key, &mut workers)).cloned().collect()
        };
        if unwanted.is_empty() { Ok(()) } else { self.control.unfollow(&unwanted).await }
    }

    fn mask(&self, key: &ChannelKey) -> u64 {
        self.lock().get(key).copied().unwrap_or(0)
    }
}

impl Distributor {
    /// Takes the link over; `mailboxes` are the workers', in their order.
    pub(crate) fn new(link: Link, mailboxes: Vec<mpsc::Sender<HubInput>>) -> (Self, Arc<Interest>) {
        let interest = Arc::new(Interest {
            workers: Mutex::default(),
            control: link.control,
            turn: Semaphore::new(1),
        });
        let mailboxes = mailboxes
            .into_iter()
            .map(|sender| Mailbox { sender, missed: AtomicBool::new(false) })
            .collect();
        let distributor = Self { link: link.deliveries, interest: interest.clone(), mailboxes };
        (distributor, interest)
    }

    /// Runs until the shutdown or the link's end.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::with_capacity(256);
        loop {
            let received = tokio::select! {
                received = self.link.recv_many(&mut batch, 256) => received,
                () = shutdown.cancelled() => return,
            };
            if received == 0 {
                return;
            }
            for delivery in batch.drain(..) {
                self.distribute(delivery);
            }
        }
    }

    fn distribute(&self, delivery: Delivery) {
        let (mask, input) = match delivery {
            Delivery::Event(event) => (self.interest.mask(&event.key), HubInput::Event(event)),
            Delivery::Ephemeral(event) => {
                (self.interest.mask(&event.key), HubInput::Ephemeral(event))
            }
            Delivery::Lossy => (u64::MAX, HubInput::Lossy),
        };
        for (worker, mailbox) in self.mailboxes.iter().enumerate() {
            if mask & (1 << worker) != 0 {
                mailbox.send(input.clone());
            }
        }
    }
}

impl Mailbox {
    fn send(&self, input: HubInput) {
        if self.missed.load(Ordering::Relaxed) {
            if self.sender.try_send(HubInput::Lossy).is_err() {
                return;
            }
            self.missed.store(false, Ordering::Relaxed);
        }
        if self.sender.try_send(input).is_err() {
            self.missed.store(true, Ordering::Relaxed);
        }
    }
}
