//! `meridian check-config`.

use super::*;

#[test]
fn a_good_configuration_is_summed_up() {
    let place = Place::new();
    let text = format!(
        "[[auth.keys]]\nid = 'main'\nalgorithm = 'HS256'\nsecret = '{SECRET}'\n\
         [namespaces.flights]\nsubscribe = ['tenant']\npublish = ['role:feeder']\n"
    );
    place.file("meridian.toml", &text);
    let run = place.meridian_with(
        &["check-config", "meridian.toml"],
        &[("MERIDIAN__NODE__REGION", "eu-west"), ("MERIDIAN__LISTEN__ADMIN", "0.0.0.0:9")],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.starts_with("ok\n"), "{}", run.stdout);
    for part in
        ["n1 in region eu-west", "main (HS256)", "strict; subscribe tenant; publish role:feeder"]
    {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    assert!(run.stderr.contains("warning: listen.admin: "), "{}", run.stderr);
    assert!(!run.stdout.contains(SECRET) && !run.stderr.contains(SECRET));
}

#[test]
fn every_fault_is_told_and_the_exit_code_is_2() {
    let place = Place::new();
    place.file("meridian.toml", "[limits]\nsesions = 1\nheartbeat_ms = 1\n[log]\nformat = 'xml'\n");
    let run = place.meridian(&["check-config", "meridian.toml"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    for part in [
        "3 faults",
        "limits.sesions: unknown key; did you mean `sessions`?",
        "limits.heartbeat_ms: must be a whole number from 1000 to 600000",
        "log.format: must be `text` or `json`",
    ] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

#[test]
fn files_and_filters_that_cannot_be_read() {
    let place = Place::new();
    let run = place.meridian(&["check-config", "none.toml"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("cannot read none.toml"), "{}", run.stderr);
    place.file("broken.toml", "[limits\n");
    let run = place.meridian(&["check-config", "broken.toml"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("line 1, column 8: not valid TOML"), "{}", run.stderr);
    place.file("filter.toml", "[log]\nfilter = 'meridian=loudly'\n");
    let run = place.meridian(&["check-config", "filter.toml"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("log.filter: "), "{}", run.stderr);
}
