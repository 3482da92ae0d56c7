//! Forty time zones over twenty years, against an implementation that shares nothing with ours: Python's `zoneinfo` and brute force
//! over every local time, in `zones.py` beside this file.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::process::Command;

use etl_core::model::{Pipeline, Timestamp};
use etl_core::schedule::Timetable;

/// Years whose rules are settled, so that a newer or older time zone database on the machine says the same.
const YEARS: [&str; 2] = ["2004", "2024"];

/// Zones with daylight saving in both hemispheres, at midnight, by half an hour, twice a year more in Ramadan; that left out a day,
/// changed their standard time, gave daylight saving up; and some that do nothing.
const ZONES: [&str; 40] = [
    "UTC",
    "America/Sao_Paulo",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Anchorage",
    "America/Adak",
    "America/St_Johns",
    "America/Havana",
    "America/Asuncion",
    "America/Santiago",
    "America/Caracas",
    "America/Bogota",
    "America/Nuuk",
    "America/Scoresbysund",
    "Atlantic/Azores",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Windhoek",
    "Africa/Lagos",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Berlin",
    "Europe/Istanbul",
    "Europe/Moscow",
    "Europe/Volgograd",
    "Asia/Tehran",
    "Asia/Amman",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Antarctica/Troll",
];

/// Minutes and hours of schedules: around the hours at which clocks are changed, and one in the middle of the day.
const TIMES: [(&str, &str); 3] = [("0,30", "0,1,2,3"), ("15", "23"), ("7", "12")];

#[test]
fn forty_zones_over_twenty_years_fire_as_another_implementation_says() {
    let mut arguments = vec![YEARS[0], YEARS[1]];
    for zone in ZONES {
        for (minutes, hours) in TIMES {
            arguments.extend([zone, minutes, hours]);
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zones.py");
    let output = Command::new("python3")
        .arg(script)
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut numbers = output
        .stdout
        .chunks_exact(8)
        .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
    let mut fires = 0;
    for zone in ZONES {
        for (minutes, hours) in TIMES {
            let mut pipeline = Pipeline::new("p");
            pipeline.schedule = Some(format!("{minutes} {hours} * * *"));
            pipeline.timezone = zone.into();
            let timetable = Timetable::of(&pipeline).unwrap().unwrap();
            let count = numbers.next().unwrap();
            assert!(count > 7_000, "{zone}: {count} fires");
            let mut before = None;
            for _ in 0..count {
                let expected = Timestamp::from_seconds(numbers.next().unwrap());
                // A moment before the first, and from each to the next.
                let after = before.unwrap_or(expected - std::time::Duration::from_secs(1));
                let next = timetable.next(after);
                assert_eq!(
                    next,
                    Some(expected),
                    "{zone}, {minutes} {hours}: after {after}"
                );
                before = Some(expected);
                fires += 1;
            }
        }
    }
    assert_eq!(numbers.next(), None);
    assert!(fires > 2_000_000, "{fires}");
}
