//! What becomes of each nominal time of a schedule, for people who want to know why nothing ran.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime};

use super::calendar::DayOff;
use super::timetable::{Terms, Timetable, months_from};
use super::zone::{self, Lands};
use crate::model::{CalendarRule, Timestamp};

/// A nominal time and its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The local time that the schedule names; of a month without its business day the start of the month.
    pub nominal: NaiveDateTime,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a nominal time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It fires.
    Fires {
        /// When.
        at: Timestamp,
    },
    /// It fires once although clocks show it twice: the first time.
    FiresOnce {
        /// When.
        at: Timestamp,
    },
    /// Clocks leave it out: it fires at the next instant.
    FiresLate {
        /// When.
        at: Timestamp,
    },
    /// It is on no business day and fires on another.
    Moved {
        /// When.
        at: Timestamp,
        /// Why.
        because: DayOff,
    },
    /// It is on no business day and left out.
    Skipped {
        /// Why.
        because: DayOff,
    },
    /// The month has fewer business days.
    TooFew,
}

impl Fate {
    /// When it fires, if it does.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Fires { at }
            | Self::FiresOnce { at }
            | Self::FiresLate { at }
            | Self::Moved { at, .. } => Some(*at),
            Self::Skipped { .. } | Self::TooFew => None,
        }
    }
}

/// Nominal times in order. Two of them may fire at the same instant, which is one fire.
#[derive(Debug)]
pub struct Preview<'a> {
    timetable: &'a Timetable,
    after: Timestamp,
    /// What clocks showed then.
    start: Option<NaiveDateTime>,
    /// The last nominal time that was looked at.
    last: Option<NaiveDateTime>,
}

impl<'a> Preview<'a> {
    pub(super) fn new(timetable: &'a Timetable, after: Timestamp) -> Self {
        let start = zone::local(timetable.zone, after);
        let last = match &timetable.terms {
            // Days off before may be moved to days after.
            Terms::Moved {
                calendar,
                rule: CalendarRule::RollForward,
                ..
            } => start.and_then(|start| {
                let first = calendar.first_since_business(start.date());
                first
                    .and_time(NaiveTime::MIN)
                    .checked_sub_signed(chrono::TimeDelta::seconds(1))
            }),
            Terms::BusinessDay { .. } => start
                .and_then(|start| start.date().with_day(1)?.pred_opt())
                .map(|day| day.and_time(NaiveTime::MIN)),
            Terms::Cron(_) | Terms::Moved { .. } => start,
        };
        Self {
            timetable,
            after,
            start,
            last,
        }
    }

    fn lands(&self, local: NaiveDateTime) -> Option<Fate> {
        let (at, lands) = zone::instant(self.timetable.zone, local)?;
        Some(match lands {
            Lands::Once => Fate::Fires { at },
            Lands::Twice => Fate::FiresOnce { at },
            Lands::After => Fate::FiresLate { at },
        })
    }

    fn step(&mut self) -> Option<Planned> {
        let last = self.last?;
        let (nominal, fate) = match &self.timetable.terms {
            Terms::Cron(cron) => {
                let local = cron.after(last)?;
                (local, self.lands(local)?)
            }
            Terms::Moved {
                cron,
                calendar,
                rule,
            } => {
                let local = cron.after(last)?;
                let fate = match calendar.day_off(local.date()) {
                    None => self.lands(local)?,
                    Some(because) => match calendar.target(local.date(), *rule) {
                        None => Fate::Skipped { because },
                        Some(target) => Fate::Moved {
                            at: self.timetable.instant(target.and_time(local.time()))?,
                            because,
                        },
                    },
                };
                (local, fate)
            }
            Terms::BusinessDay { calendar, n, at } => {
                let month: NaiveDate = months_from(last.date()).nth(1)?;
                let day = calendar.nth_business_day(month.year(), month.month(), *n);
                let fate = match day {
                    None => Fate::TooFew,
                    Some(day) => self.lands(day.and_time(*at))?,
                };
                let nominal = day.map_or(month.and_time(NaiveTime::MIN), |day| day.and_time(*at));
                self.last = Some(month.and_time(NaiveTime::MIN));
                return Some(Planned { nominal, fate });
            }
        };
        self.last = Some(nominal);
        Some(Planned { nominal, fate })
    }
}

impl Iterator for Preview<'_> {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        loop {
            let planned = self.step()?;
            let is_past = match planned.fate.at() {
                Some(at) => at <= self.after,
                None => Some(planned.nominal) <= self.start,
            };
            // A month too short for its fire is told also when it has begun.
            if !is_past || planned.fate == Fate::TooFew {
                return Some(planned);
            }
        }
    }
}
