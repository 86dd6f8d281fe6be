//! The bridge's routes.

use super::*;
use crate::bridge::Kind;

const WHOLE: &str = "[namespaces.orders]\nevent_bytes = 1000\n[bridge]\nbootstrap = 'd:9092'\n\
    [bridge.routes.orders]\ntopic = 'shop.orders'\ntenant = 'acme'\nchannel = 'orders:{/customer}'\n\
    filter = ['/type == created']\nfields = ['/id', '/lines/sku']\nkey = '{key}'\nkind = 'upsert'\n";

#[test]
fn a_route_is_read_with_its_namespaces_bound() {
    let bridge = parse(WHOLE).unwrap().bridge;
    let [route] = &bridge.routes[..] else { panic!("{bridge:?}") };
    assert_eq!(route.topic, "shop.orders");
    assert_eq!(route.dead_letter_topic, "shop.orders.dead-letter");
    assert_eq!((route.route.event_bytes, route.route.kind), (1000, Kind::Upsert));
    assert!(route.from_earliest);
}

#[test]
fn all_faults_of_a_route_are_told_at_once() {
    let text = r#"
        [namespaces.live]
        class = "ephemeral"
        [bridge]
        bootstrap = "d"
        [bridge.routes.a]
        topic = "a b"
        tenant = "{/t"
        channel = "nowhere:{key}"
        filter = ["type == x"]
        fields = ["id"]
        kind = "remove"
        headers = [""]
        content_type = "json"
        start = "middle"
        topics = "x"
        [bridge.routes.b]
        channel = "live:{key}"
        [bridge.routes.c]
        topic = "c"
        tenant = "a b"
        channel = "{key}:x"
        fields = [""]
    "#;
    let faults = faults(text);
    let mut keys: Vec<&str> = faults.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    let expected = [
        "bridge.bootstrap",
        "bridge.routes.a.channel",
        "bridge.routes.a.content_type",
        "bridge.routes.a.fields",
        "bridge.routes.a.filter",
        "bridge.routes.a.headers",
        "bridge.routes.a.key",
        "bridge.routes.a.start",
        "bridge.routes.a.tenant",
        "bridge.routes.a.topic",
        "bridge.routes.a.topics",
        "bridge.routes.b.channel",
        "bridge.routes.b.fields",
        "bridge.routes.b.tenant",
        "bridge.routes.b.topic",
        "bridge.routes.c.channel",
        "bridge.routes.c.tenant",
    ];
    assert_eq!(keys, expected, "{faults:#?}");
}
