//! The native protocol (`docs/protocol.md`): its messages, error codes, limits and codecs. Owns what
//! stands on the wire; knows no session and no socket.

mod bookmark;
mod code;
mod codec;
mod encode;
mod frame;
mod message;
mod payload;
mod wire;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use bookmark::{BOOKMARK_CHANNELS, Bookmark, BookmarkError, MAX_BOOKMARK_BYTES, Tag};
pub use code::{Action, Code};
pub use codec::{Codec, DecodeError, decode_commands, decode_messages, decode_publish};
pub use encode::{encode_command, encode_commands, encode_events, encode_message, encode_values};
pub use frame::{FrameError, FrameReader, put_frame};
pub use message::{
    Ack, Command, CommandFrame, Connect, Connected, Content, EventView, Fallback, GapPush,
    HistoryPage, HistoryRequest, Limits, Message, ModePush, Place, PublishItem, Published,
    Redirect, ReplyError, Subscribe, Subscribed,
};
pub use payload::{PayloadError, check_payload};
