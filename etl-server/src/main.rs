//! `etl`: runs pipelines, and looks at and steers their jobs.

mod args;
mod command;
mod config;
mod document;
mod embedded;
mod failure;
mod telemetry;
mod view;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match command::execute(args) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report();
            failure.exit.into()
        }
    }
}
