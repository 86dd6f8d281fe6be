//! Reads of a whole log: which partition's reader is asked, what it is told when it stands elsewhere, and
//! what a failure means. Owns the readers and the watch over the ends; it appends nothing.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::seams::{LogError, LogRecord};
use meridian_core::vocabulary::Offset;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use crate::cluster::{self, Bounds, Cluster, blocking};
use crate::context::Context;
use crate::reader::{Filled, Reader, Room};
use crate::single_flight::SingleFlight;
use crate::tails::Tails;

/// A reader that stands right has the next record in this time, or is set up anew: librdkafka can stall
/// without telling.
const STALL: Duration = Duration::from_millis(500);
/// Between two tries of a partition that could not be read.
const RETRY: Duration = Duration::from_millis(50);
/// Who waits looks again at least so often.
const LOOK: Duration = Duration::from_millis(250);
/// A partition that nobody reads is fetched no longer.
const UNUSED: Duration = Duration::from_secs(60);

/// The reading half of a log.
pub(crate) struct Reading {
    consumer: Arc<BaseConsumer<Context>>,
    cluster: Arc<Cluster>,
    tails: Arc<Tails>,
    topic: Arc<str>,
    readers: Vec<Mutex<Reader>>,
    /// By partition: one that has no leader costs only itself.
    asked: Vec<SingleFlight<Bounds>>,
    request: Duration,
    watch: Duration,
}

impl Reading {
    pub(crate) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        cluster: Arc<Cluster>,
        tails: Arc<Tails>,
        topic: Arc<str>,
        partitions: u32,
        request: Duration,
        watch: Duration,
    ) -> Self {
        let reader =
            |partition| Mutex::new(Reader::new(consumer.clone(), topic.clone(), partition));
        let readers = (0..partitions).map(reader).collect();
        let asked = (0..partitions).map(|_| SingleFlight::default()).collect();
        Self { consumer, cluster, tails, topic, readers, asked, request, watch }
    }

    /// A partition's bounds, asked of the broker after this call came. A broker that is away keeps one
    /// request and its thread waiting, whoever asks.
    pub(crate) async fn bounds(&self, partition: u32) -> Result<Bounds, LogError> {
        let asked = self.asked.get(partition as usize).ok_or(LogError::Unavailable)?;
        let (cluster, topic) = (self.cluster.clone(), self.topic.clone());
        let request = move || {
            let failed = |error: &KafkaError| {
                tracing::debug!(%error, topic = &*topic, partition, "bounds are not known");
            };
            cluster.bounds(&topic, partition).inspect_err(failed).ok()
        };
        let bounds = asked.ask(request).await.ok_or(LogError::Unavailable)?;
        self.tails.advance(partition, bounds.end);
        Ok(bounds)
    }

    pub(crate) async fn read(
        &self,
        partition: u32,
        from: u64,
        room: Room,
    ) -> Result<Vec<LogRecord>, LogError> {
        let reader = self.reader(partition)?;
        let known = self.tails.end(partition).unwrap_or(0);
        if from >= known || room.records == 0 {
            let holds = self.bounds(partition).await?.holds(from)?;
            if !holds || room.records == 0 {
                return Ok(Vec::new());
            }
        }
        let mut reader = reader.lock().await;
        reader.check()?;
        if reader.stands_at(from) && reader.fill(STALL).await == Filled::Records {
            return Ok(self.give(partition, &mut reader, room));
        }
        self.read_anew(partition, &mut reader, from, room).await
    }

    /// Sets the reader up at `from`.
    async fn read_anew(
        &self,
        partition: u32,
        reader: &mut Reader,
        from: u64,
        room: Room,
    ) -> Result<Vec<LogRecord>, LogError> {
        let deadline = Instant::now() + self.request;
        let (mut end_is_certain, mut proven) = (false, true);
        loop {
            if proven {
                reader.stand_at(from)?;
            } else {
                reader.stand_unproven_at(from)?;
            }
            match reader.fill(deadline.saturating_duration_since(Instant::now())).await {
                Filled::Records => return Ok(self.give(partition, reader, room)),
                // Between here and the end there is only a hole.
                Filled::OnlyEnd if end_is_certain => return Ok(Vec::new()),
                Filled::OnlyEnd | Filled::Failed => {}
                Filled::Lost => return reader.check().map(|()| Vec::new()),
                Filled::Nothing => {
                    reader.leave();
                    return Err(LogError::Unavailable);
                }
            }
            // A leader that has just taken over may tell too low an end to a reader, never to who asks.
            let bounds = self.bounds(partition).await?;
            if !bounds.holds(from)? {
                return Ok(Vec::new());
            }
            // The record before may be gone where this one is not.
            proven = from > bounds.begin;
            end_is_certain = true;
            if Instant::now() >= deadline {
                return Err(LogError::Unavailable);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn give(&self, partition: u32, reader: &mut Reader, room: Room) -> Vec<LogRecord> {
        let given = reader.give(room);
        let last = given.last().map_or(0, |last| last.offset.0 + 1);
        self.tails.advance(partition, last.max(reader.known_end()));
        given
    }

    pub(crate) async fn wait_for(&self, partition: u32, offset: u64) -> Result<(), LogError> {
        let reader = self.reader(partition)?;
        let mut tail = self.tails.follow(partition).ok_or(LogError::Unavailable)?;
        loop {
            let known = *tail.borrow_and_update();
            if known > offset {
                return Ok(());
            }
            let filled = {
                let mut reader = reader.lock().await;
                reader.check()?;
                if !reader.is_standing() {
                    reader.stand_at(known)?;
                }
                if !reader.look() {
                    reader.check()?;
                    // A log that is shorter now tells who asks, and nobody else.
                    self.bounds(partition).await?.holds(offset)?;
                }
                self.tails.advance(partition, reader.known_end());
                reader.filled().unwrap_or_else(|| Arc::new(Notify::new()))
            };
            if self.tails.end(partition).is_some_and(|end| end > offset) {
                return Ok(());
            }
            tokio::select! {
                changed = tail.changed() => changed.map_err(|_| LogError::Unavailable)?,
                () = filled.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Serves the consumer's events and keeps the known ends fresh, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.watch.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let reading = self.clone();
            if blocking(move || reading.refresh()).await.is_none() {
                return;
            }
            for reader in &self.readers {
                if let Ok(mut reader) = reader.try_lock() {
                    reader.rest(UNUSED);
                }
            }
        }
    }

    /// Before anybody asks: who starts from now must not start at the beginning. In one request a broker:
    /// far from the cluster the producer's warming up ends before it has met every partition. One that
    /// does not answer is not waited for longer than a request.
    pub(crate) fn know_ends(&self) {
        let all_known = || match self.learn_ends()? {
            true => Ok(()),
            false => Err(KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable)),
        };
        if let Err(error) = self.cluster.patiently(all_known) {
            tracing::warn!(%error, topic = &*self.topic, "some partitions' ends are not known yet");
        }
    }

    fn refresh(&self) {
        // No records come here: each partition has a queue of its own.
        while self.consumer.poll(Duration::ZERO).is_some() {}
        if let Err(error) = self.learn_ends() {
            tracing::debug!(%error, topic = &*self.topic, "ends are not known");
        }
    }

    /// Whether all partitions answered.
    fn learn_ends(&self) -> Result<bool, KafkaError> {
        let partitions = self.readers.len() as u32;
        let ends = cluster::ends(&*self.consumer, &self.topic, partitions, self.request)?;
        for (partition, end) in (0..).zip(&ends) {
            self.tails.advance(partition, end.unwrap_or(0));
        }
        Ok(ends.iter().all(Option::is_some))
    }

    /// Ends all assignments.
    pub(crate) fn close(&self) {
        for reader in &self.readers {
            if let Ok(mut reader) = reader.try_lock() {
                reader.leave();
            }
        }
    }

    fn reader(&self, partition: u32) -> Result<&Mutex<Reader>, LogError> {
        self.readers.get(partition as usize).ok_or(LogError::Unavailable)
    }
}

impl Bounds {
    /// Whether there may be a record at `from` or behind it.
    fn holds(self, from: u64) -> Result<bool, LogError> {
        if from > self.end {
            Err(LogError::BeyondEnd { end: Offset(self.end) })
        } else if from < self.begin {
            Err(LogError::Truncated { earliest: Offset(self.begin) })
        } else {
            Ok(from < self.end)
        }
    }
}
