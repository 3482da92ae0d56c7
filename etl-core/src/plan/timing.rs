//! When a pipeline runs by itself: whether its schedule, its zone and its calendar make sense.

use std::str::FromStr;

use crate::model::{Calendar, Fault, Pipeline, Timestamp, nearest};
use crate::schedule::{BusinessCalendar, Cron, CronFault, Timetable};

/// A fixed day, so that an answer does not depend on when it is asked for.
const FROM: Timestamp = Timestamp::from_seconds(0);

/// A month has at most so many business days.
const MOST_BUSINESS_DAYS: i8 = 23;

/// Every fault of a pipeline's timing.
pub(super) fn faults(pipeline: &Pipeline) -> Vec<Fault> {
    let mut faults = Vec::new();
    faults.extend(zone_fault(&pipeline.timezone));
    faults.extend(pipeline.schedule.as_deref().and_then(schedule_fault));
    if let Some(calendar) = &pipeline.calendar {
        let found = calendar_fault(calendar, pipeline.schedule.is_some());
        faults.extend(found.map(|fault| fault.below("/calendar")));
        let found = calendar_faults(calendar);
        faults.extend(found.into_iter().map(|fault| fault.below("/calendar")));
    }
    if faults.is_empty() && never_fires(pipeline) {
        let message = "with this calendar the schedule never comes";
        faults.push(Fault::new("/calendar", message));
    }
    faults
}

fn never_fires(pipeline: &Pipeline) -> bool {
    let timetable = Timetable::of(pipeline).ok().flatten();
    timetable.is_some_and(|timetable| timetable.next(FROM).is_none())
}

fn zone_fault(name: &str) -> Option<Fault> {
    if chrono_tz::Tz::from_str(name).is_ok() {
        return None;
    }
    let fault = Fault::new(
        "/timezone",
        format!("{name:?} is not the name of an IANA time zone"),
    );
    let zones = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    Some(match nearest(name, zones) {
        Some(near) => fault.did_you_mean(Some(near)),
        None => fault.hint("for example \"America/Sao_Paulo\" or \"UTC\""),
    })
}

fn schedule_fault(schedule: &str) -> Option<Fault> {
    let fault = Cron::parse(schedule).err()?;
    let told = Fault::new("/schedule", fault.to_string());
    Some(match fault {
        CronFault::Unreadable { .. } => told.hint(
            "minute hour day-of-month month day-of-week, for example \"0 6 * * 1-5\", or @daily",
        ),
        _ => told,
    })
}

/// A calendar that nobody ships and that brings no days of its own, and days that are none.
fn calendar_faults(calendar: &Calendar) -> Vec<Fault> {
    let mut faults = Vec::new();
    let is_known = BusinessCalendar::shipped_names().any(|name| name == calendar.name);
    if !is_known && calendar.holidays.is_empty() {
        let fault = Fault::new(
            "/name",
            format!("there is no business calendar {:?}", calendar.name),
        );
        let names: Vec<_> = BusinessCalendar::shipped_names().collect();
        faults.push(match nearest(&calendar.name, names.iter().copied()) {
            Some(near) => fault.did_you_mean(Some(near)),
            None => fault.hint(format!(
                "known are {}; any other needs `holidays`, a list of days, or with `etl apply` a file calendars/{}.txt",
                names.join(" and "),
                calendar.name
            )),
        });
    }
    for (at, day) in calendar.holidays.iter().enumerate() {
        if chrono::NaiveDate::parse_from_str(day, "%Y-%m-%d").is_err() {
            let message = format!("{day:?} is no day");
            faults.push(
                Fault::new(format!("/holidays/{at}"), message).hint("for example \"2026-12-24\""),
            );
        }
    }
    faults
}

fn calendar_fault(calendar: &Calendar, has_schedule: bool) -> Option<Fault> {
    let Some(day) = calendar.nth_business_day else {
        return match (calendar.rule, &calendar.at) {
            (Some(_), None) if has_schedule => None,
            (Some(_), None) => Some(Fault::new(
                "",
                "a `rule` moves the fires of a `schedule`, and there is none",
            )),
            _ => Some(Fault::new(
                "",
                "a calendar has either a `rule`, or `nth_business_day` and `at`",
            )),
        };
    };
    if calendar.rule.is_some() {
        return Some(Fault::new(
            "",
            "a calendar has either a `rule`, or `nth_business_day` and `at`",
        ));
    }
    if day == 0 || day.unsigned_abs() > MOST_BUSINESS_DAYS.unsigned_abs() {
        return Some(Fault::new(
            "/nth_business_day",
            format!(
                "business days are counted from 1 to {MOST_BUSINESS_DAYS}, or from -1 backwards"
            ),
        ));
    }
    if has_schedule {
        return Some(Fault::new(
            "",
            "`nth_business_day` stands in place of `schedule`: give one of them",
        ));
    }
    match &calendar.at {
        None => Some(Fault::new(
            "",
            "`nth_business_day` needs `at`, the time of day",
        )),
        Some(at) if chrono::NaiveTime::parse_from_str(at, "%H:%M").is_err() => Some(
            Fault::new("/at", format!("{at:?} is no time of day")).hint("for example \"06:00\""),
        ),
        Some(_) => None,
    }
}
