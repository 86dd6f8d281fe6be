//! The writes that a backplane carried out, in order, to make an older state of it again.

use crate::seams::{Applied, Backplane, BackplaneError, Stale};
use crate::vocabulary::{ChannelKey, Position, Stream};

#[derive(Default)]
pub(super) struct Journal {
    writes: Vec<Noted>,
}

/// A write of a partition.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    stream: Stream,
    write: Write,
}

#[derive(Debug, Clone)]
pub(super) enum Write {
    Apply(Applied),
    /// `stale: None`: all of the partition's channels.
    Repair {
        found: Option<Position>,
        stale: Option<Vec<ChannelKey>>,
        restored: Position,
    },
    Trim(Position),
}

impl Journal {
    pub(super) fn note(&mut self, stream: &Stream, write: Write) {
        self.writes.push(Noted { stream: stream.clone(), write });
    }

    pub(super) fn clear(&mut self) {
        self.writes.clear();
    }

    /// Forgets the last `count` writes of a partition.
    pub(super) fn lose(&mut self, stream: &Stream, count: usize) {
        for _ in 0..count {
            let Some(last) = self.writes.iter().rposition(|noted| noted.stream == *stream) else {
                return;
            };
            self.writes.remove(last);
        }
    }

    pub(super) fn writes(&self) -> Vec<Noted> {
        self.writes.clone()
    }
}

impl Noted {
    /// Carries the write out on another backplane.
    pub(super) async fn repeat<B: Backplane>(&self, backplane: &B) -> Result<(), BackplaneError> {
        match &self.write {
            Write::Apply(applied) => {
                backplane.apply(&self.stream, std::slice::from_ref(applied)).await?;
            }
            Write::Repair { found, stale, restored } => {
                let stale = stale.as_deref().map_or(Stale::All, Stale::Channels);
                backplane.repair(&self.stream, *found, stale, *restored).await?;
            }
            Write::Trim(checkpoint) => {
                backplane.trim_below(&self.stream, *checkpoint).await?;
            }
        }
        Ok(())
    }
}
