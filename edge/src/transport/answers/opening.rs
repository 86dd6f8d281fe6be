//! The beginning of a session that answers a request: the answer begins once every channel that was
//! asked for is subscribed to; the first that is not refuses the request.

use meridian_core::protocol::{Code, CommandFrame, Message, ReplyError};
use meridian_core::vocabulary::Channel;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Refusal;
use super::ask::Ask;

/// What the session's beginning comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    Waits,
    Yes,
    Refused(Code),
}

/// A request whose channels are being subscribed to.
pub(super) struct Opening<T> {
    ask: Ask,
    /// The request's commands, until the session has taken them.
    commands: Option<Vec<CommandFrame>>,
    waits_for: usize,
    connected: bool,
    refused: Option<Code>,
    /// Who waits for the answer.
    answer: Option<oneshot::Sender<Result<T, Refusal>>>,
    pub(super) deadline: Instant,
}

impl<T> Opening<T> {
    pub(super) fn new(
        ask: Ask,
        answer: oneshot::Sender<Result<T, Refusal>>,
        deadline: Instant,
    ) -> Self {
        let commands = Some(ask.commands());
        let waits_for = ask.channels.len();
        let answer = Some(answer);
        Self { ask, commands, waits_for, connected: false, refused: None, answer, deadline }
    }

    /// The request's commands, once.
    pub(super) fn take_commands(&mut self) -> Option<Vec<CommandFrame>> {
        self.commands.take()
    }

    /// A message of the session's own.
    pub(super) fn hear(&mut self, message: &Message) {
        match message {
            Message::Connected(..) => self.connected = true,
            Message::Subscribed(Some(_), _) => self.waits_for = self.waits_for.saturating_sub(1),
            Message::Error(id, error) => {
                let channel = id.and_then(|id| self.ask.channel_of(id)).map(str::to_owned);
                self.refuse(error.clone(), channel);
            }
            _ => {}
        }
    }

    pub(super) fn opened(&self) -> Opened {
        match self.refused {
            Some(code) => Opened::Refused(code),
            None if self.connected && self.waits_for == 0 => Opened::Yes,
            None => Opened::Waits,
        }
    }

    /// Whether the channel begins at a place that the request does not name.
    pub(super) fn is_new(&self, channel: &str) -> bool {
        let asked = self.ask.channels.iter().find(|asked| asked.channel == channel);
        let has_cursor = asked.is_some_and(|asked| asked.cursor.is_some());
        let is_bookmarked = Channel::parse(channel)
            .is_ok_and(|channel| self.ask.bookmark.cursor(&channel).is_some());
        !has_cursor && !is_bookmarked
    }

    /// Refuses the request, unless it is answered.
    pub(super) fn refuse(&mut self, error: ReplyError, channel: Option<String>) {
        if let Some(answer) = self.answer.take() {
            self.refused = Some(error.known_code().unwrap_or(Code::Internal));
            // Whoever asked may have gone.
            let _ = answer.send(Err(Box::new((error, channel))));
        }
    }

    /// Answers the request.
    pub(super) fn answer(&mut self, answer: T) {
        if let Some(waiting) = self.answer.take() {
            let _ = waiting.send(Ok(answer));
        }
    }

    /// Waits until whoever asked has gone.
    pub(super) async fn gone(&mut self) {
        match &mut self.answer {
            Some(answer) => answer.closed().await,
            None => std::future::pending().await,
        }
    }
}
