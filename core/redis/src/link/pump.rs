//! From a connection to the link's reader. Never waits for the reader: when the way is full it drops,
//! and says so once there is room.

use std::sync::Arc;

use fred::interfaces::EventInterface as _;
use fred::types::Message;
use meridian_core::seams::Delivery;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, mpsc};

use super::followed::Followed;
use crate::connect::Connection;

pub(super) struct Pump {
    messages: Receiver<Message>,
    outlet: mpsc::Sender<Delivery>,
    followed: Arc<Followed>,
    alarm: Arc<Notify>,
    /// Something was dropped of which the reader does not know yet.
    missed: bool,
}

impl Pump {
    pub(super) fn new(
        connection: &Connection,
        outlet: mpsc::Sender<Delivery>,
        followed: Arc<Followed>,
    ) -> Self {
        let messages = connection.client().message_rx();
        Self { messages, outlet, followed, alarm: Arc::default(), missed: false }
    }

    /// Notified, the pump sends `Lossy` behind what it has sent.
    pub(super) fn alarm(&self) -> Arc<Notify> {
        self.alarm.clone()
    }

    /// Until nobody reads the link any more.
    pub(super) fn unread(&self) -> impl Future<Output = ()> + Send + 'static {
        let outlet = self.outlet.clone();
        async move { outlet.closed().await }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let outlet = self.outlet.clone();
        loop {
            tokio::select! {
                room = outlet.reserve(), if self.missed => {
                    self.missed = false;
                    if let Ok(room) = room {
                        room.send(Delivery::Lossy);
                    }
                }
                message = self.messages.recv() => match message {
                    Ok(message) => self.pass_on(message),
                    Err(RecvError::Lagged(_)) => self.missed = true,
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                () = self.alarm.notified() => self.missed = true,
            }
        }
    }

    fn pass_on(&mut self, message: Message) {
        if self.missed {
            return;
        }
        let Some(bytes) = message.value.into_bytes() else { return };
        match self.followed.read(&message.channel, &bytes) {
            None => {}
            Some(Ok(delivery)) => {
                let full = self.outlet.try_send(delivery);
                self.missed = matches!(full, Err(mpsc::error::TrySendError::Full(_)));
            }
            Some(Err(error)) => {
                tracing::warn!(%error, channel = %message.channel, "a message can't be read");
                self.missed = true;
            }
        }
    }
}
