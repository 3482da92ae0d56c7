//! A running job as it is watched: a live view on a terminal, one line for each event otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use etl_core::model::{Event, EventKind, JobId, LogLevel, Pipeline, StepKey, StepStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::out::{printable, say};
use super::text::{duration, log_line, number};

/// The most steps that the live view has lines for.
const MOST_LINES: usize = 12;

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

struct Live {
    bars: MultiProgress,
    total: ProgressBar,
    steps: BTreeMap<StepKey, ProgressBar>,
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
        } = &event.kind
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

    pub(crate) fn close(&mut self) {
        if let Mode::Live(live) = &mut self.mode {
            for bar in live.steps.values() {
                bar.finish_and_clear();
            }
            live.total.finish_and_clear();
        }
    }
}

impl Live {
    fn new(job: JobId, pipeline: &Pipeline) -> Self {
        let bars = MultiProgress::new();
        let total = bars.add(ProgressBar::new(pipeline.steps.len() as u64));
        total.set_style(style(
            "{spinner} {prefix} {wide_bar} {pos}/{len} steps {elapsed}",
        ));
        total.set_prefix(format!("{} {job}", pipeline.name));
        total.enable_steady_tick(Duration::from_millis(120));
        Self {
            bars,
            total,
            steps: BTreeMap::new(),
        }
    }

    /// Says a line above the bars.
    fn say(&self, line: &str) {
        let _ = self.bars.println(printable(line));
    }

    fn show(&mut self, event: &Event, started: &BTreeMap<StepKey, Instant>) {
        match &event.kind {
            EventKind::Step {
                step,
                key,
                status: StepStatus::Running,
                ..
            } if self.steps.len() < MOST_LINES => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(style("  {spinner} {prefix:24} {msg}"));
                bar.set_prefix(name(step, *key));
                bar.enable_steady_tick(Duration::from_millis(120));
                if let Some(old) = self.steps.insert(*key, bar) {
                    old.finish_and_clear();
                }
            }
            EventKind::Progress {
                key,
                progress,
                rows_processed,
                ..
            } => {
                if let (Some(bar), Some(since)) = (self.steps.get(key), started.get(key)) {
                    let rate = *rows_processed as f64 / since.elapsed().as_secs_f64().max(0.001);
                    let percent = progress
                        .map(|percent| format!("{percent} %, "))
                        .unwrap_or_default();
                    bar.set_message(format!(
                        "{percent}{} rows, {} rows/s",
                        number(*rows_processed),
                        number(rate as u64)
                    ));
                }
            }
            EventKind::Expanded { items, .. } => self.total.inc_length(u64::from(*items)),
            EventKind::Step { key, status, .. } => {
                if let Some(bar) = self.steps.remove(key) {
                    bar.finish_and_clear();
                }
                if status.is_terminal() {
                    self.total.inc(1);
                }
                if let Some(line) = line(event, started) {
                    self.say(&line);
                }
            }
            EventKind::Log(line) if line.level >= LogLevel::Warn => {
                self.say(&log_line(line));
            }
            EventKind::Log(_) | EventKind::Job { .. } => {}
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// An event as one line; `None` for what only a live view shows.
fn line(event: &Event, started: &BTreeMap<StepKey, Instant>) -> Option<String> {
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

fn name(step: &str, key: StepKey) -> String {
    key.item
        .map_or_else(|| step.to_owned(), |item| format!("{step}[{item}]"))
}
