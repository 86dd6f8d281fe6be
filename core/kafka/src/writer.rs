//! Appends: the queue, the producer behind it, and the clockwork that expires, probes and gives up. Owns
//! the one producer of a log; which record goes next is `outbox`'s to say.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use meridian_core::seams::AppendError;
use rdkafka::error::KafkaError;
use tokio::sync::Notify;

use crate::call::{self, Answer, Ticket};
use crate::cluster::{Cluster, blocking};
use crate::options::Options;
use crate::outbox::{Limits, Load, Outbox, Refused};
use crate::producer::{Landed, Letter, Producer};
use crate::tails::Tails;

/// How often waiting records are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Between two probes of a log that has fallen silent.
const PROBE: Duration = Duration::from_millis(500);

/// One record of a call.
pub(crate) struct Parcel {
    pub(crate) load: Load,
    pub(crate) key: Vec<u8>,
    pub(crate) stored: Bytes,
}

/// The writing half of a log.
pub(crate) struct Writer {
    topic: String,
    options: Arc<Options>,
    tails: Arc<Tails>,
    state: Mutex<State>,
    /// The last record in flight has landed.
    emptied: Notify,
}

struct State {
    outbox: Outbox<Letter>,
    producer: Option<Producer<Writer>>,
    /// Reports of earlier producers no longer count.
    generation: u64,
    closed: bool,
}

impl Writer {
    pub(crate) fn open(
        topic: String,
        options: Arc<Options>,
        tails: Arc<Tails>,
        partitions: u32,
    ) -> Result<Arc<Self>, KafkaError> {
        let outbox = Outbox::new(Limits::of(&options), partitions, Instant::now());
        let state = State { outbox, producer: None, generation: 0, closed: false };
        let emptied = Notify::new();
        let writer = Arc::new(Self { topic, options, tails, state: Mutex::new(state), emptied });
        writer.replace(&mut writer.lock())?;
        Ok(writer)
    }

    /// Waits until the first record would be sent at once, or `patience` is over. Blocks.
    pub(crate) fn warm_up(&self, partitions: u32, patience: Duration) {
        let started = Instant::now();
        // Taken out meanwhile: nobody appends yet, and the lock must not be held over requests.
        let Some(producer) = self.lock().producer.take() else { return };
        for partition in 0..partitions {
            // Makes the producer know each leader, and connect to it.
            let left = patience.saturating_sub(started.elapsed());
            let bounds = producer.client().fetch_watermarks(&self.topic, partition as i32, left);
            if let Ok((_, end)) = bounds {
                self.tails.advance(partition, u64::try_from(end).unwrap_or(0));
            }
        }
        while !producer.is_warm() && started.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.lock().producer = Some(producer);
    }

    /// Queues records and waits for their answers, for a bounded time.
    pub(crate) async fn submit(&self, parcels: Vec<Parcel>) -> Vec<Answer> {
        let (tickets, mut answers) = call::open(parcels.len());
        let letters = parcels.into_iter().zip(tickets).map(|(parcel, ticket)| {
            let Parcel { load, key, stored } = parcel;
            (load, Letter { key, stored, ticket })
        });
        self.queue(letters);
        let patience = self.options.queue_wait + self.options.acknowledge;
        let _ = tokio::time::timeout(patience, answers.done()).await;
        answers.take()
    }

    fn queue(&self, letters: impl Iterator<Item = (Load, Letter)>) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let refused = state.outbox.push(now, letters);
        let failed = self.pump(&mut state, now);
        drop(state);
        failed.into_iter().for_each(|(ticket, error)| ticket.answer(Err(error)));
        let Some((why, letters)) = refused else { return };
        let error = match why {
            Refused::Full { retry_after } => overloaded(retry_after),
            Refused::Closed => AppendError::Unavailable,
        };
        letters.into_iter().for_each(|letter| letter.ticket.answer(Err(error.clone())));
    }

    /// Hands over what there is room for; answers what the client did not take, and what its call has behind
    /// it in the partition: what is stored of a call is a prefix.
    fn pump(&self, state: &mut State, now: Instant) -> Vec<(Ticket, AppendError)> {
        let mut failed = Vec::new();
        let Some(producer) = &state.producer else { return failed };
        while let Some((load, letter)) = state.outbox.next(now) {
            if let Err((load, ticket, error)) = producer.send(&self.topic, load, letter) {
                state.outbox.failed(&load);
                let behind = |letter: &Letter| letter.ticket.is_of_the_call_of(&ticket);
                for letter in state.outbox.withdraw(load.partition, behind) {
                    failed.push((letter.ticket, error.clone()));
                }
                failed.push((ticket, error));
            }
        }
        failed
    }

    /// Expires and replaces, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(old) = self.tick() {
                // Dropping it waits for its thread.
                let _ = blocking(move || drop(old)).await;
            }
        }
    }

    /// Asks a log that has fallen silent, until it is dropped. A probe may take as long as any request,
    /// for which nothing else should wait.
    pub(crate) async fn probe(self: Arc<Self>, cluster: Arc<Cluster>) {
        let mut ticks = tokio::time::interval(PROBE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.lock().outbox.gate.wants_probe() {
                let (cluster, topic) = (cluster.clone(), self.topic.clone());
                let found = blocking(move || cluster.describe(&topic)).await;
                if matches!(found, Some(Ok(Some(_)))) {
                    self.lock().outbox.gate.probed();
                }
            }
        }
    }

    /// Answers what is late and looks after the producer; answers one that was given up.
    fn tick(self: &Arc<Self>) -> Option<Producer<Self>> {
        let now = Instant::now();
        let mut state = self.lock();
        let late = state.outbox.tick(now);
        let silent = !state.outbox.gate.is_open();
        let failed = self.pump(&mut state, now);
        let broken = state.producer.as_ref().is_none_or(Producer::is_broken);
        let (mut old, mut dropped) = (None, Vec::new());
        if !state.closed && (broken || state.outbox.is_stuck(now)) {
            tracing::warn!(topic = self.topic, broken, "the kafka producer is given up");
            // A call must not go on with a new producer behind a record that the old one lost.
            dropped = state.outbox.drain();
            state.outbox.abandon();
            old = state.producer.take();
            if let Err(error) = self.replace(&mut state) {
                tracing::error!(%error, "no kafka producer can be made");
            }
        }
        drop(state);
        failed.into_iter().for_each(|(ticket, error)| ticket.answer(Err(error)));
        drop(dropped);
        let error =
            if silent { AppendError::Unavailable } else { overloaded(self.options.queue_wait) };
        late.into_iter().for_each(|letter| letter.ticket.answer(Err(error.clone())));
        old
    }

    fn replace(self: &Arc<Self>, state: &mut State) -> Result<(), KafkaError> {
        state.generation += 1;
        let owner: Weak<Self> = Arc::downgrade(self);
        state.producer = Some(Producer::connect(&self.options, owner, state.generation)?);
        Ok(())
    }

    /// Takes nothing more in, waits for what is queued and in flight, then ends the producer.
    pub(crate) async fn close(&self) {
        let patience = self.options.queue_wait + self.options.acknowledge;
        let emptied = async {
            loop {
                let notified = self.emptied.notified();
                let empty = {
                    let mut state = self.lock();
                    state.closed = true;
                    state.outbox.is_empty()
                };
                if empty {
                    return;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(patience, emptied).await;
        let producer = self.end();
        let _ = blocking(move || drop(producer)).await;
    }

    /// Ends at once: what waits is refused, what flies is unknown. Dropping what it answers blocks.
    pub(crate) fn end(&self) -> Option<Producer<Self>> {
        let mut state = self.lock();
        state.closed = true;
        let waiting = state.outbox.drain();
        let producer = state.producer.take();
        drop(state);
        drop(waiting);
        producer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Landed for Writer {
    fn landed(&self, generation: u64, load: &Load, answer: &Answer) {
        if let Ok(offset) = answer {
            self.tails.advance(load.partition, offset.0 + 1);
        }
        let now = Instant::now();
        let mut state = self.lock();
        if generation != state.generation {
            return;
        }
        match answer {
            Ok(_) => state.outbox.acknowledged(now, load),
            Err(_) => state.outbox.failed(load),
        }
        let failed = self.pump(&mut state, now);
        let emptied = state.closed && state.outbox.is_empty();
        drop(state);
        failed.into_iter().for_each(|(ticket, error)| ticket.answer(Err(error)));
        if emptied {
            self.emptied.notify_waiters();
        }
    }
}

fn overloaded(retry_after: Duration) -> AppendError {
    let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
    AppendError::Overloaded { retry_after_ms }
}
