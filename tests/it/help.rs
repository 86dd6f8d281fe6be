//! Help and arguments.

use super::*;

#[test]
fn help_names_every_command_and_has_examples() {
    let place = Place::new();
    let help = place.meridian(&["--help"]);
    assert_eq!(help.code, 0);
    for command in
        ["dev", "edge", "router", "migrate", "console", "log", "region", "token", "check-config"]
    {
        assert!(help.stdout.contains(command), "{}", help.stdout);
        let own = place.meridian(&[command, "--help"]);
        assert!(own.stdout.contains("Examples:"), "{}", own.stdout);
    }
    assert_eq!(place.meridian(&["--version"]).stdout.trim(), "meridian 0.1.0");
}

#[test]
fn unknown_arguments_exit_with_2() {
    let place = Place::new();
    for arguments in [&[][..], &["fly"], &["dev", "--demo", "trains"], &["check-config"]] {
        assert_eq!(place.meridian(arguments).code, 2, "{arguments:?}");
    }
}
