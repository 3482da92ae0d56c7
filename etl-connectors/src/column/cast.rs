//! A column of text cells to an Arrow array, one type at a time so that the inner loop knows its type.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float64Type, Int64Type,
    TimestampMicrosecondType,
};

use super::{ColumnType, TextFormat};

/// A column's cells in order; `None` is null.
pub(crate) trait Cells {
    /// How many.
    fn count(&self) -> usize;
    /// How many bytes they have about.
    fn bytes(&self) -> usize;
    /// Calls `each` with the position and text of every cell. `typed`: the column is not text, so spaces around a cell don't
    /// count and an empty one is null however it is quoted.
    fn each(&self, typed: bool, each: impl FnMut(usize, Option<&str>));
}

/// Builds a column of one type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Builder<'a> {
    pub(crate) column_type: ColumnType,
    pub(crate) format: &'a TextFormat,
}

impl Builder<'_> {
    /// The array. A cell that does not fit is null there, and `misfit` is called with its position and text.
    pub(crate) fn build(self, cells: &impl Cells, misfit: impl FnMut(usize, &str)) -> ArrayRef {
        let format = self.format;
        match self.column_type {
            ColumnType::String => strings(cells, |_| true, misfit),
            ColumnType::Json => strings(
                cells,
                |text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
                misfit,
            ),
            ColumnType::Int64 => {
                let builder = PrimitiveBuilder::<Int64Type>::with_capacity(cells.count());
                primitive(builder, cells, TextFormat::int64, misfit)
            }
            ColumnType::Float64 => {
                let builder = PrimitiveBuilder::<Float64Type>::with_capacity(cells.count());
                primitive(builder, cells, |text| format.float64(text), misfit)
            }
            ColumnType::Decimal(precision, scale) => {
                let builder = PrimitiveBuilder::<Decimal128Type>::with_capacity(cells.count())
                    .with_data_type(self.column_type.data_type());
                let parse = |text: &str| format.decimal(text, precision, scale);
                primitive(builder, cells, parse, misfit)
            }
            ColumnType::Date => {
                let builder = PrimitiveBuilder::<Date32Type>::with_capacity(cells.count());
                primitive(builder, cells, |text| format.date(text), misfit)
            }
            ColumnType::Timestamp | ColumnType::TimestampTz => {
                let builder =
                    PrimitiveBuilder::<TimestampMicrosecondType>::with_capacity(cells.count())
                        .with_data_type(self.column_type.data_type());
                let parse = |text: &str| format.timestamp(text).map(|(micros, _)| micros);
                primitive(builder, cells, parse, misfit)
            }
            ColumnType::Boolean => booleans(cells, misfit),
            ColumnType::Binary => binaries(cells, misfit),
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(
    mut builder: PrimitiveBuilder<T>,
    cells: &impl Cells,
    parse: impl Fn(&str) -> Option<T::Native>,
    mut misfit: impl FnMut(usize, &str),
) -> ArrayRef {
    cells.each(true, |at, cell| match cell {
        None => builder.append_null(),
        Some(text) => {
            let value = parse(text);
            if value.is_none() {
                misfit(at, text);
            }
            builder.append_option(value);
        }
    });
    Arc::new(builder.finish())
}

fn strings(
    cells: &impl Cells,
    fits: impl Fn(&str) -> bool,
    mut misfit: impl FnMut(usize, &str),
) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(cells.count(), cells.bytes());
    cells.each(false, |at, cell| match cell {
        Some(text) if !fits(text) => {
            misfit(at, text);
            builder.append_null();
        }
        cell => builder.append_option(cell),
    });
    Arc::new(builder.finish())
}

fn booleans(cells: &impl Cells, mut misfit: impl FnMut(usize, &str)) -> ArrayRef {
    let mut builder = BooleanBuilder::with_capacity(cells.count());
    cells.each(true, |at, cell| {
        let value = cell.and_then(TextFormat::boolean);
        if let (Some(text), None) = (cell, value) {
            misfit(at, text);
        }
        builder.append_option(value);
    });
    Arc::new(builder.finish())
}

fn binaries(cells: &impl Cells, mut misfit: impl FnMut(usize, &str)) -> ArrayRef {
    let mut builder = BinaryBuilder::new();
    cells.each(true, |at, cell| {
        let value = cell.and_then(hex);
        if let (Some(text), None) = (cell, &value) {
            misfit(at, text);
        }
        builder.append_option(value);
    });
    Arc::new(builder.finish())
}

/// Hexadecimal digits, with or without `\x` or `0x` before them.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .strip_prefix("\\x")
        .or_else(|| text.strip_prefix("0x"))
        .unwrap_or(text)
        .as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| Some((value(*high)? * 16 + value(*low)?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_is_pairs_of_hexadecimal_digits() {
        assert_eq!(hex("\\x00fF"), Some(vec![0, 255]));
        assert_eq!(hex("0x41"), Some(vec![0x41]));
        assert_eq!(hex(""), Some(vec![]));
        assert_eq!(hex("abc"), None);
        assert_eq!(hex("zz"), None);
    }
}
