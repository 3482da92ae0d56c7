//! Between rows and the model: times, ids, words and JSON as columns hold them. It runs no statement.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use etl_core::model::{
    By, Fence, JobId, JobRecord, LogLevel, LogLine, StepKey, StepRecord, StepSnapshot, Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::fault::{Fault, Result};

/// The `item_index` of a row that is about the step itself. Not NULL, because NULLs are all different in a unique index.
const NO_ITEM: i64 = -1;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: between them the text of a time has one width, and databases agree on
/// what it is.
const FIRST_TIME: i64 = -62_135_596_800_000_000;
const LAST_TIME: i64 = 253_402_300_799_999_999;

/// A time as a column holds it. Outside the years 1 to 9999 it is the nearest one inside, so that text sorts as times do.
pub fn time(at: Timestamp) -> String {
    Timestamp::from_micros(at.as_micros().clamp(FIRST_TIME, LAST_TIME)).to_string()
}

/// A count as a column holds it: SQLite's integers are signed.
pub fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `item_index` of a step execution.
pub fn item_column(key: StepKey) -> i64 {
    key.item.map_or(NO_ITEM, i64::from)
}

/// A value as JSON text.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Fault::corrupt)
}

/// A text that has a type of its own.
pub fn parse<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &str) -> Result<T> {
    text.parse().map_err(Fault::corrupt)
}

/// JSON text as a value. What can't be read is told by its place alone: the text is a user's.
pub fn parse_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Fault::said(
            etl_core::contract::StoreErrorKind::Corrupt,
            format!(
                "a stored JSON text can't be read (line {}, column {})",
                error.line(),
                error.column()
            ),
        )
    })
}

/// Reading columns by position.
pub trait Columns {
    /// A text.
    fn str(&self, column: usize) -> Result<&str>;
    /// A text, or NULL.
    fn opt_str(&self, column: usize) -> Result<Option<&str>>;
    /// An integer.
    fn int(&self, column: usize) -> Result<i64>;
    /// An integer, or NULL.
    fn opt_int(&self, column: usize) -> Result<Option<i64>>;

    /// Bytes.
    fn bytes(&self, column: usize) -> Result<&[u8]>;
    /// Bytes, or NULL.
    fn opt_bytes(&self, column: usize) -> Result<Option<&[u8]>>;

    /// A text of one's own, or NULL.
    fn owned(&self, column: usize) -> Result<Option<String>> {
        Ok(self.opt_str(column)?.map(str::to_owned))
    }

    /// A text to be shared.
    fn shared(&self, column: usize) -> Result<Arc<str>> {
        Ok(self.str(column)?.into())
    }

    /// A text that has a type of its own: an id, a time, a word.
    fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        column: usize,
    ) -> Result<T> {
        parse(self.str(column)?)
    }

    /// The same, or NULL.
    fn opt_parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        column: usize,
    ) -> Result<Option<T>> {
        self.opt_str(column)?.map(parse).transpose()
    }

    /// JSON text; nothing for NULL.
    fn json<T: DeserializeOwned>(&self, column: usize) -> Result<Option<T>> {
        self.opt_str(column)?.map(parse_json).transpose()
    }

    /// An integer of a smaller type.
    fn number<T: TryFrom<i64, Error: Display>>(&self, column: usize) -> Result<T> {
        let number = self.int(column)?;
        T::try_from(number).map_err(|error| {
            Fault::said(
                etl_core::contract::StoreErrorKind::Corrupt,
                format!("{number} is stored where it can't be: {error}"),
            )
        })
    }

    /// The same, or NULL.
    fn opt_number<T: TryFrom<i64, Error: Display>>(&self, column: usize) -> Result<Option<T>> {
        match self.opt_int(column)? {
            Some(_) => self.number(column).map(Some),
            None => Ok(None),
        }
    }

    /// `order_index` at `column` and `item_index` after it.
    fn key(&self, column: usize) -> Result<StepKey> {
        let item = self.int(column + 1)?;
        Ok(StepKey {
            step: self.number(column)?,
            item: if item == NO_ITEM {
                None
            } else {
                Some(self.number(column + 1)?)
            },
        })
    }
}

impl<R: Row> Columns for R
where
    usize: ColumnIndex<R>,
    for<'r> &'r str: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
{
    fn str(&self, column: usize) -> Result<&str> {
        Ok(self.try_get(column)?)
    }

    fn opt_str(&self, column: usize) -> Result<Option<&str>> {
        Ok(self.try_get(column)?)
    }

    fn int(&self, column: usize) -> Result<i64> {
        Ok(self.try_get(column)?)
    }

    fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: usize) -> Result<&[u8]> {
        Ok(self.try_get(column)?)
    }

    fn opt_bytes(&self, column: usize) -> Result<Option<&[u8]>> {
        Ok(self.try_get(column)?)
    }
}

/// A job of a row that has these columns: `id`, `pipeline_id`, the pipeline's `name` and `namespace`, `pipeline_version`, `status`,
/// `trigger_type`, `triggered_by`, `scheduled_for`, `parameters`, `context`, `priority`, `started_at`, `completed_at`, `duration_ms`,
/// `worker_id`, `fence`, `lease_expires_at`, `retry_of`, `retry_attempt`, `cancel_requested`, `rows_processed`,
/// `bytes_transferred`, `error_message`, `error_stack`, `created_at`, `log_last_seq`.
pub fn job_record(row: &impl Columns) -> Result<JobRecord> {
    Ok(JobRecord {
        id: row.parsed(0)?,
        pipeline_id: row.parsed(1)?,
        pipeline: row.shared(2)?,
        namespace: row.shared(3)?,
        pipeline_version: row.number(4)?,
        status: row.parsed(5)?,
        trigger_type: row.parsed(6)?,
        triggered_by: By(row.str(7)?.into()),
        scheduled_for: row.opt_parsed(8)?,
        parameters: row.json(9)?.unwrap_or_default(),
        context: row.json(10)?.unwrap_or_default(),
        priority: row.number(11)?,
        started_at: row.opt_parsed(12)?,
        completed_at: row.opt_parsed(13)?,
        duration_ms: row.opt_number(14)?,
        worker_id: row.opt_parsed(15)?,
        fence: Fence(row.number(16)?),
        lease_expires_at: row.opt_parsed(17)?,
        retry_of: row.opt_parsed(18)?,
        retry_attempt: row.number(19)?,
        cancel_requested: row.owned(20)?,
        rows_processed: row.number(21)?,
        bytes_transferred: row.number(22)?,
        error_message: row.owned(23)?,
        error_stack: row.owned(24)?,
        created_at: row.parsed(25)?,
        log_last_seq: row.number(26)?,
    })
}

/// A step's row, with the names that the document gives it.
pub fn step_record(
    row: &impl Columns,
    job: JobId,
    names: impl FnOnce(u32) -> Option<(Arc<str>, Arc<str>)>,
) -> Result<StepRecord> {
    let key = row.key(0)?;
    let (name, connector_type) = names(key.step).ok_or_else(|| {
        Fault::said(
            etl_core::contract::StoreErrorKind::Corrupt,
            "a step row has no step in its pipeline version",
        )
    })?;
    Ok(StepRecord {
        id: row.parsed(19)?,
        job_id: job,
        step_id: row.parsed(20)?,
        name,
        order_index: key.step,
        item_index: key.item,
        connector_type,
        status: row.parsed(2)?,
        progress: row.number(21)?,
        attempt: row.number(3)?,
        lost: row.number(4)?,
        started_at: row.opt_parsed(5)?,
        completed_at: row.opt_parsed(6)?,
        duration_ms: row.opt_number(7)?,
        next_run_at: row.opt_parsed(8)?,
        items: row.opt_number(9)?,
        input_data: row.json(22)?.unwrap_or_default(),
        output_data: row.json(10)?.unwrap_or_default(),
        logs_url: row.owned(23)?,
        artifacts_url: row.owned(24)?,
        artifacts: row.json(11)?.unwrap_or_default(),
        rows_processed: row.number(12)?,
        bytes_transferred: row.number(13)?,
        metrics: row.json(14)?.unwrap_or_default(),
        skip_reason: row.opt_parsed(15)?,
        error_class: row.opt_str(16)?.map(word).transpose()?,
        error_message: row.owned(17)?,
        error_stack: row.owned(18)?,
        created_at: row.parsed(25)?,
        returned: row.number(26)?,
    })
}

/// A step past `pending` as recovery needs it; the first column is the job's id.
pub fn step_snapshot(row: &impl Columns) -> Result<(JobId, StepSnapshot)> {
    let checkpoint = match row.opt_number(13)? {
        Some(seq) => Some((seq, row.json::<Value>(14)?.unwrap_or_default())),
        None => None,
    };
    let snapshot = StepSnapshot {
        key: row.key(1)?,
        status: row.parsed(3)?,
        attempt: row.number(4)?,
        lost: row.number(5)?,
        due_at: row.opt_parsed(6)?,
        items: row.json(7)?,
        output: row.json(8)?.unwrap_or_default(),
        artifacts: row.json(9)?.unwrap_or_default(),
        rows_processed: row.number(10)?,
        bytes_transferred: row.number(11)?,
        skip_reason: row.opt_parsed(12)?,
        checkpoint,
        returned: row.number(15)?,
    };
    Ok((row.parsed(0)?, snapshot))
}

/// A line of a row: `seq`, `step`, `item_index`, `attempt`, `timestamp`, `level`, `message`, `metadata`.
pub fn log_line(row: &impl Columns, job: JobId) -> Result<LogLine> {
    Ok(LogLine {
        job_id: job,
        seq: row.number(0)?,
        step: row.opt_str(1)?.map(Into::into),
        item_index: row.opt_number(2)?,
        attempt: row.number(3)?,
        timestamp: row.parsed(4)?,
        level: row.parsed::<LogLevel>(5)?,
        message: row.str(6)?.into(),
        metadata: row.json::<Map<String, Value>>(7)?.unwrap_or_default(),
    })
}

/// A word of a vocabulary that reads by serde alone.
pub fn word<T: DeserializeOwned>(word: &str) -> Result<T> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let word: StrDeserializer<'_, Error> = word.into_deserializer();
    T::deserialize(word).map_err(Fault::corrupt)
}

#[cfg(test)]
mod tests {
    use etl_core::model::ErrorClass;

    use super::*;

    #[test]
    fn times_keep_their_order_as_text_however_far_away() {
        let times = [
            i64::MIN,
            FIRST_TIME,
            -1,
            0,
            1_357_034_400_000_001,
            LAST_TIME,
            i64::MAX,
        ];
        let texts: Vec<_> = times
            .iter()
            .map(|&micros| time(Timestamp::from_micros(micros)))
            .collect();
        assert!(texts.is_sorted(), "{texts:?}");
        assert!(texts.iter().all(|text| text.len() == 27), "{texts:?}");
        assert_eq!(texts[4], "2013-01-01T10:00:00.000001Z");
    }

    #[test]
    fn a_word_that_nobody_knows_is_corrupt() {
        assert_eq!(word::<ErrorClass>("auth").unwrap(), ErrorClass::Auth);
        assert!(word::<ErrorClass>("hungry").is_err());
        assert!(parse_json::<Value>("{").is_err());
    }
}
