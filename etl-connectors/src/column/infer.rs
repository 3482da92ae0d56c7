//! The type of a column from a sample of its cells.

use super::{ColumnType, TextFormat};

const INT: u8 = 1;
const FLOAT: u8 = 2;
const BOOLEAN: u8 = 4;
const DATE: u8 = 8;
const TIMESTAMP: u8 = 16;
const TIMESTAMP_TZ: u8 = 32;
const ALL: u8 = 63;

/// What a column may still be after the cells seen so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guess {
    possible: u8,
    seen: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self {
            possible: ALL,
            seen: false,
        }
    }
}

impl Guess {
    /// Takes in a cell that is not null.
    pub(crate) fn see(&mut self, text: &str, format: &TextFormat) {
        self.seen = true;
        if self.possible != 0 {
            self.possible &= fits(text.trim_ascii(), format, self.possible);
        }
    }

    /// The narrowest type that all cells fit: int64, float64, boolean, date, timestamp, timestamp_tz, string.
    pub(crate) fn column_type(self) -> ColumnType {
        if !self.seen {
            return ColumnType::String;
        }
        for (bit, column_type) in [
            (INT, ColumnType::Int64),
            (FLOAT, ColumnType::Float64),
            (BOOLEAN, ColumnType::Boolean),
            (DATE, ColumnType::Date),
            (TIMESTAMP, ColumnType::Timestamp),
            (TIMESTAMP_TZ, ColumnType::TimestampTz),
        ] {
            if self.possible & bit != 0 {
                return column_type;
            }
        }
        ColumnType::String
    }
}

fn fits(text: &str, format: &TextFormat, possible: u8) -> u8 {
    let mut found = 0;
    if possible & INT != 0 && TextFormat::int64(text).is_some() {
        return INT | FLOAT;
    }
    if possible & FLOAT != 0 && is_number(text, format) {
        found |= FLOAT;
    }
    if possible & BOOLEAN != 0
        && (text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"))
    {
        found |= BOOLEAN;
    }
    if possible & DATE != 0 && format.date(text).is_some() {
        found |= DATE;
    }
    if possible & (TIMESTAMP | TIMESTAMP_TZ) != 0 {
        match format.timestamp(text) {
            Some((_, false)) => found |= TIMESTAMP,
            Some((_, true)) => found |= TIMESTAMP_TZ,
            None => {}
        }
    }
    found
}

/// Digits that an `int64` can't hold are an identifier, not a measurement: as a float they would lose their last digits.
fn is_number(text: &str, format: &TextFormat) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let too_long =
        unsigned.bytes().all(|b| b.is_ascii_digit()) && TextFormat::int64(text).is_none();
    !too_long && format.float64(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cells: &[&str]) -> ColumnType {
        let mut guess = Guess::default();
        for cell in cells {
            guess.see(cell, &TextFormat::default());
        }
        guess.column_type()
    }

    #[test]
    fn the_narrowest_type_that_fits_all_cells_wins() {
        use ColumnType as T;
        for (cells, expected) in [
            (&["1", "-2", " 3"][..], T::Int64),
            (&["1", "2.5", "1e3"], T::Float64),
            (&["1", "NaN"], T::Float64),
            (&["true", "FALSE"], T::Boolean),
            (&["0", "1"], T::Int64),
            (&["1", "true"], T::String),
            (&["2013-01-01"], T::Date),
            (&["2013-01-01", "2013-01-01 10:00:00"], T::Timestamp),
            (&["2013-01-01T10:00:00Z"], T::TimestampTz),
            (&["2013-01-01T10:00:00Z", "2013-01-01T10:00:00"], T::String),
            (&["1", "x"], T::String),
            (&["99999999999999999999"], T::String),
            (&["2013-02-30"], T::String),
            (&[], T::String),
        ] {
            assert_eq!(of(cells), expected, "{cells:?}");
        }
    }
}
