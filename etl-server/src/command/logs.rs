//! `etl logs`: what the steps of a job said.

use std::time::Duration;

use etl_core::contract::Store;
use etl_core::contract::store::Journal;
use etl_core::model::LogLine;

use super::interrupts::Interrupts;
use super::job_of;
use crate::archive::Archive;
use crate::args::LogsArgs;
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{Reader, log_line, print, print_line};

/// Lines read at once.
const PAGE: usize = 1000;
/// How often a job that runs is asked for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(300);

pub(crate) async fn execute(config: &Config, args: &LogsArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let opening = deployment::look(config);
    let store = interrupts.unless_interrupted(opening).await?;
    let exit = tokio::select! {
        exit = show(config, &**store.store(), args) => exit,
        () = interrupts.next() => Ok(Exit::Cancelled),
    };
    store.close().await;
    exit
}

async fn show(config: &Config, store: &dyn Store, args: &LogsArgs) -> Result<Exit, Failure> {
    let Some(mut after) = show_archived(config, store, args).await? else {
        return Ok(Exit::Success);
    };
    let mut had_ended = false;
    loop {
        // The state first: lines that come after it are read in the next round.
        let job = job_of(store, args.id).await?;
        loop {
            let lines = Journal::lines(store, args.id, after, PAGE).await?;
            for line in &lines {
                after = line.seq;
                if show_line(line, args)? == Reader::Gone {
                    return Ok(Exit::Success);
                }
            }
            if lines.len() < PAGE {
                break;
            }
        }
        // The last lines are written right after the end itself: one more round.
        if !args.follow || had_ended {
            return Ok(Exit::Success);
        }
        had_ended = job.status.is_terminal();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Shows the lines that the store has no more, from the archive. Answers the number of the last one that was shown, or nothing if
/// nobody reads on.
async fn show_archived(
    config: &Config,
    store: &dyn Store,
    args: &LogsArgs,
) -> Result<Option<u64>, Failure> {
    let job = job_of(store, args.id).await?;
    let first = Journal::lines(store, args.id, 0, 1).await?;
    let is_whole = first.first().is_some_and(|line| line.seq == 1);
    // A job that did not start has said nothing.
    if is_whole || !job.status.is_terminal() || job.started_at.is_none() {
        return Ok(Some(0));
    }
    let mut after = 0;
    let storage = deployment::artifacts(config)?;
    let Some(mut archive) = Archive::open(&storage, args.id).await? else {
        return Ok(Some(0));
    };
    while let Some(lines) = archive.next().await? {
        for line in &lines {
            after = line.seq;
            if show_line(line, args)? == Reader::Gone {
                return Ok(None);
            }
        }
    }
    Ok(Some(after))
}

fn show_line(line: &LogLine, args: &LogsArgs) -> Result<Reader, Failure> {
    if args.json {
        print_line(line)
    } else {
        print(&format!("{}\n", log_line(line)))
    }
}
