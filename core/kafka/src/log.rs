//! The log seam on Kafka. Owns the clients and tasks of one opened epoch; it goes on with no other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use meridian_core::seams::{AppendError, Appended, Incarnation, Log, LogError, LogRecord};
use meridian_core::vocabulary::{Cursor, Epoch, LogName, Offset, Partition, Position, Record};
use rdkafka::consumer::BaseConsumer;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, blocking};
use crate::context::Context;
use crate::epochs::{self, EpochRecord, OpenError};
use crate::options::Options;
use crate::outbox::Load;
use crate::reader::Room;
use crate::reading::Reading;
use crate::state::{Ended, LogState, Watcher};
use crate::tails::Tails;
use crate::writer::{Parcel, Writer};

/// How long the opening waits for the producer to be ready to send.
const WARM_UP: Duration = Duration::from_secs(3);

/// A log in a Kafka topic.
///
/// Dropping it gives up what is unacknowledged; `close` waits for it.
pub struct KafkaLog {
    incarnation: Incarnation,
    record: EpochRecord,
    options: Arc<Options>,
    state: watch::Receiver<LogState>,
    successor: watch::Receiver<Option<Epoch>>,
    /// Why the region halted the log.
    held: watch::Sender<Option<String>>,
    tails: Arc<Tails>,
    /// Taken out when the log is dropped.
    clients: Option<Clients>,
    tasks: Mutex<JoinSet<()>>,
}

/// What must not be dropped on a runtime's thread.
struct Clients {
    writer: Arc<Writer>,
    reading: Arc<Reading>,
    _cluster: Arc<Cluster>,
}

impl KafkaLog {
    /// Opens a log's newest epoch, creating the first if there is none. Needs a tokio runtime, on which
    /// its tasks run.
    pub async fn open(options: Options, log: LogName) -> Result<Self, OpenError> {
        let options = Arc::new(options);
        let opened = blocking({
            let (options, log) = (options.clone(), log.clone());
            move || Opened::open(&options, &log)
        });
        let opened = opened.await.ok_or(OpenError::Cancelled)??;
        Ok(Self::run(opened, options, &log, LogState::Running))
    }

    /// Opens an epoch as it was known before, without asking Kafka, which may be away: nothing is
    /// appended or read until it said that the epoch still is the one known. `ends` is what is known of
    /// the partitions' ends.
    pub async fn resume(
        options: Options,
        log: LogName,
        record: EpochRecord,
        ends: Vec<(Partition, Offset)>,
    ) -> Result<Self, OpenError> {
        let options = Arc::new(options);
        let opened = blocking({
            let options = options.clone();
            move || Opened::of(Arc::new(Cluster::connect(&options)?), record, &options)
        });
        let opened = opened.await.ok_or(OpenError::Cancelled)??;
        for (partition, end) in ends {
            opened.tails.advance(partition.0, end.0);
        }
        Ok(Self::run(opened, options, &log, LogState::Unproven))
    }

    fn run(opened: Opened, options: Arc<Options>, log: &LogName, first: LogState) -> Self {
        let Opened { cluster, record, tails, writer, reading } = opened;
        let (state_sender, state) = watch::channel(first);
        let (successor_sender, successor) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.clone().run());
        tasks.spawn(writer.clone().probe(cluster.clone()));
        tasks.spawn(reading.clone().run());
        let watcher = Watcher {
            cluster: cluster.clone(),
            options: options.clone(),
            log: log.clone(),
            record: record.clone(),
            state: state_sender,
            successor: successor_sender,
        };
        tasks.spawn(watcher.run());
        Self {
            incarnation: record.incarnation(log),
            record,
            options,
            state,
            successor,
            held: watch::Sender::new(None),
            tails,
            clients: Some(Clients { writer, reading, _cluster: cluster }),
            tasks: Mutex::new(tasks),
        }
    }

    /// Tells when this incarnation has ended, and why.
    pub fn state(&self) -> watch::Receiver<LogState> {
        self.state.clone()
    }

    /// Returns once another epoch of the log goes on, whatever became of this one.
    pub async fn superseded(&self) {
        if self.successor.clone().wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Refuses appends from now on, because the region halted the log; `None`: takes them again.
    pub fn hold(&self, why: Option<String>) {
        self.held.send_if_modified(|held| {
            let changed = *held != why;
            *held = why;
            changed
        });
    }

    /// Why nothing is appended until an operator goes on with the log.
    pub fn halted(&self) -> Option<String> {
        let ended = self.state.borrow().halted().map(ToString::to_string);
        ended.or_else(|| self.held.borrow().clone())
    }

    /// What is recorded of this epoch.
    pub fn record(&self) -> &EpochRecord {
        &self.record
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Stores what is queued, then ends the clients. Later calls answer `Unavailable`.
    pub async fn close(&self) {
        if let Some(clients) = &self.clients {
            clients.writer.close().await;
            clients.reading.close();
        }
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Why nothing is appended now.
    fn refusal(&self) -> Option<AppendError> {
        match &*self.state.borrow() {
            LogState::Unproven => return Some(AppendError::Unavailable),
            LogState::Ended(Ended::Superseded { .. }) => return Some(AppendError::WrongEpoch),
            LogState::Ended(_) => return Some(AppendError::Halted),
            LogState::Running => {}
        }
        self.held.borrow().is_some().then_some(AppendError::Halted)
    }

    fn reading(&self) -> Result<&Arc<Reading>, LogError> {
        let state = self.state.borrow();
        if let Some(ended) = state.halted() {
            return Err(LogError::Ended { why: ended.to_string() });
        }
        let proven = *state != LogState::Unproven;
        let reading = self.clients.as_ref().map(|clients| &clients.reading);
        reading.filter(|_| proven).ok_or(LogError::Unavailable)
    }

    fn place(&self, partition: Partition, offset: Offset) -> Appended {
        let position = Position::at(self.incarnation.epoch, offset);
        Appended { cursor: Cursor { log: self.incarnation.log.clone(), partition, position } }
    }

    fn parcel(&self, record: &Record) -> Parcel {
        let key = record.key.log_key();
        let stored = record.encode();
        let partition = self.partition(&record.key).0;
        let tenant = record.key.tenant.clone();
        let load = Load { partition, tenant, bytes: key.len() + stored.len() };
        Parcel { load, key, stored }
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    async fn append(&self, records: Vec<Record>) -> Vec<Result<Appended, AppendError>> {
        let (Some(clients), None) = (&self.clients, self.refusal()) else {
            let error = self.refusal().unwrap_or(AppendError::Unavailable);
            return vec![Err(error); records.len()];
        };
        let mut parcels = Vec::with_capacity(records.len());
        let mut checked = Vec::with_capacity(records.len());
        for record in &records {
            if record.epoch == self.incarnation.epoch {
                let parcel = self.parcel(record);
                checked.push(Ok(Partition(parcel.load.partition)));
                parcels.push(parcel);
            } else {
                checked.push(Err(AppendError::WrongEpoch));
            }
        }
        let answers =
            if parcels.is_empty() { Vec::new() } else { clients.writer.submit(parcels).await };
        let mut answers = answers.into_iter();
        let mut answer = |partition: Result<Partition, AppendError>| {
            let partition = partition?;
            let offset = answers.next().unwrap_or(Err(AppendError::OutcomeUnknown))?;
            Ok(self.place(partition, offset))
        };
        checked.into_iter().map(&mut answer).collect()
    }

    async fn end(&self, partition: Partition) -> Result<Offset, LogError> {
        let bounds = self.reading()?.bounds(partition.0).await?;
        Ok(Offset(bounds.end))
    }

    fn known_end(&self, partition: Partition) -> Offset {
        Offset(self.tails.end(partition.0).unwrap_or(0))
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let room = Room { records: max_records, bytes: max_bytes };
        self.reading()?.read(partition.0, from.0, room).await
    }

    async fn wait_for(&self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        let reading = self.reading()?.clone();
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| state.halted().is_some());
        tokio::select! {
            waited = reading.wait_for(partition.0, offset.0) => waited,
            Ok(state) = ended => {
                let why = state.halted().map(ToString::to_string).unwrap_or_default();
                Err(LogError::Ended { why })
            }
        }
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let Some(clients) = self.clients.take() else { return };
        let producer = clients.writer.end();
        clients.reading.close();
        // Clients wait for their threads when they are dropped.
        let end = move || drop((producer, clients));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

/// What the opening made.
struct Opened {
    cluster: Arc<Cluster>,
    record: EpochRecord,
    tails: Arc<Tails>,
    writer: Arc<Writer>,
    reading: Arc<Reading>,
}

impl Opened {
    fn open(options: &Arc<Options>, log: &LogName) -> Result<Self, OpenError> {
        let cluster = Arc::new(Cluster::connect(options)?);
        let record = epochs::current(&cluster, options, log)?;
        let partitions = record.partitions;
        let opened = Self::of(cluster, record, options)?;
        opened.writer.warm_up(partitions, WARM_UP);
        Ok(opened)
    }

    /// Asks nobody.
    fn of(
        cluster: Arc<Cluster>,
        record: EpochRecord,
        options: &Arc<Options>,
    ) -> Result<Self, OpenError> {
        let tails = Arc::new(Tails::new(record.partitions));
        let (topic, partitions) = (record.topic.clone(), record.partitions);
        let writer = Writer::open(topic.clone(), options.clone(), tails.clone(), partitions)?;
        let consumer: BaseConsumer<Context> = options.consumer().create_with_context(Context)?;
        let reading = Reading::new(
            Arc::new(consumer),
            cluster.clone(),
            tails.clone(),
            topic.into(),
            partitions,
            options.request,
            options.watch,
        );
        reading.know_ends();
        Ok(Self { cluster, record, tails, writer, reading: Arc::new(reading) })
    }
}
