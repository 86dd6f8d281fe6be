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
mod report;
mod runs;
mod server;
mod stats;
mod target;

use anyhow::Result;
use clap::Parser as _;
use cli::{Cli, Command};
use tokio::runtime;
use tokio::task::LocalSet;

fn main() -> Result<()> {
    let cli = Cli::parse();
    limits::raise_open_files()?;
    // One thread: what is measured is the server, and subscribers are processes of their own.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(run(cli.command)))
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
    }
}
