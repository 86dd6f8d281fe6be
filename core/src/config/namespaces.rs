//! `[namespaces.NAME]`: the policies. `$user` exists without being named: each user's own channel.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::Limits;
use super::reader::Section;
use super::stores::Zone;
use crate::mode::Mode;
use crate::policy::{DeliveryClass, FeedBounds, Policies, Policy, Retention, Rule};
use crate::vocabulary::{LogName, Namespace};

const USERS: &str = "$user";
/// Larger numbers than any disk's would overflow what a store counts in.
const MAX_COUNT: u64 = 1 << 50;
const MAX_POLLING_MS: u64 = 3_600_000;
/// A router holds the keys of each feed in memory.
const MAX_FEED_KEYS: u64 = 1_000_000;
const MAX_AGE_MS: u64 = 10 * 365 * 86_400_000;

pub(super) fn read(
    root: &mut Section<'_, '_>,
    limits: &Limits,
    zones: &BTreeMap<LogName, Zone>,
) -> Policies {
    let given =
        root.named("namespaces", |name, section| (namespace(name), policy(section, limits, zones)));
    let users = Namespace::parse(USERS).expect("invariant: a literal within the grammar");
    let own = Policy { subscribe: BTreeSet::from([Rule::Owner]), ..Policy::default() };
    let mut policies = BTreeMap::from([(users, Policy { event_bytes: limits.event_bytes, ..own })]);
    for (name, policy) in given {
        match name {
            Ok(name) => {
                policies.insert(name, policy);
            }
            Err((name, message)) => root.fault(&format!("namespaces.{name}"), message),
        }
    }
    Policies::new(policies)
}

fn namespace(name: &str) -> Result<Namespace, (String, &'static str)> {
    let refuse = |message| (name.escape_debug().to_string(), message);
    if name.starts_with('$') && name != USERS {
        return Err(refuse("names with `$` are Meridian's own; the only one is `$user`"));
    }
    Namespace::parse(name).map_err(|_| {
        refuse("a namespace has lower-case letters, digits, `-` and `_`, at most 31 of them")
    })
}

fn policy(
    section: &mut Section<'_, '_>,
    limits: &Limits,
    zones: &BTreeMap<LogName, Zone>,
) -> Policy {
    let class = section.parsed("class", "strict", |text| match text {
        "strict" => Ok(DeliveryClass::Strict),
        "ephemeral" => Ok(DeliveryClass::Ephemeral),
        "feed" => Ok(DeliveryClass::Feed),
        _ => Err("must be `strict`, `feed` or `ephemeral`"),
    });
    let retention = section.section("history", history);
    if class == DeliveryClass::Ephemeral && section.has("history") {
        section.fault("history", "an `ephemeral` channel keeps no history; remove this");
    }
    let feed = section.section("feed", feed);
    if class != DeliveryClass::Feed && section.has("feed") {
        section.fault("feed", "only a channel of class `feed` keeps current values; remove this");
    }
    let polling_ms = section.number("polling_ms", 0, 0..=MAX_POLLING_MS);
    if class == DeliveryClass::Ephemeral && polling_ms > 0 {
        section.fault("polling_ms", "an `ephemeral` channel has nothing to poll; remove this");
    }
    Policy {
        class,
        zone: section.parsed("zone", "global", |text| zone(text, zones)),
        retention,
        feed,
        event_bytes: section.size("event_bytes", limits.event_bytes, 1..=limits.event_bytes),
        polling_ms,
        mode: section.optional("mode", str::parse::<Mode>),
        subscribe: section.list("subscribe", str::parse::<Rule>).into_iter().collect(),
        publish: section.list("publish", str::parse::<Rule>).into_iter().collect(),
    }
}

fn feed(section: &mut Section<'_, '_>) -> FeedBounds {
    let default = Policy::default().feed;
    FeedBounds {
        keys: section.number("keys", default.keys, 1..=MAX_FEED_KEYS),
        bytes: section.number("bytes", default.bytes, 1..=MAX_COUNT),
    }
}

fn history(section: &mut Section<'_, '_>) -> Retention {
    let default = Policy::default().retention;
    Retention {
        events: section.number("events", default.events, 1..=MAX_COUNT),
        bytes: section.number("bytes", default.bytes, 1..=MAX_COUNT),
        age_ms: section.number("age_ms", default.age_ms, 1..=MAX_AGE_MS),
    }
}

fn zone(text: &str, zones: &BTreeMap<LogName, Zone>) -> Result<LogName, String> {
    match LogName::parse(text) {
        Ok(log) if text == "global" || zones.contains_key(&log) => Ok(log),
        _ => Err("no such zone; name it under `[zones]`, or use `global`".to_owned()),
    }
}
