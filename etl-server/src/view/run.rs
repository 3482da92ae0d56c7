//! A running job as it is watched: a live view on a terminal, one line for each event otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Instant;

use etl_core::model::{
    Event, EventKind, JobId, LogLevel, Pipeline, StepKey, StepRecord, StepStatus,
};

use super::live::Live;
use super::out::say;
use super::text::{duration, log_line, number};

/// Shows events as they come.
pub(crate) struct RunView {
    mode: Mode,
    started: BTreeMap<StepKey, Instant>,
}

enum Mode {
    /// One line for each event.
    Plain,
    Live(Live),
    /// The outcome is for a program: only what a person must know goes to standard error.
    Silent,
}

impl RunView {
    pub(crate) fn new(job: JobId, pipeline: &Pipeline, json: bool) -> Self {
        let mode = if json {
            Mode::Silent
        } else if std::io::stderr().is_terminal() {
            Mode::Live(Live::new(job, pipeline))
        } else {
            say(&format!("job {job} of {}", pipeline.name));
            Mode::Plain
        };
        Self {
            mode,
            started: BTreeMap::new(),
        }
    }

    pub(crate) fn show(&mut self, event: &Event) {
        if let EventKind::Step {
            key,
            status: StepStatus::Running,
            ..
        }
        | EventKind::Expanded { key, .. } = &event.kind
        {
            self.started.entry(*key).or_insert_with(Instant::now);
        }
        match &mut self.mode {
            Mode::Silent => {}
            Mode::Plain => {
                if let Some(line) = line(event, &self.started) {
                    say(&format!("{} {line}", event.at));
                }
            }
            Mode::Live(live) => live.show(event, &self.started),
        }
    }

    pub(crate) fn say(&self, message: &str) {
        match &self.mode {
            Mode::Live(live) => live.say(message),
            Mode::Plain | Mode::Silent => say(message),
        }
    }

    pub(crate) fn close(&self) {
        if let Mode::Live(live) = &self.mode {
            live.close();
        }
    }

    /// Whether it shows where every step is, so that it has to know what was settled before.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.mode, Mode::Live(_))
    }

    /// Takes in where the steps are already.
    pub(crate) fn resume(&mut self, steps: &[StepRecord]) {
        if let Mode::Live(live) = &mut self.mode {
            live.resume(steps);
        }
    }
}

/// An event as one line; `None` for what only a live view shows.
pub(super) fn line(event: &Event, started: &BTreeMap<StepKey, Instant>) -> Option<String> {
    match &event.kind {
        EventKind::Job { status, .. } => Some(format!("job {status}")),
        EventKind::Expanded { step, items, .. } => {
            Some(format!("{step}: fans out to {items} items"))
        }
        EventKind::Step {
            step,
            key,
            status,
            attempt,
            rows_processed,
            error_message,
            error_stack,
        } => {
            let name = name(step, *key);
            let causes = error_stack.iter().flat_map(|causes| causes.lines());
            let causes: String = causes
                .map(|cause| format!("\n  because: {cause}"))
                .collect();
            let took = started
                .get(key)
                .map(|since| duration(since.elapsed().as_millis() as u64))
                .unwrap_or_default();
            Some(match (status, error_message) {
                (StepStatus::Running, _) if *attempt > 1 => {
                    format!("{name}: running, attempt {attempt}")
                }
                (StepStatus::Success, _) if *rows_processed > 0 => {
                    format!(
                        "{name}: success, {} rows in {took}",
                        number(*rows_processed)
                    )
                }
                (StepStatus::Success, _) => format!("{name}: success in {took}"),
                (status, Some(error)) => format!("{name}: {status}, {error}{causes}"),
                (status, None) => format!("{name}: {status}"),
            })
        }
        // Failures are told by the step's own event.
        EventKind::Log(line) if line.level < LogLevel::Error => {
            Some(log_line(line).split_once(' ')?.1.to_owned())
        }
        EventKind::Log(_) | EventKind::Progress { .. } => None,
    }
}

pub(super) fn name(step: &str, key: StepKey) -> String {
    key.item
        .map_or_else(|| step.to_owned(), |item| format!("{step}[{item}]"))
}
