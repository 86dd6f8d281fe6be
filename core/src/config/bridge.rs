//! `[bridge]` and `[bridge.routes.NAME]`: which topics of other services become events of which channels.

use std::collections::BTreeMap;

use super::limits::Limits;
use super::reader::Section;
use super::stores::{self, SecretText};
use crate::bridge::{Condition, Fields, Filter, Kind, Pointer, Route, Template};
use crate::policy::{CONTENT_TYPE_BYTES_MOST, DeliveryClass, HEADERS_MOST, Policies, Policy};
use crate::vocabulary::{Channel, LogName, SourceName, Tenant};

/// What the bridge reads, and what it makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bridge {
    /// `None`: `kafka.bootstrap`.
    pub bootstrap: Option<String>,
    /// Of the client that reads; empty: `kafka.properties`.
    pub properties: BTreeMap<String, SecretText>,
    pub routes: Vec<BridgeRoute>,
}

/// One topic and its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeRoute {
    pub route: Route,
    /// The log that its events are appended to: its namespace's zone.
    pub zone: LogName,
    pub topic: String,
    /// `{topic}.dead-letter`
    pub dead_letter_topic: String,
    /// Begin with the oldest record; else with what comes from the first start on.
    pub from_earliest: bool,
}

impl Bridge {
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        limits: &Limits,
        policies: &Policies,
    ) -> Self {
        let bootstrap = section.optional("bootstrap", stores::brokers);
        let properties = section.list("properties", stores::property).into_iter().collect();
        let named = section.named("routes", |name, section| {
            (name.to_owned(), route(name, section, limits, policies))
        });
        let mut routes = Vec::new();
        for (name, route) in named {
            if SourceName::parse(&name).is_err() {
                let key = format!("routes.{}", name.escape_debug());
                section.fault(
                    &key,
                    "a route's name has letters, digits, `.`, `-` and `_`, at most 64",
                );
            }
            routes.extend(route);
        }
        Self { bootstrap, properties, routes }
    }
}

/// Reads all keys, so that all faults are told; `None`: something is missing or wrong.
fn route(
    name: &str,
    section: &mut Section<'_, '_>,
    limits: &Limits,
    policies: &Policies,
) -> Option<BridgeRoute> {
    let topic = required(section, "topic", topic);
    let tenant = required(section, "tenant", tenant);
    let channel = required(section, "channel", channel);
    let policy = channel.as_ref().map(|channel| namespace(section, channel, policies));
    let policy = policy.map(Option::unwrap_or_default);
    let kind = section.parsed("kind", "publish", kind);
    let key = section.optional("key", Template::parse);
    if kind != Kind::Publish && !section.has("key") {
        section.fault("key", "missing: what removes needs the key that it removes");
    }
    let filter = Filter::new(section.list("filter", Condition::parse));
    let pointers = section.list("fields", Pointer::parse);
    if !section.has("fields") {
        section.fault(
            "fields",
            "missing: name the fields that may leave; `[\"\"]` is the whole payload",
        );
    }
    let headers = section.list("headers", header);
    if headers.len() > HEADERS_MOST {
        section.fault("headers", format!("at most {HEADERS_MOST} headers may leave"));
    }
    let content_type = section.parsed("content_type", "application/json", content_type);
    if content_type != "application/json" && !Fields::new(&pointers).is_whole() {
        section.fault("content_type", "only of JSON can fields be named: needs `fields = [\"\"]`");
    }
    let from_earliest = section.parsed("start", "earliest", start);
    let dead_letter_topic = section.optional("dead_letter_topic", self::topic);
    let policy = policy?;
    let route = Route {
        name: SourceName::parse(name).ok()?,
        tenant: tenant?,
        channel: channel?,
        filter,
        fields: Fields::new(&pointers),
        kind,
        key,
        headers: headers.into_iter().collect(),
        content_type,
        event_bytes: policy.event_bytes.min(limits.event_bytes),
    };
    let topic = topic?;
    let dead_letter_topic = dead_letter_topic.unwrap_or_else(|| format!("{topic}.dead-letter"));
    let zone = policy.zone;
    Some(BridgeRoute { route, zone, topic, dead_letter_topic, from_earliest })
}

fn required<T, E: std::fmt::Display>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let given = section.optional(key, parse);
    if !section.has(key) {
        section.fault(key, "missing");
    }
    given
}

/// The namespace must exist and be stored; answers its policy.
fn namespace(
    section: &mut Section<'_, '_>,
    channel: &Template,
    policies: &Policies,
) -> Option<Policy> {
    let (namespace, _) = channel.prefix().split_once(':')?;
    let any = Channel::parse(&format!("{namespace}:x")).ok();
    let Some(policy) = any.and_then(|channel| policies.of(&channel).cloned()) else {
        section.fault("channel", "no such namespace; name it under `[namespaces]`");
        return None;
    };
    if policy.class == DeliveryClass::Ephemeral {
        section.fault("channel", "an `ephemeral` namespace stores nothing: it can't be bridged");
    }
    Some(policy)
}

fn tenant(text: &str) -> Result<Template, String> {
    let template = Template::parse(text).map_err(|error| error.to_string())?;
    if template.is_fixed() {
        Tenant::parse(text).map_err(|error| error.to_string())?;
    }
    Ok(template)
}

fn channel(text: &str) -> Result<Template, String> {
    let template = Template::parse(text).map_err(|error| error.to_string())?;
    if !template.prefix().contains(':') {
        return Err("must begin with a namespace and a colon, not from a record".to_owned());
    }
    if template.is_fixed() {
        Channel::parse(text).map_err(|error| error.to_string())?;
    }
    Ok(template)
}

fn kind(text: &str) -> Result<Kind, &'static str> {
    match text {
        "publish" => Ok(Kind::Publish),
        "remove" => Ok(Kind::Remove),
        "upsert" => Ok(Kind::Upsert),
        _ => Err("must be `publish`, `remove` or `upsert`"),
    }
}

fn start(text: &str) -> Result<bool, &'static str> {
    match text {
        "earliest" => Ok(true),
        "latest" => Ok(false),
        _ => Err("must be `earliest` or `latest`"),
    }
}

fn header(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("a header has a name") } else { Ok(text.to_owned()) }
}

fn content_type(text: &str) -> Result<String, &'static str> {
    match text.contains('/') && text.is_ascii() && text.len() <= CONTENT_TYPE_BYTES_MOST {
        true => Ok(text.to_owned()),
        false => Err("must be a media type, as `application/json`"),
    }
}

/// As Kafka allows them.
fn topic(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match !text.is_empty() && text.len() <= 249 && text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("must be a topic's name: letters, digits, `.`, `-` and `_`"),
    }
}
