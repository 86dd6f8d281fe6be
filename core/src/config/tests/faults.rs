//! Faults: all at once, each with its key and what to do.

use proptest::prelude::*;

use super::*;
use crate::config::known_keys;
use crate::policy::DeliveryClass;
use crate::vocabulary::Channel;

#[test]
fn all_faults_are_told_at_once() {
    let text = r#"
        colour = "red"
        [listen]
        client = "localhost"
        admin = 8441
        workers = -1
        public_url = "meridian.example"
        [tls]
        plain_tcp = "yes"
        [node]
        name = "a b"
        [storage]
        dir = ""
        partitions = 0
        [auth]
        audience = "meridian"
        leeway_s = 1.5
        [[auth.keys]]
        id = "a"
        algorithm = "RS512"
        [limits]
        event_bytes = 262145
        evnt_bytes = 1
        [cors]
        origins = ["app.example", "https://ok.example"]
        [proxies]
        trusted = ["10.0.0.1/8"]
        proxy_protocol = 1
        [log]
        format = "xml"
        [namespaces.Flights]
        subscribe = ["tenant", "everyone"]
        [namespaces.scores]
        class = "feeds"
        zone = "eu"
    "#;
    let faults = faults(text);
    let keys: Vec<&str> = faults.iter().map(|(key, _)| key.as_str()).collect();
    let expected = [
        "limits.event_bytes",
        "limits.evnt_bytes",
        "listen.client",
        "listen.admin",
        "listen.workers",
        "listen.public_url",
        "tls.plain_tcp",
        "node.name",
        "storage.dir",
        "storage.partitions",
        "auth.keys[0].algorithm",
        "auth.audience",
        "auth.leeway_s",
        "cors.origins",
        "proxies.trusted",
        "proxies.proxy_protocol",
        "log.format",
        "namespaces.Flights.subscribe",
        "namespaces.scores.class",
        "namespaces.scores.zone",
        "namespaces.Flights",
        "colour",
    ];
    assert_eq!(keys, expected, "{faults:#?}");
    let error = parse(text).unwrap_err().to_string();
    assert!(error.starts_with("22 faults in the configuration\n  limits.event_bytes: "), "{error}");
    assert_eq!(error.lines().count(), 23);
}

#[test]
fn unknown_keys_are_told_with_the_likely_one() {
    let message = |text: &str| fault(text).1;
    assert_eq!(message("[limits]\nevnt_bytes = 1"), "unknown key; did you mean `event_bytes`?");
    assert_eq!(message("[limit]"), "unknown key; did you mean `limits`?");
    assert!(
        message("[node]\ncolour = 1")
            .contains("known here: mode, name, rebuilding_after_ms, region")
    );
}

/// In every table that exists, a key that does not is noticed.
#[test]
fn no_table_takes_an_unknown_key() {
    let tables = known_keys().into_iter().filter_map(|key| {
        let (table, _) = key.path.rsplit_once('.')?;
        Some(table.to_owned())
    });
    let tables: std::collections::BTreeSet<String> = tables.collect();
    assert!(tables.len() > 10, "{tables:?}");
    for table in tables {
        let header = match table.strip_suffix("[]") {
            Some(list) => format!("[[{list}]]"),
            None => format!("[{table}]"),
        };
        let path = format!("{}.zzz", table.replace("[]", "[0]"));
        let faults = faults(&format!("{header}\nzzz = 1"));
        let unknown = faults.iter().find(|(key, _)| *key == path);
        assert!(unknown.is_some_and(|(_, m)| m.starts_with("unknown key")), "{table}: {faults:?}");
    }
}

/// In every key that exists, a value of a type that it never has is noticed.
#[test]
fn no_key_takes_a_wrong_type() {
    for key in known_keys() {
        let path = key.path.replace("NAME", "name");
        let (table, name) = path.rsplit_once('.').unwrap();
        let header = match table.strip_suffix("[]") {
            Some(list) => format!("[[{list}]]"),
            None => format!("[{table}]"),
        };
        let path = path.replace("[]", "[0]");
        for value in ["1979-05-27", "[[1]]", "{ a = 1 }"] {
            let faults = faults(&format!("{header}\n{name} = {value}"));
            assert!(faults.iter().any(|(key, _)| *key == path), "{path} = {value}: {faults:?}");
        }
    }
}

#[test]
fn all_faults_of_issuers_are_told_at_once() {
    let text = r#"
        [[auth.issuers]]
        [[auth.issuers]]
        name = "https://a.example"
        tenants = ["*", "acme", "b c"]
        jwks_url = "http://a.example/keys"
        ca = "ca.pem"
        keep_s = 1
        [[auth.issuers]]
        name = "https://b.example"
        tenants = ["acme"]
        [[auth.issuers]]
        name = "https://b.example"
        tenants = []
        jwks_file = "nowhere.json"
        [[auth.issuers]]
        name = "https://c.example"
        tenants = ["*"]
        jwks_url = "https://c.example/keys"
        jwks_file = "keys.json"
    "#;
    let faults = faults(text);
    let keys: Vec<&str> = faults.iter().map(|(key, _)| key.as_str()).collect();
    let expected = [
        "auth.issuers[0].name",
        "auth.issuers[0].tenants",
        "auth.issuers[1].tenants",
        "auth.issuers[1].tenants",
        "auth.issuers[1].jwks_url",
        "auth.issuers[1].keep_s",
        "auth.issuers[1].ca",
        "auth.issuers[2].name",
        "auth.issuers[3].tenants",
        "auth.issuers[3].jwks_file",
        "auth.issuers[4].jwks_file",
    ];
    assert_eq!(keys, expected, "{faults:#?}");
    let twice = "[[auth.issuers]]\nname = 'a'\ntenants = ['*']\njwks_url = 'https://a.example'\n";
    assert_eq!(fault(&format!("{twice}{twice}")).0, "auth.issuers");
}

#[test]
fn all_faults_of_the_authoriser_are_told_at_once() {
    let keys = |text: &str| -> Vec<String> {
        faults(&format!("[authoriser]\n{text}")).into_iter().map(|(key, _)| key).collect()
    };
    let bad = "url = 'http://example.com/'\nsecret = 'short'\ntimeout_ms = 1\ncache_s = -1\n\
               namespaces = ['none', '$user']";
    let expected = ["url", "secret", "timeout_ms", "cache_s", "namespaces"];
    assert_eq!(keys(bad), expected.map(|key| format!("authoriser.{key}")));
    let secret = "secret = 'a secret of thirty-two bytes, ok'";
    assert_eq!(keys(secret), ["authoriser.url"]);
    assert_eq!(keys("url = 'https://a.example/'"), ["authoriser.secret"]);
    assert_eq!(keys(&format!("url = 'https://a.example/'\n{secret}")), [""; 0]);
}

#[test]
fn a_section_is_a_table() {
    assert_eq!(fault("limits = 1"), ("limits".into(), "must be a table".into()));
    assert_eq!(fault("namespaces = []"), ("namespaces".into(), "must be a table".into()));
    assert_eq!(fault("namespaces.a = 1"), ("namespaces.a".into(), "must be a table".into()));
    assert_eq!(fault("[auth.keys]").0, "auth.keys");
    assert_eq!(fault("[auth.issuers]").0, "auth.issuers");
}

#[test]
fn what_goes_together_is_checked_together() {
    let here = |text: &str| fault(text).0;
    assert_eq!(here("[listen]\nclient = \"[::1]:1\"\nadmin = \"[::1]:1\""), "listen.admin");
    assert_eq!(here("[proxies]\nproxy_protocol = true"), "proxies.trusted");
    assert_eq!(here("[limits]\nframe_bytes = 65536"), "limits.frame_bytes");
    assert_eq!(here("[limits]\ncontrol_queue_bytes = 65536"), "limits.control_queue_bytes");
    assert_eq!(here("[hub]\nring_bytes = 1024"), "hub.ring_bytes");
    assert_eq!(here("[quotas.user]\nbytes_burst = 1"), "quotas.user.bytes_per_s");
    assert_eq!(here("[quotas.ip]\npublishes_per_s = 1"), "quotas.ip.publishes_per_s");
    assert_eq!(here("[drain]\nspread_ms = 20001"), "drain.spread_ms");
    assert_eq!(here("[auth]\nmax_lifetime_s = 1\nrequire_expiry = false"), "auth.require_expiry");
    assert_eq!(here("[namespaces.a]\nevent_bytes = 65537"), "namespaces.a.event_bytes");
    let both = "class = \"ephemeral\"\nhistory = { events = 1 }";
    assert_eq!(here(&format!("[namespaces.a]\n{both}")), "namespaces.a.history");
    assert_eq!(here("[namespaces.\"$system\"]"), "namespaces.$system");
}

#[test]
fn certificate_and_key_go_together() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert_eq!(fault(&format!("[tls]\nkey = '{file}'")).0, "tls.certificate");
    assert_eq!(fault(&format!("[tls]\ncertificate = '{file}'")).0, "tls.key");
    let (key, message) = fault(&format!("[tls]\ncertificate = '{file}'\nkey = 'nowhere.pem'"));
    assert_eq!((key.as_str(), message.as_str()), ("tls.key", "no file at nowhere.pem"));
    let tls = parse(&format!("[tls]\ncertificate = '{file}'\nkey = '{file}'")).unwrap().tls;
    assert_eq!(tls.certificate.unwrap().key, Path::new(file));
}

#[test]
fn only_feeds_have_bounds_of_current_values() {
    let bounds = "feed = { keys = 5 }";
    let (key, _) = fault(&format!("[namespaces.scores]\n{bounds}"));
    assert_eq!(key, "namespaces.scores.feed");
    let config = parse(&format!("[namespaces.scores]\nclass = \"feed\"\n{bounds}")).unwrap();
    let policy = config.policies.of(&Channel::parse("scores:a").unwrap()).unwrap();
    assert_eq!((policy.class, policy.feed.keys), (DeliveryClass::Feed, 5));
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let error = Config::load(Some(&dir.path().join("none.toml")), []).unwrap_err();
    assert!(error.to_string().contains("none.toml"), "{error}");
    let file = dir.path().join("meridian.toml");
    std::fs::write(&file, "[limits]\nsessions = 7\n[storage]\ndir = 'events'").unwrap();
    let config = Config::load(Some(&file), []).unwrap();
    assert_eq!((config.limits.sessions, config.storage.dir), (7, dir.path().join("events")));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "([\\[\\]{}\"'=.\n ]|limits|auth|keys|namespaces|a|1){0,30}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.faults.is_empty());
        }
    }
}
