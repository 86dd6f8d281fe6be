//! What `GET /v1/regions` says: how it is read and when a region counts as well.

use std::time::Duration;

use serde_json::Value;

/// A node this full takes nobody who has a choice.
const FULL: f64 = 0.95;
/// More regions than this are no list of regions.
pub(super) const MAX_REGIONS: usize = 32;

/// One region's answer to a probe.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Health {
    /// The region's name; empty where it told none.
    pub(crate) name: String,
    pub(crate) state: Serving,
    /// Of the node that answered, 0 to 1.
    pub(crate) load: f64,
    pub(crate) round_trip: Duration,
    /// Name and address of each region that it knows.
    pub(crate) regions: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serving {
    Fully,
    Partly,
    /// What it has: it is far behind the log, and the newest is not there yet.
    Late,
    No,
}

impl Health {
    /// Reads an answer; `None` for whatever else stands at that address.
    pub(crate) fn read(body: &[u8], round_trip: Duration) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let state = match body.get("state")?.as_str()? {
            "serving" => Serving::Fully,
            "degraded" => Serving::Partly,
            "rebuilding" => Serving::Late,
            _ => Serving::No,
        };
        let text = |value: &Value, name| value.get(name)?.as_str().map(str::to_owned);
        let listed = body.get("regions").and_then(Value::as_array).into_iter().flatten();
        Some(Self {
            name: text(&body, "region").unwrap_or_default(),
            state,
            load: body.get("load").and_then(Value::as_f64).unwrap_or(0.0),
            round_trip,
            regions: listed
                .take(MAX_REGIONS)
                .filter_map(|region| Some((text(region, "name")?, text(region, "url")?)))
                .collect(),
        })
    }

    /// Ready for clients without reservation.
    pub(super) fn is_well(&self) -> bool {
        self.state == Serving::Fully && self.load < FULL
    }

    /// Better than nothing: serves, but some part of it is missing or it is full.
    pub(super) fn is_usable(&self) -> bool {
        matches!(self.state, Serving::Fully | Serving::Partly)
    }

    /// The last resort: it serves whatever it has.
    pub(super) fn is_late(&self) -> bool {
        self.state == Serving::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_what_is_none_is_no_health() {
        let read = |text: &str| Health::read(text.as_bytes(), Duration::ZERO);
        let health = read(
            r#"{"region":"eu","state":"serving","load":0.5,"more":1,
                "regions":[1,{"name":"us","url":"https://us"},{"name":2}]}"#,
        )
        .unwrap();
        assert!(health.is_well() && health.name == "eu");
        assert_eq!(health.regions, [("us".to_owned(), "https://us".to_owned())]);
        assert!(!read(r#"{"state":"serving","load":0.99}"#).unwrap().is_well());
        assert!(!read(r#"{"state":"draining"}"#).unwrap().is_usable());
        let late = read(r#"{"state":"rebuilding"}"#).unwrap();
        assert!(late.is_late() && !late.is_well() && !late.is_usable());
        for none in ["", "ok", "{}", "[]", "null", r#"{"state":1}"#] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
