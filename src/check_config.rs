//! `meridian check-config`: all that is wrong with a configuration, or what it comes to.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use meridian_core::auth::VerifierOptions;
use meridian_core::config::{AuthKey, Config, ConfigError, Fault, Limits, Origins};
use meridian_core::policy::{Policy, Rule};

use crate::{configuration, logging};

/// Check a configuration and say what it comes to
///
/// Reads the file and the MERIDIAN__… environment variables as a node would, with the files that they
/// name. Prints every fault, each with its key, and exits with 2; or `ok`, a summary, and what may not
/// be meant.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// The TOML file
    file: PathBuf,
}

const HELP: &str = "\
Examples:
  meridian check-config meridian.toml
  MERIDIAN__LISTEN__CLIENT=0.0.0.0:443 meridian check-config meridian.toml

Every key with its default: docs/configuration.md";

/// Prints the summary, or fails with the faults.
pub(crate) fn run(options: &Options) -> Result<()> {
    let config = configuration::load(Some(&options.file))?;
    logging::filter(&config.log.filter).map_err(|error| {
        let message = format!("{:#}", error.root_cause());
        ConfigError { faults: vec![Fault { key: "log.filter".to_owned(), message }] }
    })?;
    println!("ok\n\n{}", summary(&config));
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

fn summary(config: &Config) -> String {
    let node = &config.node;
    let storage = &config.storage;
    let lines = [
        ("node", format!("{} in region {}", node.name, node.region)),
        ("clients", clients(config)),
        ("admin", config.listen.admin.to_string()),
        ("certificate", certificate(config)),
        ("storage", format!("{}, {} partitions", storage.dir.display(), storage.partitions)),
        ("keys", keys(config)),
        ("tokens", tokens(&config.auth.options)),
        ("limits", limits(&config.limits)),
        ("origins", origins(&config.origins)),
        ("CORS", origins(&config.cors)),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<12} {value}");
    }
    text.push_str("\nnamespaces\n");
    for (name, policy) in config.policies.iter() {
        let _ = writeln!(text, "  {:<12} {}", name.as_str(), namespace(policy));
    }
    text.trim_end().to_owned()
}

fn clients(config: &Config) -> String {
    let workers = match config.listen.workers {
        0 => "one worker a core".to_owned(),
        n => format!("{n} workers"),
    };
    let tcp = if config.tls.plain_tcp { "plain TCP" } else { "TLS" };
    format!("{} (TCP and UDP), {tcp}, {workers}", config.listen.client)
}

fn certificate(config: &Config) -> String {
    match &config.tls.certificate {
        Some(files) => files.certificate.display().to_string(),
        None => "none (development only)".to_owned(),
    }
}

fn limits(limits: &Limits) -> String {
    format!(
        "{} sessions, events of {} bytes, {} channels a session, {} commands/s",
        limits.sessions, limits.event_bytes, limits.channels_per_session, limits.commands_per_s
    )
}

fn keys(config: &Config) -> String {
    let key = |key: &AuthKey| {
        let key = &key.verification;
        let issuer = key.issuer().map(|issuer| format!(" for {issuer}")).unwrap_or_default();
        format!("{} ({}{issuer})", key.id(), key.algorithm())
    };
    listed(config.auth.keys.iter().map(key))
}

fn tokens(options: &VerifierOptions) -> String {
    let expiry = if options.require_expiry { "must expire" } else { "need not expire" };
    let audience = listed(options.audience.iter().cloned());
    format!("{expiry}, leeway {} s, audience {audience}", options.leeway_ms / 1000)
}

fn origins(origins: &Origins) -> String {
    match origins {
        Origins::Any => "any".to_owned(),
        Origins::Listed(list) => listed(list.iter().map(ToString::to_string)),
    }
}

fn namespace(policy: &Policy) -> String {
    let class = format!("{:?}", policy.class).to_lowercase();
    let rules = |rules: &std::collections::BTreeSet<Rule>| match rules.is_empty() {
        true => "nobody".to_owned(),
        false => listed(rules.iter().map(ToString::to_string)),
    };
    format!("{class}; subscribe {}; publish {}", rules(&policy.subscribe), rules(&policy.publish))
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
