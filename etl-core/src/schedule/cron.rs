//! Cron expressions over local time, which here has no zone yet.

use chrono::{DateTime, NaiveDateTime};

/// The last year in which fires are looked for.
const LAST_YEAR: i32 = 9000;

/// A cron expression of 5 or 6 fields (seconds first), or one of `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily` and
/// `@hourly`.
#[derive(Debug, Clone)]
pub struct Cron(croner::Cron);

/// Why a text is no cron expression that ever comes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronFault {
    /// It can't be read.
    #[error("{text:?} is no cron expression: {reason}")]
    Unreadable {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No day is one of its days.
    #[error("{0:?} never comes")]
    Never(String),
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// If it can't be read, or if no time fits it.
    pub fn parse(text: &str) -> Result<Self, CronFault> {
        let parser = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Optional)
            .year(croner::parser::Year::Disallowed)
            .build();
        let cron = parser.parse(text).map_err(|error| CronFault::Unreadable {
            text: text.into(),
            reason: error.to_string(),
        })?;
        let cron = Self(cron);
        // From a fixed day, so that the answer does not depend on when it is asked for.
        match cron.at_or_after(DateTime::UNIX_EPOCH.naive_utc()) {
            Some(_) => Ok(cron),
            None => Err(CronFault::Never(text.into())),
        }
    }

    /// The first local time after a whole second.
    pub(super) fn after(&self, time: NaiveDateTime) -> Option<NaiveDateTime> {
        self.find(time, false)
    }

    /// The first local time at or after a whole second.
    pub(super) fn at_or_after(&self, time: NaiveDateTime) -> Option<NaiveDateTime> {
        self.find(time, true)
    }

    fn find(&self, time: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        use chrono::Datelike;
        if time.year() > LAST_YEAR {
            return None;
        }
        // Read as UTC, in which no time is left out and none comes twice: what zones do is the timetable's business.
        let found = self.0.find_next_occurrence(&time.and_utc(), inclusive);
        found.ok().map(|time| time.naive_utc())
    }
}
