//! The regions as this node's configuration knows them: what `GET /v1/regions` tells, and where else a
//! client may go. Asks no other region, since a client that chooses must try the way itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_core::config::{Origin, Zone};
use meridian_core::protocol::{Code, Place, ReplyError};
use meridian_core::vocabulary::LogName;
use serde::Serialize;

use crate::lifecycle::Phase;
use crate::ops::PartState;

/// Where the clients of each region connect, what they consume, and which region this is.
pub(crate) struct Regions {
    pub(crate) own: String,
    pub(crate) addresses: BTreeMap<String, Origin>,
    pub(crate) zones: BTreeMap<LogName, Zone>,
    /// The parts behind the edge.
    pub(crate) parts: Arc<dyn Fn() -> Vec<PartState> + Send + Sync>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    region: &'a str,
    /// `starting`, `serving`, `degraded` (a part behind the edge is not ready), `rebuilding` (far behind
    /// the log), `draining` or `stopped`.
    state: &'a str,
    /// This node's sessions by the most that it takes, 0 to 1.
    load: f64,
    regions: Vec<Address<'a>>,
}

#[derive(Debug, Serialize)]
struct Address<'a> {
    name: &'a str,
    url: &'a str,
}

impl Regions {
    /// The other region of this name.
    pub(crate) fn place(&self, name: &str) -> Option<Place> {
        let url = self.addresses.get(name).filter(|_| name != self.own)?;
        Some(Place { url: url.as_str().to_owned(), region: Some(name.to_owned()) })
    }

    /// All other regions.
    pub(crate) fn others(&self) -> Vec<Place> {
        self.addresses.keys().filter_map(|name| self.place(name)).collect()
    }

    /// This region does not consume the zone: with those that do, as far as their addresses are known.
    pub(crate) fn wrong_region(&self, zone: &LogName) -> ReplyError {
        let places = match self.zones.get(zone) {
            Some(zone) if !zone.regions.is_empty() => {
                zone.regions.iter().filter_map(|name| self.place(name)).collect()
            }
            _ => self.others(),
        };
        ReplyError::of(Code::WrongRegion).elsewhere(places)
    }

    /// The answer's JSON.
    pub(crate) fn answer(&self, phase: Phase, sessions: usize, most: usize) -> Vec<u8> {
        let state = match phase {
            Phase::Serving => self.serving(),
            phase => phase.name(),
        };
        let load = (sessions as f64 / most.max(1) as f64).min(1.0);
        let regions = self.addresses.iter();
        let regions = regions.map(|(name, url)| Address { name, url: url.as_str() }).collect();
        let answer = Answer { region: &self.own, state, load, regions };
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    /// The worst that can be said of a node that serves.
    fn serving(&self) -> &'static str {
        let parts = (self.parts)();
        if parts.iter().any(|part| part.rebuilding) {
            "rebuilding"
        } else if parts.iter().any(|part| !part.ready) {
            "degraded"
        } else {
            Phase::Serving.name()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_addresses_state_and_load() {
        let part = |(ready, rebuilding)| {
            let (part, detail) = ("router".into(), String::new());
            PartState { part, ready, vital: true, rebuilding, detail }
        };
        let regions = |state| Regions {
            own: "eu".into(),
            addresses: BTreeMap::from([("us".into(), "https://us.example".parse().unwrap())]),
            zones: BTreeMap::new(),
            parts: Arc::new(move || vec![part((true, false)), part(state)]),
        };
        let answer = |state, phase| {
            let json = regions(state).answer(phase, 5, 20);
            serde_json::from_slice::<serde_json::Value>(&json).unwrap()
        };
        let whole = serde_json::json!({
            "region": "eu", "state": "serving", "load": 0.25,
            "regions": [{ "name": "us", "url": "https://us.example" }],
        });
        assert_eq!(answer((true, false), Phase::Serving), whole);
        assert_eq!(answer((false, false), Phase::Serving)["state"], "degraded");
        assert_eq!(answer((false, true), Phase::Serving)["state"], "rebuilding");
        assert_eq!(answer((false, true), Phase::Draining)["state"], "draining");
    }

    #[test]
    fn a_zone_leads_to_the_regions_that_consume_it() {
        let address = |name: &str| {
            (name.to_owned(), format!("https://{name}.example").parse::<Origin>().unwrap())
        };
        let zone = |names: &[&str]| Zone {
            regions: names.iter().map(|name| (*name).to_owned()).collect(),
            cluster: None,
            partitions: None,
            replication: None,
        };
        let log = |name: &str| LogName::parse(name).unwrap();
        let regions = Regions {
            own: "eu".into(),
            addresses: ["ap", "eu", "us"].map(address).into(),
            zones: BTreeMap::from([
                (log("pacific"), zone(&["ap", "nz", "us"])),
                (log("all"), zone(&[])),
            ]),
            parts: Arc::new(Vec::new),
        };
        let urls = |name: &str| {
            let error = regions.wrong_region(&log(name));
            assert_eq!(error.code, "wrong_region");
            error.elsewhere.iter().map(|place| place.url.clone()).collect::<Vec<_>>()
        };
        assert_eq!(urls("pacific"), ["https://ap.example", "https://us.example"]);
        assert_eq!(urls("all"), ["https://ap.example", "https://us.example"]);
        assert_eq!(regions.place("eu"), None, "nobody is sent to where it is");
    }
}
