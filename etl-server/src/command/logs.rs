//! `etl logs`: what the steps of a job said.

use std::time::Duration;

use etl_core::contract::store::Journal;

use crate::args::LogsArgs;
use crate::config::Config;
use crate::embedded;
use crate::failure::{Exit, Failure};
use crate::view::{log_line, print_line};

/// Lines read at once.
const PAGE: usize = 1000;
/// How often a job that runs is asked for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(300);

pub(crate) async fn execute(config: &Config, args: &LogsArgs) -> Result<Exit, Failure> {
    let store = embedded::look(config).await?;
    let mut after = 0;
    loop {
        // The state first: lines that come after it are read in the next round.
        let Some(job) = store.job(args.id).await? else {
            return Err(Failure::input(format!("there is no job {}", args.id))
                .hint("`etl jobs` lists them"));
        };
        loop {
            let lines = store.lines(args.id, after, PAGE).await?;
            for line in &lines {
                after = line.seq;
                if args.json {
                    print_line(line);
                } else {
                    println!("{}", log_line(line));
                }
            }
            if lines.len() < PAGE {
                break;
            }
        }
        if !args.follow || job.status.is_terminal() {
            store.close().await;
            return Ok(Exit::Success);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Cancelled),
        }
    }
}
