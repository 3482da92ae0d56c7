//! A running job on a terminal: a line for each step of a small pipeline, or for each step under way of a large one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use etl_core::model::{
    Event, EventKind, JobId, LogLevel, Pipeline, StepKey, StepRecord, StepStatus,
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::out::printable;
use super::run::{line, name};
use super::text::{log_line, number};

/// The most steps that have lines.
const MOST_LINES: usize = 12;
const TICK: Duration = Duration::from_millis(120);

const WAITING: &str = "  · {prefix:24.dim} {msg:.dim}";
const RUNNING: &str = "  {spinner} {prefix:24} {elapsed:>5} {msg}";
const SETTLED: &str = "  {msg}";

/// The bars of a job.
pub(super) struct Live {
    bars: MultiProgress,
    total: ProgressBar,
    steps: BTreeMap<StepKey, ProgressBar>,
    /// How many items each fan-out has, and how many of them are settled.
    fans: BTreeMap<u32, (u64, u64)>,
    settled: BTreeSet<StepKey>,
    /// Whether the pipeline is small enough for every step to keep a line of its own.
    is_small: bool,
}

impl Live {
    pub(super) fn new(job: JobId, pipeline: &Pipeline) -> Self {
        let bars = MultiProgress::new();
        let total = bars.add(ProgressBar::new(pipeline.steps.len() as u64));
        total.set_style(style(
            "{spinner} {prefix} {wide_bar} {pos}/{len} steps {elapsed}",
        ));
        total.set_prefix(format!("{} {job}", pipeline.name));
        total.enable_steady_tick(TICK);
        let mut live = Self {
            bars,
            total,
            steps: BTreeMap::new(),
            fans: BTreeMap::new(),
            settled: BTreeSet::new(),
            is_small: pipeline.steps.len() <= MOST_LINES,
        };
        if live.is_small {
            for (position, step) in pipeline.steps.iter().enumerate() {
                let bar = live.bar(WAITING, &step.name);
                if !step.dependencies.is_empty() {
                    bar.set_message(format!("after {}", step.dependencies.join(", ")));
                }
                bar.tick();
                live.steps.insert(StepKey::step(position as u32), bar);
            }
        }
        live
    }

    /// Takes in what an earlier process, or an earlier job, has settled already.
    pub(super) fn resume(&mut self, steps: &[StepRecord]) {
        for step in steps {
            let key = StepKey {
                step: step.order_index,
                item: step.item_index,
            };
            if let (None, Some(items)) = (step.item_index, step.items) {
                self.fan_out(key, items.into());
            }
            if step.status.is_terminal() {
                let name = name(&step.name, key);
                self.settle(key, format!("{name}: {} before", step.status));
            }
        }
    }

    /// Says a line above the bars.
    pub(super) fn say(&self, line: &str) {
        let _ = self.bars.println(printable(line));
    }

    pub(super) fn close(&self) {
        for bar in self.steps.values() {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
    }

    pub(super) fn show(&mut self, event: &Event, started: &BTreeMap<StepKey, Instant>) {
        match &event.kind {
            EventKind::Step {
                step,
                key,
                status: StepStatus::Running,
                ..
            } => self.start(*key, step),
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
            EventKind::Expanded { step, key, items } => {
                self.start(*key, step);
                self.fan_out(*key, (*items).into());
            }
            EventKind::Step { key, status, .. } => {
                let line = line(event, started).unwrap_or_default();
                // Thousands of items that went well would push everything else out of sight, and why an attempt is
                // repeated is in the log's own warning.
                let is_news = match status {
                    StepStatus::Success => key.item.is_none(),
                    other => *other != StepStatus::Retrying,
                };
                let has_own_line = self.is_small && key.item.is_none() && status.is_terminal();
                if is_news && !has_own_line {
                    self.say(&line);
                }
                if status.is_terminal() {
                    self.settle(*key, line);
                }
            }
            EventKind::Log(line) if line.level >= LogLevel::Warn => self.say(&log_line(line)),
            EventKind::Log(_) | EventKind::Job { .. } => {}
        }
    }

    fn start(&mut self, key: StepKey, step: &str) {
        let bar = match self.steps.get(&key) {
            Some(bar) => bar,
            // The items of a small pipeline are counted in their step's line.
            None if self.steps.len() < MOST_LINES && !(self.is_small && key.item.is_some()) => {
                let bar = self.bar(RUNNING, &name(step, key));
                self.steps.entry(key).or_insert(bar)
            }
            None => return,
        };
        bar.set_style(style(RUNNING));
        bar.set_message("");
        bar.reset_elapsed();
        bar.enable_steady_tick(TICK);
    }

    fn fan_out(&mut self, key: StepKey, items: u64) {
        self.total.inc_length(items);
        self.fans.insert(key.step, (items, 0));
    }

    fn settle(&mut self, key: StepKey, line: String) {
        if !self.settled.insert(key) {
            return;
        }
        self.total.set_position(self.settled.len() as u64);
        let line = printable(line.lines().next().unwrap_or_default());
        match (key.item, self.is_small) {
            (None, true) => {
                if let Some(bar) = self.steps.get(&key) {
                    bar.set_style(style(SETTLED));
                    bar.finish_with_message(line);
                }
            }
            (Some(_), true) => self.count_item(key.step),
            (_, false) => {
                if let Some(bar) = self.steps.remove(&key) {
                    bar.finish_and_clear();
                }
            }
        }
    }

    fn count_item(&mut self, step: u32) {
        let whole = StepKey::step(step);
        let bar = self
            .steps
            .get(&whole)
            .filter(|_| !self.settled.contains(&whole));
        if let (Some(bar), Some((items, done))) = (bar, self.fans.get_mut(&step)) {
            *done += 1;
            bar.set_message(format!("{} of {} items", number(*done), number(*items)));
        }
    }

    fn bar(&self, template: &str, prefix: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(style(template));
        bar.set_prefix(prefix.to_owned());
        bar
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
