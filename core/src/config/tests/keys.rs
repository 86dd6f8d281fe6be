//! The list of keys: the documentation's, the code's and the defaults' are one.

use super::*;
use crate::config::{Origins, Quotas, Rate, known_keys};
use crate::policy::{DeliveryClass, Rule};

/// Every row of every table in the documentation: a key and its default.
fn documented() -> Vec<(String, String)> {
    let text = include_str!("../../../../docs/configuration.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut rows: Vec<_> = rows
        .map(|row| {
            let mut cells = row.split('|');
            let key = cells.next().unwrap_or_default().trim().trim_end_matches('`');
            let default = cells.next().unwrap_or_default().trim().trim_matches('`');
            (key.to_owned(), default.to_owned())
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn the_documentation_lists_every_key_with_its_default() {
    let known: Vec<_> = known_keys().into_iter().map(|key| (key.path, key.default)).collect();
    let documented = documented();
    for key in &known {
        assert!(documented.contains(key), "not in docs/configuration.md: {key:?}");
    }
    for key in &documented {
        assert!(known.contains(key), "in docs/configuration.md, but not in the code: {key:?}");
    }
}

/// The documentation's example is one.
#[test]
fn the_documented_example_is_good() {
    let text = include_str!("../../../../docs/configuration.md");
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let example = block.split("```").next().unwrap();
        let faults = faults(example);
        assert!(faults.is_empty(), "{faults:?}");
    }
}

#[test]
fn defaults_are_a_configuration() {
    let config = Config::default();
    assert_eq!(format!("{config:?}"), format!("{:?}", parse("").unwrap()));
    assert!(config.listen.client.ip().is_loopback() && config.listen.admin.ip().is_loopback());
    assert_eq!(config.origins, Origins::Listed([].into()));
    assert_eq!(config.limits.event_bytes, 65_536);
    let policies: Vec<_> = config.policies.iter().collect();
    let [(name, policy)] = policies[..] else { panic!("{policies:?}") };
    assert_eq!((name.as_str(), policy.subscribe.len()), ("$user", 1));
    assert!(policy.subscribe.contains(&Rule::Owner) && policy.publish.is_empty());
}

#[test]
fn namespaces_become_policies() {
    let text = r#"
        [limits]
        event_bytes = 1000
        [namespaces.docs]
        class = "ephemeral"
        subscribe = ["tenant", "role:x", "user:y", "permission:z:z", "owner", "granted"]
        event_bytes = 10
        [namespaces.log]
        history = { events = 1, bytes = 2, age_ms = 3 }
        [namespaces."$user"]
        publish = ["role:service"]
    "#;
    let config = parse(text).unwrap();
    let policies: Vec<_> = config.policies.iter().map(|(_, policy)| policy).collect();
    let [users, docs, log] = policies[..] else { panic!("{policies:?}") };
    assert!(users.subscribe.is_empty() && users.publish.contains(&Rule::Role("service".into())));
    assert_eq!(
        (docs.class, docs.event_bytes, log.event_bytes),
        (DeliveryClass::Ephemeral, 10, 1000)
    );
    let rules: Vec<String> = docs.subscribe.iter().map(ToString::to_string).collect();
    let expected = ["tenant", "user:y", "role:x", "permission:z:z", "owner", "granted"];
    assert_eq!(rules, expected);
    let kept = log.retention;
    assert_eq!((kept.events, kept.bytes, kept.age_ms), (1, 2, 3));
    for bad in ["", "role:", "tenant:x", "anyone", "Tenant", ":x"] {
        assert!(bad.parse::<Rule>().is_err(), "{bad}");
    }
}

#[test]
fn quotas_are_off_unless_one_says_so() {
    assert_eq!(parse("").unwrap().quotas, Quotas::default());
    let text = "[quotas]\nuser = { connections = 3, publishes_per_s = 5, publishes_burst = 7 }\n\
                ip.handshakes_per_s = 9";
    let quotas = parse(text).unwrap().quotas;
    let rate = |rate: Option<Rate>| rate.map(|rate| (rate.per_s.get(), rate.burst.get()));
    assert_eq!(quotas.user.connections.map(u32::from), Some(3));
    assert_eq!((rate(quotas.user.publishes), rate(quotas.user.bytes)), (Some((5, 7)), None));
    assert_eq!(rate(quotas.ip.handshakes), Some((9, 18)));
}

#[test]
fn what_may_not_be_meant_is_said() {
    let config = parse(
        "[listen]\nclient = '0.0.0.0:1'\nadmin = '0.0.0.0:2'\n[tls]\nplain_tcp = true\n\
         [origins]\nallow = ['*']\n[namespaces.a]",
    );
    let warnings = config.unwrap().warnings();
    let keys: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    let expected = ["listen.admin", "tls.plain_tcp", "auth.keys", "origins.allow", "namespaces.a"];
    assert_eq!(keys, expected);
}
