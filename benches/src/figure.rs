//! Figures: what was measured, how often, and what it should be. They are printed as a table and kept as JSON.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench_folder;

/// What a figure should be. A missed goal is told, and fails nothing: machines differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Goal {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
        }
    }
}

#[derive(Debug)]
struct Figure {
    name: String,
    unit: &'static str,
    runs: Vec<f64>,
    goal: Option<Goal>,
}

/// The figures of one measurement.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    load_before: Option<String>,
    facts: Vec<(&'static str, Value)>,
    figures: Vec<Figure>,
}

/// The middle of some runs; of an even number the mean of the two in the middle. NaN for none.
pub fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => f64::NAN,
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(sorted[middle - 1], *value),
    }
}

impl Report {
    /// Begins a measurement: notes how busy the machine is before it.
    pub fn new(name: &'static str) -> Self {
        println!("{name}");
        println!(
            "{:58} {:>12} {:>12} {:>12}  {:14} goal",
            "", "median", "least", "most", "unit"
        );
        Self {
            name,
            load_before: load(),
            facts: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Adds a fact that belongs to the figures, such as a version or a size.
    pub fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.push((name, value.into()));
    }

    /// Adds a figure and prints it.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        runs: Vec<f64>,
        goal: Option<Goal>,
    ) {
        let figure = Figure {
            name: name.into(),
            unit,
            runs,
            goal,
        };
        println!("{figure}");
        self.figures.push(figure);
    }

    /// The median of a figure that was added.
    pub fn value(&self, name: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|figure| figure.name == name)?;
        Some(figure.value())
    }

    /// Keeps the figures as `bench/NAME.json` in the target folder, in place of those of the last time.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn keep(self) -> Result<PathBuf> {
        let facts: serde_json::Map<String, Value> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let document = json!({
            "name": self.name,
            "version": env!("CARGO_PKG_VERSION"),
            "machine": {
                "os": std::env::consts::OS,
                "arch": std::env::consts::ARCH,
                "cpu": cpu(),
                "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
                "load_before": self.load_before,
                "load_after": load(),
            },
            "facts": facts,
            "figures": self.figures.iter().map(Figure::document).collect::<Vec<_>>(),
        });
        let path = bench_folder()?.join(format!("{}.json", self.name));
        let mut text = serde_json::to_string_pretty(&document)?;
        text.push('\n');
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("kept in {}", path.display());
        Ok(path)
    }
}

impl Figure {
    fn value(&self) -> f64 {
        median(&self.runs)
    }

    fn document(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.unit,
            "median": self.value(),
            "runs": self.runs,
            "goal": self.goal.map(|goal| goal.to_string()),
            "is_reached": self.goal.map(|goal| goal.is_reached(self.value())),
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value();
        let least = self.runs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        write!(
            f,
            "{:58} {value:12.2} {least:12.2} {most:12.2}  {:14}",
            self.name, self.unit
        )?;
        match self.goal {
            Some(goal) if goal.is_reached(value) => write!(f, " {goal}: reached"),
            Some(goal) => write!(f, " {goal}: MISSED"),
            None => Ok(()),
        }
    }
}

/// The load averages, where the system tells them: figures of a busy machine are worth less.
fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    Some(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_goal_is_reached_at_its_limit() {
        assert!(Goal::AtMost(10.0).is_reached(10.0));
        assert!(!Goal::AtMost(10.0).is_reached(10.1));
        assert!(Goal::AtLeast(10.0).is_reached(10.0));
        assert!(!Goal::AtLeast(10.0).is_reached(9.9));
    }
}
