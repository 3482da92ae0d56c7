//! The life of an attempt: how it starts, what it says, and how it ends.

use indexmap::IndexMap;
use serde_json::Value;

use super::effect::Effect;
use super::machine::{JobMachine, Running, StopCause};
use crate::model::{
    Artifact, AttemptKey, ErrorClass, MAX_JSON_BYTES, Report, SkipReason, StepError, StepEvent,
    StepKey, StepPatch, StepStatus, StepTask, Timestamp,
};
use crate::template::Template;

impl JobMachine {
    /// A step whose dependencies let it run: its condition and its fan-out are decided now, its start when there is a slot.
    pub(super) fn admit(&mut self, step: u32, now: Timestamp) {
        let plan = self.plan.clone();
        let planned = plan.step(step);
        let condition_per_item =
            planned.for_each.is_some() && planned.when.as_ref().is_some_and(Template::uses_item);
        if let Some(when) = planned.when.as_ref().filter(|_| !condition_per_item) {
            match self.condition(when, step, None) {
                Ok(true) => {}
                Ok(false) => return self.skip(StepKey::step(step), SkipReason::Condition),
                Err(error) => return self.fail_unstarted(StepKey::step(step), &error),
            }
        }
        match &planned.for_each {
            None => self.ready.push_back(StepKey::step(step)),
            Some(list) => self.expand(step, list, now),
        }
    }

    /// Whether `when` holds.
    pub(super) fn condition(
        &self,
        when: &Template,
        step: u32,
        item: Option<(&Value, u32)>,
    ) -> Result<bool, StepError> {
        match when.render(&self.scope(step, item)) {
            Ok(value) => match &*value {
                Value::Bool(holds) => Ok(*holds),
                other => Err(StepError::permanent(format!(
                    "`when` gave {}, not true or false",
                    kind_of(other)
                ))),
            },
            Err(fault) => Err(StepError::permanent(format!("`when`: {fault}"))),
        }
    }

    /// Starts an attempt of a ready execution: remembered first, started when that is done.
    pub(super) fn start(&mut self, key: StepKey, now: Timestamp) {
        let plan = self.plan.clone();
        let planned = plan.step(key.step);
        let item = key.item.and_then(|index| {
            let value = self.fan_outs.get(&key.step)?.items.get(index as usize)?;
            Some((value.clone(), index))
        });
        let item = item.as_ref().map(|(value, index)| (value, *index));
        let first = self.state(key).is_some_and(|state| state.attempt == 0);
        if let (Some(when), Some(_), true) = (&planned.when, item, first)
            && when.uses_item()
        {
            match self.condition(when, key.step, item) {
                Ok(true) => {}
                Ok(false) => return self.skip(key, SkipReason::Condition),
                Err(error) => return self.fail_unstarted(key, &error),
            }
        }
        let config = match planned.config.render(&self.scope(key.step, item)) {
            Ok(config) => config,
            Err(fault) => {
                return self.fail_unstarted(key, &StepError::permanent(format!("config{fault}")));
            }
        };
        let Some(state) = self.state(key) else { return };
        state.attempt += 1;
        state.status = StepStatus::Running;
        let (attempt, lost) = (state.attempt, state.lost);
        let deadline = now + planned.timeout;
        self.change_step(
            key,
            attempt,
            StepStatus::Running,
            StepPatch {
                lost: Some(lost),
                ..StepPatch::default()
            },
        );
        let checkpoint = self.checkpoints.get(&key).cloned();
        let task = StepTask {
            key: self.attempt_key(key, attempt),
            fence: self.lease.fence,
            pipeline: self.pipeline.name.clone(),
            step_name: planned.name.clone(),
            connector_type: planned.connector_type.clone(),
            config,
            credential: planned.credential.clone(),
            executor: planned.executor,
            resources: planned.resources,
            checkpoint,
            deadline,
            base_dir: self.base_dir.clone(),
        };
        self.track(key, attempt, deadline);
        self.afterwards(Effect::Start(Box::new(task)));
    }

    pub(super) fn track(&mut self, key: StepKey, attempt: u32, deadline: Timestamp) {
        self.deadlines.insert((deadline, key));
        let running = Running {
            attempt,
            deadline,
            stopped: None,
            artifacts: IndexMap::new(),
            metrics: serde_json::Map::new(),
            remembered: 0,
        };
        self.running.insert(key, running);
    }

    pub(super) fn step_event(
        &mut self,
        key: AttemptKey,
        event: StepEvent,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(running) = self
            .running
            .get_mut(&key.step)
            .filter(|running| running.attempt == key.attempt)
        else {
            return;
        };
        match event {
            StepEvent::Log { .. } | StepEvent::Progress { .. } => {}
            StepEvent::Metric { name, value } => {
                let size = name.len();
                if running.metrics.insert(name, value.into()).is_none() {
                    self.remembers(key.step, size, effects);
                }
            }
            StepEvent::Artifact { name, uri } => {
                let size = name.as_str().len() + uri.len();
                running.artifacts.insert(name, uri);
                self.remembers(key.step, size, effects);
            }
            StepEvent::Checkpoint(state) => self.checkpoint(key.step, state, effects),
            StepEvent::Result(result) => self.attempt_ended(key.step, result, now),
        }
    }

    /// Counts what an attempt says about itself, up to the limit of what a row holds.
    fn remembers(&mut self, key: StepKey, bytes: usize, effects: &mut Vec<Effect>) {
        let Some(running) = self.running.get_mut(&key) else {
            return;
        };
        running.remembered += bytes;
        if running.remembered > MAX_JSON_BYTES {
            let fault = format!("its artifacts and metrics take more than {MAX_JSON_BYTES} bytes");
            self.stop_attempt(key, StopCause::Broken(fault), effects);
        }
    }

    fn checkpoint(&mut self, key: StepKey, state: Value, effects: &mut Vec<Effect>) {
        let size = json_size(&state);
        if size > MAX_JSON_BYTES {
            let fault = format!(
                "a checkpoint of {size} bytes is over the limit of {MAX_JSON_BYTES}; write an artifact"
            );
            return self.stop_attempt(key, StopCause::Broken(fault), effects);
        }
        let Some(step) = self.state(key) else { return };
        step.checkpoint += 1;
        let seq = step.checkpoint;
        self.checkpoints.insert(key, state.clone());
        // One that still waits for its commit is out of date.
        self.unsaved.insert(key, (seq, state));
    }

    pub(super) fn stop_attempt(
        &mut self,
        key: StepKey,
        cause: StopCause,
        effects: &mut Vec<Effect>,
    ) {
        let Some(running) = self.running.get_mut(&key) else {
            return;
        };
        if running.stopped.is_none() {
            running.stopped = Some(cause);
            let attempt = running.attempt;
            effects.push(Effect::Stop(self.attempt_key(key, attempt)));
        }
    }

    /// An attempt that was remembered as running and is not started, because the job ends here.
    pub(super) fn never_started(&mut self, key: StepKey, now: Timestamp) {
        let cause = self.stop_cause();
        if cause == StopCause::HandBack {
            // It never ran, so that it may start elsewhere whatever its effect is.
            if let Some(running) = self.running.remove(&key) {
                self.deadlines.remove(&(running.deadline, key));
                self.give_back(key, running.attempt, now);
            }
            return;
        }
        if let Some(running) = self.running.get_mut(&key) {
            running.stopped = Some(cause);
            self.attempt_ended(
                key,
                Err(StepError::transient(
                    "the job ended before the attempt started",
                )),
                now,
            );
        }
    }

    fn attempt_ended(&mut self, key: StepKey, result: Result<Report, StepError>, now: Timestamp) {
        let Some(running) = self.running.remove(&key) else {
            return;
        };
        self.deadlines.remove(&(running.deadline, key));
        // An attempt that succeeded has its effect, whatever it was told meanwhile; only a broken limit outweighs that.
        let result = match &running.stopped {
            Some(StopCause::Broken(fault)) => Err(StepError::permanent(fault.clone())),
            _ => result.and_then(accept),
        };
        match result {
            Ok(report) => self.succeed(key, running, report),
            Err(error) => self.fail_attempt(key, &running, error, now),
        }
    }

    fn succeed(&mut self, key: StepKey, running: Running, report: Report) {
        self.totals.rows = self.totals.rows.saturating_add(report.rows_processed);
        self.totals.bytes = self.totals.bytes.saturating_add(report.bytes_transferred);
        self.checkpoints.remove(&key);
        self.unsaved.remove(&key);
        let artifacts: Vec<Artifact> = running
            .artifacts
            .into_iter()
            .map(|(name, uri)| Artifact { name, uri })
            .collect();
        self.keep_fact(
            key,
            StepStatus::Success,
            &report.output,
            &artifacts,
            report.rows_processed,
        );
        if let Some(item) = key.item {
            self.keep_item(key.step, item, &report, &artifacts);
        }
        let patch = StepPatch {
            output: Some(report.output).filter(|output| !output.is_null()),
            artifacts: Some(artifacts).filter(|artifacts| !artifacts.is_empty()),
            rows_processed: Some(report.rows_processed),
            bytes_transferred: Some(report.bytes_transferred),
            metrics: Some(running.metrics).filter(|metrics| !metrics.is_empty()),
            ..StepPatch::default()
        };
        self.change_step(key, running.attempt, StepStatus::Success, patch);
        self.settled(key, StepStatus::Success, None);
    }
}

/// What the engine demands of a report before it believes it.
fn accept(report: Report) -> Result<Report, StepError> {
    let size = json_size(&report.output);
    if size > MAX_JSON_BYTES {
        return Err(StepError::permanent(format!(
            "the output of {size} bytes is over the limit of {MAX_JSON_BYTES}; write an artifact instead"
        )));
    }
    match report.balance {
        Some(balance) if !balance.holds() => Err(StepError::new(
            ErrorClass::Permanent,
            format!(
                "the records don't balance: {} read, but {} loaded, {} quarantined and {} filtered",
                balance.rows_read,
                balance.rows_loaded,
                balance.rows_quarantined,
                balance.rows_filtered
            ),
        )),
        _ => Ok(report),
    }
}

/// The size of a value as JSON text, counted without writing it.
fn json_size(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    if value.is_null() {
        return 0;
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
