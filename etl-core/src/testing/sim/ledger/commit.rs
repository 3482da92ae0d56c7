//! The laws of commits: who may commit, and what.

use std::collections::BTreeSet;

use super::{Job, Law, Ledger, Row, law};
use crate::contract::store::{SettledHook, StoreError};
use crate::engine::MAX_RECOVERIES;
use crate::model::{
    AttemptKey, Change, Commit, HookTarget, JobId, JobStatus, SkipReason, StepKey, StepPatch,
    StepStatus, Timestamp, Verdict, Writer, job_transition, step_transition,
};
use crate::testing::sim::trace::{FOLLOWERS, number};

impl Ledger {
    /// A commit was answered. `effects` are the attempts that have had their effect.
    pub(in crate::testing::sim) fn committed(
        &mut self,
        commit: &Commit,
        answer: Result<Verdict, &StoreError>,
        effects: &BTreeSet<AttemptKey>,
        now: Timestamp,
    ) -> Law {
        let id = commit.lease.job;
        let n = number(id);
        let verdict = answer.map_err(|error| format!("I-3: commit of job {n}: {error}"))?;
        let job = self.job_mut(id)?;
        let owns = job.fence == commit.lease.fence.0;
        let is_known = owns && commit.seq <= job.seq;
        let is_next = owns && job.status == JobStatus::Running && commit.seq == job.seq + 1;
        match verdict {
            Verdict::Lost { .. } => {
                law!(
                    !is_next && !is_known,
                    "I-4: commit {} of job {n} was told as lost, and its fence {} is the last",
                    commit.seq,
                    commit.lease.fence.0
                );
                return Ok(());
            }
            Verdict::AlreadyApplied => {
                law!(
                    is_known,
                    "I-4: commit {} of job {n} under fence {} was not applied before",
                    commit.seq,
                    commit.lease.fence.0
                );
                return Ok(());
            }
            Verdict::Applied => law!(
                is_next,
                "I-4: commit {} of job {n} under fence {} was applied; the job is {} under fence {}, the last commit {}",
                commit.seq,
                commit.lease.fence.0,
                job.status,
                job.fence,
                job.seq
            ),
        }
        job.seq = commit.seq;
        let ends = commit
            .changes
            .iter()
            .any(|change| matches!(change, Change::Job { to, .. } if to.is_terminal()));
        for change in &commit.changes {
            let job = self.job_mut(id)?;
            job.changes(id, change, commit.at, ends, effects, now)
                .map_err(|broken| format!("{broken} (job {n})"))?;
            if let Change::Hook(hook) = change
                && matches!(hook.target, HookTarget::TriggerPipeline { .. })
            {
                self.waiting.insert((id, hook.position));
            }
        }
        Ok(())
    }

    /// A hook was settled.
    pub(in crate::testing::sim) fn settled(&mut self, hook: &SettledHook) -> Law {
        let n = number(hook.job);
        if let Some(error) = &hook.error {
            return Err(format!("I-18: hook {} of job {n}: {error}", hook.position));
        }
        let is_followed = self.jobs.keys().any(|job| number(*job) == FOLLOWERS + n);
        law!(
            is_followed,
            "I-18: hook {} of job {n} is settled, and there is no job of it",
            hook.position
        );
        self.waiting.remove(&(hook.job, hook.position));
        Ok(())
    }
}

impl Job {
    fn changes(
        &mut self,
        id: JobId,
        change: &Change,
        at: Timestamp,
        ends: bool,
        effects: &BTreeSet<AttemptKey>,
        now: Timestamp,
    ) -> Law {
        match change {
            Change::Step {
                key,
                attempt,
                to,
                patch,
            } => {
                self.steps_moves(*key, *attempt, *to, patch, at, ends)?;
                let has_effect = effects.contains(&AttemptKey {
                    job: id,
                    step: *key,
                    attempt: *attempt,
                });
                let is_execution = self.row(*key)?.items.is_none();
                law!(
                    *to != StepStatus::Success || !is_execution || has_effect,
                    "I-12: step {key} succeeded by attempt {attempt}, which had no effect"
                );
            }
            Change::Expand { step, items } => {
                let key = StepKey::step(*step);
                let from = self.row(key)?.status;
                law!(
                    from == StepStatus::Pending,
                    "I-3: step {key} fans out and is {from}"
                );
                law!(
                    self.admits(*step) == Some(true),
                    "I-6: step {key} fans out before its dependencies let it"
                );
                let row = self.row_mut(key)?;
                row.enters(StepStatus::Running);
                row.items = Some(items.len() as u32);
                let keys = (0..items.len() as u32).map(|item| StepKey::item(*step, item));
                self.rows.extend(keys.map(|key| (key, Row::pending())));
            }
            Change::Checkpoint { key, seq, state } => {
                let row = self.row_mut(*key)?;
                let last = row.checkpoint.as_ref().map_or(0, |(seq, _)| *seq);
                law!(
                    row.status == StepStatus::Running && *seq > last,
                    "I-14: checkpoint {seq} of step {key} after {last}, which is {}",
                    row.status
                );
                row.checkpoint = Some((*seq, state.clone()));
            }
            Change::Bury(letter) => law!(
                self.letters.insert(letter.key),
                "I-8: a second dead letter for step {}",
                letter.key
            ),
            Change::Hook(hook) => law!(
                self.hooks.insert(hook.position),
                "I-8: a second hook {}",
                hook.position
            ),
            Change::Job {
                to, rows_processed, ..
            } => {
                let legal = job_transition(self.status, *to)
                    .is_some_and(|writers| writers.contains(&Writer::Owner));
                law!(
                    legal,
                    "I-3: the owner moved it from {} to {to}",
                    self.status
                );
                self.status = *to;
                self.lease_end = None;
                if to.is_terminal() {
                    self.verdict(*to, *rows_processed)?;
                } else {
                    self.is_handed_back(now)?;
                }
            }
        }
        Ok(())
    }

    fn steps_moves(
        &mut self,
        key: StepKey,
        attempt: u32,
        to: StepStatus,
        patch: &StepPatch,
        at: Timestamp,
        ends: bool,
    ) -> Law {
        let row = self.row(key)?.clone();
        law!(
            step_transition(row.status, to),
            "I-3: step {key} moves from {} to {to}",
            row.status
        );
        let expected = row.attempt + u32::from(to == StepStatus::Running);
        law!(
            row.items.is_some() || attempt == expected,
            "I-4: step {key} is {to} by attempt {attempt}, and attempt {expected} was its turn"
        );
        if row.status == StepStatus::Pending {
            self.leaves_pending(key, to, patch, ends)?;
        }
        let lost = patch.lost.unwrap_or(row.lost);
        law!(
            lost == row.lost
                || (lost == row.lost + 1
                    && row.status == StepStatus::Running
                    && row.fence < self.fence),
            "I-10: step {key} had {} lost attempts and has {lost}",
            row.lost
        );
        let returned = patch.returned.unwrap_or(row.returned);
        law!(
            returned == row.returned
                || (returned == row.returned + 1 && to == StepStatus::Retrying && lost == row.lost),
            "I-17: step {key} was given back {} times and is so {returned} times, {to}",
            row.returned
        );
        if to == StepStatus::Running {
            let step = &self.document.steps[key.step as usize];
            law!(
                row.due.is_none_or(|due| due <= at),
                "I-11: step {key} is repeated before its time"
            );
            law!(
                attempt.saturating_sub(1 + lost + returned) <= step.retry_count
                    && lost <= MAX_RECOVERIES,
                "I-10: attempt {attempt} of step {key}, of which {lost} were lost and {returned} given back; {} retries are allowed",
                step.retry_count
            );
        }
        let fence = self.fence;
        let kept = self.row_mut(key)?;
        kept.enters(to);
        kept.attempt = attempt;
        if to == StepStatus::Running {
            kept.fence = fence;
        }
        kept.lost = lost;
        kept.returned = returned;
        if to == StepStatus::Retrying {
            kept.due = patch.due_at;
        }
        kept.skip_reason = patch.skip_reason.or(kept.skip_reason);
        if let Some(output) = &patch.output {
            kept.output = output.clone();
        }
        kept.rows_processed = patch.rows_processed.unwrap_or(kept.rows_processed);
        Ok(())
    }

    /// Of what this owner started of a job that it hands back nothing runs on but what outlives it. (What an owner before it lost
    /// may still be written as running.) If the job's end was asked for, it has ended.
    fn is_handed_back(&mut self, now: Timestamp) -> Law {
        for (key, row) in &self.rows {
            let executor = self.document.steps[key.step as usize].executor;
            let runs = row.status == StepStatus::Running && row.items.is_none();
            law!(
                !runs || row.fence < self.fence || executor.outlives_worker(),
                "I-17: it is handed back and step {key} runs in its worker"
            );
        }
        self.waiting_since = now;
        if self.cancel_asked.is_some() {
            self.end_open_rows();
            self.status = JobStatus::Cancelled;
        }
        Ok(())
    }

    /// A step leaves `pending` only when all before it is settled, and as its rule says.
    fn leaves_pending(&self, key: StepKey, to: StepStatus, patch: &StepPatch, ends: bool) -> Law {
        if patch.skip_reason == Some(SkipReason::JobEnded) {
            law!(
                ends,
                "I-8: step {key} is skipped for an end that is not there"
            );
            return Ok(());
        }
        let runs = match key.item {
            None => self.admits(key.step),
            Some(_) => {
                let parent = self.row(StepKey::step(key.step))?.status;
                (parent == StepStatus::Running).then_some(true)
            }
        };
        let by_rule = matches!(
            patch.skip_reason,
            Some(
                SkipReason::UpstreamFailed | SkipReason::UpstreamSkipped | SkipReason::TriggerRule
            )
        );
        law!(
            runs == Some(!by_rule),
            "I-6: step {key} is {to} ({:?}), and of its dependencies it may run: {runs:?}",
            patch.skip_reason
        );
        Ok(())
    }

    /// The end of a job: everything is settled, and the verdict is what the steps say.
    fn verdict(&self, to: JobStatus, rows_processed: u64) -> Law {
        let open = self.rows.iter().find(|(_, row)| !row.status.is_terminal());
        if let Some((key, row)) = open {
            return Err(format!("I-8: it is {to} and step {key} is {}", row.status));
        }
        let has = |status| self.rows.values().any(|row| row.status == status);
        let failed = has(StepStatus::Failed) || has(StepStatus::Timeout);
        let fits = match to {
            JobStatus::Success => !failed && !has(StepStatus::Cancelled),
            JobStatus::Failed => failed,
            JobStatus::Cancelled => self.cancel_asked.is_some(),
            JobStatus::Timeout => self.document.timeout_seconds.is_some(),
            _ => false,
        };
        law!(fits, "I-8: it is {to}, and its steps say otherwise");
        self.letters_fit()?;
        let hooks = match to {
            JobStatus::Success => self.document.hooks.on_success.len(),
            JobStatus::Failed | JobStatus::Timeout => self.document.hooks.on_failure.len(),
            _ => 0,
        };
        law!(
            self.hooks.len() == hooks,
            "I-8: it is {to} with {} hooks of {hooks}",
            self.hooks.len()
        );
        let executions = self.rows.values().filter(|row| row.items.is_none());
        let rows: u64 = executions.map(|row| row.rows_processed).sum();
        law!(
            rows == rows_processed,
            "I-8: its steps handled {rows} rows and it says {rows_processed}"
        );
        Ok(())
    }

    /// Exactly the step executions that failed for good have a dead letter.
    pub(super) fn letters_fit(&self) -> Law {
        let failed = self.rows.iter().filter(|(_, row)| {
            row.items.is_none() && matches!(row.status, StepStatus::Failed | StepStatus::Timeout)
        });
        let failed: BTreeSet<StepKey> = failed.map(|(key, _)| *key).collect();
        law!(
            failed == self.letters,
            "I-8: steps {failed:?} failed, and the dead letters are {:?}",
            self.letters
        );
        Ok(())
    }
}
