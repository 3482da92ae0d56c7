//! What a group of commits comes to: the rules of the contract, applied to rows in memory. No I/O.

use std::collections::{HashMap, HashSet};

use etl_core::model::{
    Change, Commit, Fence, JobId, JobStatus, StepKey, StepPatch, StepStatus, Timestamp, Verdict,
    Writer, job_transition, step_transition,
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::fault::{Fault, Result};
use crate::letters::{LetterRow, StoredHook};
use crate::lines::LineRow;
use crate::rows::{count, item_column, json, time};
use crate::steps::{self, StepNow, StepWrite};

/// A job row as far as commits need it.
#[derive(Debug, Clone, Copy)]
pub struct JobNow {
    /// Where it is.
    pub status: JobStatus,
    /// The fence of its last claim.
    pub fence: Fence,
    /// The last commit applied under that fence.
    pub seq: u64,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// Whether its end was asked for.
    pub cancel: bool,
    /// The number of the last line of its log.
    pub log_last_seq: i64,
}

/// What becomes true of a job row.
#[derive(Debug, Clone, Serialize)]
pub struct JobMove {
    job: JobId,
    seq: i64,
    log_last_seq: i64,
    /// `None` while the job goes on; then only the two numbers count.
    pub status: Option<&'static str>,
    waiting_since: Option<String>,
    completed_at: Option<String>,
    duration_ms: Option<i64>,
    rows_processed: i64,
    bytes_transferred: i64,
    error_message: Option<String>,
    error_stack: Option<String>,
}

/// A pending execution of an item: its id, the job, the step, the item's position, the item.
pub type ItemRow = (Uuid, JobId, u32, u32, String);

/// A checkpoint: the job, `order_index`, `item_index`, its number, its state, when.
pub type CheckpointRow = (JobId, u32, i64, i64, String, String);

/// Rows as they stand after the commits that were added, and what has to be written for it.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    jobs: HashMap<JobId, JobNow>,
    steps: HashMap<(JobId, StepKey), StepNow>,
    letters: HashSet<(JobId, StepKey)>,
    hooks: HashSet<(JobId, u32)>,
    /// How often a row has moved.
    depth: HashMap<(JobId, StepKey), usize>,
    /// Moves, the n-th of each row in the n-th wave.
    pub waves: Vec<Vec<StepWrite>>,
    /// Items to insert.
    pub items: Vec<ItemRow>,
    /// Checkpoints to keep.
    pub checkpoints: HashMap<(JobId, StepKey), CheckpointRow>,
    /// Checkpoints to forget: job, `order_index`, `item_index`.
    pub forgotten: Vec<(JobId, u32, i64)>,
    /// Dead letters to insert.
    pub letter_rows: Vec<LetterRow>,
    /// Hooks to insert.
    pub hook_rows: Vec<StoredHook>,
    /// Lines of logs to insert.
    pub lines: Vec<LineRow>,
    /// What becomes of the job rows.
    pub job_writes: HashMap<JobId, JobMove>,
    /// Jobs whose end was asked for and that are handed back: once all else is written, they end. When each started.
    pub ends: Vec<(JobId, Option<Timestamp>)>,
}

impl Plan {
    /// How the rows stand, and nothing to be written yet.
    pub fn new(
        jobs: HashMap<JobId, JobNow>,
        steps: HashMap<(JobId, StepKey), StepNow>,
        letters: HashSet<(JobId, StepKey)>,
        hooks: HashSet<(JobId, u32)>,
    ) -> Self {
        Self {
            jobs,
            steps,
            letters,
            hooks,
            ..Self::default()
        }
    }

    /// Adds the commits of one request. On an error the plan is not to be used any more.
    pub fn add_batch(&mut self, batch: &[Commit], now: Timestamp) -> Result<Vec<Verdict>> {
        batch.iter().map(|commit| self.add(commit, now)).collect()
    }

    fn add(&mut self, commit: &Commit, now: Timestamp) -> Result<Verdict> {
        let id = commit.lease.job;
        let Some(job) = self.jobs.get_mut(&id) else {
            return Ok(Verdict::Lost {
                now: JobStatus::Cancelled,
            });
        };
        if job.fence != commit.lease.fence {
            return Ok(Verdict::Lost { now: job.status });
        }
        if (1..=job.seq).contains(&commit.seq) {
            return Ok(Verdict::AlreadyApplied);
        }
        if job.status != JobStatus::Running {
            return Ok(Verdict::Lost { now: job.status });
        }
        if commit.seq != job.seq + 1 {
            let message = format!("job {id}: commit {} after {}", commit.seq, job.seq);
            return Err(Fault::illegal(message));
        }
        job.seq = commit.seq;
        let write = self.job_writes.entry(id).or_insert_with(|| JobMove {
            job: id,
            seq: 0,
            log_last_seq: 0,
            status: None,
            waiting_since: None,
            completed_at: None,
            duration_ms: None,
            rows_processed: 0,
            bytes_transferred: 0,
            error_message: None,
            error_stack: None,
        });
        write.seq = count(commit.seq);
        for line in &commit.lines {
            job.log_last_seq += 1;
            self.lines.push(LineRow::new(id, job.log_last_seq, line)?);
        }
        write.log_last_seq = job.log_last_seq;
        for change in &commit.changes {
            self.change(id, change, commit.at, now)?;
        }
        Ok(Verdict::Applied)
    }

    fn change(&mut self, job: JobId, change: &Change, at: Timestamp, now: Timestamp) -> Result<()> {
        match change {
            Change::Job {
                to,
                error,
                error_stack,
                rows_processed,
                bytes_transferred,
            } => {
                let write = self.move_job(job, *to, at, now)?;
                write.rows_processed = count(*rows_processed);
                write.bytes_transferred = count(*bytes_transferred);
                write.error_message.clone_from(error);
                write.error_stack.clone_from(error_stack);
                Ok(())
            }
            Change::Step {
                key,
                attempt,
                to,
                patch,
            } => {
                let mut write = self.move_step(job, *key, *to, at)?;
                write.attempt = Some(*attempt);
                fill(&mut write, *to, patch)?;
                self.push(job, *key, write);
                Ok(())
            }
            Change::Expand { step, items } => self.expand(job, *step, items, at),
            Change::Checkpoint { key, seq, state } => self.checkpoint(job, *key, *seq, state, at),
            Change::Bury(letter) => {
                self.step(job, letter.key)?;
                if !self.letters.insert((job, letter.key)) {
                    return Err(illegal(job, letter.key, "a second dead letter"));
                }
                self.letter_rows.push(LetterRow::new(job, letter, at));
                Ok(())
            }
            Change::Hook(hook) => {
                if !self.hooks.insert((job, hook.position)) {
                    let message = format!("job {job}: a second hook at position {}", hook.position);
                    return Err(Fault::illegal(message));
                }
                self.hook_rows.push(StoredHook::new(job, hook, at)?);
                Ok(())
            }
        }
    }

    fn move_job(
        &mut self,
        id: JobId,
        to: JobStatus,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<&mut JobMove> {
        let (Some(job), Some(write)) = (self.jobs.get_mut(&id), self.job_writes.get_mut(&id))
        else {
            return Err(Fault::illegal(format!("there is no job {id}")));
        };
        let from = job.status;
        if job_transition(from, to).is_none_or(|by| !by.contains(&Writer::Owner)) {
            let message = format!("job {id}: its owner can't move it from {from} to {to}");
            return Err(Fault::illegal(message));
        }
        job.status = to;
        if to == JobStatus::Pending && job.cancel {
            job.status = JobStatus::Cancelled;
            self.ends.push((id, job.started_at));
        }
        write.status = Some(to.as_str());
        if to.is_terminal() {
            write.completed_at = Some(time(at));
            write.duration_ms = job.started_at.map(|started| steps::millis(started, at));
        } else {
            write.waiting_since = Some(time(now));
        }
        Ok(write)
    }

    fn step(&mut self, job: JobId, key: StepKey) -> Result<&mut StepNow> {
        self.steps
            .get_mut(&(job, key))
            .ok_or_else(|| illegal(job, key, "there is no such step execution"))
    }

    fn move_step(
        &mut self,
        job: JobId,
        key: StepKey,
        to: StepStatus,
        at: Timestamp,
    ) -> Result<StepWrite> {
        let now = self.step(job, key)?;
        let from = now.status;
        if !step_transition(from, to) {
            let fault = format!("it can't move from {from} to {to}");
            return Err(illegal(job, key, &fault));
        }
        let had_checkpoint = now.checkpoint.is_some();
        let write = StepWrite::new(job, key, now, to, at);
        if to.is_terminal() && had_checkpoint {
            self.checkpoints.remove(&(job, key));
            self.forgotten.push((job, key.step, item_column(key)));
        }
        Ok(write)
    }

    fn push(&mut self, job: JobId, key: StepKey, write: StepWrite) {
        let depth = self.depth.entry((job, key)).or_default();
        if self.waves.len() == *depth {
            self.waves.push(Vec::new());
        }
        self.waves[*depth].push(write);
        *depth += 1;
    }

    fn expand(&mut self, job: JobId, step: u32, items: &[Value], at: Timestamp) -> Result<()> {
        let key = StepKey::step(step);
        if self.step(job, key)?.status != StepStatus::Pending {
            return Err(illegal(job, key, "it is not pending and can't fan out"));
        }
        let mut write = self.move_step(job, key, StepStatus::Running, at)?;
        write.items = Some(json(items)?);
        write.item_count = Some(items.len());
        self.push(job, key, write);
        for (item, position) in items.iter().zip(0..) {
            let key = StepKey::item(step, position);
            let row = (key.execution_id(job), job, step, position, json(item)?);
            self.items.push(row);
            self.steps.insert(
                (job, key),
                StepNow {
                    status: StepStatus::Pending,
                    started_at: None,
                    checkpoint: None,
                },
            );
        }
        Ok(())
    }

    fn checkpoint(
        &mut self,
        job: JobId,
        key: StepKey,
        seq: u64,
        state: &Value,
        at: Timestamp,
    ) -> Result<()> {
        let now = self.step(job, key)?;
        if now.status != StepStatus::Running {
            let fault = format!("a checkpoint while it is {}", now.status);
            return Err(illegal(job, key, &fault));
        }
        let last = now.checkpoint.unwrap_or(0);
        if seq <= last {
            let fault = format!("checkpoint {seq} after {last}");
            return Err(illegal(job, key, &fault));
        }
        now.checkpoint = Some(seq);
        let row = (
            job,
            key.step,
            item_column(key),
            count(seq),
            json(state)?,
            time(at),
        );
        self.checkpoints.insert((job, key), row);
        Ok(())
    }
}

/// Puts a patch into the write of a move.
fn fill(write: &mut StepWrite, to: StepStatus, patch: &StepPatch) -> Result<()> {
    // Destructured, so that a new field can't be forgotten.
    let StepPatch {
        due_at,
        output,
        artifacts,
        rows_processed,
        bytes_transferred,
        metrics,
        lost,
        returned,
        skip_reason,
        error_class,
        error,
        error_stack,
    } = patch;
    write.next_run_at = due_at.filter(|_| to == StepStatus::Retrying).map(time);
    write.output_data = output.as_ref().map(json).transpose()?;
    write.artifacts = artifacts.as_ref().map(json).transpose()?;
    write.rows_processed = rows_processed.map(count);
    write.bytes_transferred = bytes_transferred.map(count);
    write.metrics = metrics.as_ref().map(json).transpose()?;
    write.lost = *lost;
    write.returned = *returned;
    write.skip_reason = skip_reason.map(etl_core::model::SkipReason::as_str);
    write.error_class = error_class.map(etl_core::model::ErrorClass::as_str);
    write.error_message.clone_from(error);
    write.error_stack.clone_from(error_stack);
    Ok(())
}

fn illegal(job: JobId, key: StepKey, fault: &str) -> Fault {
    Fault::illegal(format!("job {job}, step {key}: {fault}"))
}
