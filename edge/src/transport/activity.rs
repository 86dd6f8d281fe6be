//! What a connection that serves requests has under way: an idle one ends after a while, one that is to
//! be given up ends at once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A connection that asks for nothing more is gone after this.
const IDLE: Duration = Duration::from_secs(60);

/// When a connection last had something to do.
#[derive(Default)]
pub(super) struct Activity {
    /// `None` before the first request.
    asked: Cell<Option<Instant>>,
    answering: Cell<usize>,
    given_up: Notify,
}

/// A request being answered, until it is dropped.
pub(crate) struct Busy(Rc<Activity>);

impl Activity {
    /// Counts a request.
    pub(super) fn begin(self: &Rc<Self>) -> Busy {
        self.answering.set(self.answering.get() + 1);
        Busy(self.clone())
    }

    /// Waits until nothing was asked for too long: `first` at the beginning, a minute later. hyper limits
    /// the time of a head that has begun in HTTP/1, and nothing before it nor in HTTP/2.
    pub(super) async fn ceased(&self, first: Duration) {
        let began = Instant::now();
        let until_idle = async {
            loop {
                let until = self.asked.get().map_or(began + first, |asked| asked + IDLE);
                if self.answering.get() == 0 && Instant::now() >= until {
                    return;
                }
                sleep_until(until.max(Instant::now() + Duration::from_millis(100))).await;
            }
        };
        tokio::select! {
            () = until_idle => {}
            () = self.given_up.notified() => {}
        }
    }
}

impl Busy {
    /// The peer does not take its answer: its connection ends.
    pub(super) fn give_up(&self) {
        self.0.given_up.notify_one();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.answering.set(self.0.answering.get() - 1);
        self.0.asked.set(Some(Instant::now()));
    }
}
