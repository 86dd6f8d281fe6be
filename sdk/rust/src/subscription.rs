//! A subscription as the application holds it.

use crate::connection::Opened;
use crate::mailbox::Reader;
use crate::update::Update;

/// Events of one channel, in order. Dropping it unsubscribes. What is not taken is bounded: beyond
/// that, events are read again from here once there is room (ephemeral ones are counted as skipped).
#[derive(Debug)]
pub struct Subscription {
    channel: String,
    class: String,
    cursor: Option<String>,
    behind: Option<String>,
    reader: Reader,
}

impl Subscription {
    pub(crate) fn new(channel: String, opened: Opened, reader: Reader) -> Self {
        let Opened { class, cursor, behind } = opened;
        Self { channel, class, cursor, behind, reader }
    }

    /// The next update; `None` once the subscription is over. Cancel safe.
    pub async fn next(&mut self) -> Option<Update> {
        let update = self.reader.next().await?;
        self.moved(&update);
        Some(update)
    }

    /// The next update if one is there.
    pub fn try_next(&mut self) -> Option<Update> {
        let update = self.reader.take().ok()??;
        self.moved(&update);
        Some(update)
    }

    /// The cursor behind what was taken last: kept, a later subscription goes on from it. `None` on
    /// an ephemeral channel.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The cursor up to which the region had applied the log, where the subscription began ahead
    /// of it.
    pub fn behind(&self) -> Option<&str> {
        self.behind.as_deref()
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The channel's delivery class: `strict`, `feed` or `ephemeral`.
    pub fn class(&self) -> &str {
        &self.class
    }

    fn moved(&mut self, update: &Update) {
        match update {
            Update::Event(event) => {
                if let Some(cursor) = event.cursor() {
                    self.cursor = Some(cursor);
                }
            }
            Update::Gap(gap) => self.cursor = Some(gap.cursor.clone()),
            Update::Skipped(_) | Update::Ended(_) => {}
        }
    }
}
