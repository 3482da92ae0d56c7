//! Business calendars: which days are no business days, and why. They are data: two are shipped, and a document or a file can
//! bring dates of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Days, NaiveDate, Weekday};

use super::stretches::Stretches;
use crate::model::{Calendar, CalendarRule};

/// The calendars that are shipped: name and data.
const SHIPPED: [(&str, &str); 2] = [
    ("b3", include_str!("calendars/b3.txt")),
    ("br", include_str!("calendars/br.txt")),
];

/// The longest stretch of weekends and rules that is looked over for a business day, in days.
const LONGEST_STRETCH: usize = 400;

/// Which days are no business days.
///
/// As text, a line each; `#` begins a comment:
///
/// ```text
/// weekend fri sat                            days of the week; without the line Saturday and Sunday
/// yearly 11-20 from 2024 until 2030  A name  the same day of each year
/// easter -2                          A name  so many days from Easter Sunday
/// last-weekday 12                    A name  the last day of a month that is no weekend
/// on 2026-12-24                      A name  one day
/// 2026-12-24                         A name  the same
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusinessCalendar {
    weekend: Vec<Weekday>,
    rules: Vec<Rule>,
    dates: BTreeMap<NaiveDate, String>,
    /// The days off around `dates`.
    stretches: Stretches,
}

/// Why a day is no business day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DayOff {
    /// It is one of the calendar's weekend.
    Weekend(Weekday),
    /// It is a holiday of this name, which may be empty.
    Holiday(String),
}

impl fmt::Display for DayOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weekend(day) => f.write_str(match day {
                Weekday::Mon => "Monday",
                Weekday::Tue => "Tuesday",
                Weekday::Wed => "Wednesday",
                Weekday::Thu => "Thursday",
                Weekday::Fri => "Friday",
                Weekday::Sat => "Saturday",
                Weekday::Sun => "Sunday",
            }),
            Self::Holiday(name) if name.is_empty() => f.write_str("a holiday"),
            Self::Holiday(name) => f.write_str(name),
        }
    }
}

/// What is wrong with a line of a calendar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct CalendarFault {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    day: RuleDay,
    years: (i32, i32),
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RuleDay {
    Yearly { month: u32, day: u32 },
    Easter { days: i64 },
    LastWeekday { month: u32 },
}

impl BusinessCalendar {
    /// Saturdays and Sundays alone.
    pub fn weekends() -> Self {
        Self {
            weekend: vec![Weekday::Sat, Weekday::Sun],
            rules: Vec::new(),
            dates: BTreeMap::new(),
            stretches: Stretches::default(),
        }
    }

    /// The shipped calendar of this name.
    pub fn shipped(name: &str) -> Option<Self> {
        let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
        // That they can be read is a test.
        text.parse().ok()
    }

    /// The names of those that are shipped.
    pub fn shipped_names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// The calendar that a document asks for: the shipped one of its name with its `holidays`, or if it has any, weekends
    /// and these. `None` if nobody knows it, or if a date can't be read.
    pub fn of(calendar: &Calendar) -> Option<Self> {
        let mut found = match Self::shipped(&calendar.name) {
            None if calendar.holidays.is_empty() => return None,
            None => Self::weekends(),
            Some(shipped) => shipped,
        };
        for date in &calendar.holidays {
            let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
            found.dates.entry(date).or_default();
        }
        Some(found.gathered())
    }

    /// The calendar when all its days are known.
    fn gathered(mut self) -> Self {
        let days = self.dates.keys().copied();
        self.stretches = Stretches::around(days, |day| !self.is_business(day));
        self
    }

    /// The single days of it: what a document can bring along. Rules are not among them.
    pub fn dates(&self) -> impl Iterator<Item = NaiveDate> {
        self.dates.keys().copied()
    }

    /// Whether it is weekends and single days, so that a document can bring it along.
    pub fn is_plain(&self) -> bool {
        self.rules.is_empty() && self.weekend == Self::weekends().weekend
    }

    /// Why a day is no business day; `None` for one that is.
    pub fn day_off(&self, date: NaiveDate) -> Option<DayOff> {
        // A holiday's name says more than the day of the week.
        let holiday = self.holiday(date).map(|name| DayOff::Holiday(name.into()));
        holiday.or_else(|| {
            let is_off = self.weekend.contains(&date.weekday());
            is_off.then_some(DayOff::Weekend(date.weekday()))
        })
    }

    /// Whether it is a business day.
    pub fn is_business(&self, date: NaiveDate) -> bool {
        !self.weekend.contains(&date.weekday()) && self.holiday(date).is_none()
    }

    /// The name of the holiday that a day is.
    fn holiday(&self, date: NaiveDate) -> Option<&str> {
        let by_rule = self.rules.iter().find(|rule| self.is_day_of(rule, date));
        let by_rule = by_rule.map(|rule| rule.name.as_str());
        by_rule.or_else(|| self.dates.get(&date).map(String::as_str))
    }

    fn is_day_of(&self, rule: &Rule, date: NaiveDate) -> bool {
        let year = date.year();
        if year < rule.years.0 || year > rule.years.1 {
            return false;
        }
        match rule.day {
            RuleDay::Yearly { month, day } => (date.month(), date.day()) == (month, day),
            RuleDay::Easter { days } => {
                easter(year).is_some_and(|easter| (date - easter).num_days() == days)
            }
            RuleDay::LastWeekday { month } => {
                let mut later = date.iter_days().skip(1);
                date.month() == month
                    && !self.weekend.contains(&date.weekday())
                    && later
                        .by_ref()
                        .take_while(|day| day.month() == month)
                        .all(|day| self.weekend.contains(&day.weekday()))
            }
        }
    }

    /// The first business day at or after a day.
    pub(super) fn at_or_after(&self, date: NaiveDate) -> Option<NaiveDate> {
        self.nearest(date, |(_, last)| last.succ_opt(), NaiveDate::succ_opt)
    }

    /// The last business day at or before a day.
    pub(super) fn at_or_before(&self, date: NaiveDate) -> Option<NaiveDate> {
        self.nearest(date, |(first, _)| first.pred_opt(), NaiveDate::pred_opt)
    }

    /// The first business day from a day on, in one direction: across a stretch, or to the next day.
    fn nearest(
        &self,
        mut date: NaiveDate,
        across: impl Fn((NaiveDate, NaiveDate)) -> Option<NaiveDate>,
        next: impl Fn(&NaiveDate) -> Option<NaiveDate>,
    ) -> Option<NaiveDate> {
        let mut looked_over = 0;
        while looked_over < LONGEST_STRETCH {
            if let Some(stretch) = self.stretches.with(date) {
                date = across(stretch)?;
                looked_over = 0;
            } else if self.is_business(date) {
                return Some(date);
            } else {
                date = next(&date)?;
                looked_over += 1;
            }
        }
        None
    }

    /// Where a rule moves the fires of a day; `None` if it leaves them out.
    pub(super) fn target(&self, source: NaiveDate, rule: CalendarRule) -> Option<NaiveDate> {
        match rule {
            CalendarRule::Skip => self.is_business(source).then_some(source),
            CalendarRule::RollForward => self.at_or_after(source),
            CalendarRule::RollBack => self.at_or_before(source),
        }
    }

    /// The first and the last day whose fires a rule moves to a business day.
    pub(super) fn sources(&self, target: NaiveDate, rule: CalendarRule) -> (NaiveDate, NaiveDate) {
        match rule {
            CalendarRule::Skip => (target, target),
            CalendarRule::RollForward => (self.first_since_business(target), target),
            CalendarRule::RollBack => {
                let next = target.checked_add_days(Days::new(1));
                let next = next.and_then(|day| self.at_or_after(day));
                let last = next.and_then(|day| day.pred_opt());
                (target, last.unwrap_or(target))
            }
        }
    }

    /// The first of the days without business that lead up to a day; the day itself if it follows a business day.
    pub(super) fn first_since_business(&self, date: NaiveDate) -> NaiveDate {
        let before = date.pred_opt().and_then(|day| self.at_or_before(day));
        let first = before.and_then(|day| day.succ_opt());
        first.unwrap_or(date)
    }

    /// The n-th business day of a month, from 1, or from the end with a negative number.
    pub(super) fn nth_business_day(&self, year: i32, month: u32, n: i8) -> Option<NaiveDate> {
        let first = NaiveDate::from_ymd_opt(year, month, 1)?;
        let days = first.iter_days().take_while(|day| day.month() == month);
        let mut days: Vec<NaiveDate> = days.filter(|day| self.is_business(*day)).collect();
        if n < 0 {
            days.reverse();
        }
        let at = usize::from(n.unsigned_abs()).checked_sub(1)?;
        days.get(at).copied()
    }
}

/// Easter Sunday (Meeus, Jones, Butcher: "Astronomical Algorithms", 1991, chapter 8).
#[expect(
    clippy::many_single_char_names,
    reason = "the names are those of the book"
)]
fn easter(year: i32) -> Option<NaiveDate> {
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (b - (b + 8) / 25 + 1) / 3;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let month = (h + l - 7 * m + 114) / 31;
    let day = (h + l - 7 * m + 114) % 31 + 1;
    NaiveDate::from_ymd_opt(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)
}

impl FromStr for BusinessCalendar {
    type Err = CalendarFault;

    fn from_str(text: &str) -> Result<Self, CalendarFault> {
        let mut calendar = Self::weekends();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.split('#').next().unwrap_or_default().trim();
            if !text.is_empty() {
                calendar
                    .read(text)
                    .map_err(|message| CalendarFault { line, message })?;
            }
        }
        let calendar = calendar.gathered();
        let behind_all = calendar.dates.keys().next_back().copied();
        if calendar
            .at_or_after(behind_all.unwrap_or_default())
            .is_none()
        {
            return Err(CalendarFault {
                line: text.lines().count(),
                message: "no day is left that is a business day".into(),
            });
        }
        Ok(calendar)
    }
}

impl BusinessCalendar {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let (word, rest) = split_word(text);
        match word {
            "weekend" => {
                let days = rest.split_whitespace().map(|day| {
                    day.parse()
                        .map_err(|_| format!("{day:?} is no day of the week"))
                });
                self.weekend = days.collect::<Result<_, _>>()?;
                if self.weekend.len() > 6 {
                    return Err("a week needs a day that is no weekend".into());
                }
            }
            "yearly" => {
                let (day, rest) = split_word(rest);
                // 2024 is a leap year, so that 02-29 is a day.
                let date = NaiveDate::parse_from_str(&format!("2024-{day}"), "%Y-%m-%d");
                let date = date.map_err(|_| format!("{day:?} is no day of a year; write MM-DD"))?;
                let (month, day) = (date.month(), date.day());
                self.rule(RuleDay::Yearly { month, day }, rest)?;
            }
            "easter" => {
                let (days, rest) = split_word(rest);
                let days = days.parse();
                let days = days.map_err(|_| "so many days before or after Easter are wanted")?;
                self.rule(RuleDay::Easter { days }, rest)?;
            }
            "last-weekday" => {
                let (month, rest) = split_word(rest);
                let month = month.parse().ok().filter(|month| (1..=12).contains(month));
                let month = month.ok_or("a month from 1 to 12 is wanted")?;
                self.rule(RuleDay::LastWeekday { month }, rest)?;
            }
            "on" => self.date(rest)?,
            _ => self.date(text)?,
        }
        Ok(())
    }

    fn date(&mut self, text: &str) -> Result<(), String> {
        let (date, name) = split_word(text);
        let parsed = NaiveDate::parse_from_str(date, "%Y-%m-%d");
        let parsed = parsed.map_err(|_| format!("{date:?} is no date; write YYYY-MM-DD"))?;
        self.dates.insert(parsed, name.into());
        Ok(())
    }

    fn rule(&mut self, day: RuleDay, mut rest: &str) -> Result<(), String> {
        let mut years = (i32::MIN, i32::MAX);
        loop {
            let (word, after) = split_word(rest);
            let bound = match word {
                "from" => &mut years.0,
                "until" => &mut years.1,
                _ => break,
            };
            let (year, name) = split_word(after);
            *bound = year.parse().map_err(|_| format!("{year:?} is no year"))?;
            rest = name;
        }
        let name = rest.into();
        self.rules.push(Rule { day, years, name });
        Ok(())
    }
}

/// The first word of a text, and what follows it.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}
