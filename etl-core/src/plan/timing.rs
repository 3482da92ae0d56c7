//! When a pipeline runs by itself: whether its schedule, its zone and its calendar make sense.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::model::{Calendar, Fault, Pipeline, nearest};

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
    }
    faults
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
    let parser = croner::parser::CronParser::builder()
        .seconds(croner::parser::Seconds::Optional)
        .year(croner::parser::Year::Disallowed)
        .build();
    match parser.parse(schedule) {
        Err(error) => {
            let message = format!("{schedule:?} is no cron expression: {error}");
            Some(Fault::new("/schedule", message).hint(
                "minute hour day-of-month month day-of-week, for example \"0 6 * * 1-5\", or @daily",
            ))
        }
        // From a fixed day, so that the answer does not depend on when it is asked for.
        Ok(cron) => cron
            .find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, false)
            .is_err()
            .then(|| Fault::new("/schedule", format!("{schedule:?} never comes"))),
    }
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
