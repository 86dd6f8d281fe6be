//! The log seam on Kafka. Owns the clients and tasks of one opened epoch; it goes on with no other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use meridian_core::seams::{AppendError, Appended, Incarnation, Log, LogError, LogRecord};
use meridian_core::vocabulary::{Cursor, LogName, Offset, Partition, Position, Record};
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
        let Opened { cluster, record, tails, writer, reading } =
            opened.await.ok_or(OpenError::Cancelled)??;
        let (sender, state) = watch::channel(LogState::Running);
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.clone().run());
        tasks.spawn(writer.clone().probe(cluster.clone()));
        tasks.spawn(reading.clone().run());
        let watcher = Watcher {
            cluster: cluster.clone(),
            options: options.clone(),
            log: log.clone(),
            record: record.clone(),
            state: sender,
        };
        tasks.spawn(watcher.run());
        Ok(Self {
            incarnation: record.incarnation(&log),
            record,
            options,
            state,
            tails,
            clients: Some(Clients { writer, reading, _cluster: cluster }),
            tasks: Mutex::new(tasks),
        })
    }

    /// Tells when this incarnation has ended, and why.
    pub fn state(&self) -> watch::Receiver<LogState> {
        self.state.clone()
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

    /// Why nothing is appended any more.
    fn refusal(&self) -> Option<AppendError> {
        match self.state.borrow().ended()? {
            Ended::Superseded { .. } => Some(AppendError::WrongEpoch),
            _ => Some(AppendError::Unavailable),
        }
    }

    fn reading(&self) -> Result<&Arc<Reading>, LogError> {
        match self.state.borrow().ended() {
            // What a superseded epoch holds can still be read.
            None | Some(Ended::Superseded { .. }) => {}
            Some(_) => return Err(LogError::Unavailable),
        }
        self.clients.as_ref().map(|clients| &clients.reading).ok_or(LogError::Unavailable)
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
        let ended = state.wait_for(|state| {
            matches!(state.ended(), Some(ended) if !matches!(ended, Ended::Superseded { .. }))
        });
        tokio::select! {
            waited = reading.wait_for(partition.0, offset.0) => waited,
            Ok(_) = ended => Err(LogError::Unavailable),
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
        let tails = Arc::new(Tails::new(record.partitions));
        let (topic, partitions) = (record.topic.clone(), record.partitions);
        let writer = Writer::open(topic.clone(), options.clone(), tails.clone(), partitions)?;
        writer.warm_up(partitions, WARM_UP);
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
