//! `meridian log`: what is recorded of a log's epochs, and beginning the next one.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use meridian_kafka::{EpochRecord, KafkaLog};

use crate::process;
use crate::region::{self, LogPlace};

const HELP: &str = "\
Examples:
  meridian log show --config meridian.toml
  meridian log new-epoch --config meridian.toml
  meridian log show --config meridian.toml --log europe";

/// Show a log's epoch, or begin the next one
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the newest epoch; the first one is made if there is none
    Show(Where),
    /// Begin the next epoch, in a new topic
    ///
    /// For a log that halted: one whose topic was replaced, or lost its tail. Clients from before get what
    /// the history has of the old epoch, then a gap. Edges and routers end and must be started again.
    NewEpoch(Where),
}

#[derive(Debug, Args)]
struct Where {
    #[command(flatten)]
    config: region::ConfigFile,
    /// The log: `global`, or a zone that the region consumes
    #[arg(long, value_name = "NAME", default_value = region::GLOBAL)]
    log: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let (Action::Show(place) | Action::NewEpoch(place)) = &options.action;
    let (config, stores) = region::configured(&place.config)?;
    let LogPlace { name, kafka } = region::place(&config, &stores, &place.log)?;
    let kafka = region::kafka(&kafka);
    let record = process::runtime()?.block_on(async {
        match &options.action {
            Action::Show(_) => {
                let log = KafkaLog::open(kafka, name).await.context("cannot open the log")?;
                let record = log.record().clone();
                log.close().await;
                Ok::<_, anyhow::Error>(record)
            }
            Action::NewEpoch(_) => {
                meridian_kafka::new_epoch(kafka, name).await.context("cannot begin an epoch")
            }
        }
    })?;
    print(&record);
    Ok(())
}

fn print(record: &EpochRecord) {
    println!("epoch      {}", record.epoch);
    println!("topic      {} ({})", record.topic, record.topic_id);
    println!("cluster    {}", record.cluster_id);
    println!("partitions {}", record.partitions);
    println!("window     {} records, {} ms", record.window_records, record.window_ms);
}
