//! An answer's body: all of it, or a stream that goes on.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::super::activity::Busy;
use super::pipe::PipeReader;

/// The body of an answer.
pub(crate) enum AnswerBody {
    Whole(Full<Bytes>),
    Stream(PipeReader),
}

impl AnswerBody {
    /// Keeps the connection open as long as there is more to come.
    pub(crate) fn during(self, busy: Busy) -> Self {
        match self {
            Self::Stream(mut reader) => {
                reader.hold(busy);
                Self::Stream(reader)
            }
            whole @ Self::Whole(_) => whole,
        }
    }

    /// The next bytes; `None`: that was all.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let frame = std::future::poll_fn(|task| Pin::new(&mut *self).poll_frame(task)).await?;
        let Ok(frame) = frame;
        frame.into_data().ok()
    }
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl Default for AnswerBody {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(task),
            Self::Stream(reader) => reader.poll_next(task).map(|next| Some(Ok(Frame::data(next?)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
