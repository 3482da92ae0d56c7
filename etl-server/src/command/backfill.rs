//! `etl backfill`: a job for every fire of a schedule in a stretch of time.

use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use etl_core::contract::Store;
use etl_core::contract::store::{JobStore, ReapRequest, StoredPipeline};
use etl_core::model::{By, JobRecord, JobStatus, Timestamp, TriggerType};
use etl_core::runtime::{Backfill, BackfillError, Backfilled, Intake, IntakeError};
use etl_core::schedule::Timetable;
use etl_core::sdk::Etl;
use serde_json::{Value, json};

use super::interrupts::Interrupts;
use super::run::check_parameters;
use super::{leftover, pipeline_of, until_end};
use crate::args::BackfillArgs;
use crate::config::Config;
use crate::deployment::{self, Workers};
use crate::failure::{Exit, Failure};
use crate::view::{count, print, print_json, say, table};

pub(crate) async fn execute(config: &Config, args: &BackfillArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::watch()?;
    if args.dry_run {
        let opening = deployment::look(config);
        let store = interrupts.unless_interrupted(opening).await?;
        let planned = plan(&**store.store(), args).await;
        store.close().await;
        let (pipeline, backfill) = planned?;
        return say_what_would_be(&pipeline, &backfill, args.json);
    }
    let opening = async {
        if args.detach {
            Ok((deployment::manage(config).await?, Workers::Elsewhere))
        } else {
            deployment::run_remembered(config).await
        }
    };
    let (store, workers) = interrupts.unless_interrupted(opening).await?;
    let accepted = accept(store.store(), args, workers).await;
    let (pipeline, backfill, jobs) = match accepted {
        Ok(accepted) => accepted,
        Err(failure) => {
            store.close().await;
            return Err(failure);
        }
    };
    let (made, known) = (jobs.iter().filter(|job| job.is_new).count(), jobs.len());
    say(&format!(
        "{} of {} accepted, {} were there already",
        count(made, "job"),
        pipeline.document.name,
        known - made
    ));
    if workers == Workers::Elsewhere {
        let shown = show(&**store.store(), &pipeline, &backfill, &jobs, args.json).await;
        store.close().await;
        return shown.map(|_| Exit::Success);
    }
    let etl = match deployment::own_engine(config, &store, args.parallelism).await {
        Ok(engine) => engine.build(),
        Err(failure) => {
            store.close().await;
            return Err(failure);
        }
    };
    let outcome = match run(&etl, &jobs, &mut interrupts).await {
        Ok(()) => show(&**store.store(), &pipeline, &backfill, &jobs, args.json).await,
        Err(failure) => Err(failure),
    };
    until_end::close(config, etl, store, &outcome, &mut interrupts).await;
    outcome
}

/// The pipeline and the stretch that are meant.
async fn plan(
    store: &dyn Store,
    args: &BackfillArgs,
) -> Result<(StoredPipeline, Backfill), Failure> {
    let pipeline = pipeline_of(store, &args.name).await?;
    let document = &pipeline.document;
    let timetable = Timetable::of(document)
        .map_err(|error| failed(error.into()))?
        .ok_or_else(|| failed(BackfillError::NoSchedule(document.name.clone())))?;
    let backfill = Backfill {
        from: time(&timetable, "--from", &args.from, NaiveTime::MIN)?,
        to: time(&timetable, "--to", &args.to, end_of_day())?,
        max_active: args.max_active,
        parameters: check_parameters(document.parameters.as_ref(), &args.parameters)?,
        by: By("cli".into()),
    };
    if backfill.from > backfill.to {
        return Err(Failure::input(format!(
            "--from {} is after --to {}",
            args.from, args.to
        )));
    }
    Ok((pipeline, backfill))
}

/// Has the jobs accepted. If they are to run here, nobody else runs those that an earlier process left without an end: they are
/// taken from it.
async fn accept(
    store: &Arc<dyn Store>,
    args: &BackfillArgs,
    workers: Workers,
) -> Result<(StoredPipeline, Backfill, Vec<Backfilled>), Failure> {
    let (pipeline, backfill) = plan(&**store, args).await?;
    if workers == Workers::Here {
        let is_ours = |job: &JobRecord| is_of(job, &backfill, &pipeline);
        leftover::refuse_if_full_but_for(&**store, &pipeline, is_ours).await?;
    }
    let intake = Intake::new(store.clone());
    let jobs = backfill.submit(&intake, &pipeline).await.map_err(failed)?;
    if workers == Workers::Here {
        for job in jobs.iter().filter(|job| !job.is_new) {
            let reap = ReapRequest {
                job: Some(job.job),
                limit: 1,
            };
            JobStore::reap(&**store, reap).await?;
        }
    }
    Ok((pipeline, backfill, jobs))
}

/// Whether an earlier call of the same backfill made the job.
fn is_of(job: &JobRecord, backfill: &Backfill, pipeline: &StoredPipeline) -> bool {
    let fire = job.scheduled_for;
    job.trigger_type == TriggerType::Backfill
        && job.retry_of.is_none()
        && job.pipeline_version == pipeline.reference.version
        && fire.is_some_and(|fire| (backfill.from..=backfill.to).contains(&fire))
}

/// Runs the jobs to their end. An interrupt leaves them as they are, and the same backfill goes on with them.
async fn run(etl: &Etl, jobs: &[Backfilled], interrupts: &mut Interrupts) -> Result<(), Failure> {
    let mut open = Vec::new();
    for job in jobs {
        let record = etl.store().job(job.job).await?;
        if record.is_some_and(|record| !record.status.is_terminal()) {
            etl.adopt(job.job);
            open.push(job);
        }
    }
    let all = open.len();
    for (done, job) in (1..).zip(open) {
        let ended = async { etl.resume(job.job).await?.wait().await };
        tokio::select! {
            ended = ended => {
                let ended = ended?;
                say(&format!("{} job {} {} ({done} of {all})", job.scheduled_for, job.job, ended.status()));
            }
            () = interrupts.next() => {
                return Err(Failure::new(Exit::Cancelled, "interrupted: the jobs were left as they are")
                    .hint("the same backfill goes on with them; `etl jobs` shows them"));
            }
        }
    }
    Ok(())
}

/// Shows the jobs as they are, and gives the exit status that tells it.
async fn show(
    store: &dyn Store,
    pipeline: &StoredPipeline,
    backfill: &Backfill,
    jobs: &[Backfilled],
    as_json: bool,
) -> Result<Exit, Failure> {
    let mut statuses = Vec::with_capacity(jobs.len());
    for job in jobs {
        let record = store.job(job.job).await?;
        statuses.push(record.map_or(JobStatus::Pending, |record| record.status));
    }
    let rows = jobs.iter().zip(&statuses);
    if as_json {
        let jobs = rows.map(|(job, status)| {
            json!({
                "id": job.job,
                "scheduled_for": job.scheduled_for,
                "is_new": job.is_new,
                "status": status,
            })
        });
        print_json(&document(pipeline, backfill, jobs.collect()))?;
    } else {
        let mut table = table(["scheduled for", "job", "status"]);
        for (job, status) in rows {
            table.add_row([
                job.scheduled_for.to_string(),
                job.job.to_string(),
                status.to_string(),
            ]);
        }
        print(&format!("{table}\n"))?;
    }
    let failed = |status: &JobStatus| matches!(status, JobStatus::Failed | JobStatus::Timeout);
    Ok(if statuses.iter().any(failed) {
        Exit::JobFailed
    } else if statuses.contains(&JobStatus::Cancelled) {
        Exit::Cancelled
    } else {
        Exit::Success
    })
}

fn say_what_would_be(
    pipeline: &StoredPipeline,
    backfill: &Backfill,
    as_json: bool,
) -> Result<Exit, Failure> {
    let fires = backfill.fires(pipeline).map_err(failed)?;
    if as_json {
        let jobs = fires.iter().map(|fire| json!({ "scheduled_for": fire }));
        print_json(&document(pipeline, backfill, jobs.collect()))?;
        return Ok(Exit::Success);
    }
    let mut text: String = fires.iter().map(|fire| format!("{fire}\n")).collect();
    text.push_str(&format!(
        "{} to make; nothing was done\n",
        count(fires.len(), "job")
    ));
    print(&text)?;
    Ok(Exit::Success)
}

fn document(pipeline: &StoredPipeline, backfill: &Backfill, jobs: Vec<Value>) -> Value {
    json!({
        "pipeline": pipeline.document.name,
        "from": backfill.from,
        "to": backfill.to,
        "jobs": jobs,
    })
}

fn end_of_day() -> NaiveTime {
    NaiveTime::from_hms_opt(23, 59, 59).unwrap_or_default()
}

/// A point in time as people give it: with an offset, or local in the pipeline's zone, or a day whose time `of_day` is meant.
fn time(
    timetable: &Timetable,
    option: &str,
    text: &str,
    of_day: NaiveTime,
) -> Result<Timestamp, Failure> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let formats = [
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d %H:%M",
    ];
    let local = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let local = local.or_else(|| Some(day()?.and_time(of_day)));
    local
        .and_then(|local| timetable.instant(local))
        .ok_or_else(|| {
            Failure::input(format!("{option}: {text:?} is no time"))
                .hint("for example 2024-01-31, 2024-01-31T06:00 or 2024-01-31T06:00:00Z")
        })
}

fn failed(error: BackfillError) -> Failure {
    match error {
        BackfillError::Refused {
            source: IntakeError::Store(error),
            ..
        } => error.into(),
        BackfillError::Refused {
            source: IntakeError::Parameters(faults),
            ..
        } => Failure::parameters(faults),
        BackfillError::Refused {
            scheduled_for,
            source: IntakeError::KeyTaken(job),
            ..
        } => Failure::input(format!(
            "the fire of {scheduled_for} has job {job} of an earlier backfill, which had other parameters"
        ))
        .hint("`etl retry` repeats a job"),
        other => Failure::input(other.to_string()),
    }
}
