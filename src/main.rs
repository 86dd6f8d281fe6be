//! The `meridian` command: its arguments and exit codes. What a command does is in its own module.
//!
//! Exit codes: 0 done, 1 failed, 2 arguments or configuration not valid.

mod acks;
mod bridge;
mod check_config;
mod configuration;
mod console;
mod demo;
mod dev;
mod development;
mod edge;
mod embedded;
mod halting;
mod health;
mod lag;
mod log_command;
mod logging;
mod migrate;
mod process;
mod region;
mod region_command;
mod replay;
mod router;
mod token;
mod waiting;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use meridian_core::config::ConfigError;

/// Edge-distributed realtime gateway.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true, after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
Try it:
  meridian dev --demo flights        a whole node on this machine, with something to look at

Every configuration key: docs/configuration.md. Tokens: docs/authentication.md.";

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Options),
    Edge(edge::Options),
    Router(router::Options),
    Bridge(bridge::Options),
    Console(Box<console::Options>),
    Migrate(migrate::Options),
    Log(log_command::Options),
    Region(region_command::Options),
    Token(Box<token::Options>),
    CheckConfig(check_config::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(options) => dev::run(options),
        Command::Edge(options) => edge::run(&options),
        Command::Router(options) => router::run(&options),
        Command::Bridge(options) => bridge::run(&options),
        Command::Console(options) => console::run(*options),
        Command::Migrate(options) => migrate::run(&options),
        Command::Log(options) => log_command::run(&options),
        Command::Region(options) => region_command::run(&options),
        Command::Token(options) => token::run(&options),
        Command::CheckConfig(options) => check_config::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}
