//! `cargo xtask ci`: what CI runs, and nothing more. `cargo xtask layers`: the rules of the house that cargo does not know.

mod layers;
mod stages;

use std::process::ExitCode;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let done = match task.as_str() {
        "ci" => stages::ci(),
        "layers" => layers::check(),
        other => Err(anyhow::anyhow!(
            "unknown task {other:?}; known are ci, layers"
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
