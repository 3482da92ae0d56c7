//! Fires compared with what a scan of all minutes finds, known days on which clocks changed, and calendars.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Timelike};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::model::{Calendar, CalendarRule, Pipeline, PipelineId, Timestamp};

/// Zones whose clocks change by an hour, by half an hour, at midnight, in the south, or left out a whole day.
const ZONES: [Tz; 8] = [
    Tz::America__New_York,
    Tz::America__Sao_Paulo,
    Tz::Australia__Lord_Howe,
    Tz::Europe__Lisbon,
    Tz::Asia__Beirut,
    Tz::Pacific__Apia,
    Tz::Africa__Casablanca,
    Tz::UTC,
];

/// The days of 2000 to 2036 on which the clocks of each zone change.
static CHANGES: LazyLock<Vec<(Tz, Vec<NaiveDate>)>> = LazyLock::new(|| {
    let changes = |zone: Tz| {
        let days = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap().iter_days();
        let offset = |day: &NaiveDate| {
            use chrono::Offset;
            let noon = day.and_hms_opt(12, 0, 0).unwrap();
            zone.offset_from_utc_datetime(&noon).fix()
        };
        let days: Vec<_> = days.take_while(|day| day.year() < 2037).collect();
        let pairs = days.windows(2);
        pairs
            .filter(|pair| offset(&pair[0]) != offset(&pair[1]))
            .map(|pair| pair[1])
            .collect()
    };
    ZONES.iter().map(|zone| (*zone, changes(*zone))).collect()
});

fn scheduled(schedule: &str, zone: &str) -> Pipeline {
    let mut pipeline = Pipeline::new("p");
    pipeline.schedule = Some(schedule.into());
    pipeline.timezone = zone.into();
    pipeline
}

fn timetable(pipeline: &Pipeline) -> Timetable {
    Timetable::of(pipeline).unwrap().unwrap()
}

fn by(schedule: &str, zone: &str) -> Timetable {
    timetable(&scheduled(schedule, zone))
}

fn moved(schedule: &str, name: &str, rule: CalendarRule) -> Timetable {
    let mut pipeline = scheduled(schedule, "America/Sao_Paulo");
    pipeline.calendar = Some(Calendar {
        name: name.into(),
        rule: Some(rule),
        nth_business_day: None,
        at: None,
        holidays: Vec::new(),
    });
    timetable(&pipeline)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// The fires after an instant, as texts in UTC by the minute.
fn fires(timetable: &Timetable, after: &str, count: usize) -> Vec<String> {
    let first = timetable.next(at(after));
    let fires = std::iter::successors(first, |last| timetable.next(*last));
    fires
        .take(count)
        .map(|fire| fire.to_string()[..16].to_owned())
        .collect()
}

/// A cron expression that is simple enough to be understood by itself.
#[derive(Debug, Clone)]
struct Simple {
    minute: (u32, u32),
    hours: Vec<u32>,
    weekday: Option<u32>,
    day: Option<u32>,
}

impl Simple {
    fn text(&self) -> String {
        let hours: Vec<String> = self.hours.iter().map(u32::to_string).collect();
        let hours = if hours.is_empty() {
            "*".to_owned()
        } else {
            hours.join(",")
        };
        let any = |field: Option<u32>| field.map_or("*".into(), |field| field.to_string());
        let (start, step) = self.minute;
        format!(
            "{start}-59/{step} {hours} {} * {}",
            any(self.day),
            any(self.weekday)
        )
    }

    fn fits(&self, time: NaiveDateTime) -> bool {
        let (start, step) = self.minute;
        time.minute() >= start
            && (time.minute() - start).is_multiple_of(step)
            && (self.hours.is_empty() || self.hours.contains(&time.hour()))
            && self.day.is_none_or(|day| day == time.day())
            && self
                .weekday
                .is_none_or(|day| day == time.weekday().num_days_from_sunday())
    }
}

fn a_simple_cron() -> impl Strategy<Value = Simple> {
    let minute = (0_u32..60, 1_u32..60);
    let hours = prop_oneof![
        Just(Vec::new()),
        prop::collection::btree_set(0_u32..4, 1..3).prop_map(|set| set.into_iter().collect()),
        prop::collection::btree_set(0_u32..24, 1..4).prop_map(|set| set.into_iter().collect()),
    ];
    let days = prop_oneof![
        4 => Just((None, None)),
        1 => (0_u32..7).prop_map(|weekday| (Some(weekday), None)),
        1 => (1_u32..29).prop_map(|day| (None, Some(day))),
    ];
    (minute, hours, days).prop_map(|(minute, hours, (weekday, day))| Simple {
        minute,
        hours,
        weekday,
        day,
    })
}

/// A zone and an instant within three days of a change of its clocks.
fn a_moment() -> impl Strategy<Value = (Tz, Timestamp)> {
    (
        0..ZONES.len(),
        any::<prop::sample::Index>(),
        0_i64..3 * 24 * 3600,
    )
        .prop_map(|(zone, change, seconds)| {
            let (zone, changes) = &CHANGES[zone];
            let day = match changes.as_slice() {
                [] => day("2024-02-28"),
                changes => *change.get(changes),
            };
            let start = day.and_hms_opt(0, 0, 0).unwrap() - TimeDelta::hours(48);
            let moment = start + TimeDelta::seconds(seconds);
            (*zone, moment.and_utc().into())
        })
}

/// Goes through all minutes of the world. A minute has the fires of all local times that clocks have come to or gone past
/// since any minute before: none while they show again what they have shown, and at once those that they left out.
fn scanned(simple: &Simple, zone: Tz, after: Timestamp, days: i64) -> Vec<Timestamp> {
    let after = after.to_datetime().unwrap();
    let mut utc = (after - TimeDelta::days(3)).with_second(0).unwrap();
    let shown = |utc: chrono::DateTime<chrono::Utc>| utc.with_timezone(&zone).naive_local();
    let mut furthest = shown(utc);
    let mut found = Vec::new();
    while utc < after + TimeDelta::days(days) {
        utc += TimeDelta::minutes(1);
        let mut is_fire = false;
        while furthest < shown(utc) {
            furthest += TimeDelta::minutes(1);
            is_fire |= simple.fits(furthest);
        }
        if is_fire && utc > after {
            found.push(utc.into());
        }
    }
    found
}

proptest! {
    #[test]
    fn fires_are_those_that_a_scan_of_all_minutes_finds(
        simple in a_simple_cron(),
        (zone, after) in a_moment(),
    ) {
        let timetable = by(&simple.text(), zone.name());
        let scanned = scanned(&simple, zone, after, 4);
        let until = at("2036-12-31T00:00:00Z").min(after + std::time::Duration::from_hours(4 * 24));
        let found: Vec<_> = timetable.fires(after, until).collect();
        let scanned: Vec<_> = scanned.into_iter().filter(|fire| *fire <= until).collect();
        prop_assert_eq!(&found, &scanned, "{} in {}", simple.text(), zone);
        let latest = timetable.latest(after, until, 3);
        prop_assert_eq!(&latest[..], &found[found.len().saturating_sub(3)..]);
        let previewed = timetable.preview(after).map_while(|planned| planned.fate.at());
        let mut previewed: Vec<_> = previewed.take_while(|at| *at <= until).collect();
        previewed.dedup();
        prop_assert_eq!(previewed, found);
    }

    #[test]
    fn fires_by_a_calendar_are_those_of_the_nominal_times_that_it_moves(
        simple in a_simple_cron(),
        (zone, after) in a_moment(),
        name in prop::sample::select(vec!["b3", "br"]),
        rule in prop::sample::select(vec![
            CalendarRule::Skip, CalendarRule::RollForward, CalendarRule::RollBack,
        ]),
    ) {
        let mut pipeline = scheduled(&simple.text(), zone.name());
        let plain = timetable(&pipeline);
        pipeline.calendar = Some(Calendar {
            name: name.into(), rule: Some(rule), nth_business_day: None, at: None, holidays: Vec::new(),
        });
        let calendar = BusinessCalendar::shipped(name).unwrap();
        // Every local time around, moved by hand.
        let local = plain.local(after).unwrap().naive_local();
        let mut nominal = (local - TimeDelta::days(10)).with_second(0).unwrap();
        let mut expected = std::collections::BTreeSet::new();
        while nominal < local + TimeDelta::days(15) {
            nominal += TimeDelta::minutes(1);
            if !simple.fits(nominal) {
                continue;
            }
            let mut date = nominal.date();
            while calendar.day_off(date).is_some() && rule != CalendarRule::Skip {
                let step = if rule == CalendarRule::RollForward { 1 } else { -1 };
                date += TimeDelta::days(step);
            }
            if calendar.is_business(date) {
                expected.extend(plain.instant(date.and_time(nominal.time())));
            }
        }
        let until = after + std::time::Duration::from_hours(4 * 24);
        let expected: Vec<_> = expected.into_iter().filter(|at| *at > after && *at <= until).collect();
        let found: Vec<_> = timetable(&pipeline).fires(after, until).collect();
        prop_assert_eq!(found, expected, "{} in {}, {} {:?}", simple.text(), zone, name, rule);
    }

    #[test]
    fn no_text_makes_a_schedule_or_a_calendar_panic(text in "\\PC{0,40}", fields in "[0-9*/,LW#@?-]{1,8}( [0-9*/,LW#-]{1,6}){4,5}") {
        for text in [&text, &fields] {
            if let Ok(Some(timetable)) = Timetable::of(&scheduled(text, "Europe/Lisbon")) {
                timetable.next(at("2026-01-01T00:00:00Z"));
                timetable.next(Timestamp::from_micros(i64::MAX));
                timetable.next(Timestamp::from_micros(i64::MIN));
            }
            let _ = text.parse::<BusinessCalendar>();
        }
    }
}

#[test]
fn a_time_that_does_not_exist_fires_at_the_next_instant_that_does() {
    let new_york = by("30 2 * * *", "America/New_York");
    assert_eq!(
        fires(&new_york, "2026-03-07T12:00:00Z", 2),
        ["2026-03-08T07:00", "2026-03-09T06:30"]
    );
    // Clocks in São Paulo changed at midnight.
    let sao_paulo = by("@daily", "America/Sao_Paulo");
    assert_eq!(
        fires(&sao_paulo, "2018-11-03T12:00:00Z", 2),
        ["2018-11-04T03:00", "2018-11-05T02:00"]
    );
    // By half an hour.
    let lord_howe = by("15 2 * * *", "Australia/Lord_Howe");
    assert_eq!(
        fires(&lord_howe, "2026-10-02T20:00:00Z", 2),
        ["2026-10-03T15:30", "2026-10-04T15:15"]
    );
    // Samoa left out 30 December 2011.
    let apia = by("0 6 * * *", "Pacific/Apia");
    assert_eq!(
        fires(&apia, "2011-12-29T17:00:00Z", 2),
        ["2011-12-30T10:00", "2011-12-30T16:00"]
    );
    // Times that are left out together are one fire.
    let often = by("*/15 2,3 * * *", "America/New_York");
    assert_eq!(
        fires(&often, "2026-03-08T05:00:00Z", 2),
        ["2026-03-08T07:00", "2026-03-08T07:15"]
    );
}

#[test]
fn a_time_that_comes_twice_fires_once() {
    let new_york = by("30 1 * * *", "America/New_York");
    let expected = ["2026-11-01T05:30", "2026-11-02T06:30"];
    assert_eq!(fires(&new_york, "2026-11-01T04:00:00Z", 2), expected);
    // Asked between the two and in the second hour.
    for after in [
        "2026-11-01T05:30:00Z",
        "2026-11-01T06:10:00Z",
        "2026-11-01T06:30:00Z",
    ] {
        assert_eq!(fires(&new_york, after, 1), expected[1..]);
    }
    let sao_paulo = by("30 23 * * *", "America/Sao_Paulo");
    assert_eq!(
        fires(&sao_paulo, "2018-02-17T12:00:00Z", 2),
        ["2018-02-18T01:30", "2018-02-19T02:30"]
    );
    let lord_howe = by("45 1 * * *", "Australia/Lord_Howe");
    assert_eq!(
        fires(&lord_howe, "2026-04-04T00:00:00Z", 2),
        ["2026-04-04T14:45", "2026-04-05T15:15"]
    );
}

#[test]
fn the_rules_of_cron_are_those_that_people_know() {
    let from = "2026-01-01T00:00:00Z";
    for (schedule, expected) in [
        ("@hourly", "2026-01-01T01:00"),
        ("@daily", "2026-01-02T00:00"),
        ("@weekly", "2026-01-04T00:00"),
        ("@monthly", "2026-02-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
        ("0 6 29 2 *", "2028-02-29T06:00"),
        // 7 is Sunday, names are known, and of two days either will do.
        ("0 0 * * 7", "2026-01-04T00:00"),
        ("0 0 * JUN MON", "2026-06-01T00:00"),
        ("0 0 13 * FRI", "2026-01-02T00:00"),
        ("0 0 L * *", "2026-01-31T00:00"),
        ("30 0 0 * * *", "2026-01-01T00:00"),
    ] {
        assert_eq!(
            fires(&by(schedule, "UTC"), from, 1),
            [expected],
            "{schedule}"
        );
    }
    assert_eq!(
        by("*/20 * * * * *", "UTC").next(at(from)),
        Some(at("2026-01-01T00:00:20Z"))
    );
    for schedule in ["@reboot", "* * * *", "0 0 31 2 *", "0 0 0 1 1 * 2030", ""] {
        assert!(Cron::parse(schedule).is_err(), "{schedule}");
    }
}

#[test]
fn a_calendar_moves_fires_or_leaves_them_out() {
    // 10 January 2026 is a Saturday, 10 May a Sunday, 10 October a Saturday before the holiday of the 12th.
    let monthly = |rule| moved("0 6 10 1,5,10 *", "b3", rule);
    let after = "2026-01-01T00:00:00Z";
    assert_eq!(
        fires(&monthly(CalendarRule::RollForward), after, 3),
        ["2026-01-12T09:00", "2026-05-11T09:00", "2026-10-13T09:00"]
    );
    assert_eq!(
        fires(&monthly(CalendarRule::RollBack), after, 3),
        ["2026-01-09T09:00", "2026-05-08T09:00", "2026-10-09T09:00"]
    );
    let skipped = monthly(CalendarRule::Skip);
    assert_eq!(fires(&skipped, after, 1), ["2027-05-10T09:00"]);
    // Saturday and Sunday come together with Monday: one fire.
    let daily = moved("0 6 * * *", "b3", CalendarRule::RollForward);
    assert_eq!(
        fires(&daily, "2026-01-09T12:00:00Z", 2),
        ["2026-01-12T09:00", "2026-01-13T09:00"]
    );
}

#[test]
fn a_preview_says_why_a_day_is_moved_or_left_out() {
    let told = |rule| {
        let timetable = moved("0 6 * * *", "b3", rule);
        let preview = timetable.preview(at("2026-12-23T12:00:00Z"));
        let told = preview.take(4).map(|planned| match planned.fate {
            Fate::Moved { at, because } => {
                format!(
                    "{} to {} ({because})",
                    planned.nominal.day(),
                    timetable.local(at).unwrap().day()
                )
            }
            Fate::Skipped { because } => format!("{} not ({because})", planned.nominal.day()),
            _ => planned.nominal.day().to_string(),
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        told(CalendarRule::Skip),
        [
            "24 not (Véspera de Natal)",
            "25 not (Natal)",
            "26 not (Saturday)",
            "27 not (Sunday)"
        ]
    );
    assert_eq!(
        told(CalendarRule::RollForward),
        [
            "24 to 28 (Véspera de Natal)",
            "25 to 28 (Natal)",
            "26 to 28 (Saturday)",
            "27 to 28 (Sunday)"
        ]
    );
    assert_eq!(told(CalendarRule::RollBack)[0], "28");
}

#[test]
fn the_nth_business_day_counts_from_both_ends_of_a_month() {
    let nth = |n: i8| {
        let mut pipeline = Pipeline::new("p");
        pipeline.timezone = "America/Sao_Paulo".into();
        pipeline.calendar = Some(Calendar {
            name: "b3".into(),
            rule: None,
            nth_business_day: Some(n),
            at: Some("06:00".into()),
            holidays: Vec::new(),
        });
        timetable(&pipeline)
    };
    let after = "2026-01-08T09:00:00Z";
    // 1 January is a holiday; Carnival is not yet in the first days of February.
    assert_eq!(
        fires(&nth(5), "2026-01-01T00:00:00Z", 2),
        ["2026-01-08T09:00", "2026-02-06T09:00"]
    );
    assert_eq!(fires(&nth(5), after, 1), ["2026-02-06T09:00"]);
    // The exchange closes on 31 December.
    assert_eq!(
        fires(&nth(-1), "2026-12-01T00:00:00Z", 2),
        ["2026-12-30T09:00", "2027-01-29T09:00"]
    );
    // February has no 23rd, and is told also once it has begun.
    let last = nth(23);
    let first = last.preview(at("2026-02-01T12:00:00Z")).next().unwrap();
    assert_eq!((first.nominal.month(), first.fate), (2, Fate::TooFew));
}

#[test]
fn the_days_without_trading_are_those_of_the_exchanges_own_calendars() {
    let closed = |name: &str, year: i32| {
        let calendar = BusinessCalendar::shipped(name).unwrap();
        let days = NaiveDate::from_ymd_opt(year, 1, 1).unwrap().iter_days();
        let days = days.take_while(|day| day.year() == year);
        let holidays = days.filter(|day| {
            let is_week = day.weekday().num_days_from_monday() < 5;
            is_week && calendar.day_off(*day).is_some()
        });
        holidays
            .map(|day| day.format("%m-%d").to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (year, expected) in [
        (
            2019,
            "01-01 01-25 03-04 03-05 04-19 05-01 06-20 07-09 11-15 11-20 12-24 12-25 12-31",
        ),
        (
            2020,
            "01-01 02-24 02-25 04-10 04-21 05-01 06-11 09-07 10-12 11-02 12-24 12-25 12-31",
        ),
        (
            2021,
            "01-01 01-25 02-15 02-16 04-02 04-21 06-03 07-09 09-07 10-12 11-02 11-15 12-24 12-31",
        ),
        (
            2022,
            "02-28 03-01 04-15 04-21 06-16 09-07 10-12 11-02 11-15 12-30",
        ),
        (
            2023,
            "02-20 02-21 04-07 04-21 05-01 06-08 09-07 10-12 11-02 11-15 12-25 12-29",
        ),
        (
            2024,
            "01-01 02-12 02-13 03-29 05-01 05-30 11-15 11-20 12-24 12-25 12-31",
        ),
        (
            2025,
            "01-01 03-03 03-04 04-18 04-21 05-01 06-19 11-20 12-24 12-25 12-31",
        ),
        (
            2026,
            "01-01 02-16 02-17 04-03 04-21 05-01 06-04 09-07 10-12 11-02 11-20 12-24 12-25 12-31",
        ),
    ] {
        assert_eq!(closed("b3", year), expected, "{year}");
    }
    assert_eq!(
        closed("br", 2026),
        "01-01 02-16 02-17 04-03 04-21 05-01 06-04 09-07 10-12 11-02 11-20 12-25"
    );
    assert_eq!(
        closed("br", 2023),
        "02-20 02-21 04-07 04-21 05-01 06-08 09-07 10-12 11-02 11-15 12-25"
    );
}

#[test]
fn a_calendar_of_ones_own_is_lines_of_days() {
    let text = "# ours\n2026-12-24 Closed # early\non 2026-12-28\n";
    let calendar: BusinessCalendar = text.parse().unwrap();
    assert_eq!(
        calendar.day_off(day("2026-12-24")),
        Some(DayOff::Holiday("Closed".into()))
    );
    assert_eq!(
        calendar.day_off(day("2026-12-28")).unwrap().to_string(),
        "a holiday"
    );
    assert!(calendar.is_plain() && calendar.is_business(day("2026-12-25")));
    assert_eq!(
        calendar.day_off(day("2026-12-26")).unwrap().to_string(),
        "Saturday"
    );

    let gulf: BusinessCalendar = "weekend fri sat\nyearly 12-02 from 1972 National Day\n"
        .parse()
        .unwrap();
    assert!(gulf.is_business(day("2026-12-06")) && !gulf.is_business(day("2026-12-04")));
    assert!(!gulf.is_plain() && !gulf.is_business(day("2026-12-02")));

    for (text, fault) in [
        (
            "\n2026-02-30 no",
            "line 2: \"2026-02-30\" is no date; write YYYY-MM-DD",
        ),
        (
            "yearly 13-01 no",
            "line 1: \"13-01\" is no day of a year; write MM-DD",
        ),
        (
            "weekend someday",
            "line 1: \"someday\" is no day of the week",
        ),
        (
            "weekend mon tue wed thu fri sat sun",
            "line 1: a week needs a day that is no weekend",
        ),
        ("yearly 01-01 from then no", "line 1: \"then\" is no year"),
    ] {
        assert_eq!(
            text.parse::<BusinessCalendar>().unwrap_err().to_string(),
            fault
        );
    }
}

#[test]
fn an_inactive_pipeline_and_one_without_a_schedule_never_fire() {
    let now = at("2026-01-01T00:00:00Z");
    let mut pipeline = scheduled("@daily", "UTC");
    assert_eq!(next_fire(&pipeline, now), Some(at("2026-01-02T00:00:00Z")));
    pipeline.is_active = false;
    assert_eq!(next_fire(&pipeline, now), None);
    assert_eq!(next_fire(&Pipeline::new("p"), now), None);
}

#[test]
fn a_schedule_that_its_calendar_never_lets_through_ends() {
    let christmas = moved("0 6 25 12 *", "br", CalendarRule::Skip);
    assert_eq!(christmas.next(at("2026-01-01T00:00:00Z")), None);
    let saturdays = moved("* * * * 6", "br", CalendarRule::Skip);
    assert_eq!(saturdays.next(at("2026-01-01T00:00:00Z")), None);
}

#[test]
fn jobs_start_spread_within_the_jitter_and_before_the_next_fire() {
    let ids = (0..200_u128).map(|n| PipelineId(uuid::Uuid::from_u128(n << 70 | n)));
    let mut pipeline = scheduled("* * * * *", "UTC");
    for (jitter, most) in [(0, 0), (20, 20), (3600, 60), (u32::MAX, 60)] {
        pipeline.start_jitter_seconds = jitter;
        let timetable = Timetable::of(&pipeline).unwrap().unwrap();
        let mut starts = std::collections::BTreeSet::new();
        for id in ids.clone() {
            for minute in 0..10 {
                let fire = at("2026-01-01T00:00:00Z") + Duration::from_mins(minute);
                let next = timetable.start_of(id, fire);
                assert_eq!(next, timetable.start_of(id, fire));
                let after = next.starts_at.since(fire);
                assert!(next.at == fire && after.as_secs() < most.max(1));
                assert!(most > 0 || after.is_zero());
                starts.insert(after.as_secs());
            }
        }
        assert_eq!(starts.len(), usize::try_from(most.max(1)).unwrap());
    }
    // Of one that comes once, the whole jitter.
    let mut once = scheduled("0 0 29 2 *", "UTC");
    once.start_jitter_seconds = 3600;
    let once = Timetable::of(&once).unwrap().unwrap();
    let leap_day = once.next(at("2027-01-01T00:00:00Z")).unwrap();
    assert!(
        once.start_of(PipelineId(uuid::Uuid::nil()), leap_day)
            .starts_at
            < leap_day + Duration::from_hours(1)
    );
}

/// A pipeline whose calendar has these holidays.
fn with_holidays(
    schedule: &str,
    rule: CalendarRule,
    holidays: impl Iterator<Item = NaiveDate>,
) -> Pipeline {
    let mut pipeline = scheduled(schedule, "UTC");
    pipeline.calendar = Some(Calendar {
        name: "ours".into(),
        rule: Some(rule),
        nth_business_day: None,
        at: None,
        holidays: holidays.map(|day| day.to_string()).collect(),
    });
    pipeline
}

#[test]
fn fires_are_moved_over_a_stretch_of_holidays_however_long_it_is() {
    // From a Monday to a Tuesday.
    let holidays = || day("2026-01-05").iter_days().take(10_000 - 2);
    let (before, behind) = ("2026-01-02", "2053-05-22");
    assert_eq!(holidays().nth(9_997), Some(day("2053-05-20")));
    for (schedule, rule, expected) in [
        (
            "0 6 * * *",
            CalendarRule::Skip,
            vec!["2053-05-21T06:00", "2053-05-22T06:00"],
        ),
        (
            "0 6 * * *",
            CalendarRule::RollForward,
            vec!["2053-05-21T06:00", "2053-05-22T06:00"],
        ),
        (
            "0 6 * * *",
            CalendarRule::RollBack,
            vec!["2053-05-21T06:00", "2053-05-22T06:00"],
        ),
        (
            "0 6 1 * *",
            CalendarRule::RollForward,
            vec!["2053-05-21T06:00", "2053-06-02T06:00"],
        ),
        (
            "*/10 6 * * *",
            CalendarRule::RollForward,
            vec!["2053-05-21T06:00", "2053-05-21T06:10"],
        ),
    ] {
        let timetable = timetable(&with_holidays(schedule, rule, holidays()));
        let found = fires(&timetable, &format!("{before}T12:00:00Z"), 2);
        assert_eq!(found, expected, "{schedule}, {rule:?}");
        assert!(timetable.next(at(&format!("{behind}T12:00:00Z"))).is_some());
    }
    // All that is moved back comes on the last business day before.
    let back = timetable(&with_holidays(
        "0 6 * * *",
        CalendarRule::RollBack,
        holidays(),
    ));
    assert_eq!(
        fires(&back, "2026-01-02T05:00:00Z", 1),
        ["2026-01-02T06:00"]
    );
}

#[test]
fn a_hundred_thousand_holidays_are_looked_over_in_no_time() {
    // All days but the first of each month, which is every rule's only business day.
    let first = day("1950-01-01");
    let holidays = || first.iter_days().filter(|day| day.day() > 1).take(100_000);
    let mut fires = 0;
    let began = std::time::Instant::now();
    for rule in [
        CalendarRule::Skip,
        CalendarRule::RollForward,
        CalendarRule::RollBack,
    ] {
        let timetable = timetable(&with_holidays("0 6 * * *", rule, holidays()));
        let all = timetable.fires(at("1950-02-01T00:00:00Z"), at("2220-01-01T00:00:00Z"));
        fires += all
            .map(|fire| assert_eq!(fire.to_datetime().unwrap().day(), 1))
            .count();
    }
    assert!(fires > 3 * 12 * 150, "{fires}");
    // A debug build takes half a second; a walk through all days for each of them would take hours.
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_calendar_without_a_business_day_is_refused() {
    let days = day("2024-01-01").iter_days().take(366);
    let all: Vec<_> = days
        .map(|day| format!("yearly {}", day.format("%m-%d")))
        .collect();
    let fault = all.join("\n").parse::<BusinessCalendar>().unwrap_err();
    assert_eq!(
        fault.to_string(),
        "line 366: no day is left that is a business day"
    );
    // One that has one in four years is one.
    assert!(all[..365].join("\n").parse::<BusinessCalendar>().is_ok());
}
