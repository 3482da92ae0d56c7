//! Reads CSV files as one stream of rows.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use etl_core::model::{Place, StepError};

use super::chunk::{Chunk, Chunks};
use super::config::{CsvSourceConfig, Dialect};
use super::decode::{Decoder, Nulls, observe, schema_of};
use super::records::Scanner;
use crate::column::{ColumnType, Guess, MAX_COLUMNS, SAMPLE_BYTES, SAMPLE_ROWS};
use crate::flow::{Emitter, Flow, OnBadRecord, Rows, Source, blocking, produce};
use crate::location::{Input, inputs};

/// Reads CSV.
#[derive(Debug, Clone)]
pub(crate) struct CsvSource {
    config: CsvSourceConfig,
}

impl CsvSource {
    pub(crate) fn new(config: CsvSourceConfig) -> Self {
        Self { config }
    }
}

impl CsvSourceConfig {
    /// What the schema can't say about it, as (key, message).
    pub(crate) fn faults(&self) -> Vec<(&'static str, String)> {
        self.dialect().err().unwrap_or_default()
    }
}

#[async_trait]
impl Source for CsvSource {
    async fn open(&self, flow: &Flow) -> Result<Rows, StepError> {
        let dialect = self.config.dialect().map_err(|faults| {
            let faults: Vec<_> = faults
                .iter()
                .map(|(key, message)| format!("`{key}` {message}"))
                .collect();
            StepError::permanent(format!("csv source: {}", faults.join("; ")))
        })?;
        let files = inputs(&self.config.url, flow).await?;
        let mut reading = Reading {
            scanner: Scanner::new(dialect.delimiter, dialect.quote),
            nulls: Nulls::new(&self.config.null_values),
            config: self.config.clone(),
            dialect,
            files: files.into(),
            names: Vec::new(),
            open: None,
            sample: VecDeque::new(),
            flow: flow.clone(),
        };
        let (reading, decoder) = blocking("reading the head of a CSV file", move || {
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

/// A chunk, and the position of each column in its records.
type Mapped = (Chunk, Arc<[usize]>);

/// A source half-way: what is read and what is still to come.
struct Reading {
    config: CsvSourceConfig,
    dialect: Dialect,
    scanner: Scanner,
    nulls: Nulls,
    files: VecDeque<Input>,
    /// The columns' names in the first file's order, which is the order of the rows.
    names: Vec<String>,
    open: Option<Opened>,
    /// Chunks that were read to infer types.
    sample: VecDeque<Mapped>,
    flow: Flow,
}

struct Opened {
    chunks: Chunks,
    /// The position of each column in this file's records.
    mapping: Arc<[usize]>,
}

impl Reading {
    /// Finds out the columns.
    fn begin(&mut self) -> Result<Decoder, StepError> {
        if !self.open_next()? {
            return Err(StepError::permanent(format!(
                "{:?} has no header and no row: it is empty",
                self.config.url
            )));
        }
        self.refuse_unknown_columns()?;
        let mut types: Vec<Option<ColumnType>> = self
            .names
            .iter()
            .map(|name| self.config.schema.get(name).copied())
            .collect();
        if types.contains(&None) {
            let guesses = self.infer()?;
            for (column_type, guess) in types.iter_mut().zip(guesses) {
                column_type.get_or_insert_with(|| guess.column_type());
            }
        }
        let types: Arc<[ColumnType]> = types.into_iter().flatten().collect();
        Ok(Decoder {
            schema: schema_of(&self.names, &types),
            types,
            format: self.dialect.format.clone(),
            nulls: self.nulls.clone(),
            quote: self.dialect.quote.unwrap_or_default(),
        })
    }

    /// Reads on until the sample is large enough, and guesses each column's type.
    fn infer(&mut self) -> Result<Vec<Guess>, StepError> {
        let mut guesses = vec![Guess::default(); self.names.len()];
        let (mut rows, mut bytes) = (0, 0);
        while rows < SAMPLE_ROWS && bytes < SAMPLE_BYTES {
            let Some((chunk, mapping)) = self.next_chunk()? else {
                break;
            };
            let mut by_position = vec![Guess::default(); chunk.width];
            for (guess, position) in guesses.iter().zip(&*mapping) {
                by_position[*position] = *guess;
            }
            let mut looked_at = chunk;
            let rest = looked_at
                .rows
                .split_off(looked_at.rows.len().min(SAMPLE_ROWS - rows));
            observe(
                &looked_at,
                &self.dialect.format,
                &self.nulls,
                self.dialect.quote.unwrap_or_default(),
                &mut by_position,
            );
            rows += looked_at.rows.len();
            bytes += looked_at.text.len();
            looked_at.rows.extend(rest);
            for (guess, position) in guesses.iter_mut().zip(&*mapping) {
                *guess = by_position[*position];
            }
            let fails = self.config.on_bad_record == OnBadRecord::Fail && !looked_at.bad.is_empty();
            self.sample.push_back((looked_at, mapping));
            if fails {
                // The step fails for it: no need to read to the end of a record without one.
                break;
            }
        }
        Ok(guesses)
    }

    /// Decodes and hands on all rows.
    fn run(mut self, decoder: &Decoder, emitter: &Emitter) -> Result<(), StepError> {
        let limit = self.config.limit();
        while let Some((chunk, mapping)) = match self.sample.pop_front() {
            Some(read) => Some(read),
            None => self.next_chunk()?,
        } {
            self.flow
                .meter
                .add_rows((chunk.rows.len() + chunk.bad.len()) as u64);
            let (batch, bad) = decoder.decode(chunk, &mapping)?;
            for record in &bad {
                self.flow.quarantine.take(record, limit)?;
            }
            emitter.emit(batch)?;
        }
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<Option<Mapped>, StepError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(chunk) = open.chunks.next()? {
                    return Ok(Some((chunk, open.mapping.clone())));
                }
                self.open = None;
            }
            if !self.open_next()? {
                return Ok(None);
            }
        }
    }

    /// Opens the next file that is not empty; whether there is one.
    fn open_next(&mut self) -> Result<bool, StepError> {
        while let Some(file) = self.files.pop_front() {
            let mut chunks = Chunks::open(
                &file,
                &self.flow,
                self.config.compression,
                self.dialect.encoding,
                self.scanner.clone(),
            )?;
            let Some(first) = chunks.first_record(self.config.header)? else {
                continue;
            };
            if first.len() > MAX_COLUMNS {
                return Err(StepError::permanent(format!(
                    "the first record has {} fields; at most {MAX_COLUMNS} are read",
                    first.len()
                ))
                .at(start_of(&file)));
            }
            chunks.expect_width(first.len());
            let names = if self.config.header {
                distinct(first)
            } else {
                (1..=first.len()).map(|at| format!("column_{at}")).collect()
            };
            if self.names.is_empty() {
                self.names.clone_from(&names);
            }
            let mapping = self.map(&names, &file)?;
            self.open = Some(Opened { chunks, mapping });
            return Ok(true);
        }
        Ok(false)
    }

    /// Where this file has each of the columns. It must have the same ones, in any order.
    fn map(&self, names: &[String], file: &Input) -> Result<Arc<[usize]>, StepError> {
        let differ = |what: &str, column: &str| {
            StepError::permanent(format!(
                "the files of {:?} do not have the same columns: this one {what} {column:?}",
                self.config.url
            ))
            .at(start_of(file))
        };
        let mut positions: HashMap<&String, usize> = names.iter().zip(0..).collect();
        let mapping = self
            .names
            .iter()
            .map(|name| positions.remove(name).ok_or_else(|| differ("lacks", name)))
            .collect::<Result<_, _>>()?;
        match positions.into_iter().min_by_key(|(_, position)| *position) {
            Some((extra, _)) => Err(differ("also has", extra)),
            None => Ok(mapping),
        }
    }

    fn refuse_unknown_columns(&self) -> Result<(), StepError> {
        let names: BTreeSet<&String> = self.names.iter().collect();
        let unknown: Vec<_> = self
            .config
            .schema
            .keys()
            .filter(|name| !names.contains(name))
            .map(|name| format!("{name:?}"))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let known: Vec<_> = self
            .names
            .iter()
            .take(50)
            .map(|name| format!("{name:?}"))
            .collect();
        Err(StepError::permanent(format!(
            "`schema` names {}, which {:?} does not have; its columns are {}",
            unknown.join(", "),
            self.config.url,
            known.join(", ")
        )))
    }
}

fn start_of(file: &Input) -> Place {
    Place {
        file: Some(file.name.to_string()),
        line: Some(1),
        ..Place::default()
    }
}

/// Names that occur once each: an empty one becomes its position, the second `a` becomes `a_2`.
fn distinct(names: Vec<String>) -> Vec<String> {
    let mut taken: BTreeSet<String> = names.iter().cloned().collect();
    // For each name that was there, the number that its next double gets.
    let mut next: HashMap<String, usize> = HashMap::new();
    names
        .into_iter()
        .enumerate()
        .map(|(at, name)| {
            let (base, first) = match name.as_str() {
                "" => ("column".to_owned(), at + 1),
                _ if !next.contains_key(&name) => {
                    next.insert(name.clone(), 2);
                    return name;
                }
                _ => (name, 2),
            };
            let number = next.entry(base.clone()).or_insert(first);
            *number = first.max(*number);
            loop {
                let candidate = format!("{base}_{number}");
                *number += 1;
                if taken.insert(candidate.clone()) {
                    return candidate;
                }
            }
        })
        .collect()
}
