//! `etl`: runs pipelines, and looks at and steers their jobs.
#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the macros panic when the reader has gone away; `view` has functions that do not"
)]

mod api;
mod archive;
mod args;
mod audit;
mod command;
mod config;
mod deployment;
mod document;
mod failure;
mod health;
mod identity;
mod listener;
mod live;
mod metrics;
mod recent;
mod storage;
mod telemetry;
mod view;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let json = args.command.answers_in_json();
    match command::execute(args) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let exit = failure.exit;
            failure.report(json);
            exit.into()
        }
    }
}
