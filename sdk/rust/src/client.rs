//! The client as the application holds it: asks the driver and waits for its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meridian_core::protocol::{
    Ack, Command, HistoryPage, HistoryRequest, Message, ModePush, Published,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::builder::Builder;
use crate::connection::{Ask, Region, Session, State};
use crate::error::{RequestError, SubscribeError};
use crate::mailbox::{Attention, Bounds, mailbox};
use crate::publish::{Publish, Receipt};
use crate::subscription::Subscription;
use crate::update::Start;

/// A client of one gateway, in one region or several. Clones share its one connection; the last one dropped ends it.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) asks: mpsc::Sender<Ask>,
    /// One permit a publish without an answer.
    pub(crate) publishes: Semaphore,
    pub(crate) attention: Arc<Attention>,
    pub(crate) bounds: Bounds,
    pub(crate) serials: AtomicU64,
    pub(crate) state: watch::Receiver<State>,
    pub(crate) region: watch::Receiver<Option<Region>>,
    pub(crate) modes: watch::Receiver<Option<ModePush>>,
    pub(crate) _task: Task,
}

/// The driver's task; it ends with its owner.
#[derive(Debug)]
pub(crate) struct Task(pub(crate) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Begins with the server's address: `http`, `https`, `ws` or `wss`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Subscribes to a channel, which a client can be only once at a time. Comes back when the
    /// server has answered; waits for a connection where there is none.
    pub async fn subscribe(
        &self,
        channel: impl Into<String>,
        start: Start,
    ) -> Result<Subscription, SubscribeError> {
        let channel = channel.into();
        let serial = self.shared.serials.fetch_add(1, Ordering::Relaxed);
        let attention = self.shared.attention.clone();
        let (mailbox, reader) = mailbox(serial, self.shared.bounds, attention);
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Subscribe { channel: channel.clone(), start, mailbox, reply };
        self.shared.asks.send(ask).await.map_err(|_| SubscribeError::Closed)?;
        let opened = answer.await.map_err(|_| SubscribeError::Closed)??;
        Ok(Subscription::new(channel, opened, reader))
    }

    /// Publishes an event; comes back when the log has it. Sent again after a reconnect and while
    /// the server says retry, always with the same id. Dropping the future does not take the event
    /// back.
    pub async fn publish(&self, publish: Publish) -> Result<Receipt, RequestError> {
        let _permit = self.permit().await?;
        match self.request(Command::Publish(publish.0)).await? {
            Message::Published { cursor, .. } => Ok(Receipt::new(cursor)),
            _ => Err(RequestError::UnexpectedReply),
        }
    }

    /// Publishes events that keep their order. Results stand in the order of the events.
    pub async fn publish_batch(
        &self,
        events: Vec<Publish>,
    ) -> Result<Vec<Result<Receipt, RequestError>>, RequestError> {
        let _permit = self.permit().await?;
        let events = events.into_iter().map(|publish| publish.0).collect();
        match self.request(Command::PublishBatch { events }).await? {
            Message::PublishedBatch { results, .. } => Ok(results
                .into_iter()
                .map(|result| match result {
                    Published::Stored { cursor } => Ok(Receipt::new(cursor)),
                    Published::Refused(error) => Err(RequestError::Refused(error)),
                })
                .collect()),
            _ => Err(RequestError::UnexpectedReply),
        }
    }

    /// Reads history: at most `limit` events after a cursor, oldest first.
    pub async fn history(
        &self,
        channel: impl Into<String>,
        after: impl Into<String>,
        limit: u32,
    ) -> Result<HistoryPage, RequestError> {
        self.read_history(HistoryRequest {
            channel: channel.into(),
            after: Some(after.into()),
            last: None,
            limit: Some(limit),
        })
        .await
    }

    /// Reads the newest `last` events, oldest first.
    pub async fn newest(
        &self,
        channel: impl Into<String>,
        last: u32,
    ) -> Result<HistoryPage, RequestError> {
        self.read_history(HistoryRequest {
            channel: channel.into(),
            after: None,
            last: Some(last),
            limit: None,
        })
        .await
    }

    async fn read_history(&self, request: HistoryRequest) -> Result<HistoryPage, RequestError> {
        match self.request(Command::History(request)).await? {
            Message::History(_, page) => Ok(page),
            _ => Err(RequestError::UnexpectedReply),
        }
    }

    /// Records that this `subscriber` took everything up to a cursor.
    pub async fn ack(
        &self,
        channel: impl Into<String>,
        cursor: impl Into<String>,
    ) -> Result<(), RequestError> {
        let ack = Ack { channel: channel.into(), cursor: cursor.into(), reset: false };
        self.send_ack(ack).await
    }

    /// Sets the recorded position, which may lie below the one before.
    pub async fn reset_ack(
        &self,
        channel: impl Into<String>,
        cursor: impl Into<String>,
    ) -> Result<(), RequestError> {
        let ack = Ack { channel: channel.into(), cursor: cursor.into(), reset: true };
        self.send_ack(ack).await
    }

    async fn send_ack(&self, ack: Ack) -> Result<(), RequestError> {
        match self.request(Command::Ack(ack)).await? {
            Message::Acked { .. } => Ok(()),
            _ => Err(RequestError::UnexpectedReply),
        }
    }

    /// Goes on with a new token of the same tenant and user; how long it is good for.
    pub async fn refresh(
        &self,
        token: impl Into<String>,
    ) -> Result<Option<Duration>, RequestError> {
        match self.request(Command::Refresh { token: token.into() }).await? {
            Message::Refreshed { expires_in_ms, .. } => {
                Ok(expires_in_ms.map(Duration::from_millis))
            }
            _ => Err(RequestError::UnexpectedReply),
        }
    }

    /// The time that a question and its answer take.
    pub async fn ping(&self) -> Result<Duration, RequestError> {
        let asked = Instant::now();
        match self.request(Command::Ping).await? {
            Message::Pong { .. } => Ok(asked.elapsed()),
            _ => Err(RequestError::UnexpectedReply),
        }
    }

    /// What the client is doing, to watch.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.clone()
    }

    /// How much of its service the node gives, to watch; `None`: all of it. This client stays connected in
    /// every mode: a program that is to poll instead does so by the HTTP API.
    pub fn modes(&self) -> watch::Receiver<Option<ModePush>> {
        self.shared.modes.clone()
    }

    /// The region of the running or last connection, and what brought the client there, to watch.
    /// `None` before the first.
    pub fn region(&self) -> watch::Receiver<Option<Region>> {
        self.shared.region.clone()
    }

    /// What was agreed with the server, while there is a connection.
    pub fn session(&self) -> Option<Arc<Session>> {
        match &*self.shared.state.borrow() {
            State::Connected(session) => Some(session.clone()),
            _ => None,
        }
    }

    /// Closes the connection and waits for that. Everything that waits for an answer fails as closed;
    /// subscriptions end behind what they hold.
    pub async fn close(&self) {
        let _ = self.shared.asks.send(Ask::Close).await;
        let mut state = self.shared.state.clone();
        let _ = state.wait_for(|state| matches!(state, State::Closed(_))).await;
    }

    async fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, RequestError> {
        self.shared.publishes.acquire().await.map_err(|_| RequestError::Closed)
    }

    async fn request(&self, command: Command) -> Result<Message, RequestError> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Request { command, reply };
        self.shared.asks.send(ask).await.map_err(|_| RequestError::Closed)?;
        answer.await.map_err(|_| RequestError::Closed)?
    }
}
