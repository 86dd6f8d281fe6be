//! The servers of a region.

use super::*;
use crate::vocabulary::LogName;

const WHOLE: &str = "[kafka]\nbootstrap = 'a:9092, b:9092'\nproperties = ['security.protocol=SSL']\n\
    [redis]\nurl = 'rediss://edge:pw-r@redis:6379'\n\
    [postgres]\nurl = 'postgres://edge:pw-p@pg/meridian'\n";

#[test]
fn three_servers_go_together() {
    assert_eq!(parse("").unwrap().stores, None);
    let stores = parse(WHOLE).unwrap().stores.expect("stores");
    assert_eq!(stores.kafka.bootstrap, "a:9092, b:9092");
    assert_eq!(stores.kafka.properties["security.protocol"].expose(), "SSL");
    assert_eq!(stores.redis.url.expose(), "rediss://edge:pw-r@redis:6379");
    assert_eq!((stores.postgres.schema.as_str(), stores.postgres.connections), ("meridian", 8));
    let faults = faults("[kafka]\nbootstrap = 'a:9092'\n");
    let keys: Vec<&str> = faults.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["redis.url", "postgres.url"]);
}

#[test]
fn addresses_are_checked_and_their_passwords_never_shown() {
    let shown = format!("{:?}", parse(WHOLE).unwrap());
    assert!(!shown.contains("pw-r") && !shown.contains("pw-p"), "{shown}");
    for (bad, key) in [
        (WHOLE.replace("rediss://", "http://"), "redis.url"),
        (WHOLE.replace("postgres://", "pg:"), "postgres.url"),
        (WHOLE.replace("b:9092", "b"), "kafka.bootstrap"),
        (WHOLE.replace("security.protocol=SSL", "=x"), "kafka.properties"),
        (format!("{WHOLE}schema = 'a;drop'\n"), "postgres.schema"),
        (format!("{WHOLE}url_file = 'missing'\n"), "postgres.url_file"),
    ] {
        let faults = faults(&bad);
        assert!(faults.iter().any(|(at, _)| at == key), "{key}: {faults:?}");
        let shown = format!("{faults:?}");
        assert!(!shown.contains("pw-r") && !shown.contains("pw-p"), "{shown}");
    }
}

#[test]
fn zones_and_regions() {
    let text = "[regions.eu]\nurl = 'https://eu.example.com/'\n[zones.de]\nregions = ['eu']\n\
        [namespaces.a]\nzone = 'de'\n";
    let config = parse(text).unwrap();
    assert_eq!(config.regions["eu"].as_str(), "https://eu.example.com");
    let zone = config.zones.values().next().expect("a zone");
    assert!(zone.regions.contains("eu") && zone.cluster.is_none());
    assert!(zone.is_of("eu") && !zone.is_of("us"));
    let faults = faults("[regions.eu]\n[namespaces.a]\nzone = 'de'\n");
    let keys: Vec<&str> = faults.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["regions.eu.url", "namespaces.a.zone"]);
}

#[test]
fn a_zone_may_have_a_cluster_of_its_own() {
    let text = "[kafka]\nbootstrap = 'k:9092'\nproperties = ['sasl.username=a']\npartitions = 8\n\
        [redis]\nurl = 'redis://r'\n[postgres]\nurl = 'postgres://p'\n\
        [zones.own]\nbootstrap = 'z:9092'\nreplication = 1\n[zones.same]\npartitions = 4\n";
    let config = parse(text).unwrap();
    let kafka = &config.stores.as_ref().unwrap().kafka;
    let of = |name: &str| config.zones[&LogName::parse(name).unwrap()].kafka(kafka);
    let (own, same) = (of("own"), of("same"));
    assert_eq!((own.bootstrap.as_str(), own.partitions, own.replication), ("z:9092", 8, 1));
    assert!(own.properties.is_empty(), "another cluster's credentials");
    assert_eq!((same.bootstrap.as_str(), same.partitions, same.replication), ("k:9092", 4, 3));
    assert_eq!(same.properties, kafka.properties);
    let faults = faults("[zones.global]\n[zones.a]\nproperties = ['a=b']\n");
    let keys: Vec<&str> = faults.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["zones.a.properties", "zones.global"]);
}
