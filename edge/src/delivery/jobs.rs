//! Does the hub's jobs: opening and closing channels, repairs and pages, and the sweep of heads.
//! One task a worker, bounded in what it does at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use meridian_core::vocabulary::{ChannelKey, Position, Stream};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::read::{PAGE_BYTES, PAGE_EVENTS, Read, read_towards};
use super::sweep::sweep_heads;
use super::values::read_values;
use super::{Interest, ReadError, Stores};
use crate::frame::{CHUNK_BYTES, EncodedEvents, chunks};
use crate::hub::{Hub, Job, Page, Place};

/// Reads under way at once, a worker.
const CONCURRENT_READS: usize = 32;
/// Calls that open or close channels under way at once, a worker: reads never hold them up.
const CONCURRENT_LINKS: usize = 8;
/// Channels that are opened by one call to the backplane, at most.
const OPEN_BATCH: usize = 256;
/// Between two attempts at a store that does not answer or is not that far yet.
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// A worker's hands: shared state and the wake-ups between its tasks.
#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) worker: usize,
    pub(crate) stores: Stores,
    pub(crate) hub: Rc<RefCell<Hub>>,
    pub(crate) interest: std::sync::Arc<Interest>,
    /// Rung when the hub has jobs.
    pub(crate) jobs: Rc<Notify>,
    /// Rung when the hub has news to fan out.
    pub(crate) news: Rc<Notify>,
    /// Rung when everything must be compared at once.
    pub(crate) suspect: Rc<Notify>,
}

impl Hands {
    /// Wakes whoever has to go on after the hub was changed.
    pub(crate) fn ring(&self) {
        let (jobs, dirty) = {
            let hub = self.hub.borrow();
            (hub.has_jobs(), hub.is_dirty())
        };
        if jobs {
            self.jobs.notify_one();
        }
        if dirty {
            self.news.notify_one();
        }
    }
}

/// Runs until dropped.
pub(crate) async fn run_jobs(hands: Hands) {
    let mut links = Lot::new(CONCURRENT_LINKS);
    let mut reads = Lot::new(CONCURRENT_READS);
    let sweep = sweep_heads(hands.clone());
    tokio::pin!(sweep);
    loop {
        links.start(&hands);
        reads.start(&hands);
        tokio::select! {
            () = hands.jobs.notified() => {}
            () = links.next() => hands.ring(),
            () = reads.next() => hands.ring(),
            () = &mut sweep => {}
        }
        for work in grouped(hands.hub.borrow_mut().take_jobs()) {
            match work {
                Work::Open(_) | Work::Close(_) => links.waiting.push_back(work),
                Work::Repair { .. } | Work::Fetch { .. } => reads.waiting.push_back(work),
            }
        }
    }
}

/// Work of one kind: started in order, so many at once.
struct Lot {
    most: usize,
    waiting: VecDeque<Work>,
    running: FuturesUnordered<LocalBoxFuture<'static, Option<(Work, Duration)>>>,
    /// What failed, until it is tried again.
    resting: FuturesUnordered<LocalBoxFuture<'static, Work>>,
}

impl Lot {
    fn new(most: usize) -> Self {
        let (running, resting) = (FuturesUnordered::new(), FuturesUnordered::new());
        Self { most, waiting: VecDeque::new(), running, resting }
    }

    fn start(&mut self, hands: &Hands) {
        while self.running.len() < self.most
            && let Some(work) = self.waiting.pop_front()
        {
            self.running.push(Box::pin(do_job(hands.clone(), work)));
        }
    }

    /// Waits until something is done, or is to be tried again.
    async fn next(&mut self) {
        tokio::select! {
            Some(done) = self.running.next(), if !self.running.is_empty() => {
                if let Some((work, pause)) = done {
                    self.resting.push(Box::pin(async move {
                        sleep(pause).await;
                        work
                    }));
                }
            }
            Some(work) = self.resting.next(), if !self.resting.is_empty() => {
                self.waiting.push_back(work);
            }
            else => std::future::pending().await,
        }
    }
}

/// What is done by one call.
enum Work {
    Open(Vec<(u32, ChannelKey, Stream, bool)>),
    Close(Vec<(ChannelKey, Stream)>),
    Repair {
        channel: u32,
        key: ChannelKey,
        stream: Stream,
        after: Position,
        known: Option<Position>,
    },
    /// `pause`: before the next attempt, if this one brings nothing.
    Fetch {
        channel: u32,
        key: ChannelKey,
        stream: Stream,
        place: Place,
        towards: Position,
        pause: Duration,
    },
}

fn grouped(jobs: Vec<Job>) -> Vec<Work> {
    let (mut opens, mut closes, mut work) = (Vec::new(), Vec::new(), Vec::new());
    for job in jobs {
        match job {
            Job::Open { channel, key, stream, stored } => {
                opens.push((channel, key, stream, stored));
            }
            Job::Close { key, stream } => closes.push((key, stream)),
            Job::Repair { channel, key, stream, after, known } => {
                work.push(Work::Repair { channel, key, stream, after, known });
            }
            Job::Fetch { channel, key, stream, place, towards } => {
                work.push(Work::Fetch { channel, key, stream, place, towards, pause: RETRY });
            }
        }
    }
    // A channel that is closed and opened again in one go must end up open.
    if !closes.is_empty() {
        work.insert(0, Work::Close(closes));
    }
    work.extend(opens.chunks(OPEN_BATCH).map(|chunk| Work::Open(chunk.to_vec())));
    work
}

/// Work that failed and must be done again, with the pause before it.
async fn do_job(hands: Hands, work: Work) -> Option<(Work, Duration)> {
    match work {
        Work::Open(channels) => open(&hands, channels).await,
        Work::Close(channels) => {
            if hands.interest.unfollow(hands.worker, &channels).await.is_err() {
                tracing::debug!(
                    count = channels.len(),
                    "could not unfollow; deliveries are ignored"
                );
            }
        }
        Work::Repair { channel, key, stream, after, known } => {
            let read = read_towards(&hands.stores, &key, &stream, after, known).await;
            repaired(&hands, channel, read).await;
        }
        Work::Fetch { channel, key, stream, place, towards, pause } => {
            let read = match place {
                Place::Events(after) => fetch(&hands.stores, &key, &stream, after, towards).await,
                Place::Values(from) => read_values(&hands.stores, &key, &stream, from).await,
            };
            match read {
                Some(page) => hands.hub.borrow_mut().paged(channel, place, page),
                None if hands.hub.borrow_mut().still_wants(channel, place) => {
                    let next = Work::Fetch {
                        channel,
                        key,
                        stream,
                        place,
                        towards,
                        pause: (pause * 2).min(RETRY_MOST),
                    };
                    return Some((next, pause));
                }
                None => {}
            }
        }
    }
    None
}

async fn open(hands: &Hands, channels: Vec<(u32, ChannelKey, Stream, bool)>) {
    let names: Vec<_> =
        channels.iter().map(|(_, key, stream, _)| (key.clone(), stream.clone())).collect();
    if hands.interest.follow(hands.worker, &names).await.is_err() {
        sleep(RETRY).await;
        let mut hub = hands.hub.borrow_mut();
        for (id, ..) in channels {
            hub.open_failed(id);
        }
        return;
    }
    for (id, key, stream, stored) in channels {
        let floor = if stored { vouched(hands, &key, &stream).await } else { None };
        let floor = floor.unwrap_or(Position::start_of(stream.epoch));
        hands.hub.borrow_mut().opened(id, floor);
    }
}

/// What the region vouches for on this channel right now: nothing of it was applied at or below this
/// position that a reader at the position could lack.
async fn vouched(hands: &Hands, key: &ChannelKey, stream: &Stream) -> Option<Position> {
    let hot = hands.stores.backplane.heads(stream, std::slice::from_ref(key)).await;
    if let Some(hot) = hot.ok().and_then(|heads| heads.first().copied())
        && let Some(marker) = hot.marker
    {
        return Some(hot.head.map_or(marker, |head| head.max(marker)));
    }
    let checkpoints = hands.stores.history.checkpoints(std::slice::from_ref(stream)).await.ok()?;
    checkpoints.get(&stream.partition).map(|checkpoint| checkpoint.position)
}

async fn repaired(hands: &Hands, id: u32, read: Result<Read, ReadError>) {
    match read {
        Ok(read) => {
            let more = read.more;
            hands.hub.borrow_mut().repaired(id, &page_of(read), more);
        }
        Err(_) => {
            sleep(RETRY).await;
            hands.hub.borrow_mut().repair_failed(id);
        }
    }
}

/// Reads a page; `None`: there is no progress yet.
async fn fetch(
    stores: &Stores,
    key: &ChannelKey,
    stream: &Stream,
    after: Position,
    towards: Position,
) -> Option<Page> {
    match read_towards(stores, key, stream, after, Some(towards)).await {
        Ok(read) if read.position > after => Some(page_of(read)),
        Ok(_) | Err(ReadError::NotYet { .. }) => None,
        Err(ReadError::Unavailable) => {
            tracing::warn!(channel = ?key, "history does not answer; a reader waits");
            None
        }
    }
}

fn page_of(read: Read) -> Page {
    let chunks = chunks(read.events, EncodedEvents::new);
    debug_assert!(chunks.len() <= 2 * PAGE_BYTES / CHUNK_BYTES + PAGE_EVENTS);
    Page { gone: read.gone, chunks, position: read.position, values: None }
}
