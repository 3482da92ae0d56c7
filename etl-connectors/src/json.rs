//! A few rows as JSON.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, JsonArray, JsonFormat, NullableEncoder, Writer,
    WriterBuilder,
};
use etl_core::model::StepError;
use futures_util::StreamExt;
use serde_json::Value;

use crate::column::is_json;
use crate::flow::{Rows, fault};

/// Writes rows as JSON objects, null where a value is missing, JSON columns as what they hold.
pub(crate) fn json_rows<W: Write, F: JsonFormat>(out: W) -> Writer<W, F> {
    WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(JsonColumns))
        .build(out)
}

/// At most `limit` rows as JSON objects, and whether there are more.
pub(crate) async fn rows_to_json(
    rows: &mut Rows,
    limit: usize,
) -> Result<(Vec<Value>, bool), StepError> {
    let mut found = Vec::new();
    while let Some(batch) = rows.batches.next().await {
        let batch = batch?;
        let room = limit - found.len();
        found.extend(to_json(&batch.slice(0, batch.num_rows().min(room)))?);
        if batch.num_rows() > room {
            return Ok((found, true));
        }
    }
    Ok((found, false))
}

/// All rows of a batch as JSON objects.
pub(crate) fn to_json(batch: &RecordBatch) -> Result<Vec<Value>, StepError> {
    let failed = |error| fault::arrow("showing rows as JSON", error);
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let batch = with_exact_decimals(batch).map_err(failed)?;
    let mut writer = json_rows::<_, JsonArray>(Vec::new());
    writer.write(&batch).map_err(failed)?;
    writer.finish().map_err(failed)?;
    serde_json::from_slice(&writer.into_inner())
        .map_err(|error| StepError::permanent("showing rows as JSON failed").because(error))
}

/// Columns of decimals of which one has more digits than a JSON number keeps when it is read become text.
fn with_exact_decimals(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let text = if field.data_type().is_decimal() {
            Some(cast(column, &DataType::Utf8)?).filter(has_long)
        } else {
            None
        };
        match text {
            Some(text) => {
                fields.push(Arc::new(
                    field.as_ref().clone().with_data_type(DataType::Utf8),
                ));
                columns.push(text);
            }
            None => {
                fields.push(Arc::clone(field));
                columns.push(Arc::clone(column));
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// Whether one of these numbers is another one once it is read as IEEE 754 binary64, which is how JSON numbers are read
/// (RFC 8259, section 6).
fn has_long(numbers: &ArrayRef) -> bool {
    let is_kept = |number: &str| {
        let plain = if number.contains('.') {
            number.trim_end_matches('0').trim_end_matches('.')
        } else {
            number
        };
        number
            .parse::<f64>()
            .is_ok_and(|read| read.to_string() == plain)
    };
    let numbers = numbers.as_any().downcast_ref::<StringArray>();
    numbers.is_some_and(|numbers| !numbers.iter().flatten().all(is_kept))
}

/// Writes columns that hold JSON text as that JSON.
#[derive(Debug)]
struct JsonColumns;

impl EncoderFactory for JsonColumns {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let text = array.as_any().downcast_ref::<StringArray>();
        Ok(text
            .filter(|_| is_json(field))
            .map(|text| NullableEncoder::new(Box::new(Raw(text)), text.nulls().cloned())))
    }
}

struct Raw<'a>(&'a StringArray);

impl Encoder for Raw<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.0.value(row).as_bytes();
        // A line break in it would end the record of a line-based file. Outside of strings, where JSON allows them, they are
        // only space.
        out.extend(text.iter().map(|byte| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                *byte
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Decimal128Array;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_decimal_loses_no_digit() {
        let column = |values: Vec<Option<i128>>| {
            let column = Decimal128Array::from(values);
            let column = column.with_precision_and_scale(38, 2).unwrap();
            Arc::new(column) as ArrayRef
        };
        let batch = RecordBatch::try_from_iter([
            ("short", column(vec![Some(-110), Some(0)])),
            ("kept", column(vec![Some(-9_999_999_999_999_889), None])),
            (
                "long",
                column(vec![Some(123_456_789_012_345_678), Some(50)]),
            ),
        ]);
        let rows = to_json(&batch.unwrap()).unwrap();
        assert_eq!(
            rows,
            [
                json!({ "short": -1.1, "kept": -99_999_999_999_998.89, "long": "1234567890123456.78" }),
                json!({ "short": 0.0, "kept": null, "long": "0.50" }),
            ]
        );
    }
}
