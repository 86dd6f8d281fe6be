//! What the answers of a region's nodes come to: its state, its servers, its lag. Pure: asks nobody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Edge,
    Router,
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Readyz {
    ready: bool,
    degraded: bool,
    phase: String,
    connections: u64,
    parts: Vec<Part>,
}

/// One part of a node, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    part: String,
    ready: bool,
    #[serde(default)]
    rebuilding: bool,
    detail: String,
}

/// Records of the log that a region has not worked off, and for how long they have waited.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Lag {
    records: f64,
    seconds: f64,
}

/// What a node answered at the last look; `None`: it did not.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) region: String,
    pub(super) node: String,
    pub(super) readyz: Option<Readyz>,
    /// Prometheus text.
    pub(super) metrics: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Node {
    node: String,
    kind: Kind,
    state: String,
    connections: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Region {
    region: String,
    /// `away`: no edge answers; otherwise the worst that a node says.
    state: &'static str,
    /// `None`: nobody tells.
    lag: Option<Lag>,
    nodes: Vec<Node>,
    /// The servers behind the edges; ready if every edge that answers says so.
    parts: Vec<Part>,
}

/// Sums up, in the order in which regions and nodes are named.
pub(super) fn regions(seen: &[Seen]) -> Vec<Region> {
    let mut names: Vec<&str> = Vec::new();
    for node in seen {
        if !names.contains(&node.region.as_str()) {
            names.push(&node.region);
        }
    }
    let of = |name: &str| seen.iter().filter(|node| node.region == name).collect::<Vec<_>>();
    names.into_iter().map(|name| region(name, &of(name))).collect()
}

fn region(name: &str, seen: &[&Seen]) -> Region {
    let nodes: Vec<Node> = seen.iter().map(|seen| node(seen)).collect();
    Region {
        region: name.to_owned(),
        state: state(&nodes),
        lag: lag(seen),
        parts: parts(seen),
        nodes,
    }
}

fn node(seen: &Seen) -> Node {
    let state = match &seen.readyz {
        None => "away",
        Some(told) if told.phase != "serving" => &told.phase,
        Some(told) if told.parts.iter().any(|part| part.rebuilding) => "rebuilding",
        Some(told) if !told.ready => "not ready",
        Some(told) if told.degraded => "degraded",
        Some(_) => "serving",
    };
    let connections = seen.readyz.as_ref().map_or(0, |told| told.connections);
    Node { node: seen.node.clone(), kind: seen.kind, state: state.to_owned(), connections }
}

fn state(nodes: &[Node]) -> &'static str {
    let edges = || nodes.iter().filter(|node| node.kind == Kind::Edge);
    if edges().next().is_some() && edges().all(|edge| edge.state == "away") {
        "away"
    } else if nodes.iter().any(|node| node.state == "rebuilding") {
        "rebuilding"
    } else if nodes.iter().any(|node| node.state != "serving") {
        "degraded"
    } else {
        "serving"
    }
}

/// The edges see the whole region; a router only what it owns.
fn lag(seen: &[&Seen]) -> Option<Lag> {
    let told = |kind, records: &str, seconds: &str| -> Vec<Lag> {
        let nodes = seen.iter().filter(|node| node.kind == kind && node.readyz.is_some());
        let lag = |metrics: &str| {
            Some(Lag {
                records: values(metrics, records).reduce(|a, b| a + b)?,
                seconds: values(metrics, seconds).fold(0.0, f64::max),
            })
        };
        nodes.filter_map(|node| lag(&node.metrics)).collect()
    };
    let worst = |a: Lag, b: Lag| if b.records > a.records { b } else { a };
    let edges = told(Kind::Edge, "meridian_region_lag_records", "meridian_region_lag_seconds");
    let routers = told(Kind::Router, "meridian_router_lag_records", "meridian_router_lag_seconds");
    let sum =
        |a: Lag, b: Lag| Lag { records: a.records + b.records, seconds: a.seconds.max(b.seconds) };
    edges.into_iter().reduce(worst).or_else(|| routers.into_iter().reduce(sum))
}

/// The values of a metric, whatever its labels.
fn values<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        rest.rsplit_once(' ')?.1.parse().ok()
    })
}

fn parts(seen: &[&Seen]) -> Vec<Part> {
    let mut parts: BTreeMap<&str, Part> = BTreeMap::new();
    let edges = seen.iter().filter(|node| node.kind == Kind::Edge);
    for part in edges.filter_map(|edge| edge.readyz.as_ref()).flat_map(|told| &told.parts) {
        let known = parts.entry(&part.part).or_insert_with(|| part.clone());
        if !part.ready {
            *known = part.clone();
        }
    }
    parts.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readyz(parts: &serde_json::Value) -> Option<Readyz> {
        let all_ready = !parts.to_string().contains("\"ready\":false");
        let told = serde_json::json!({
            "ready": true, "degraded": !all_ready, "phase": "serving", "connections": 3, "parts": parts,
        });
        Some(serde_json::from_value(told).unwrap())
    }

    fn part(name: &str, ready: bool) -> serde_json::Value {
        serde_json::json!({ "part": name, "ready": ready, "vital": false, "detail": "said" })
    }

    fn seen(kind: Kind, node: &str, readyz: Option<Readyz>, metrics: &str) -> Seen {
        let region = node.rsplit_once('-').unwrap().0.to_owned();
        Seen { kind, region, node: node.to_owned(), readyz, metrics: metrics.to_owned() }
    }

    #[test]
    fn a_region_is_what_its_nodes_say() {
        let whole = || readyz(&serde_json::json!([part("log", true)]));
        let lame = || readyz(&serde_json::json!([part("log", false)]));
        let mut rebuilt = part("lag", false);
        rebuilt["rebuilding"] = true.into();
        let rebuilt = || readyz(&serde_json::json!([rebuilt]));
        let state_of = |edges: [Option<Readyz>; 2], router| {
            let [a, b] = edges.map(|edge| seen(Kind::Edge, "eu-e", edge, ""));
            regions(&[a, b, seen(Kind::Router, "eu-r", router, "")])[0].state
        };
        assert_eq!(state_of([whole(), whole()], whole()), "serving");
        assert_eq!(state_of([whole(), None], whole()), "degraded");
        assert_eq!(state_of([whole(), lame()], whole()), "degraded");
        assert_eq!(state_of([whole(), whole()], None), "degraded");
        assert_eq!(state_of([rebuilt(), whole()], None), "rebuilding");
        assert_eq!(state_of([None, None], whole()), "away");
    }

    #[test]
    fn a_part_that_any_edge_misses_is_missing() {
        let edge =
            |ready| readyz(&serde_json::json!([part("backplane", ready), part("log", true)]));
        let nodes = [
            seen(Kind::Edge, "eu-1", edge(true), ""),
            seen(Kind::Edge, "eu-2", edge(false), ""),
            seen(Kind::Edge, "us-1", edge(true), ""),
        ];
        let told: Vec<(String, Vec<bool>)> = regions(&nodes)
            .into_iter()
            .map(|it| (it.region, it.parts.iter().map(|part| part.ready).collect()))
            .collect();
        assert_eq!(told, [("eu".into(), vec![false, true]), ("us".into(), vec![true, true])]);
    }

    #[test]
    fn lag_is_summed_over_routers_unless_the_edges_tell_it() {
        let router = "# TYPE meridian_router_lag_records gauge\n\
             meridian_router_lag_records{log=\"global\",partition=\"0\"} 3\n\
             meridian_router_lag_records{log=\"global\",partition=\"1\"} 4\n\
             meridian_router_lag_records_more 100\n\
             meridian_router_lag_seconds{log=\"global\",partition=\"1\"} 1.5\n";
        let edge = "meridian_region_lag_records 9\nmeridian_region_lag_seconds 2.5\n";
        let up = || readyz(&serde_json::json!([]));
        let lag = |edge_says: &str, routers: [Option<Readyz>; 2]| {
            let [a, b] = routers.map(|up| seen(Kind::Router, "eu-r", up, router));
            regions(&[seen(Kind::Edge, "eu-e", up(), edge_says), a, b])[0].lag
        };
        assert_eq!(lag("", [up(), up()]), Some(Lag { records: 14.0, seconds: 1.5 }));
        assert_eq!(lag("", [up(), None]), Some(Lag { records: 7.0, seconds: 1.5 }));
        assert_eq!(lag("", [None, None]), None);
        assert_eq!(lag(edge, [up(), None]), Some(Lag { records: 9.0, seconds: 2.5 }));
    }
}
