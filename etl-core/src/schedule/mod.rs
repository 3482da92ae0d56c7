//! When a pipeline runs by itself: cron expressions in a time zone, business calendars, and the fires that come of them. It
//! reads no clock and no file: whoever asks says after which instant.
//!
//! Of local times in years when clocks change: one that does not exist fires at the next instant that does, one that comes
//! twice fires once, the first time.

mod calendar;
mod cron;
mod preview;
mod stretches;
#[cfg(test)]
mod tests;
mod timetable;
mod zone;

pub use calendar::{BusinessCalendar, CalendarFault, DayOff};
pub use cron::{Cron, CronFault};
pub use preview::{Fate, Planned, Preview};
pub use timetable::{Timetable, TimetableError, next_fire, next_start};
