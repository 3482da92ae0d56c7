//! One cell of text to one value. `None` is «does not fit», never a guess.

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};

use super::decimal::exact_decimal;

/// Days from 0001-01-01 to 1970-01-01, as chrono counts them.
const EPOCH_FROM_CE: i32 = 719_163;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The longest number that is looked at; longer text is none.
const MAX_NUMBER_BYTES: usize = 64;

/// How numbers, dates and times are written in a text format.
#[derive(Debug, Clone)]
pub(crate) struct TextFormat {
    decimal: u8,
    date: Option<Vec<Item<'static>>>,
    timestamp: Option<Vec<Item<'static>>>,
}

impl Default for TextFormat {
    fn default() -> Self {
        Self {
            decimal: b'.',
            date: None,
            timestamp: None,
        }
    }
}

impl TextFormat {
    /// A decimal sign, and `strftime` patterns for dates and timestamps; without one ISO 8601 is read.
    ///
    /// # Errors
    /// The key and what is wrong with it.
    pub(crate) fn new(
        decimal: char,
        date: Option<&str>,
        timestamp: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let decimal = match decimal {
            '.' | ',' => decimal as u8,
            _ => return Err(("decimal", "must be `.` or `,`".into())),
        };
        let compile = |key, pattern: Option<&str>| {
            pattern
                .map(|pattern| {
                    let items = StrftimeItems::new(pattern).parse_to_owned();
                    items.map_err(|_| (key, format!("{pattern:?} is not a strftime pattern")))
                })
                .transpose()
        };
        Ok(Self {
            decimal,
            date: compile("date_format", date)?,
            timestamp: compile("timestamp_format", timestamp)?,
        })
    }

    pub(crate) fn int64(text: &str) -> Option<i64> {
        lexical_core::parse(text.as_bytes()).ok()
    }

    /// Digits that are too large for the type don't fit: infinity is only what says so.
    pub(crate) fn float64(&self, text: &str) -> Option<f64> {
        self.with_point(text, |bytes| {
            let value: f64 = lexical_core::parse(bytes).ok()?;
            (value.is_finite() || !bytes.iter().any(u8::is_ascii_digit)).then_some(value)
        })
    }

    /// The number times 10 to the power of `scale`. One with more digits after the point than that does not fit.
    pub(crate) fn decimal(&self, text: &str, precision: u8, scale: u8) -> Option<i128> {
        self.with_point(text, |bytes| exact_decimal(bytes, precision, scale))
    }

    /// Calls `parse` with a point where the format's decimal sign is.
    fn with_point<T>(&self, text: &str, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let bytes = text.as_bytes();
        if self.decimal == b'.' {
            return parse(bytes);
        }
        let mut buffer = [0; MAX_NUMBER_BYTES];
        let buffer = buffer.get_mut(..bytes.len())?;
        for (to, from) in buffer.iter_mut().zip(bytes) {
            *to = match *from {
                b'.' => return None,
                byte if byte == self.decimal => b'.',
                byte => byte,
            };
        }
        parse(buffer)
    }

    pub(crate) fn boolean(text: &str) -> Option<bool> {
        const TRUE: [&str; 4] = ["true", "t", "yes", "1"];
        const FALSE: [&str; 4] = ["false", "f", "no", "0"];
        if TRUE.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            Some(true)
        } else if FALSE.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            Some(false)
        } else {
            None
        }
    }

    /// Days since 1970-01-01.
    pub(crate) fn date(&self, text: &str) -> Option<i32> {
        match &self.date {
            None => (text.len() == 10)
                .then(|| iso_date(text.as_bytes()))
                .flatten(),
            Some(items) => {
                let mut parsed = Parsed::new();
                chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
                Some(parsed.to_naive_date().ok()?.num_days_from_ce() - EPOCH_FROM_CE)
            }
        }
    }

    /// Microseconds since 1970-01-01 00:00, and whether the text names an offset (then they are of UTC).
    pub(crate) fn timestamp(&self, text: &str) -> Option<(i64, bool)> {
        let Some(items) = &self.timestamp else {
            return iso_timestamp(text.as_bytes());
        };
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
        if parsed.offset().is_some() || parsed.timestamp().is_some() {
            let offset = parsed.offset().unwrap_or(0);
            let local = parsed.to_naive_datetime_with_offset(offset).ok()?;
            let micros = local.and_utc().timestamp_micros();
            return Some((micros - i64::from(offset) * MICROS_PER_SECOND, true));
        }
        let local = match parsed.to_naive_datetime_with_offset(0) {
            Ok(local) => local,
            Err(_) => parsed.to_naive_date().ok()?.and_hms_opt(0, 0, 0)?,
        };
        Some((local.and_utc().timestamp_micros(), false))
    }

    /// A date, as text of this format.
    pub(crate) fn write_date(&self, days: i32, out: &mut String) -> std::fmt::Result {
        use std::fmt::Write as _;
        let date = NaiveDate::from_num_days_from_ce_opt(days.saturating_add(EPOCH_FROM_CE))
            .ok_or(std::fmt::Error)?;
        match &self.date {
            Some(items) => write!(out, "{}", date.format_with_items(items.iter())),
            None => write!(out, "{date}"),
        }
    }

    /// A timestamp, as text of this format. `is_utc`: it is a point in time, not a time of no zone.
    pub(crate) fn write_timestamp(
        &self,
        micros: i64,
        is_utc: bool,
        out: &mut String,
    ) -> std::fmt::Result {
        use std::fmt::Write as _;
        let utc = DateTime::from_timestamp_micros(micros).ok_or(std::fmt::Error)?;
        match &self.timestamp {
            Some(items) if is_utc => write!(out, "{}", utc.format_with_items(items.iter())),
            Some(items) => write!(out, "{}", utc.naive_utc().format_with_items(items.iter())),
            None if is_utc => write!(out, "{}Z", iso(utc.naive_utc())),
            None => write!(out, "{}", iso(utc.naive_utc())),
        }
    }

    /// The decimal sign, as the byte that it is.
    pub(crate) fn decimal_sign(&self) -> u8 {
        self.decimal
    }
}

fn iso(time: NaiveDateTime) -> impl std::fmt::Display {
    time.format("%Y-%m-%dT%H:%M:%S%.f")
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |value: u32, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u32::from(byte - b'0'))
    })
}

/// `YYYY-MM-DD`.
fn iso_date(date: &[u8]) -> Option<i32> {
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let (year, month, day) = (
        digits(&date[..4])?,
        digits(&date[5..7])?,
        digits(&date[8..10])?,
    );
    let date = NaiveDate::from_ymd_opt(year.cast_signed(), month, day)?;
    Some(date.num_days_from_ce() - EPOCH_FROM_CE)
}

/// RFC 3339, with a space or nothing for the `T` and without seconds or offset too: what data holds.
fn iso_timestamp(text: &[u8]) -> Option<(i64, bool)> {
    let (date, rest) = text.split_at_checked(10)?;
    let days = iso_date(date)?;
    let [b'T' | b't' | b' ', time @ ..] = rest else {
        return rest
            .is_empty()
            .then_some((i64::from(days) * SECONDS_PER_DAY * MICROS_PER_SECOND, false));
    };
    let (hour_minute, mut rest) = time.split_at_checked(5)?;
    if hour_minute[2] != b':' {
        return None;
    }
    let (hour, minute) = (digits(&hour_minute[..2])?, digits(&hour_minute[3..])?);
    let mut second = 0;
    let mut micros = 0;
    if let [b':', after @ ..] = rest {
        let (text, after) = after.split_at_checked(2)?;
        second = digits(text)?;
        rest = after;
        if let [b'.' | b',', after @ ..] = rest {
            let length = after.iter().take_while(|b| b.is_ascii_digit()).count();
            let (fraction, after) = after.split_at_checked(length)?;
            if length == 0 || length > 9 {
                return None;
            }
            let kept = &fraction[..length.min(6)];
            micros = digits(kept)? * 10_u32.pow(6 - kept.len() as u32);
            rest = after;
        }
    }
    // A leap second is the last one of its minute, as in most systems.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let offset = offset(rest)?;
    let seconds = i64::from(days) * SECONDS_PER_DAY
        + i64::from(hour * 3600 + minute * 60 + second.min(59))
        - i64::from(offset.unwrap_or(0));
    Some((
        seconds * MICROS_PER_SECOND + i64::from(micros),
        offset.is_some(),
    ))
}

/// Seconds east of UTC, `None` inside if there is no offset.
#[expect(
    clippy::option_option,
    reason = "the outer one is «is no offset at all»"
)]
fn offset(text: &[u8]) -> Option<Option<i32>> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, rest) = match text {
        [] => return Some(None),
        b"Z" | b"z" | b"UTC" => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest {
        [a, b] => ([*a, *b], *b"00"),
        [a, b, c, d] | [a, b, b':', c, d] => ([*a, *b], [*c, *d]),
        _ => return None,
    };
    let (hours, minutes) = (digits(&hours)?, digits(&minutes)?);
    (hours < 24 && minutes < 60).then(|| Some(sign * (hours * 3600 + minutes * 60).cast_signed()))
}

/// What a value looks like without what it says: digits as `9`, letters as `a`, at most 24 characters.
pub(crate) fn shape(text: &str) -> String {
    const MAX: usize = 24;
    let mut shape: String = text
        .chars()
        .take(MAX)
        .map(|c| match c {
            c if c.is_numeric() => '9',
            c if c.is_alphabetic() => 'a',
            c if c.is_control() => '?',
            c => c,
        })
        .collect();
    if text.chars().nth(MAX).is_some() {
        shape.push('…');
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Option<(i64, bool)> {
        TextFormat::default().timestamp(text)
    }

    #[test]
    fn iso_timestamps_are_read_with_and_without_offset() {
        let noon = 1_357_041_600_000_000;
        for (text, expected) in [
            ("2013-01-01T12:00:00Z", Some((noon, true))),
            ("2013-01-01 12:00:00", Some((noon, false))),
            ("2013-01-01T12:00", Some((noon, false))),
            ("2013-01-01T14:00:00+02:00", Some((noon, true))),
            ("2013-01-01T14:00:00.5+0200", Some((noon + 500_000, true))),
            ("2013-01-01 07:00:00-05", Some((noon, true))),
            (
                "2013-01-01T12:00:00.123456789Z",
                Some((noon + 123_456, true)),
            ),
            ("2013-01-01", Some((noon - 43_200_000_000, false))),
            ("2013-13-01T12:00:00Z", None),
            ("2013-02-29", None),
            ("2013-01-01T24:00:00Z", None),
            ("2013-01-01T12:00:00+2", None),
            ("2013-01-01T12:00:00.", None),
            ("2013-01-01Tnoon", None),
            ("", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }

    #[test]
    fn patterns_replace_iso_and_are_checked() {
        let format = TextFormat::new(',', Some("%d/%m/%Y"), Some("%d/%m/%Y %H:%M %z")).unwrap();
        assert_eq!(format.date("02/01/1970"), Some(1));
        assert_eq!(format.date("1970-01-02"), None);
        assert_eq!(
            format.timestamp("01/01/1970 02:00 +0100"),
            Some((3_600_000_000, true))
        );
        let (key, _) = TextFormat::new('.', Some("%Q"), None).unwrap_err();
        assert_eq!(key, "date_format");
        assert!(TextFormat::new('x', None, None).is_err());
    }

    #[test]
    fn a_decimal_comma_is_the_only_sign_then() {
        let format = TextFormat::new(',', None, None).unwrap();
        assert_eq!(format.float64("-1,5"), Some(-1.5));
        assert_eq!(format.float64("1.5"), None);
        assert_eq!(format.float64("1.234,5"), None);
        assert_eq!(format.decimal("12,34", 9, 2), Some(1234));
        assert_eq!(TextFormat::default().decimal("12.3", 9, 2), Some(1230));
        assert_eq!(TextFormat::default().decimal("1234567890", 9, 2), None);
        assert_eq!(TextFormat::default().decimal("", 9, 2), None);
        assert_eq!(TextFormat::default().decimal(".", 9, 2), None);
    }

    #[test]
    fn digits_beyond_a_float_do_not_become_infinity() {
        let format = TextFormat::default();
        assert_eq!(format.float64("1e308"), Some(1e308));
        for text in ["1e999", "-1e999", &"9".repeat(400)] {
            assert_eq!(format.float64(text), None, "{text}");
        }
        assert_eq!(format.float64("-inf"), Some(f64::NEG_INFINITY));
        assert!(format.float64("NaN").is_some_and(f64::is_nan));
        assert_eq!(TextFormat::int64("9223372036854775808"), None);
        assert_eq!(TextFormat::int64("-9223372036854775808"), Some(i64::MIN));
    }

    #[test]
    fn dates_and_timestamps_read_back_as_written() {
        let format = TextFormat::default();
        for days in [-719_162, -1, 0, 1, 15_706, 2_932_896] {
            let mut text = String::new();
            format.write_date(days, &mut text).unwrap();
            assert_eq!(format.date(&text), Some(days), "{text}");
        }
        for micros in [-1, 0, 1, 1_357_041_600_000_000, 1_357_041_600_500_000] {
            for is_utc in [false, true] {
                let mut text = String::new();
                format.write_timestamp(micros, is_utc, &mut text).unwrap();
                assert_eq!(format.timestamp(&text), Some((micros, is_utc)), "{text}");
            }
        }
    }

    #[test]
    fn a_shape_tells_the_form_and_not_the_value() {
        assert_eq!(shape("AB-12 ção"), "aa-99 aaa");
        assert_eq!(shape(&"7".repeat(99)), format!("{}…", "9".repeat(24)));
    }
}
