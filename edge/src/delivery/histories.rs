//! The histories of the logs that this region consumes, as one. Owns which of them is asked; stores nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use meridian_core::seams::{
    Acknowledged, AcknowledgedKey, Batch, ChangesFrom, ChangesRead, Checkpoint, Claim, CommitError,
    History, HistoryError, HistoryRead, KeyedAck, ReadBounds, ReadFrom,
};
use meridian_core::vocabulary::{ChannelKey, LogName, Partition, Position, Stream};

/// Histories, each of one log. Acknowledged positions on channels of all logs are in the first one.
pub struct Histories {
    first: Arc<dyn History>,
    by_log: BTreeMap<LogName, Arc<dyn History>>,
}

impl Histories {
    /// The history of a region's first log, to which others are added.
    pub fn new(log: LogName, history: Arc<dyn History>) -> Self {
        Self { first: history.clone(), by_log: BTreeMap::from([(log, history)]) }
    }

    /// Adds another log's.
    #[must_use]
    pub fn and(mut self, log: LogName, history: Arc<dyn History>) -> Self {
        self.by_log.insert(log, history);
        self
    }

    fn of(&self, log: &LogName) -> Result<&Arc<dyn History>, HistoryError> {
        self.by_log.get(log).ok_or_else(|| {
            tracing::error!(%log, "asked for the history of a log that this region does not consume");
            HistoryError
        })
    }
}

#[async_trait]
impl History for Histories {
    async fn claim(&self, stream: &Stream, max_window_rows: usize) -> Result<Claim, HistoryError> {
        self.of(&stream.log)?.claim(stream, max_window_rows).await
    }

    async fn commit(&self, stream: &Stream, batch: Batch) -> Result<(), CommitError> {
        let history = self.of(&stream.log).map_err(|_| CommitError::Unavailable)?;
        history.commit(stream, batch).await
    }

    async fn heads(
        &self,
        log: &LogName,
        keys: &[ChannelKey],
    ) -> Result<HashMap<ChannelKey, Position>, HistoryError> {
        self.of(log)?.heads(log, keys).await
    }

    async fn changed_above(
        &self,
        stream: &Stream,
        above: Position,
    ) -> Result<Vec<ChannelKey>, HistoryError> {
        self.of(&stream.log)?.changed_above(stream, above).await
    }

    async fn checkpoints(
        &self,
        streams: &[Stream],
    ) -> Result<HashMap<Partition, Checkpoint>, HistoryError> {
        let Some(first) = streams.first() else { return Ok(HashMap::new()) };
        self.of(&first.log)?.checkpoints(streams).await
    }

    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ReadFrom,
        bounds: ReadBounds,
    ) -> Result<HistoryRead, HistoryError> {
        self.of(&stream.log)?.read(key, stream, from, bounds).await
    }

    async fn changes(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ChangesFrom,
        bounds: ReadBounds,
    ) -> Result<ChangesRead, HistoryError> {
        self.of(&stream.log)?.changes(key, stream, from, bounds).await
    }

    async fn acknowledge(&self, acks: Vec<KeyedAck>) -> Result<Vec<KeyedAck>, HistoryError> {
        self.first.acknowledge(acks).await
    }

    async fn acknowledged(
        &self,
        key: &AcknowledgedKey,
    ) -> Result<Option<Acknowledged>, HistoryError> {
        self.first.acknowledged(key).await
    }
}
