//! Rows of a database to batches. SQLite types values, not columns, so each column's type is found out first.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanArray, Float64Builder, Int64Builder, RecordBatch,
    RecordBatchOptions,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use etl_core::model::{Place, StepError};
use sqlx::sqlite::{SqliteRow, SqliteValueRef};
use sqlx::{Decode, Row, Sqlite, TypeInfo, ValueRef};

use super::declared::Declared;
use crate::column::{Builder, Cells, ColumnType, Guess, TextFormat, shape};
use crate::flow::{BadRecord, fault};

/// A value as SQLite stores it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Float(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Value {
    /// The value of a column in a row.
    pub(super) fn of(row: &SqliteRow, index: usize) -> Result<Self, sqlx::Error> {
        let raw = row.try_get_raw(index)?;
        if raw.is_null() {
            return Ok(Self::Null);
        }
        let decoded = match raw.type_info().name() {
            "INTEGER" | "INT4" | "INT8" => decode(raw).map(Self::Int),
            "REAL" => decode(raw).map(Self::Float),
            "TEXT" => match decode::<String>(raw) {
                Ok(text) => Ok(Self::Text(text)),
                // Text in another encoding than the database's own is bytes.
                Err(_) => decode(row.try_get_raw(index)?).map(Self::Blob),
            },
            _ => decode(raw).map(Self::Blob),
        };
        decoded.map_err(sqlx::Error::Decode)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// What it looks like, without what it says.
    fn shape(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Int(_) => "a whole number".into(),
            Self::Float(_) => "a floating point number".into(),
            Self::Text(text) => format!("text of the form {:?}", shape(text)),
            Self::Blob(bytes) => format!("{} bytes", bytes.len()),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Int(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Blob(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                digits.into()
            }
        }
    }
}

fn decode<'r, T: Decode<'r, Sqlite>>(
    raw: SqliteValueRef<'r>,
) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    T::decode(raw)
}

/// What a column's declaration and its values so far allow.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    declared: Declared,
    int: bool,
    /// A whole number other than 0 and 1.
    large: bool,
    float: bool,
    text: bool,
    blob: bool,
    guess: Guess,
}

impl Seen {
    pub(super) fn new(declared: Declared) -> Self {
        Self {
            declared,
            int: false,
            large: false,
            float: false,
            text: false,
            blob: false,
            guess: Guess::default(),
        }
    }

    pub(super) fn see(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Int(number) => {
                self.int = true;
                self.large |= !(0..=1).contains(number);
            }
            Value::Float(_) => self.float = true,
            Value::Text(text) => {
                self.text = true;
                self.guess.see(text, &TextFormat::default());
            }
            Value::Blob(_) => self.blob = true,
        }
    }

    /// What is declared, if the values are of it; else what the values are.
    pub(super) fn column_type(&self) -> ColumnType {
        let nothing = !(self.int || self.float || self.text || self.blob);
        let only_text = self.text && !(self.int || self.float || self.blob);
        let only_numbers = !(self.text || self.blob);
        let declared = match &self.declared {
            Declared::Text(of) if nothing || only_text => return *of,
            Declared::Text(_) => "TEXT",
            Declared::Other(name) => name,
        };
        match declared {
            "BOOLEAN" if nothing || (self.int && !self.large && !self.float && only_numbers) => {
                ColumnType::Boolean
            }
            "DATE" if nothing => ColumnType::Date,
            "DATETIME" if nothing => ColumnType::Timestamp,
            "DATE" | "DATETIME" if only_text => match self.guess.column_type() {
                ColumnType::Date if declared == "DATETIME" => ColumnType::Timestamp,
                found @ (ColumnType::Date | ColumnType::Timestamp | ColumnType::TimestampTz) => {
                    found
                }
                _ => ColumnType::String,
            },
            "INTEGER" | "INT4" | "INT8" if nothing => ColumnType::Int64,
            "REAL" if nothing || only_numbers => ColumnType::Float64,
            "BLOB" if nothing => ColumnType::Binary,
            _ if nothing || self.text => ColumnType::String,
            _ if self.blob => ColumnType::Binary,
            _ if self.float => ColumnType::Float64,
            _ => ColumnType::Int64,
        }
    }
}

/// Values of one column that are text.
struct Texts<'a>(Vec<Option<&'a str>>);

impl Cells for Texts<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> usize {
        self.0.iter().flatten().map(|text| text.len()).sum()
    }

    fn each(&self, _: bool, mut each: impl FnMut(usize, Option<&str>)) {
        for (at, cell) in self.0.iter().enumerate() {
            each(at, *cell);
        }
    }
}

/// Rows collected for a batch, by column.
#[derive(Debug)]
pub(super) struct Pending {
    columns: Vec<Vec<Value>>,
    rows: usize,
    bytes: usize,
}

impl Pending {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            columns: vec![Vec::new(); columns],
            rows: 0,
            bytes: 0,
        }
    }

    /// Adds a row; `seen` takes its values in as well, while types are not settled.
    pub(super) fn add(
        &mut self,
        row: &SqliteRow,
        mut seen: Option<&mut Vec<Seen>>,
    ) -> Result<(), sqlx::Error> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            let value = Value::of(row, index)?;
            if let Some(seen) = seen.as_deref_mut().and_then(|seen| seen.get_mut(index)) {
                seen.see(&value);
            }
            self.bytes += value.bytes() + 8;
            column.push(value);
        }
        self.rows += 1;
        Ok(())
    }

    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the rows out as a batch, and those that don't fit as bad records. `first` is the number of the first row.
    pub(super) fn take(
        &mut self,
        schema: &SchemaRef,
        types: &[ColumnType],
        file: &str,
        first: u64,
    ) -> Result<(RecordBatch, Vec<BadRecord>), StepError> {
        let taken = std::mem::replace(self, Self::new(types.len()));
        let mut misfits: Vec<(usize, usize)> = Vec::new();
        let arrays: Vec<ArrayRef> = taken
            .columns
            .iter()
            .zip(types)
            .enumerate()
            .map(|(index, (values, column_type))| {
                array(values, *column_type, |row| misfits.push((row, index)))
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(taken.rows));
        let mut batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
            .map_err(|error| fault::arrow("making a batch of rows", error))?;
        let mut bad = Vec::new();
        if !misfits.is_empty() {
            misfits.sort_unstable();
            misfits.dedup_by_key(|(row, _)| *row);
            let mut keep = vec![true; taken.rows];
            for (row, index) in misfits {
                keep[row] = false;
                let name = |at: usize| schema.field(at).name().clone();
                let place = Place {
                    file: Some(file.to_owned()),
                    line: None,
                    column: Some(name(index)),
                    row: Some(first + row as u64),
                };
                let cause = format!(
                    "the value is no {} (it is {})",
                    types[index],
                    taken.columns[index][row].shape()
                );
                let record: serde_json::Map<_, _> = taken
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(at, values)| (name(at), values[row].to_json()))
                    .collect();
                let record = serde_json::Value::Object(record).to_string();
                bad.push(BadRecord::new(place, cause, record.as_bytes()));
            }
            batch = filter_record_batch(&batch, &BooleanArray::from(keep))
                .map_err(|error| fault::arrow("setting bad rows aside", error))?;
        }
        Ok((batch, bad))
    }
}

/// The columns as Arrow sees them.
pub(super) fn schema_of(names: &[String], types: &[ColumnType]) -> SchemaRef {
    let fields: Vec<_> = names
        .iter()
        .zip(types)
        .map(|(name, column_type)| column_type.field(name))
        .collect();
    Arc::new(Schema::new(fields))
}

fn array(values: &[Value], column_type: ColumnType, mut misfit: impl FnMut(usize)) -> ArrayRef {
    match column_type {
        ColumnType::Int64 => {
            let mut builder = Int64Builder::with_capacity(values.len());
            for (at, value) in values.iter().enumerate() {
                let number = match value {
                    Value::Null => None,
                    Value::Int(number) => Some(*number),
                    _ => {
                        misfit(at);
                        None
                    }
                };
                builder.append_option(number);
            }
            Arc::new(builder.finish())
        }
        ColumnType::Float64 => {
            let mut builder = Float64Builder::with_capacity(values.len());
            for (at, value) in values.iter().enumerate() {
                let number = match value {
                    Value::Null => None,
                    Value::Int(number) => Some(*number as f64),
                    Value::Float(number) => Some(*number),
                    _ => {
                        misfit(at);
                        None
                    }
                };
                builder.append_option(number);
            }
            Arc::new(builder.finish())
        }
        ColumnType::Boolean => {
            let truths = values.iter().enumerate().map(|(at, value)| match value {
                Value::Null => None,
                Value::Int(number @ 0..=1) => Some(*number == 1),
                _ => {
                    misfit(at);
                    None
                }
            });
            Arc::new(truths.collect::<BooleanArray>())
        }
        ColumnType::Binary => {
            let mut builder = BinaryBuilder::new();
            for (at, value) in values.iter().enumerate() {
                match value {
                    Value::Null => builder.append_null(),
                    Value::Blob(bytes) => builder.append_value(bytes),
                    Value::Text(text) => builder.append_value(text),
                    _ => {
                        misfit(at);
                        builder.append_null();
                    }
                }
            }
            Arc::new(builder.finish())
        }
        _ => texts(values, column_type, misfit),
    }
}

/// Columns that are read from text; in a text column numbers become text, as SQLite itself would compare them.
fn texts(values: &[Value], column_type: ColumnType, mut misfit: impl FnMut(usize)) -> ArrayRef {
    let written: Vec<Option<String>> = values
        .iter()
        .map(|value| match value {
            Value::Int(number) if column_type == ColumnType::String => Some(number.to_string()),
            Value::Float(number) if column_type == ColumnType::String => Some(number.to_string()),
            _ => None,
        })
        .collect();
    let cells = values
        .iter()
        .zip(&written)
        .enumerate()
        .map(|(at, (value, written))| match value {
            Value::Text(text) => Some(text.as_str()),
            Value::Null => None,
            _ if written.is_some() => written.as_deref(),
            _ => {
                misfit(at);
                None
            }
        })
        .collect();
    let format = TextFormat::default();
    let builder = Builder {
        column_type,
        format: &format,
    };
    builder.build(&Texts(cells), |at, _| misfit(at))
}
