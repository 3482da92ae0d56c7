//! `etl logs`: what the steps of a job said.

use std::time::Duration;

use etl_core::contract::store::Journal;
use etl_core::contract::{Clock, Store};
use etl_core::model::{LogLevel, LogLine};
use etl_core::runtime::SystemClock;

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
    let mut after = 0;
    // What the store has is shown, whatever became of the archive.
    let archived = match show_archived(config, store, args, &mut after).await {
        Ok(Reader::Gone) => return Ok(Exit::Success),
        Ok(Reader::Listening) => Ok(Exit::Success),
        Err(failure) => Err(failure),
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
            return archived;
        }
        had_ended = job.status.is_terminal();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Shows the lines that the store has no more, from the archive. `after` becomes the number of the last one that was shown.
async fn show_archived(
    config: &Config,
    store: &dyn Store,
    args: &LogsArgs,
    after: &mut u64,
) -> Result<Reader, Failure> {
    let job = job_of(store, args.id).await?;
    let first = Journal::lines(store, args.id, 0, 1).await?;
    let may_be_archived = match first.first() {
        Some(line) => line.seq > 1,
        // A job may have said nothing; or it ended so long ago that its lines were dropped.
        None => {
            let kept = Duration::from_hours(24).saturating_mul(config.log_days);
            let now = SystemClock.now();
            config.log_archive
                || job
                    .completed_at
                    .is_some_and(|ended| now.since(ended) > kept)
        }
    };
    // A job that did not start has said nothing.
    if !may_be_archived || !job.status.is_terminal() || job.started_at.is_none() {
        return Ok(Reader::Listening);
    }
    let storage = deployment::artifacts(config)?;
    let Some(mut archive) = Archive::open(&storage, args.id).await? else {
        return Ok(Reader::Listening);
    };
    while let Some(lines) = archive.next().await? {
        for line in &lines {
            *after = line.seq;
            if show_line(line, args)? == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
    }
    Ok(Reader::Listening)
}

fn show_line(line: &LogLine, args: &LogsArgs) -> Result<Reader, Failure> {
    if args.json {
        print_line(line)
    } else if line.event().is_some() && line.level < LogLevel::Warn {
        // That steps start and end is what `etl job` shows.
        Ok(Reader::Listening)
    } else {
        print(&format!("{}\n", log_line(line)))
    }
}
