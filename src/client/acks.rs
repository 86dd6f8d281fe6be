//! Acknowledging what was printed: never more, and never more often than once a second.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use meridian_client::{Client, Code};
use tokio::time::{Instant, sleep_until};

use super::failure::{Failure, Stop};

const EVERY: Duration = Duration::from_secs(1);

type Running = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Positions on their way to the gateway.
pub(super) struct Acks {
    client: Client,
    /// Printed and not acknowledged, by channel.
    due: BTreeMap<String, String>,
    running: Option<Running>,
    next_at: Instant,
}

impl Acks {
    pub(super) fn new(client: Client) -> Self {
        Self { client, due: BTreeMap::new(), running: None, next_at: Instant::now() }
    }

    /// Everything up to this cursor was printed.
    pub(super) fn printed(&mut self, channel: &str, cursor: &str) {
        self.due.insert(channel.to_owned(), cursor.to_owned());
    }

    /// Works on; returns now and then, or with what was refused. Cancel safe.
    pub(super) async fn step(&mut self) -> Result<(), Stop> {
        if self.running.is_none() {
            if self.due.is_empty() {
                return std::future::pending().await;
            }
            sleep_until(self.next_at).await;
            self.begin();
        }
        self.end().await
    }

    /// Acknowledges all that is left.
    pub(super) async fn finish(&mut self) -> Result<(), Stop> {
        self.end().await?;
        self.begin();
        self.end().await
    }

    fn begin(&mut self) {
        self.next_at = Instant::now() + EVERY;
        let due = std::mem::take(&mut self.due);
        self.running = Some(Box::pin(send(self.client.clone(), due)));
    }

    async fn end(&mut self) -> Result<(), Stop> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let ended = running.await;
        self.running = None;
        Ok(ended?)
    }
}

async fn send(client: Client, due: BTreeMap<String, String>) -> Result<(), Failure> {
    for (channel, cursor) in due {
        let Err(error) = client.ack(&channel, &cursor).await else { continue };
        // A new connection that has not subscribed again yet: the next one covers this one.
        if matches!(error.code(), Some(Code::NotSubscribed | Code::AckAhead)) {
            continue;
        }
        return Err(Failure::request(&error).on(&channel));
    }
    Ok(())
}
