//! The types of columns that documents name, and how text becomes values of them.

mod cast;
mod decimal;
mod infer;
mod text_format;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, Field, TimeUnit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use cast::{Builder, Cells};
pub(crate) use infer::Guess;
pub(crate) use text_format::{TextFormat, shape};

/// How many rows types are inferred from.
pub(crate) const SAMPLE_ROWS: usize = 10_000;

/// How many bytes of rows types are inferred from at most: a few long rows tell as much as many short ones.
pub(crate) const SAMPLE_BYTES: usize = 32 * 1024 * 1024;

/// The most columns of a source. Every column costs memory in every batch, so a header of a million is refused.
pub(crate) const MAX_COLUMNS: usize = 100_000;

/// The type of a column, as documents write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Text.
    String,
    /// Whole numbers of 64 bits.
    Int64,
    /// Floating point of 64 bits (IEEE 754).
    Float64,
    /// Exact decimal numbers: digits in all (1 to 38), and after the point (at most as many).
    Decimal(u8, u8),
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// A day and time of day, of no zone, to the microsecond.
    Timestamp,
    /// A point in time, kept in UTC, to the microsecond.
    TimestampTz,
    /// Bytes; in text as hexadecimal digits.
    Binary,
    /// Any JSON value, kept as its text.
    Json,
}

/// Columns by name.
pub type Columns = BTreeMap<String, ColumnType>;

/// The key that Arrow's extension types are named by in a field's metadata.
const EXTENSION_NAME: &str = "ARROW:extension:name";
const JSON_EXTENSION: &str = "arrow.json";

/// A name that is no column type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a column type; the types are string, int64, float64, decimal(p,s), boolean, date, timestamp, timestamp_tz, \
     binary, json"
)]
pub struct BadColumnType(String);

impl ColumnType {
    /// The Arrow type that its values are kept in.
    pub fn data_type(self) -> DataType {
        match self {
            Self::String | Self::Json => DataType::Utf8,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(precision, scale.cast_signed()),
            Self::Boolean => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Binary => DataType::Binary,
        }
    }

    /// A nullable column of it.
    pub fn field(self, name: &str) -> Field {
        let field = Field::new(name, self.data_type(), true);
        if self == Self::Json {
            field.with_metadata(HashMap::from([(
                EXTENSION_NAME.into(),
                JSON_EXTENSION.into(),
            )]))
        } else {
            field
        }
    }
}

/// Whether a column holds JSON as text.
pub(crate) fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).map(String::as_str) == Some(JSON_EXTENSION)
}

impl FromStr for ColumnType {
    type Err = BadColumnType;

    fn from_str(text: &str) -> Result<Self, BadColumnType> {
        let bad = || BadColumnType(text.to_owned());
        Ok(match text.trim() {
            "string" => Self::String,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "timestamp_tz" => Self::TimestampTz,
            "binary" => Self::Binary,
            "json" => Self::Json,
            other => {
                let inner = other
                    .strip_prefix("decimal")
                    .and_then(|rest| rest.trim().strip_prefix('('))
                    .and_then(|rest| rest.strip_suffix(')'))
                    .ok_or_else(bad)?;
                let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
                let precision = precision.trim().parse().map_err(|_| bad())?;
                let scale = scale.trim().parse().map_err(|_| bad())?;
                if !(1..=38).contains(&precision) || scale > precision {
                    return Err(bad());
                }
                Self::Decimal(precision, scale)
            }
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::String => "string",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Decimal(precision, scale) => return write!(f, "decimal({precision},{scale})"),
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamp_tz",
            Self::Binary => "binary",
            Self::Json => "json",
        };
        f.write_str(name)
    }
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ColumnType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ColumnType {
    fn schema_name() -> Cow<'static, str> {
        "ColumnType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The type of a column.",
            "type": "string",
            "pattern": "^(string|int64|float64|boolean|date|timestamp|timestamp_tz|binary|json|decimal *\\( *[0-9]{1,2} *(, *[0-9]{1,2} *)?\\))$",
            "examples": ["string", "int64", "decimal(18,2)", "timestamp_tz"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_as_it_is_written() {
        for text in [
            "string",
            "int64",
            "float64",
            "decimal(18,2)",
            "boolean",
            "date",
            "timestamp",
            "timestamp_tz",
            "binary",
            "json",
        ] {
            assert_eq!(text.parse::<ColumnType>().unwrap().to_string(), text);
        }
        assert_eq!("decimal( 9 , 0 )".parse(), Ok(ColumnType::Decimal(9, 0)));
        for bad in [
            "",
            "int",
            "decimal",
            "decimal(0,0)",
            "decimal(39,2)",
            "decimal(2,3)",
            "decimal(a,b)",
        ] {
            assert!(bad.parse::<ColumnType>().is_err(), "{bad}");
        }
    }
}
