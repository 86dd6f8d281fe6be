//! The examples of each `--help` run as they stand.

use std::process::{Child, Command, Stdio};

use crate::Place;
use crate::node::eventually;

/// `meridian dev` as one starts it, without a configuration.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn examples_run_as_they_stand() {
    let place = Place::new();
    let announced = std::fs::File::create(place.0.path().join("dev")).expect("a file");
    let dev = Command::new(env!("CARGO_BIN_EXE_meridian"))
        .args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .current_dir(place.0.path())
        .env_clear()
        .stdout(announced)
        .stderr(Stdio::null())
        .spawn();
    let _dev = Dev(dev.expect("the built command starts"));
    let url = eventually("the announcement", || {
        let text = std::fs::read_to_string(place.0.path().join("dev")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("client ")).map(str::to_owned);
        line.filter(|_| text.contains("\ntoken "))
    })
    .await;
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_meridian")).parent().expect("a folder");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    for command in ["pub", "sub", "history", "latest"] {
        let help = place.meridian(&[command, "--help"]).stdout;
        let examples = help.split("runs:\n").nth(1).expect("examples");
        let lines = examples.lines().take_while(|line| line.starts_with("  "));
        let script: Vec<&str> = lines.map(str::trim).collect();
        assert!(script.len() >= 3, "{help}");
        let output = Command::new("sh")
            .args(["-ec", &script.join("\n")])
            .current_dir(place.0.path())
            .env_clear()
            .envs([("PATH", path.as_str()), ("MERIDIAN_URL", &url)])
            .stdin(Stdio::null())
            .output();
        let run = crate::Run::from(output.expect("a shell"));
        assert_eq!(run.code, 0, "{script:#?}\n{}{}", run.stdout, run.stderr);
    }
}
