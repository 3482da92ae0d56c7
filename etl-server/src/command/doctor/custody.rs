//! Who moves an open row, until when, and by which rule: decided from the rows alone.

use std::time::Duration;

use etl_core::contract::store::WaitingHook;
use etl_core::model::{JobRecord, JobStatus, Schedule, StepRecord, StepStatus, Timestamp};
use serde::Serialize;

/// Longer than any rule takes: a worker that is idle looks into the store every 10 s, a reaper and a scheduler every few.
const OVERDUE: Duration = Duration::from_mins(1);

/// A row that has not come to its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Custody {
    /// `job`, `step`, `schedule` or `hook`.
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) pipeline: String,
    pub(super) status: String,
    /// Who has it now.
    pub(super) owner: Option<String>,
    /// When the rule applies at the latest.
    pub(super) deadline: Option<Timestamp>,
    pub(super) rule: &'static str,
    /// Why nobody seems to move it.
    pub(super) problem: Option<String>,
    pub(super) hint: Option<&'static str>,
}

/// What is known of the deployment from its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The store's time.
    pub(super) now: Timestamp,
    /// Whether any worker holds a lease that has not run out.
    pub(super) workers: bool,
}

const NO_WORKER: &str =
    "start one by `etl serve --role worker`, or see whether their tags leave it out";

fn overdue(now: Timestamp, since: Timestamp) -> Option<String> {
    let waited = now.since(since);
    (waited > OVERDUE).then(|| format!("it waits for {} s", waited.as_secs()))
}

/// A job that has not ended. `at_limit` says that its pipeline runs as many jobs as it may.
pub(super) fn of_job(job: &JobRecord, seen: Seen, at_limit: bool) -> Custody {
    let mut custody = Custody {
        kind: "job",
        id: job.id.to_string(),
        pipeline: format!("{}/{}", job.namespace, job.pipeline),
        status: job.status.to_string(),
        owner: None,
        deadline: None,
        rule: "",
        problem: None,
        hint: None,
    };
    if job.status == JobStatus::Running {
        custody.owner = job.worker_id.map(|worker| format!("worker {worker}"));
        custody.deadline = job.lease_expires_at;
        custody.rule = if job.cancel_requested.is_some() {
            "its worker ends it at its next heartbeat; from the deadline on a reaper does"
        } else {
            "its worker renews the lease; from the deadline on a reaper hands it to another"
        };
        custody.problem = job
            .lease_expires_at
            .and_then(|end| overdue(seen.now, end))
            .map(|waited| format!("its lease ran out and nobody took it: {waited}"));
        custody.hint =
            Some("any `etl serve` with role worker or scheduler takes it within seconds");
    } else if at_limit {
        custody.rule = "the end of a running job of its pipeline makes room for it";
    } else {
        custody.rule = if job.status == JobStatus::Pending {
            "a dispatcher hints at it, and any worker that polls claims it"
        } else {
            "the worker that gets the hint claims it, or any that polls"
        };
        // A busy deployment may let a job wait long; without any worker it waits for nobody.
        if !seen.workers {
            custody.problem = overdue(seen.now, job.created_at)
                .map(|waited| format!("no worker holds a job, and {waited}"));
            custody.hint = Some(NO_WORKER);
        }
    }
    custody
}

/// A step execution of a job that has not ended.
pub(super) fn of_step(step: &StepRecord, job: &Custody) -> Custody {
    let item = step.item_index.map(|item| format!("[{item}]"));
    let (deadline, rule) = match step.status {
        StepStatus::Retrying => (
            step.next_run_at,
            "its job's owner starts the next attempt when it is due",
        ),
        StepStatus::Running => (
            job.deadline,
            "its job's owner hears of its end; the next owner finds it or counts it as lost",
        ),
        _ => (
            None,
            "its job's owner starts or skips it when the steps before it are settled",
        ),
    };
    Custody {
        kind: "step",
        id: format!("{}{}", step.name, item.unwrap_or_default()),
        pipeline: job.id.clone(),
        status: step.status.to_string(),
        owner: job.owner.clone(),
        deadline,
        rule,
        // Its job says it.
        problem: None,
        hint: None,
    }
}

/// A schedule that will fire.
pub(super) fn of_schedule(schedule: &Schedule, now: Timestamp) -> Option<Custody> {
    let next = schedule.next_start_at?;
    let problem = overdue(now, next).map(|waited| format!("nobody fired it: {waited}"));
    Some(Custody {
        kind: "schedule",
        id: schedule.pipeline.id.to_string(),
        pipeline: format!("{}/{}", schedule.pipeline.namespace, schedule.pipeline.name),
        status: if next <= now { "due" } else { "waiting" }.into(),
        owner: None,
        deadline: Some(next),
        rule: "a scheduler fires it at the deadline",
        problem,
        hint: Some("start one by `etl serve --role scheduler`"),
    })
}

/// A hook that waits, left by a job that ended at `ended`.
pub(super) fn of_hook(hook: &WaitingHook, ended: Option<Timestamp>, now: Timestamp) -> Custody {
    let problem = ended.and_then(|ended| overdue(now, ended));
    Custody {
        kind: "hook",
        id: format!("{}/{}", hook.job, hook.hook.position),
        pipeline: String::new(),
        status: "pending".into(),
        owner: None,
        deadline: None,
        rule: "any `etl serve` carries it out within seconds",
        problem: problem.map(|waited| format!("nobody carried it out: {waited}")),
        hint: Some("start one by `etl serve`"),
    }
}

#[cfg(test)]
mod tests {
    use etl_core::model::{HookRow, HookTarget, JobId, PipelineRef};
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn ago(seconds: u64) -> Timestamp {
        NOW - Duration::from_secs(seconds)
    }

    fn job(status: &str, changes: Value) -> JobRecord {
        let mut record = json!({
            "id": "00000000-0000-7000-8000-000000000001", "pipeline_id": "00000000-0000-7000-8000-000000000002",
            "pipeline": "p", "namespace": "default", "pipeline_version": 1, "status": status, "trigger_type": "manual",
            "triggered_by": "cli", "scheduled_for": null, "parameters": {}, "context": {}, "priority": 5,
            "started_at": null, "completed_at": null, "duration_ms": null, "worker_id": null, "fence": 0,
            "lease_expires_at": null, "retry_of": null, "retry_attempt": 0, "cancel_requested": null,
            "rows_processed": 0, "bytes_transferred": 0, "error_message": null, "error_stack": null,
            "created_at": ago(90),
        });
        let (Value::Object(record_fields), Value::Object(changes)) = (&mut record, changes) else {
            panic!("objects")
        };
        record_fields.extend(changes);
        serde_json::from_value(record).unwrap()
    }

    fn seen(workers: bool) -> Seen {
        Seen { now: NOW, workers }
    }

    #[test]
    fn a_job_that_waits_long_is_a_problem_only_if_no_worker_is_there() {
        for status in ["pending", "queued"] {
            let waits = job(status, json!({}));
            assert_eq!(of_job(&waits, seen(true), false).problem, None);
            let alone = of_job(&waits, seen(false), false);
            assert!(alone.problem.unwrap().contains("waits for 90 s"));
            assert!(alone.hint.unwrap().contains("etl serve"));
            assert_eq!(of_job(&waits, seen(false), true).problem, None);
            let fresh = job(status, json!({ "created_at": ago(9) }));
            assert_eq!(of_job(&fresh, seen(false), false).problem, None);
        }
    }

    #[test]
    fn a_running_job_has_its_workers_lease_as_a_deadline_and_is_a_problem_long_after_it() {
        let worker = "00000000-0000-7000-8000-000000000003";
        let of = |end: Timestamp| {
            let row = json!({ "worker_id": worker, "lease_expires_at": end });
            of_job(&job("running", row), seen(false), false)
        };
        let held = of(ago(0) + Duration::from_secs(15));
        assert_eq!(held.deadline, Some(NOW + Duration::from_secs(15)));
        assert!(held.owner.unwrap().contains(worker));
        assert_eq!(held.problem, None);
        assert_eq!(of(ago(5)).problem, None);
        assert!(of(ago(100)).problem.unwrap().contains("nobody took it"));
    }

    #[test]
    fn hooks_and_schedules_that_nobody_takes_are_problems() {
        let reference = PipelineRef {
            id: etl_core::model::PipelineId(uuid::Uuid::nil()),
            namespace: "default".into(),
            name: "p".into(),
            version: 1,
        };
        let hook = WaitingHook {
            job: JobId(uuid::Uuid::nil()),
            hook: HookRow {
                position: 2,
                target: HookTarget::TriggerPipeline {
                    name: "next".into(),
                    parameters: serde_json::Map::new(),
                    after: reference.clone(),
                },
            },
        };
        assert_eq!(of_hook(&hook, Some(ago(3)), NOW).problem, None);
        assert!(of_hook(&hook, Some(ago(300)), NOW).problem.is_some());
        let mut schedule = Schedule {
            pipeline: reference,
            document: std::sync::Arc::new(etl_core::model::Pipeline::new("p")),
            rev: 1,
            is_paused: false,
            next_fire_at: None,
            next_start_at: None,
            last_fire_at: None,
        };
        assert_eq!(of_schedule(&schedule, NOW), None);
        schedule.next_start_at = Some(NOW + Duration::from_secs(1));
        assert_eq!(of_schedule(&schedule, NOW).unwrap().problem, None);
        schedule.next_start_at = Some(ago(61));
        let late = of_schedule(&schedule, NOW).unwrap();
        assert_eq!(
            late.problem.as_deref(),
            Some("nobody fired it: it waits for 61 s")
        );
    }
}
