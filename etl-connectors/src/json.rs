//! A few rows as JSON.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::datatypes::FieldRef;
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
    let mut writer = json_rows::<_, JsonArray>(Vec::new());
    writer.write(batch).map_err(failed)?;
    writer.finish().map_err(failed)?;
    serde_json::from_slice(&writer.into_inner())
        .map_err(|error| StepError::permanent("showing rows as JSON failed").because(error))
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
