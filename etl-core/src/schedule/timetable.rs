//! The fires of a pipeline: its cron expression or business day, its zone and its calendar, put together.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Timelike};
use chrono_tz::Tz;

use super::calendar::BusinessCalendar;
use super::cron::{Cron, CronFault};
use super::preview::Preview;
use super::zone;
use crate::model::{Calendar, CalendarRule, NextFire, Pipeline, PipelineId, Timestamp, spread};

/// So many stretches of days are looked over for one that a calendar lets through; then the schedule counts as over.
const MOST_TRIES: usize = 5_000;
/// The longest jitter there is, in seconds.
const LONGEST_JITTER: u32 = 3_600;
/// So many months are looked over for one that has enough business days.
const MOST_MONTHS: usize = 1_200;

/// When a pipeline fires.
#[derive(Debug, Clone)]
pub struct Timetable {
    pub(super) zone: Tz,
    pub(super) terms: Terms,
    /// How long after its fire a job may start.
    jitter: Duration,
}

#[derive(Debug, Clone)]
pub(super) enum Terms {
    Cron(Cron),
    /// Its fires are moved or left out.
    Moved {
        cron: Cron,
        calendar: BusinessCalendar,
        rule: CalendarRule,
    },
    BusinessDay {
        calendar: BusinessCalendar,
        n: i8,
        at: NaiveTime,
    },
}

/// Why a document has no timetable although it asks for one. A document that was validated has none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimetableError {
    /// The zone is none.
    #[error("{0:?} is not the name of an IANA time zone")]
    Zone(String),
    /// The schedule is none.
    #[error(transparent)]
    Cron(#[from] CronFault),
    /// The calendar is not known, or one of its dates is none.
    #[error("there is no business calendar {0:?}")]
    Calendar(String),
    /// The terms don't go together.
    #[error(
        "a calendar needs a `rule` beside `schedule`, or `nth_business_day` and `at` in its place"
    )]
    Terms,
}

/// The first fire of a pipeline after an instant. `None` if it has no schedule, is not active, or never comes again.
pub fn next_fire(pipeline: &Pipeline, after: Timestamp) -> Option<Timestamp> {
    active(pipeline)?.next(after)
}

/// As [`next_fire`], with the time at which its job starts; `id` is the pipeline's.
pub fn next_start(pipeline: &Pipeline, id: PipelineId, after: Timestamp) -> Option<NextFire> {
    let timetable = active(pipeline)?;
    Some(timetable.start_of(id, timetable.next(after)?))
}

/// The timetable of a pipeline that fires.
fn active(pipeline: &Pipeline) -> Option<Timetable> {
    if !pipeline.is_active {
        return None;
    }
    Timetable::of(pipeline).ok().flatten()
}

impl Timetable {
    /// The timetable of a pipeline, active or not; `None` if it has no schedule.
    ///
    /// # Errors
    /// If its terms can't be read, which validation would have told.
    pub fn of(pipeline: &Pipeline) -> Result<Option<Self>, TimetableError> {
        if !pipeline.has_schedule() {
            return Ok(None);
        }
        let zone = pipeline.timezone.parse();
        let zone = zone.map_err(|_| TimetableError::Zone(pipeline.timezone.clone()))?;
        let known = |calendar: &Calendar| {
            BusinessCalendar::of(calendar)
                .ok_or_else(|| TimetableError::Calendar(calendar.name.clone()))
        };
        let terms = match (&pipeline.schedule, &pipeline.calendar) {
            (Some(schedule), None) => Terms::Cron(Cron::parse(schedule)?),
            (Some(schedule), Some(calendar)) => Terms::Moved {
                cron: Cron::parse(schedule)?,
                rule: calendar.rule.ok_or(TimetableError::Terms)?,
                calendar: known(calendar)?,
            },
            (None, Some(calendar)) => {
                let at = calendar.at.as_deref().ok_or(TimetableError::Terms)?;
                Terms::BusinessDay {
                    n: calendar.nth_business_day.ok_or(TimetableError::Terms)?,
                    at: NaiveTime::parse_from_str(at, "%H:%M")
                        .map_err(|_| TimetableError::Terms)?,
                    calendar: known(calendar)?,
                }
            }
            (None, None) => return Ok(None),
        };
        let jitter = pipeline.start_jitter_seconds.min(LONGEST_JITTER);
        Ok(Some(Self {
            zone,
            terms,
            jitter: Duration::from_secs(jitter.into()),
        }))
    }

    /// A fire with the time at which its job starts: within the jitter and before the next fire, at a point that the pipeline
    /// and the fire give. Whoever asks gets the same, and pipelines that are due together are spread.
    pub fn start_of(&self, id: PipelineId, fire: Timestamp) -> NextFire {
        let mut within = self.jitter;
        if !within.is_zero()
            && let Some(next) = self.next(fire)
        {
            within = within.min(next.since(fire));
        }
        let (high, low) = id.0.as_u64_pair();
        let part = spread::fraction(low, [high, fire.as_micros().cast_unsigned()]);
        NextFire {
            at: fire,
            starts_at: fire + within.mul_f64(part),
        }
    }

    /// The first fire after an instant. `None` if there is none any more.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.terms {
            Terms::Cron(cron) => {
                let mut local = zone::local(self.zone, after)?;
                loop {
                    local = cron.after(local)?;
                    let (at, _) = zone::instant(self.zone, local)?;
                    if at > after {
                        return Some(at);
                    }
                }
            }
            Terms::Moved {
                cron,
                calendar,
                rule,
            } => self.next_moved(cron, calendar, *rule, after),
            Terms::BusinessDay { calendar, n, at } => {
                let today = zone::local(self.zone, after)?.date();
                months_from(today).take(MOST_MONTHS).find_map(|month| {
                    let day = calendar.nth_business_day(month.year(), month.month(), *n)?;
                    let (at, _) = zone::instant(self.zone, day.and_time(*at))?;
                    (at > after).then_some(at)
                })
            }
        }
    }

    /// Goes from one business day to the next that has fires.
    fn next_moved(
        &self,
        cron: &Cron,
        calendar: &BusinessCalendar,
        rule: CalendarRule,
        after: Timestamp,
    ) -> Option<Timestamp> {
        let local = zone::local(self.zone, after)?;
        let today = local.date();
        let mut from = match rule {
            CalendarRule::RollForward => calendar.first_since_business(today),
            CalendarRule::Skip | CalendarRule::RollBack => today,
        };
        for _ in 0..MOST_TRIES {
            let source = cron.at_or_after(from.and_time(NaiveTime::MIN))?.date();
            let Some(target) = calendar.target(source, rule) else {
                from = calendar.at_or_after(source.succ_opt()?)?;
                continue;
            };
            // An expression has the same times on each of its days, so that the first day whose fires are moved to a day has
            // them all.
            if target >= today
                && let Some(first) = self.first_on(cron, source, target, after)
            {
                return Some(first);
            }
            let (_, last) = calendar.sources(target, rule);
            from = last.max(source).succ_opt()?;
        }
        None
    }

    /// The first fire of a day, moved to another, that is after an instant.
    fn first_on(
        &self,
        cron: &Cron,
        day: NaiveDate,
        target: NaiveDate,
        after: Timestamp,
    ) -> Option<Timestamp> {
        let now = zone::local(self.zone, after)?;
        let mut local = if now.date() == target {
            cron.after(day.and_time(now.time()))?
        } else {
            cron.at_or_after(day.and_time(NaiveTime::MIN))?
        };
        while local.date() == day {
            let (at, _) = zone::instant(self.zone, target.and_time(local.time()))?;
            if at > after {
                return Some(at);
            }
            local = cron.after(local)?;
        }
        None
    }

    /// The last `count` fires after one instant and up to another, in order.
    pub fn latest(&self, after: Timestamp, until: Timestamp, count: usize) -> Vec<Timestamp> {
        // Looks back further and further, so that a year of fires by the second is not walked for the last few.
        let mut width = Duration::from_mins(1);
        loop {
            let start = (until - width).max(after);
            let mut found = VecDeque::new();
            for fire in self.fires(start, until) {
                if found.len() == count {
                    found.pop_front();
                }
                found.push_back(fire);
            }
            if start == after || found.len() >= count {
                return found.into();
            }
            width *= 4;
        }
    }

    /// The fires after one instant and up to another, in order.
    pub fn fires(
        &self,
        after: Timestamp,
        until: Timestamp,
    ) -> impl Iterator<Item = Timestamp> + use<'_> {
        let next = move |last: &Timestamp| self.next(*last).filter(|fire| *fire <= until);
        std::iter::successors(next(&after), next)
    }

    /// What becomes of each nominal time after an instant: it fires, is moved, or is left out.
    pub fn preview(&self, after: Timestamp) -> Preview<'_> {
        Preview::new(self, after)
    }

    /// What clocks of its zone show at an instant. `None` outside chrono's years.
    pub fn local(&self, at: Timestamp) -> Option<DateTime<Tz>> {
        Some(at.to_datetime()?.with_timezone(&self.zone))
    }

    /// The instant of a local time of its zone, by the rules for times that are left out or come twice.
    pub fn instant(&self, local: chrono::NaiveDateTime) -> Option<Timestamp> {
        let local = local.with_nanosecond(0)?;
        zone::instant(self.zone, local).map(|(at, _)| at)
    }
}

/// The first days of months, from the month of a day on.
pub(super) fn months_from(day: NaiveDate) -> impl Iterator<Item = NaiveDate> {
    std::iter::successors(day.with_day(1), |month| {
        month.checked_add_months(chrono::Months::new(1))
    })
}
