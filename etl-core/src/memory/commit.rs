//! Applying commits. First everything that can be refused is done, with a note of how to undo it; only when the whole batch
//! has stood does the rest become true, which can't fail.

use super::State;
use super::letters::Buried;
use super::row::JobRow;
use super::step::Fan;
use crate::contract::store::{Result, StoreError, StoreErrorKind};
use crate::model::{
    Change, Commit, JobId, JobStatus, StepKey, StepStatus, Timestamp, Verdict, Writer,
    job_transition, step_transition,
};

/// How to take one thing back.
enum Undo {
    Seq(u64),
    Job(JobStatus),
    Step(StepKey, StepStatus),
    Fan(u32),
    Checkpoint(StepKey, u64),
    Letter(StepKey),
    Hook(u32),
}

impl State {
    pub(super) fn commit(&mut self, batch: &[Commit], now: Timestamp) -> Result<Vec<Verdict>> {
        let mut undo = Vec::with_capacity(batch.len() * 4);
        let mut verdicts = Vec::with_capacity(batch.len());
        for commit in batch {
            match self.check(commit, &mut undo) {
                Ok(verdict) => verdicts.push(verdict),
                Err(fault) => {
                    for (job, step) in undo.into_iter().rev() {
                        if let Some(job) = self.jobs.get_mut(&job) {
                            take_back(job, &step);
                        }
                    }
                    return Err(StoreError::new("commit", StoreErrorKind::Illegal)
                        .because(format!("job {}: {fault}", commit.lease.job)));
                }
            }
        }
        for (commit, verdict) in batch.iter().zip(&verdicts) {
            if *verdict == Verdict::Applied {
                self.apply(commit, now);
            }
        }
        Ok(verdicts)
    }

    fn check(&mut self, commit: &Commit, undo: &mut Vec<(JobId, Undo)>) -> Result<Verdict, String> {
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
            return Err(format!("commit {} after {}", commit.seq, job.seq));
        }
        undo.push((id, Undo::Seq(job.seq)));
        job.seq = commit.seq;
        for change in &commit.changes {
            undo.push((id, claim_change(job, change, commit.at)?));
        }
        Ok(Verdict::Applied)
    }

    fn apply(&mut self, commit: &Commit, now: Timestamp) {
        let id = commit.lease.job;
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let mut moved = None;
        for change in &commit.changes {
            match change {
                Change::Job {
                    to,
                    error,
                    error_stack,
                    rows_processed,
                    bytes_transferred,
                } => {
                    job.error.clone_from(error);
                    job.error_stack.clone_from(error_stack);
                    job.rows_processed = *rows_processed;
                    job.bytes_transferred = *bytes_transferred;
                    if to.is_terminal() {
                        job.completed_at = Some(commit.at);
                    }
                    moved = Some(*to);
                }
                Change::Step {
                    key,
                    attempt,
                    to,
                    patch,
                } => {
                    if let Some(row) = job.step(*key) {
                        row.apply(*attempt, *to, patch, commit.at);
                    }
                }
                Change::Expand { step, .. } => {
                    if let Some(row) = job.step(StepKey::step(*step)) {
                        row.enters(StepStatus::Running, commit.at);
                    }
                }
                Change::Checkpoint { key, state, .. } => {
                    if let Some(row) = job.step(*key) {
                        row.set_checkpoint(state.clone());
                    }
                }
                Change::Bury(_) | Change::Hook(_) => {}
            }
        }
        for line in &commit.lines {
            job.tell(line.clone());
        }
        let is_asked_to_end = job.cancel_requested.is_some();
        for change in &commit.changes {
            if let Change::Hook(hook) = change {
                self.hook_waits(id, hook, commit.at);
            }
        }
        let Some(to) = moved else { return };
        self.job_moves(id, JobStatus::Running, to, now);
        if to == JobStatus::Pending && is_asked_to_end {
            self.end(id, to, now);
        }
    }
}

/// Does the part of a change that may be refused.
fn claim_change(job: &mut JobRow, change: &Change, at: Timestamp) -> Result<Undo, String> {
    match change {
        Change::Job { to, .. } => {
            let from = job.status;
            if job_transition(from, *to).is_some_and(|by| by.contains(&Writer::Owner)) {
                job.status = match to {
                    // It ends as it is handed back.
                    JobStatus::Pending if job.cancel_requested.is_some() => JobStatus::Cancelled,
                    _ => *to,
                };
                Ok(Undo::Job(from))
            } else {
                Err(format!("its owner can't move it from {from} to {to}"))
            }
        }
        Change::Step { key, to, .. } => step_moves(job, *key, *to),
        Change::Expand { step, items } => {
            let key = StepKey::step(*step);
            // Undoing the fan undoes the move too.
            match step_moves(job, key, StepStatus::Running)? {
                Undo::Step(_, StepStatus::Pending) => {}
                moved => {
                    take_back(job, &moved);
                    return Err(format!("step {key} is not pending and can't fan out"));
                }
            }
            if let Some(row) = job.step(key) {
                row.fan = Some(Box::new(Fan::new(items.clone())));
            }
            Ok(Undo::Fan(*step))
        }
        Change::Checkpoint { key, seq, .. } => {
            let row = job.step(*key).ok_or_else(|| no_step(*key))?;
            if row.status != StepStatus::Running {
                return Err(format!("checkpoint of step {key}, which is {}", row.status));
            }
            let last = *row.checkpoint_seq();
            if *seq <= last {
                return Err(format!("checkpoint {seq} of step {key} after {last}"));
            }
            *row.checkpoint_seq() = *seq;
            Ok(Undo::Checkpoint(*key, last))
        }
        Change::Bury(letter) => {
            let key = letter.key;
            job.step(key).ok_or_else(|| no_step(key))?;
            if job.letters.contains_key(&key) {
                return Err(format!("a second dead letter for step {key}"));
            }
            job.letters.insert(key, Buried::new(letter.clone(), at));
            Ok(Undo::Letter(key))
        }
        Change::Hook(hook) => {
            if job.hooks.contains_key(&hook.position) {
                return Err(format!("a second hook at position {}", hook.position));
            }
            job.hooks.insert(hook.position, hook.clone());
            Ok(Undo::Hook(hook.position))
        }
    }
}

fn step_moves(job: &mut JobRow, key: StepKey, to: StepStatus) -> Result<Undo, String> {
    let row = job.step(key).ok_or_else(|| no_step(key))?;
    let from = row.status;
    if step_transition(from, to) {
        row.status = to;
        Ok(Undo::Step(key, from))
    } else {
        Err(format!("step {key} can't move from {from} to {to}"))
    }
}

fn no_step(key: StepKey) -> String {
    format!("there is no step {key}")
}

fn take_back(job: &mut JobRow, undo: &Undo) {
    match *undo {
        Undo::Seq(seq) => job.seq = seq,
        Undo::Job(status) => job.status = status,
        Undo::Step(key, status) => {
            if let Some(row) = job.step(key) {
                row.status = status;
            }
        }
        Undo::Fan(step) => {
            if let Some(row) = job.step(StepKey::step(step)) {
                row.fan = None;
                row.status = StepStatus::Pending;
            }
        }
        Undo::Checkpoint(key, seq) => {
            if let Some(row) = job.step(key) {
                *row.checkpoint_seq() = seq;
            }
        }
        Undo::Letter(key) => {
            job.letters.remove(&key);
        }
        Undo::Hook(position) => {
            job.hooks.remove(&position);
        }
    }
}
