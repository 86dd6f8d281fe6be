//! The signals that ask a command to end: the first in order, the second at once.

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::failure::Stop;
use crate::process::Signals;

/// Whether someone asked for the end.
pub(super) struct Interrupt {
    asked: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Interrupt {
    /// From now on a signal asks. Needs a runtime.
    pub(super) fn listen() -> Result<Self> {
        let signals = Signals::listen()?;
        let asked = CancellationToken::new();
        let task = tokio::spawn(listen(signals, asked.clone()));
        Ok(Self { asked, _task: AbortOnDropHandle::new(task) })
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Returns once someone asked.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Does some work unless someone asks meanwhile.
    pub(super) async fn stops<T>(
        &self,
        work: impl Future<Output = Result<T, Stop>>,
    ) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.asked() => Err(Stop::Interrupted),
            done = work => done,
        }
    }
}

async fn listen(mut signals: Signals, asked: CancellationToken) {
    signals.next().await;
    asked.cancel();
    // A reader of the output that takes nothing would hold the end up.
    signals.next().await;
    std::process::exit(1);
}
