//! Text to decimal numbers.

/// A decimal number with an optional exponent; nothing is rounded: `None` if it has more digits after
/// the point than `scale`, or more than `precision` in all.
pub(super) fn exact_decimal(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    let (is_negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let (number, exponent): (_, i32) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&text[..at], lexical_core::parse(&text[at + 1..]).ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = match number.iter().position(|b| *b == b'.') {
        Some(at) => (&number[..at], &number[at + 1..]),
        None => (number, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // The power of ten that the next digit counts, in units of the result.
    let mut power = i32::try_from(whole.len())
        .ok()?
        .checked_add(exponent)?
        .checked_add(i32::from(scale))?;
    let mut value: i128 = 0;
    for digit in whole.iter().chain(fraction) {
        power = power.checked_sub(1)?;
        let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
        if digit == 0 {
            continue;
        }
        let unit = 10_i128.checked_pow(u32::try_from(power).ok()?)?;
        value = value.checked_add(digit.checked_mul(unit)?)?;
    }
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (value < limit).then_some(if is_negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_exact_or_does_not_fit() {
        let max = "9".repeat(38);
        let zeros = format!("1.{}", "0".repeat(300));
        for (text, precision, scale, expected) in [
            ("1.5e3", 9, 0, Some(1500)),
            ("-12.5E-1", 9, 2, Some(-125)),
            ("+7", 1, 0, Some(7)),
            ("007.10", 3, 2, Some(710)),
            (".5", 2, 1, Some(5)),
            ("5.", 2, 1, Some(50)),
            ("-0", 1, 0, Some(0)),
            (&zeros, 9, 2, Some(100)),
            (&max, 38, 0, Some(10_i128.pow(38) - 1)),
            ("0e2147483647", 9, 2, None),
            ("1e999", 38, 0, None),
            ("1e99999999999", 38, 0, None),
            ("1e-999", 38, 38, None),
            ("12.345", 9, 2, None),
            ("10", 1, 0, None),
            ("1.2.3", 9, 2, None),
            ("--1", 9, 2, None),
            ("1e", 9, 2, None),
            ("e5", 9, 2, None),
            ("NaN", 9, 2, None),
        ] {
            let found = exact_decimal(text.as_bytes(), precision, scale);
            assert_eq!(found, expected, "{text}");
        }
    }
}
