//! Writes CSV.

use std::fmt::Write as _;
use std::io::Write as _;

use arrow::array::{
    Array, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use encoding_rs::{EncoderResult, Encoding, UTF_8};
use etl_core::model::StepError;

use super::config::{CsvSinkConfig, Dialect};
use crate::file::{Encoder, FileSink, Format};
use crate::flow::fault;
use crate::location::{Compressed, Compression, OutFile};

/// CSV as a file format.
#[derive(Debug, Clone)]
pub(crate) struct CsvFormat {
    dialect: Dialect,
    header: bool,
    null: String,
    null_values: Vec<String>,
    compression: Compression,
}

impl CsvSinkConfig {
    /// What the schema can't say about it, as (key, message).
    pub(crate) fn faults(&self) -> Vec<(&'static str, String)> {
        self.dialect().err().unwrap_or_default()
    }

    /// The sink.
    pub(crate) fn sink(&self) -> Result<FileSink<CsvFormat>, StepError> {
        let dialect = self.dialect().map_err(|faults| {
            let faults: Vec<_> = faults
                .iter()
                .map(|(key, message)| format!("`{key}` {message}"))
                .collect();
            StepError::permanent(format!("csv sink: {}", faults.join("; ")))
        })?;
        Ok(FileSink {
            url: self.url.clone(),
            mode: self.mode,
            partition_by: Vec::new(),
            format: CsvFormat {
                dialect,
                header: self.header,
                null: self.null_values.first().cloned().unwrap_or_default(),
                null_values: self.null_values.clone(),
                compression: self.compression,
            },
        })
    }
}

impl Format for CsvFormat {
    fn extension(&self) -> &'static str {
        ".csv"
    }

    fn compression(&self) -> Compression {
        self.compression
    }

    fn encoder(
        &self,
        schema: &SchemaRef,
        file: OutFile,
        compression: Compression,
    ) -> Result<Box<dyn Encoder>, StepError> {
        let file = Compressed::new(file, compression)
            .map_err(|error| fault::io("making a CSV file", error))?;
        let mut writer = CsvWriter {
            format: self.clone(),
            file,
            text: String::new(),
        };
        if self.header {
            for (at, field) in schema.fields().iter().enumerate() {
                writer.separate(at);
                writer.text_cell(field.name())?;
            }
            writer.text.push('\n');
            writer.flush()?;
        }
        Ok(Box::new(writer))
    }
}

struct CsvWriter {
    format: CsvFormat,
    file: Compressed,
    /// Text that is not written yet.
    text: String,
}

/// A column, ready to be written cell by cell.
enum Column<'a> {
    Text(&'a StringArray),
    Int(&'a Int64Array),
    Float(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray, bool),
    Binary(&'a BinaryArray),
    /// Everything else, as Arrow shows it.
    Other(ArrayFormatter<'a>, &'a dyn Array, bool),
}

const FLUSH_BYTES: usize = 1024 * 1024;

impl Encoder for CsvWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), StepError> {
        let failed = |error| fault::arrow("writing CSV", error);
        let batch = simplified(batch).map_err(failed)?;
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|array| column(array))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        for row in 0..batch.num_rows() {
            for (at, column) in columns.iter().enumerate() {
                self.separate(at);
                self.cell(column, row)?;
            }
            // A lone empty cell would be an empty line, which readers skip.
            if columns.len() == 1 && (self.text.is_empty() || self.text.ends_with('\n')) {
                if self.format.dialect.quote.is_none() {
                    return Err(StepError::permanent(
                        "a row of one empty cell would be an empty line, which readers skip; set `quote`, or `null_values` to \
                         a text that stands for null",
                    ));
                }
                self.quoted("")?;
            }
            self.text.push('\n');
            if self.text.len() >= FLUSH_BYTES {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn close(self: Box<Self>) -> Result<u64, StepError> {
        self.file
            .close()
            .map_err(|error| fault::io("completing a CSV file", error))
    }
}

/// The batch with few enough types: what has an equivalent of ours becomes that.
fn simplified(batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        use DataType as T;
        let to = match field.data_type() {
            T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32 => T::Int64,
            T::LargeUtf8 | T::Utf8View => T::Utf8,
            T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
            T::Date64 => T::Date32,
            T::Timestamp(_, zone) => T::Timestamp(TimeUnit::Microsecond, zone.clone()),
            T::Dictionary(_, value) => value.as_ref().clone(),
            same => same.clone(),
        };
        columns.push(if &to == field.data_type() {
            column.clone()
        } else {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(column, &to, &options)?
        });
        fields.push(Field::new(field.name(), to, true));
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(
        std::sync::Arc::new(arrow::datatypes::Schema::new(fields)),
        columns,
        &options,
    )
}

fn column(array: &dyn Array) -> Result<Column<'_>, arrow::error::ArrowError> {
    let any = array.as_any();
    let found = match array.data_type() {
        DataType::Utf8 => any.downcast_ref().map(Column::Text),
        DataType::Int64 => any.downcast_ref().map(Column::Int),
        DataType::Float64 => any.downcast_ref().map(Column::Float),
        DataType::Boolean => any.downcast_ref().map(Column::Boolean),
        DataType::Date32 => any.downcast_ref().map(Column::Date),
        DataType::Binary => any.downcast_ref().map(Column::Binary),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => any
            .downcast_ref()
            .map(|array| Column::Timestamp(array, zone.is_some())),
        _ => None,
    };
    const OPTIONS: FormatOptions<'static> = FormatOptions::new();
    match found {
        Some(column) => Ok(column),
        None => {
            let is_number = array.data_type().is_numeric();
            ArrayFormatter::try_new(array, &OPTIONS)
                .map(|formatter| Column::Other(formatter, array, is_number))
        }
    }
}

impl CsvWriter {
    fn separate(&mut self, at: usize) {
        if at > 0 {
            self.text.push(char::from(self.format.dialect.delimiter));
        }
    }

    fn cell(&mut self, column: &Column<'_>, row: usize) -> Result<(), StepError> {
        let start = self.text.len();
        let written = match column {
            Column::Text(array) if array.is_valid(row) => {
                return self.text_cell(array.value(row));
            }
            Column::Int(array) if array.is_valid(row) => write!(self.text, "{}", array.value(row)),
            Column::Float(array) if array.is_valid(row) => {
                let mut buffer = [0; lexical_core::BUFFER_SIZE];
                let text = lexical_core::write(array.value(row), &mut buffer);
                self.text.push_str(&String::from_utf8_lossy(text));
                self.localise(start);
                Ok(())
            }
            Column::Boolean(array) if array.is_valid(row) => {
                write!(self.text, "{}", array.value(row))
            }
            Column::Date(array) if array.is_valid(row) => self
                .format
                .dialect
                .format
                .write_date(array.value(row), &mut self.text),
            Column::Timestamp(array, is_utc) if array.is_valid(row) => self
                .format
                .dialect
                .format
                .write_timestamp(array.value(row), *is_utc, &mut self.text),
            Column::Binary(array) if array.is_valid(row) => array
                .value(row)
                .iter()
                .try_for_each(|byte| write!(self.text, "{byte:02x}")),
            Column::Other(formatter, array, is_number) if array.is_valid(row) => {
                let text = formatter
                    .value(row)
                    .try_to_string()
                    .map_err(|error| fault::arrow("writing CSV", error))?;
                if *is_number {
                    self.text.push_str(&text);
                    self.localise(start);
                    Ok(())
                } else {
                    return self.text_cell(&text);
                }
            }
            _ => {
                let null = self.format.null.clone();
                if self.needs_quotes(&null) {
                    return self.quoted(&null);
                }
                self.text.push_str(&null);
                return Ok(());
            }
        };
        written.map_err(|error| {
            StepError::permanent(
                "a date or time can't be written: it is too far away, or its pattern asks for what it does not have",
            )
            .because(error)
        })?;
        // A pattern or the decimal sign may hold the delimiter.
        if self.needs_quotes(&self.text[start..]) {
            let text = self.text.split_off(start);
            self.quoted(&text)?;
        }
        Ok(())
    }

    /// Puts the format's decimal sign into the number that begins at `start`.
    fn localise(&mut self, start: usize) {
        let sign = self.format.dialect.format.decimal_sign();
        if sign != b'.'
            && let Some(at) = self.text[start..].find('.')
        {
            let at = start + at;
            self.text
                .replace_range(at..=at, char::from(sign).encode_utf8(&mut [0; 4]));
        }
    }

    fn text_cell(&mut self, text: &str) -> Result<(), StepError> {
        // Quotes keep a text apart from null.
        if self.needs_quotes(text) || self.format.null_values.iter().any(|null| null == text) {
            return self.quoted(text);
        }
        self.text.push_str(text);
        Ok(())
    }

    fn needs_quotes(&self, text: &str) -> bool {
        let dialect = &self.format.dialect;
        text.bytes().any(|byte| {
            byte == dialect.delimiter
                || Some(byte) == dialect.quote
                || matches!(byte, b'\n' | b'\r')
        })
    }

    fn quoted(&mut self, text: &str) -> Result<(), StepError> {
        let Some(quote) = self.format.dialect.quote.map(char::from) else {
            if self.needs_quotes(text) {
                return Err(StepError::permanent(
                    "a value holds the delimiter or a line break, and `quote` is empty; set `quote`",
                ));
            }
            self.text.push_str(text);
            return Ok(());
        };
        self.text.push(quote);
        for c in text.chars() {
            if c == quote {
                self.text.push(quote);
            }
            self.text.push(c);
        }
        self.text.push(quote);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StepError> {
        let encoding = self.format.dialect.encoding;
        let written = if encoding == UTF_8 {
            self.file.write_all(self.text.as_bytes())
        } else {
            let bytes = encoded(&self.text, encoding)?;
            self.file.write_all(&bytes)
        };
        self.text.clear();
        written.map_err(|error| fault::io("writing CSV", error))
    }
}

/// The text in another encoding, with nothing replaced.
fn encoded(text: &str, encoding: &'static Encoding) -> Result<Vec<u8>, StepError> {
    // The standard has no encoder for UTF-16; a file of it is what it is read as.
    if encoding == encoding_rs::UTF_16LE {
        return Ok(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    }
    if encoding == encoding_rs::UTF_16BE {
        return Ok(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
    }
    let mut encoder = encoding.new_encoder();
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut rest = text;
    loop {
        out.reserve(rest.len() + 16);
        let (result, read) =
            encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut out, true);
        rest = &rest[read..];
        match result {
            EncoderResult::InputEmpty => return Ok(out),
            EncoderResult::OutputFull => out.reserve(out.capacity()),
            EncoderResult::Unmappable(c) => {
                return Err(StepError::permanent(format!(
                    "the character U+{:04X} can't be written in {}; use `encoding: utf-8`",
                    u32::from(c),
                    encoding.name()
                )));
            }
        }
    }
}
