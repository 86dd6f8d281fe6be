//! `meridian region`: filling a new region's Postgres with another region's history.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use meridian_core::seams::Incarnation;
use meridian_postgres::{SeedLog, Seeded, Tls};

use crate::region::{self, LogPlace};
use crate::{logging, process};

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Build a region from another one
#[derive(Debug, Args)]
#[command(after_help = SEED_HELP)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Seed(Seed),
}

/// Fill a new region's Postgres with another region's history
///
/// Copies what the other region's routers stored up to now: events, heads, the windows of duplicates,
/// marks, acknowledged positions, checkpoints. The new region's routers then go on from there. The new
/// Postgres must be migrated and empty; the other region goes on meanwhile. A copy that is broken off
/// leaves nothing: run it again.
#[derive(Debug, Args)]
#[command(after_help = SEED_HELP)]
struct Seed {
    /// The new region's configuration
    #[command(flatten)]
    config: region::ConfigFile,
    /// The other region: its configuration, or its Postgres as postgres://USER@HOST:PORT/DATABASE, which
    /// takes a password from PGPASSWORD or ~/.pgpass
    #[arg(long, value_name = "FILE|URL")]
    from: String,
    /// The other region's schema, beside a URL [default: meridian]
    #[arg(long, value_name = "NAME")]
    from_schema: Option<String>,
    /// PEM file of the roots to trust, beside a URL [default: the system's]
    #[arg(long, value_name = "FILE")]
    from_ca: Option<PathBuf>,
    /// No TLS, beside a URL: for a server on this host or behind a tunnel
    #[arg(long)]
    from_plain: bool,
}

const SEED_HELP: &str = "\
Examples:
  meridian migrate     --config us.toml
  meridian region seed --config us.toml --from eu.toml
  meridian region seed --config us.toml --from postgres://copy1@pg.eu.example/meridian

The user that reads there needs the role `meridian_copy`; the one that writes here is the one that
migrates. Afterwards start the region's routers, then its edges: docs/operations.md.";

pub(crate) fn run(options: &Options) -> Result<()> {
    let Action::Seed(seed) = &options.action;
    let (config, stores) = region::configured(&seed.config)?;
    let (from, to) = (source(seed)?, region::postgres(&stores.postgres));
    logging::start(&config.log)?;
    let seeded = process::runtime()?.block_on(async {
        let mut logs = Vec::new();
        for place in region::places(&config, &stores)? {
            logs.push(log(place).await?);
        }
        meridian_postgres::seed(&from, &to, &logs).await.context("nothing was copied")
    })?;
    print(&seeded);
    Ok(())
}

/// Where the history comes from.
fn source(seed: &Seed) -> Result<meridian_postgres::Options> {
    let beside_url = seed.from_schema.is_some() || seed.from_ca.is_some() || seed.from_plain;
    if SCHEMES.iter().any(|scheme| seed.from.starts_with(scheme)) {
        let mut options = meridian_postgres::Options::new(&seed.from);
        if let Some(schema) = &seed.from_schema {
            options.schema.clone_from(schema);
        }
        options.tls = match seed.from_plain {
            true => Tls::Off,
            false => Tls::Verified { ca_file: seed.from_ca.clone() },
        };
        return Ok(options);
    }
    if beside_url {
        bail!("--from-schema, --from-ca and --from-plain go with a postgres:// URL only");
    }
    let (_, stores) = region::configured_by(Path::new(&seed.from))
        .context("--from is neither a postgres:// URL nor a region's configuration")?;
    Ok(region::postgres(&stores.postgres))
}

/// What the new region's Kafka has recorded of a log.
async fn log(place: LogPlace) -> Result<SeedLog> {
    let LogPlace { name, kafka } = place;
    let epochs = match meridian_kafka::recorded(region::kafka(&kafka), name.clone()).await {
        Ok(recorded) => {
            let known: Vec<Incarnation> =
                recorded.iter().map(|record| record.incarnation(&name)).collect();
            if known.is_empty() {
                bail!("the new region's Kafka has no log `{name}`: is `kafka.bootstrap` right?");
            }
            Some(known)
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "Kafka can't be asked, so the log's identity is compared when a router starts"
            );
            None
        }
    };
    Ok(SeedLog { name, epochs })
}

fn print(seeded: &Seeded) {
    println!("ok");
    for (log, epoch) in &seeded.epochs {
        println!("log        {log}, epoch {epoch}");
    }
    println!("events     {}", seeded.events);
    println!("rows       {} of all tables, {} bytes", seeded.rows, seeded.bytes);
    println!("took       {:.1} s", seeded.took.as_secs_f64());
}
