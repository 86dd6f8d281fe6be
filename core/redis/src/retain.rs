//! What is dropped of hot history, and when: trimming below the checkpoint, forgetting the channels
//! longest without an event, and repair. Owns the rounds; each script call is one bounded step.

use fred::clients::{Client, WithOptions};
use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand, Value};
use meridian_core::seams::{BackplaneError, Stale};
use meridian_core::vocabulary::{ChannelKey, Position, Stream};

use crate::apply::{number, partition_keys};
use crate::keys::{PartitionKeys, channel_of, marker, member, place};
use crate::scripts::{Script, Scripts, unavailable, unexpected};

/// Channels of one script call.
const STEP: usize = 128;
/// Calls that forget channels, of one raise of the checkpoint; the next one goes on.
const ROUNDS: usize = 16;
/// Above every place.
const BEYOND: u64 = 1 << 53;

/// One partition, for the calls of this module.
pub(crate) struct Keeper<'a> {
    pub(crate) client: &'a WithOptions<Client>,
    pub(crate) scripts: &'a Scripts,
    pub(crate) keys: &'a PartitionKeys,
    pub(crate) stream: &'a Stream,
}

impl Keeper<'_> {
    /// Allows trimming up to `checkpoint`, and does a bounded part of it.
    pub(crate) async fn trim_below(
        &self,
        checkpoint: Position,
        partition_bytes: u64,
        keep: impl Fn(&ChannelKey) -> [Value; 3],
    ) -> Result<(), BackplaneError> {
        let limit = match checkpoint.epoch.cmp(&self.stream.epoch) {
            std::cmp::Ordering::Less => return Ok(()),
            std::cmp::Ordering::Equal => place(checkpoint),
            std::cmp::Ordering::Greater => BEYOND,
        };
        let names = vec![self.keys.state(), self.keys.registry(), self.keys.overfull()];
        let args = vec![number(limit), number(partition_bytes), number(STEP as u64)];
        let answer = self.scripts.advance.call(self.client, names, args).await?;
        let told: Vec<Vec<String>> =
            answer.convert().map_err(|_| unexpected("no channels to trim"))?;
        let Ok([overfull, oldest]) = <[Vec<String>; 2]>::try_from(told) else { return Ok(()) };
        if !overfull.is_empty() {
            let mut args = Vec::with_capacity(3 * overfull.len());
            let nothing = [number(BEYOND), number(BEYOND), number(BEYOND)];
            for name in &overfull {
                args.extend(channel_of(name).map_or(nothing.clone(), |key| keep(&key)));
            }
            self.on_channels(&self.scripts.trim, &overfull, args).await?;
        }
        self.evict(oldest, limit, partition_bytes).await
    }

    async fn evict(
        &self,
        mut oldest: Vec<String>,
        limit: u64,
        partition_bytes: u64,
    ) -> Result<(), BackplaneError> {
        for _ in 0..ROUNDS {
            if oldest.is_empty() {
                return Ok(());
            }
            let most = vec![number(partition_bytes)];
            let left = self.on_channels(&self.scripts.evict, &oldest, most).await?;
            let left: u64 = left.convert().map_err(|_| unexpected("no bytes"))?;
            if left <= partition_bytes {
                return Ok(());
            }
            let most = limit.to_string();
            oldest = self.registered(&["-inf", &most, "LIMIT", "0", &STEP.to_string()]).await?;
        }
        Ok(())
    }

    /// Sets the marker if it is the one found, once what is `stale` is gone.
    pub(crate) async fn repair(
        &self,
        found: Option<Position>,
        stale: Stale<'_>,
        restored: Position,
    ) -> Result<bool, BackplaneError> {
        let found = found.map(marker).unwrap_or_default();
        if let Stale::Channels(channels) = stale {
            for step in channels.chunks(STEP) {
                let names: Vec<String> = step.iter().map(member).collect();
                if !self.drop_step(&names, &found).await? {
                    return Ok(false);
                }
            }
        }
        let all = stale == Stale::All;
        loop {
            let args = vec![
                found.as_str().into(),
                marker(restored).into(),
                number(place(restored)),
                Value::Integer(i64::from(all)),
            ];
            let names = partition_keys(self.keys);
            let answer = self.scripts.repair.call(self.client, names, args).await?;
            match answer.convert().map_err(|_| unexpected("no outcome of a repair"))? {
                0_u8 => return Ok(false),
                1 => return Ok(true),
                // Each round drops some, and nothing comes while the marker is the one found.
                _ => {
                    let step = STEP.to_string();
                    let names = self.registered(&["-inf", "+inf", "LIMIT", "0", &step]).await?;
                    if !self.drop_step(&names, &found).await? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    async fn drop_step(&self, names: &[String], found: &str) -> Result<bool, BackplaneError> {
        let answer = self.on_channels(&self.scripts.drop, names, vec![found.into()]).await?;
        answer.convert().map_err(|_| unexpected("no outcome of a drop"))
    }

    /// Channels of the registry, longest without an event first.
    async fn registered(&self, range: &[&str]) -> Result<Vec<String>, BackplaneError> {
        let command = CustomCommand::new_static("ZRANGEBYSCORE", ClusterHash::FirstKey, false);
        let mut args = vec![self.keys.registry()];
        args.extend(range.iter().map(|arg| (*arg).to_owned()));
        self.client.custom(command, args).await.map_err(|error| unavailable(&error))
    }

    async fn on_channels(
        &self,
        script: &Script,
        names: &[String],
        own_args: Vec<Value>,
    ) -> Result<Value, BackplaneError> {
        let mut keys = partition_keys(self.keys);
        keys.extend(names.iter().map(|name| self.keys.events_of(name)));
        let mut args = vec![number(self.keys.events_prefix_bytes() as u64)];
        args.extend(own_args);
        script.call(self.client, keys, args).await
    }
}
