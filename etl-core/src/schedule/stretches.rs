//! Stretches of days off, so that a long one is crossed in one step.

use chrono::NaiveDate;

/// Single days off further apart than this are never of one stretch, unless the days between them are single days off, too.
const FAR: i64 = 10;

/// Stretches of days off, in order and apart from each other: first and last day of each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stretches(Vec<(NaiveDate, NaiveDate)>);

impl Stretches {
    /// The stretches around single days off, which come in order.
    pub(super) fn around(
        days: impl Iterator<Item = NaiveDate>,
        is_off: impl Fn(NaiveDate) -> bool,
    ) -> Self {
        let mut stretches: Vec<(NaiveDate, NaiveDate)> = Vec::new();
        for day in days {
            if let Some((_, last)) = stretches.last_mut()
                && (day - *last).num_days() <= FAR
                && last
                    .iter_days()
                    .skip(1)
                    .take_while(|between| *between < day)
                    .all(&is_off)
            {
                *last = day;
            } else {
                stretches.push((day, day));
            }
        }
        Self(stretches)
    }

    /// The stretch that a day is in: its first and its last day.
    pub(super) fn with(&self, day: NaiveDate) -> Option<(NaiveDate, NaiveDate)> {
        let behind = self.0.partition_point(|(first, _)| *first <= day);
        let stretch = *self.0.get(behind.checked_sub(1)?)?;
        (day <= stretch.1).then_some(stretch)
    }
}
