//! Fires schedules. Any number of schedulers may run: the guards are in the store, and none has to lead.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::Map;
use uuid::Uuid;

use super::intake::{Trigger, new_job};
use crate::contract::store::{Fire, FireOutcome, Fired, Result, ScheduleStore, StoreErrorKind};
use crate::contract::{Observation, Observer};
use crate::model::{By, Catchup, JobId, Schedule, Timestamp, TriggerType};
use crate::schedule::Timetable;

/// The most schedules in one round.
const ROUND: usize = 512;
/// How many fires are decided at the same time. A store that pays for durability pays once for what comes together.
const AT_ONCE: usize = 256;
/// The most fires that `catchup: all` makes up for.
const MOST_CAUGHT_UP: usize = 1_000;
/// A fire that is no older than this was not missed: a scheduler was restarted, or had others to fire first.
const MISSED_AFTER: Duration = Duration::from_mins(5);

/// Looks for schedules that are due, and decides their fires.
#[derive(Debug, Clone)]
pub struct Scheduler {
    store: Arc<dyn ScheduleStore>,
    observer: Option<Arc<dyn Observer>>,
}

/// What one round of a scheduler did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// How many jobs it made.
    pub jobs: usize,
    /// How many fires it decided, those that were left out included.
    pub decided: usize,
}

impl Scheduler {
    /// For the schedules of this store.
    pub fn new(store: Arc<dyn ScheduleStore>) -> Self {
        Self {
            store,
            observer: None,
        }
    }

    /// Tells this one of fires that make jobs.
    #[must_use]
    pub fn observed(mut self, observer: Option<Arc<dyn Observer>>) -> Self {
        self.observer = observer;
        self
    }

    /// One round: decides the first undecided fire of each schedule that is due. There may be more as long as any were
    /// decided.
    ///
    /// A schedule whose fire can't be stored is passed over, so that it holds up no other; it is due again.
    ///
    /// # Errors
    /// If the store can't be reached. What was not decided is due again.
    pub async fn tick(&self) -> Result<Round> {
        let due = self.store.due(ROUND).await?;
        let mut decisions = Vec::with_capacity(due.schedules.len());
        for schedule in &due.schedules {
            let fire = decide(schedule, due.now);
            let lag = schedule.next_start_at.map(|start| due.now.since(start));
            let lag = lag.unwrap_or_default();
            decisions.extend(fire.map(|fire| (Arc::clone(&schedule.pipeline.name), lag, fire)));
        }
        let decided = decisions.into_iter();
        let fires = decided.map(|(pipeline, lag, fire)| self.fire(pipeline, lag, fire));
        let mut fires = stream::iter(fires).buffer_unordered(AT_ONCE);
        let mut round = Round::default();
        let mut failed = None;
        while let Some(fired) = fires.next().await {
            match fired {
                Ok((jobs, decided)) => {
                    round.jobs += jobs;
                    round.decided += decided;
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            // Those that were decided have to be taken up all the same.
            Some(error) if round.jobs == 0 => Err(error),
            _ => Ok(round),
        }
    }

    /// Stores a decision. Answers how many jobs it made and how many fires it decided.
    async fn fire(&self, pipeline: Arc<str>, lag: Duration, fire: Fire) -> Result<(usize, usize)> {
        let is_job = matches!(fire.outcome, FireOutcome::Job(_));
        let nominal = fire.nominal;
        match self.store.fire(fire).await {
            Ok(Fired::Fired) => {
                if let Some(observer) = self.observer.as_ref().filter(|_| is_job) {
                    observer.observe(&Observation::Fired { lag });
                }
                Ok((usize::from(is_job), 1))
            }
            Ok(Fired::Known) => Ok((0, 1)),
            // Another scheduler was faster, or somebody changed the schedule.
            Ok(Fired::Lost) => Ok((0, 0)),
            Err(error)
                if matches!(
                    error.kind,
                    StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
                ) =>
            {
                Err(error)
            }
            Err(error) => {
                tracing::error!(%error, %pipeline, %nominal, "fire refused by the store");
                Ok((0, 0))
            }
        }
    }
}

/// What comes of the first undecided fire of a schedule that is due.
fn decide(schedule: &Schedule, now: Timestamp) -> Option<Fire> {
    let first = schedule.next_fire_at?;
    if first > now {
        // Some earlier version that knows no jitter has moved the fire and not its start.
        return None;
    }
    let id = schedule.pipeline.id;
    let fire = |outcome, next| {
        Some(Fire {
            schedule: id,
            rev: schedule.rev,
            nominal: first,
            outcome,
            next,
        })
    };
    let skipped = |reason: String, next| {
        tracing::warn!(pipeline = %schedule.pipeline.name, nominal = %first, reason, "fire left out");
        fire(FireOutcome::Skipped(reason), next)
    };
    let timetable = match Timetable::of(&schedule.document) {
        Ok(Some(timetable)) => timetable,
        Ok(None) => return skipped("the pipeline has no schedule".into(), None),
        Err(error) => return skipped(format!("the schedule can't be read: {error}"), None),
    };
    let start_of = |fire| timetable.start_of(id, fire);
    let catchup = schedule.document.catchup;
    let kept = match catchup {
        Catchup::None | Catchup::Last => 1,
        Catchup::All => MOST_CAUGHT_UP,
    };
    let before = Timestamp::from_micros(first.as_micros().saturating_sub(1));
    // One more: the last of them may have come and not start yet. Those before it do, because no job starts after the next fire.
    let mut due = timetable.latest(before, now, kept + 1);
    let coming = due.pop_if(|last| *last != first && start_of(*last).starts_at > now);
    let after_now = || coming.or_else(|| timetable.next(now)).map(start_of);
    due.drain(..due.len().saturating_sub(kept));
    if catchup == Catchup::None {
        due.retain(|fire| now.since(start_of(*fire).starts_at) < MISSED_AFTER);
    }
    match due.first() {
        Some(&at) if at == first => {}
        // A program that knows other holidays than the one before.
        None if timetable.next(before) != Some(first) => {
            return skipped(
                "the schedule does not come then any more".into(),
                after_now(),
            );
        }
        kept => {
            let what = kept.map_or_else(
                || "none of them".to_owned(),
                |at| format!("none before {at}"),
            );
            let reason =
                format!("missed: nobody fired it in time, and catchup makes up for {what}");
            let next = kept.copied().map(start_of).or_else(after_now);
            return skipped(reason, next);
        }
    }
    let next = timetable.next(first).map(start_of);
    let mut trigger = Trigger::new(TriggerType::Scheduled, By::scheduler(), Map::new());
    trigger.scheduled_for = Some(first);
    trigger.idempotency_key = Some(format!("schedule:{id}:{first}"));
    match new_job(
        JobId(Uuid::now_v7()),
        &schedule.pipeline,
        &schedule.document,
        trigger,
    ) {
        Ok(job) => fire(FireOutcome::Job(Box::new(job)), next),
        Err(error) => skipped(error.to_string(), next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Pipeline, PipelineId, PipelineRef};

    #[test]
    fn a_fire_that_has_not_come_is_left_alone_whatever_its_start_says() {
        let document = Pipeline {
            schedule: Some("0 * * * *".into()),
            ..Pipeline::new("hourly")
        };
        let at = |minutes: i64| Timestamp::from_micros(minutes * 60_000_000);
        let mut schedule = Schedule {
            pipeline: PipelineRef {
                id: PipelineId(Uuid::nil()),
                namespace: "default".into(),
                name: "hourly".into(),
                version: 1,
            },
            document: Arc::new(document),
            rev: 1,
            is_paused: false,
            next_fire_at: Some(at(120)),
            next_start_at: Some(at(60)),
            last_fire_at: Some(at(60)),
        };
        assert_eq!(decide(&schedule, at(61)), None);
        schedule.next_start_at = schedule.next_fire_at;
        let fire = decide(&schedule, at(120)).unwrap();
        assert!(matches!(fire.outcome, FireOutcome::Job(_)), "{fire:?}");
        assert_eq!(fire.next.map(|next| next.at), Some(at(180)));
    }
}
