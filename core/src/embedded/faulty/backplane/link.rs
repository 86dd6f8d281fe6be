//! A link whose deliveries pass a script, and that can be moved to another backplane. Owns the task
//! that pumps them; the task ends with the link.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::deliveries::Way;
use super::super::{BackplaneFaults, Rule};
use super::{Announce, lock};
use crate::seams::{Backplane, BackplaneError, Delivery, Link, LinkControl};
use crate::vocabulary::{ChannelKey, Stream};

/// Deliveries between the script and the link's reader.
const CAPACITY: usize = 8_192;

/// What befalls deliveries on all links.
pub(super) struct Script {
    pub(super) faults: BackplaneFaults,
    pub(super) rules: Vec<Rule>,
}

/// The faulty backplane's end of a link.
pub(super) struct Outer {
    sender: mpsc::Sender<Delivery>,
    way: Arc<Mutex<Way>>,
    script: Arc<Mutex<Script>>,
    followed: Mutex<HashMap<ChannelKey, Stream>>,
    inner: Mutex<Inner>,
}

/// The present inner link.
struct Inner {
    control: Arc<dyn LinkControl>,
    pump: JoinHandle<()>,
}

struct Control(Arc<Outer>);

impl Outer {
    pub(super) async fn open<B: Backplane>(
        inner: &B,
        seed: u64,
        script: Arc<Mutex<Script>>,
    ) -> Result<(Arc<Self>, Link), BackplaneError> {
        let (sender, deliveries) = mpsc::channel(CAPACITY);
        let way = Arc::new(Mutex::new(Way::new(seed)));
        let link = inner.link().await?;
        let pump = tokio::spawn(pump(link.deliveries, sender.clone(), way.clone(), script.clone()));
        let inner = Mutex::new(Inner { control: link.control, pump });
        let outer = Arc::new(Self { sender, way, script, followed: Mutex::default(), inner });
        let control = Arc::new(Control(outer.clone()));
        Ok((outer, Link { deliveries, control }))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Lets everything arrive that was held back.
    pub(super) async fn release(&self) {
        let held = lock(&self.way).release();
        for delivery in held {
            let _ = self.sender.send(delivery).await;
        }
    }

    /// Moves to another backplane; what is under way is lost.
    pub(super) async fn reconnect<B: Backplane>(
        &self,
        backplane: &B,
        announce: Announce,
    ) -> Result<(), BackplaneError> {
        let link = backplane.link().await?;
        let followed: Vec<_> = lock(&self.followed)
            .iter()
            .map(|(key, stream)| (key.clone(), stream.clone()))
            .collect();
        link.control.follow(&followed).await?;
        let (sender, way, script) = (self.sender.clone(), self.way.clone(), self.script.clone());
        let pump = tokio::spawn(pump(link.deliveries, sender, way, script));
        let old = std::mem::replace(&mut *lock(&self.inner), Inner { control: link.control, pump });
        old.pump.abort();
        if announce == Announce::Lossy {
            let _ = self.sender.send(Delivery::Lossy).await;
        }
        Ok(())
    }

    fn control(&self) -> Arc<dyn LinkControl> {
        lock(&self.inner).control.clone()
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        lock(&self.inner).pump.abort();
    }
}

#[async_trait]
impl LinkControl for Control {
    async fn follow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        lock(&self.0.followed).extend(channels.iter().cloned());
        self.0.control().follow(channels).await
    }

    async fn unfollow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        for (key, _) in channels {
            lock(&self.0.followed).remove(key);
        }
        self.0.control().unfollow(channels).await
    }
}

async fn pump(
    mut deliveries: mpsc::Receiver<Delivery>,
    sender: mpsc::Sender<Delivery>,
    way: Arc<Mutex<Way>>,
    script: Arc<Mutex<Script>>,
) {
    while let Some(delivery) = deliveries.recv().await {
        let arrived = {
            let mut script = lock(&script);
            let Script { faults, rules } = &mut *script;
            lock(&way).pass(delivery, rules, faults)
        };
        for delivery in arrived {
            if sender.send(delivery).await.is_err() {
                return;
            }
        }
    }
}
