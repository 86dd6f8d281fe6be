//! `meridian migrate`: brings a region's Postgres up to this version.

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{process, region};

/// Bring a region's Postgres up to this version
///
/// Makes the schema if it is missing. Run it before the first edge or router of a version starts; those
/// of the version before go on with it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meridian migrate --config meridian.toml")]
pub(crate) struct Options {
    #[command(flatten)]
    config: region::ConfigFile,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let (_, stores) = region::configured(&options.config)?;
    let postgres = region::postgres(&stores.postgres);
    process::runtime()?
        .block_on(meridian_postgres::migrate(&postgres))
        .context("cannot migrate Postgres")?;
    println!("ok");
    Ok(())
}
