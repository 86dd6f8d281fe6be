//! What `GET /v1/regions` tells: the regions' addresses, and how this one's node is doing. Owns the
//! answer's shape; asks no other region, since a client that chooses must try the way itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_core::config::Origin;
use serde::Serialize;

use crate::lifecycle::Phase;
use crate::ops::PartState;

/// Where the clients of each region connect, and which region this is.
#[derive(Clone)]
pub(crate) struct Regions {
    pub(crate) own: String,
    pub(crate) addresses: BTreeMap<String, Origin>,
    /// The parts behind the edge.
    pub(crate) parts: Arc<dyn Fn() -> Vec<PartState> + Send + Sync>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    region: &'a str,
    /// `starting`, `serving`, `degraded` (a part behind the edge is not ready), `draining` or `stopped`.
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
    /// The answer's JSON.
    pub(crate) fn answer(&self, phase: Phase, sessions: usize, most: usize) -> Vec<u8> {
        let degraded = || !(self.parts)().iter().all(|part| part.ready);
        let state = match phase {
            Phase::Serving if degraded() => "degraded",
            phase => phase.name(),
        };
        let load = (sessions as f64 / most.max(1) as f64).min(1.0);
        let regions = self.addresses.iter();
        let regions = regions.map(|(name, url)| Address { name, url: url.as_str() }).collect();
        let answer = Answer { region: &self.own, state, load, regions };
        serde_json::to_vec(&answer).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_addresses_state_and_load() {
        let part = |ready| PartState { part: "router".into(), ready, detail: String::new() };
        let regions = |ready| Regions {
            own: "eu".into(),
            addresses: BTreeMap::from([("us".into(), "https://us.example".parse().unwrap())]),
            parts: Arc::new(move || vec![part(ready)]),
        };
        let answer = |ready, phase| {
            let json = regions(ready).answer(phase, 5, 20);
            serde_json::from_slice::<serde_json::Value>(&json).unwrap()
        };
        let whole = serde_json::json!({
            "region": "eu", "state": "serving", "load": 0.25,
            "regions": [{ "name": "us", "url": "https://us.example" }],
        });
        assert_eq!(answer(true, Phase::Serving), whole);
        assert_eq!(answer(false, Phase::Serving)["state"], "degraded");
        assert_eq!(answer(false, Phase::Draining)["state"], "draining");
    }
}
