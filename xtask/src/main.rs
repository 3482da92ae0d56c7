//! `cargo xtask ci`: what CI runs, and nothing more. `cargo xtask layers`: the rules of the house that cargo does not know.
//! `cargo xtask bench`: the measured claims. `cargo xtask sim`: simulated worlds, by seed.

mod bench;
mod layers;
mod sim;
mod stages;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let done = match task.as_str() {
        "bench" => bench::run(&args.collect::<Vec<_>>()),
        "ci" => stages::ci(),
        "layers" => layers::check(),
        "sim" => sim::run(&args.collect::<Vec<_>>()),
        other => Err(anyhow::anyhow!(
            "unknown task {other:?}; known are bench, ci, layers, sim"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
