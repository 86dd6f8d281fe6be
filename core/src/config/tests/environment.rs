//! The environment over the file.

use super::*;

#[test]
fn variables_override_the_file() {
    let text = "[limits]\nsessions = 1\ncommands_per_s = 3\n[namespaces.a]\nsubscribe = ['tenant']";
    let environment = [
        ("MERIDIAN__LIMITS__SESSIONS", "2"),
        ("MERIDIAN__LISTEN__CLIENT", "[::]:443"),
        ("MERIDIAN__TLS__PLAIN_TCP", "true"),
        ("MERIDIAN__NODE__NAME", "42"),
        ("MERIDIAN__ORIGINS__ALLOW", "https://a.example, https://b.example"),
        ("MERIDIAN__PROXIES__TRUSTED", "['10.0.0.0/8']"),
        ("MERIDIAN__NAMESPACES__A__PUBLISH", "owner,role:x"),
        ("MERIDIAN__NAMESPACES__B__HISTORY__EVENTS", "5"),
        ("MERIDIAN_OTHER", "ignored"),
        ("PATH", "/bin"),
    ];
    let config = parse_with(text, &environment).unwrap();
    assert_eq!((config.limits.sessions, config.limits.commands_per_s), (2, 3));
    assert_eq!(config.listen.client.to_string(), "[::]:443");
    assert!(config.tls.plain_tcp && config.proxies.trusts("10.1.1.1".parse().unwrap()));
    assert_eq!(config.node.name, "42");
    assert!(config.origins.allows("https://b.example"));
    let policies: Vec<_> = config.policies.iter().collect();
    assert_eq!(policies.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["$user", "a", "b"]);
    assert_eq!((policies[1].1.subscribe.len(), policies[1].1.publish.len()), (1, 2));
    assert_eq!(policies[2].1.retention.events, 5);
}

#[test]
fn lists_of_tables_are_toml_and_their_members_have_numbers() {
    let keys = format!("[{{ id = 'a', algorithm = 'HS256', secret = '{SECRET}' }}]");
    let config = parse_with("", &[("MERIDIAN__AUTH__KEYS", &keys)]).unwrap();
    assert_eq!(config.auth.keys.len(), 1);
    let text = "[[auth.keys]]\nid = 'a'\nalgorithm = 'HS256'";
    let config = parse_with(text, &[("MERIDIAN__AUTH__KEYS__0__SECRET", SECRET)]).unwrap();
    assert!(config.auth.keys[0].signing.is_some());
}

#[test]
fn faults_name_the_variable() {
    let environment = [
        ("MERIDIAN__LIMITS__SESSIONS", "many"),
        ("MERIDIAN__LIMITS__SESION", "1"),
        ("MERIDIAN__AUTH__KEYS__3__SECRET", SECRET),
        ("MERIDIAN__", "x"),
        ("MERIDIAN__LIMITS____X", "x"),
        ("MERIDIAN__HUB", "x"),
    ];
    let faults = listed(parse_with("[limits]\nsessions = 5\n[auth]\nkeys = []", &environment));
    let message = |key: &str| {
        let found = faults.iter().find(|(k, _)| k == key);
        found.map(|(_, message)| message.as_str()).unwrap_or_else(|| panic!("{key}: {faults:?}"))
    };
    assert!(message("limits.sessions").ends_with("(set by MERIDIAN__LIMITS__SESSIONS)"));
    let unknown = "unknown key; did you mean `sessions`? (set by MERIDIAN__LIMITS__SESION)";
    assert_eq!(message("limits.sesion"), unknown);
    for variable in ["MERIDIAN__AUTH__KEYS__3__SECRET", "MERIDIAN__", "MERIDIAN__LIMITS____X"] {
        assert!(message(variable).contains("names no key"));
    }
    assert!(message("hub").starts_with("must be a table"));
    assert_eq!(faults.len(), 6, "{faults:?}");
}

/// The same values give the same configuration, wherever they stand.
#[test]
fn numbers_and_flags_have_one_meaning() {
    for bad in ["", "1.0", "1e3", "0x10", "-1", "1_000", "9999999999999999999999"] {
        assert!(parse_with("", &[("MERIDIAN__LIMITS__SESSIONS", bad)]).is_err(), "{bad}");
    }
    for bad in ["", "1", "yes", "TRUE"] {
        assert!(parse_with("", &[("MERIDIAN__TLS__PLAIN_TCP", bad)]).is_err(), "{bad}");
    }
}
