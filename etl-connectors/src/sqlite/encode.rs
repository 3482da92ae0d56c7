//! Batches to values that a statement binds.

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use etl_core::model::StepError;
use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use crate::column::TextFormat;
use crate::flow::fault;

/// The type that values are turned into before they are bound.
pub(super) fn stored(data_type: &DataType) -> DataType {
    use DataType as T;
    match data_type {
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => {
            T::Int64
        }
        T::Float16 | T::Float32 | T::Float64 => T::Float64,
        T::Boolean => T::Boolean,
        T::Date32 | T::Date64 => T::Date32,
        T::Timestamp(_, zone) => T::Timestamp(TimeUnit::Microsecond, zone.clone()),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Dictionary(_, value) => stored(value),
        _ => T::Utf8,
    }
}

/// A column whose values can be bound.
pub(super) enum Bindable {
    Int(Int64Array),
    Float(Float64Array),
    Boolean(BooleanArray),
    Date(Date32Array),
    Timestamp(TimestampMicrosecondArray, bool),
    Text(StringArray),
    Blob(BinaryArray),
}

/// The columns of a batch, ready to be bound.
pub(super) fn bindable(batch: &RecordBatch) -> Result<Vec<Bindable>, StepError> {
    batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            of(column).map_err(|error| {
                fault::arrow(
                    format!("writing column {:?} to SQLite", field.name()),
                    error,
                )
            })
        })
        .collect()
}

fn of(column: &ArrayRef) -> Result<Bindable, arrow::error::ArrowError> {
    let to = stored(column.data_type());
    // A value that does not fit, such as a number above the largest of SQLite, must be an error and not a null.
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let array = cast_with_options(column, &to, &options)?;
    let data = array.to_data();
    Ok(match to {
        DataType::Int64 => Bindable::Int(data.into()),
        DataType::Float64 => Bindable::Float(data.into()),
        DataType::Boolean => Bindable::Boolean(data.into()),
        DataType::Date32 => Bindable::Date(data.into()),
        DataType::Timestamp(_, zone) => Bindable::Timestamp(data.into(), zone.is_some()),
        DataType::Binary => Bindable::Blob(data.into()),
        _ => Bindable::Text(data.into()),
    })
}

impl Bindable {
    /// Whether the value in a row is null.
    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Int(array) => array.is_null(row),
            Self::Float(array) => array.is_null(row),
            Self::Boolean(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Timestamp(array, _) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Blob(array) => array.is_null(row),
        }
    }

    /// Adds the value in a row to the arguments of a statement.
    pub(super) fn bind(&self, row: usize, into: &mut SqliteArguments) -> Result<(), StepError> {
        let bound = if self.is_null(row) {
            into.add(None::<i64>)
        } else {
            match self {
                Self::Int(array) => into.add(array.value(row)),
                Self::Float(array) => into.add(array.value(row)),
                Self::Boolean(array) => into.add(array.value(row)),
                Self::Text(array) => into.add(array.value(row).to_owned()),
                Self::Blob(array) => into.add(array.value(row).to_owned()),
                Self::Date(array) => {
                    let mut text = String::new();
                    TextFormat::default()
                        .write_date(array.value(row), &mut text)
                        .map_err(too_far)?;
                    into.add(text)
                }
                Self::Timestamp(array, is_utc) => {
                    let mut text = String::new();
                    TextFormat::default()
                        .write_timestamp(array.value(row), *is_utc, &mut text)
                        .map_err(too_far)?;
                    into.add(text)
                }
            }
        };
        bound.map_err(|error| StepError::permanent("a value can't be bound").because(error))
    }
}

fn too_far(error: std::fmt::Error) -> StepError {
    StepError::permanent("a date or time is too far away to be written").because(error)
}
