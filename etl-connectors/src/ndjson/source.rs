//! Reads NDJSON files as one stream of rows.

use std::collections::VecDeque;

use async_trait::async_trait;
use etl_core::model::StepError;

use super::config::NdjsonSourceConfig;
use super::decode::{Decoder, Keys, Record, Seen, cause_of};
use super::lines::{Chunk, Lines};
use crate::column::{MAX_COLUMNS, SAMPLE_BYTES, SAMPLE_ROWS};
use crate::flow::{BadRecord, Emitter, Flow, OnBadRecord, Rows, Source, blocking, produce};
use crate::location::{Input, inputs};

/// Reads NDJSON.
#[derive(Debug, Clone)]
pub(crate) struct NdjsonSource {
    config: NdjsonSourceConfig,
}

impl NdjsonSource {
    pub(crate) fn new(config: NdjsonSourceConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Source for NdjsonSource {
    async fn open(&self, flow: &Flow) -> Result<Rows, StepError> {
        let files = inputs(&self.config.url, flow).await?;
        let mut reading = Reading {
            config: self.config.clone(),
            files: files.into(),
            open: None,
            sample: VecDeque::new(),
            flow: flow.clone(),
        };
        let (reading, decoder) = blocking("reading the head of an NDJSON file", move || {
            let decoder = reading.begin()?;
            Ok((reading, decoder))
        })
        .await?;
        let schema = decoder.schema.clone();
        Ok(produce(flow, schema, move |emitter| {
            reading.run(&decoder, emitter)
        }))
    }
}

/// A source half-way: what is read and what is still to come.
struct Reading {
    config: NdjsonSourceConfig,
    files: VecDeque<Input>,
    open: Option<Lines>,
    /// Chunks that were read to infer types.
    sample: VecDeque<Chunk>,
    flow: Flow,
}

impl Reading {
    /// Finds out the columns.
    fn begin(&mut self) -> Result<Decoder, StepError> {
        let mut keys = Keys::default();
        let mut seen: Vec<Seen> = Vec::new();
        let limit = self.config.limit();
        let fails = limit.on_bad_record == OnBadRecord::Fail;
        let mut first_bad = None;
        let (mut rows, mut bytes) = (0, 0);
        while rows < SAMPLE_ROWS && bytes < SAMPLE_BYTES {
            let Some(chunk) = self.next_chunk()? else {
                break;
            };
            for index in 0..chunk.lines.len().min(SAMPLE_ROWS - rows) {
                let Record(pairs) = match serde_json::from_slice(chunk.line(index)) {
                    Ok(record) => record,
                    // It is found again, and told of, when it is decoded.
                    Err(error) => {
                        first_bad.get_or_insert_with(|| {
                            BadRecord::new(chunk.place(index), cause_of(&error), chunk.line(index))
                        });
                        continue;
                    }
                };
                for (key, value) in pairs {
                    let position = keys.position_or_add(&key);
                    if position == seen.len() {
                        seen.push(Seen::default());
                    }
                    seen[position].see(value);
                }
            }
            if keys.len() > MAX_COLUMNS {
                return Err(StepError::permanent(format!(
                    "the records of {:?} have {} different keys; at most {MAX_COLUMNS} are read",
                    self.config.url,
                    keys.len()
                )));
            }
            rows += chunk.lines.len();
            bytes += chunk.text.len();
            let is_bad = !chunk.bad.is_empty();
            first_bad = first_bad.or_else(|| chunk.bad.first().cloned());
            self.sample.push_back(chunk);
            if fails && is_bad {
                // The step fails for it: no need to read to the end of a line without one.
                break;
            }
        }
        if seen.is_empty() && self.config.schema.is_empty() {
            if let Some(bad) = first_bad.filter(|_| fails) {
                self.flow.quarantine.take(&bad, limit)?;
            }
            return Err(StepError::permanent(format!(
                "{:?} has no record to tell its columns from; give it a `schema`",
                self.config.url
            )));
        }
        Ok(Decoder::new(keys, &seen, &self.config.schema))
    }

    /// Decodes and hands on all rows.
    fn run(mut self, decoder: &Decoder, emitter: &Emitter) -> Result<(), StepError> {
        let limit = self.config.limit();
        while let Some(chunk) = match self.sample.pop_front() {
            Some(chunk) => Some(chunk),
            None => self.next_chunk()?,
        } {
            self.flow
                .meter
                .add_rows((chunk.lines.len() + chunk.bad.len()) as u64);
            for record in &chunk.bad {
                self.flow.quarantine.take(record, limit)?;
            }
            let count = chunk.lines.len();
            for first in (0..count).step_by(decoder.batch_rows()) {
                let rows = first..count.min(first + decoder.batch_rows());
                let (batch, bad) = decoder.decode(&chunk, rows)?;
                for record in &bad {
                    self.flow.quarantine.take(record, limit)?;
                }
                emitter.emit(batch)?;
            }
        }
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>, StepError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(chunk) = open.next()? {
                    return Ok(Some(chunk));
                }
                self.open = None;
            }
            let Some(file) = self.files.pop_front() else {
                return Ok(None);
            };
            self.open = Some(Lines::open(&file, &self.flow, self.config.compression)?);
        }
    }
}
