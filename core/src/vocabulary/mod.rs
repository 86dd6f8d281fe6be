//! The words of the design as types. Owns their grammar, order and stored forms; does no I/O.

mod channel;
mod cursor;
mod event;
mod mark;
mod position;
mod record;
mod text;

pub use channel::{Channel, ChannelKey, Namespace, partition_of};
pub use cursor::{Cursor, CursorError, MAX_CURSOR_BYTES, Stream};
pub use event::Event;
pub use mark::{SourceMark, SourcePartition, SourcePlace};
pub use position::{Epoch, Offset, Partition, Position, Prev, Verdict, judge};
pub use record::{Body, BodyError, Encoding, EventKind, FeedBounds, Record, RecordError, Scope};
pub use text::{DeviceId, EventId, LogName, NameError, SourceName, SubscriberName, Tenant, UserId};
