//! From local times to instants: the one rule for times that clocks leave out or show twice.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use crate::model::Timestamp;

/// How a local time is found on the line of instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lands {
    /// It comes once.
    Once,
    /// It comes twice; the first counts.
    Twice,
    /// Clocks leave it out; the next instant counts.
    After,
}

/// No zone is further than this from UTC, and none leaves out more than a day.
const FAR: TimeDelta = TimeDelta::hours(40);

/// The instant of a local time. A later local time never gives an earlier instant.
pub(super) fn instant(zone: Tz, local: NaiveDateTime) -> Option<(Timestamp, Lands)> {
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(time) => Some((time.to_utc().into(), Lands::Once)),
        MappedLocalTime::Ambiguous(first, _) => Some((first.to_utc().into(), Lands::Twice)),
        MappedLocalTime::None => after_gap(zone, local).map(|time| (time.into(), Lands::After)),
    }
}

/// The first instant whose local time is not before one that is left out.
fn after_gap(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    let is_past = |at: NaiveDateTime| zone.from_utc_datetime(&at).naive_local() >= local;
    let start = local.checked_sub_signed(FAR)?;
    let (mut before, mut past) = (0, (FAR * 2).num_seconds());
    while past - before > 1 {
        let middle = before + (past - before) / 2;
        if is_past(start.checked_add_signed(TimeDelta::seconds(middle))?) {
            past = middle;
        } else {
            before = middle;
        }
    }
    let first = start.checked_add_signed(TimeDelta::seconds(past))?;
    Some(first.and_utc())
}

/// What clocks of a zone show at an instant, in whole seconds.
pub(super) fn local(zone: Tz, at: Timestamp) -> Option<NaiveDateTime> {
    let local = at.to_datetime()?.with_timezone(&zone).naive_local();
    local.with_nanosecond(0)
}
