//! Meridian's bench: starts a server, subscribers and publishers as processes of their own, and
//! measures the server from outside, beside a floor that only writes. Never runs inside the server.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod cli;
mod clock;
mod control;
mod floor;
mod limits;
mod load;
mod payload;
mod procfs;
mod publisher;
mod region;
mod report;
mod runs;
mod server;
mod stats;
mod target;

use anyhow::{Result, bail};
use clap::Parser as _;
use cli::{Cli, Command};
use tokio::runtime;
use tokio::task::LocalSet;

fn main() -> Result<()> {
    let cli = Cli::parse();
    limits::raise_open_files()?;
    let runtime = match cli.command {
        // As many as a router has.
        Command::Router(_)
        | Command::RouterFloor
        | Command::Catchup(_)
        | Command::Regions(_)
        | Command::FarSide => {
            runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?
        }
        // One thread: what is measured is the server, and subscribers are processes of their own.
        _ => runtime::Builder::new_current_thread().enable_all().build()?,
    };
    let ended = runtime.block_on(LocalSet::new().run_until(until_interrupted(run(cli.command))));
    // Threads that poll a Kafka client end with the process only.
    runtime.shutdown_background();
    ended
}

/// What is dropped ends the processes and the servers that it started.
async fn until_interrupted(run: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        ended = run => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            bail!("interrupted")
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Floor(args) => floor::run(args).await,
        Command::Load => load::run().await,
        Command::Publisher => publisher::run().await,
        Command::Fanout(args) => runs::fanout(args).await,
        Command::Wt(args) => runs::wt(args).await,
        Command::Idle(args) => runs::idle(args).await,
        Command::Publish(args) => runs::publish(args).await,
        Command::Resume(args) => runs::resume(args).await,
        Command::Neighbour(args) => runs::neighbour(args).await,
        Command::Router(args) => runs::router(args).await,
        Command::RouterFloor => runs::router_floor().await,
        Command::Catchup(args) => runs::catchup(args).await,
        Command::Regions(args) => runs::regions(args).await,
        Command::FarSide => runs::far_side().await,
        Command::Forward(args) => runs::forward(args).await,
    }
}
