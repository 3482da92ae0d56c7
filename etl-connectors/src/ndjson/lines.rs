//! A file's bytes to chunks of whole lines, with bounded memory.

use std::io::Read;
use std::sync::Arc;

use etl_core::model::{Place, StepError};
use memchr::memchr;

use crate::flow::{BadRecord, Flow, fault};
use crate::location::{Compression, Input};

/// How much text makes a chunk.
const CHUNK_BYTES: usize = 1024 * 1024;

/// The longest record.
pub(super) const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// Whole lines of one file.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) file: Arc<str>,
    pub(super) text: Vec<u8>,
    /// The lines that are not blank: start, end, and number from 1.
    pub(super) lines: Vec<(usize, usize, u64)>,
    /// Which record the first line is, from 1.
    pub(super) first: u64,
    /// Records that can't be rows.
    pub(super) bad: Vec<BadRecord>,
}

impl Chunk {
    /// The place of the line at `index`.
    pub(super) fn place(&self, index: usize) -> Place {
        Place {
            file: Some(self.file.to_string()),
            line: self.lines.get(index).map(|(_, _, line)| *line),
            column: None,
            row: Some(self.first + index as u64),
        }
    }

    /// The bytes of the line at `index`.
    pub(super) fn line(&self, index: usize) -> &[u8] {
        self.lines
            .get(index)
            .map_or(&[], |(start, end, _)| &self.text[*start..*end])
    }
}

/// Cuts one file.
pub(super) struct Lines {
    file: Arc<str>,
    reader: Box<dyn Read + Send>,
    max_record: usize,
    /// The beginning of a line whose end is not read yet.
    carry: Vec<u8>,
    is_last: bool,
    line: u64,
    number: u64,
    /// Whether the rest of a line that was too long is still to be passed over.
    skips: bool,
}

impl Lines {
    pub(super) fn open(
        input: &Input,
        flow: &Flow,
        compression: Compression,
    ) -> Result<Self, StepError> {
        let reader = input.read(flow, compression)?;
        Ok(Self::new(input.name.clone(), reader, MAX_RECORD_BYTES))
    }

    pub(super) fn new(file: Arc<str>, reader: Box<dyn Read + Send>, max_record: usize) -> Self {
        Self {
            file,
            reader,
            max_record,
            carry: Vec::new(),
            is_last: false,
            line: 1,
            number: 0,
            skips: false,
        }
    }

    /// The next lines; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, StepError> {
        self.finish_skipping()?;
        let is_start = self.line == 1 && self.carry.is_empty();
        let mut target = CHUNK_BYTES;
        loop {
            self.fill(target)?;
            if is_start && self.carry.starts_with(b"\xEF\xBB\xBF") {
                self.carry.drain(..3);
            }
            if self.carry.is_empty() && self.is_last {
                return Ok(None);
            }
            let end = if self.is_last {
                Some(self.carry.len())
            } else {
                memchr::memrchr(b'\n', &self.carry).map(|at| at + 1)
            };
            if let Some(end) = end {
                let rest = self.carry.split_off(end);
                let text = std::mem::replace(&mut self.carry, rest);
                return Ok(Some(self.cut(text)));
            }
            if self.carry.len() > self.max_record {
                return Ok(Some(self.give_up_line()));
            }
            target = (self.carry.len() * 2)
                .max(CHUNK_BYTES)
                .min(self.max_record + 1);
        }
    }

    fn fill(&mut self, target: usize) -> Result<(), StepError> {
        let missing = target.saturating_sub(self.carry.len());
        if missing == 0 || self.is_last {
            return Ok(());
        }
        self.carry.reserve(missing);
        let read = (&mut self.reader)
            .take(missing as u64)
            .read_to_end(&mut self.carry)
            .map_err(|error| fault::io(format!("reading {}", self.file), error))?;
        self.is_last = read < missing;
        Ok(())
    }

    fn cut(&mut self, text: Vec<u8>) -> Chunk {
        let mut chunk = Chunk {
            file: self.file.clone(),
            text,
            lines: Vec::new(),
            first: self.number + 1,
            bad: Vec::new(),
        };
        let mut at = 0;
        while at < chunk.text.len() {
            let end =
                memchr(b'\n', &chunk.text[at..]).map_or(chunk.text.len(), |length| at + length);
            let line = chunk.text[at..end].trim_ascii_end();
            if !line.is_empty() {
                chunk.lines.push((at, at + line.len(), self.line));
            }
            self.line += 1;
            at = end + 1;
        }
        self.number += chunk.lines.len() as u64;
        chunk
    }

    /// Gives up the line that the carry begins with. Its rest is passed over when more is asked for: whoever fails for it need
    /// not wait for its end.
    fn give_up_line(&mut self) -> Chunk {
        self.number += 1;
        self.skips = true;
        let place = Place {
            file: Some(self.file.to_string()),
            line: Some(self.line),
            column: None,
            row: Some(self.number),
        };
        let cause = format!("the record is longer than {} bytes", self.max_record);
        Chunk {
            file: self.file.clone(),
            text: Vec::new(),
            lines: Vec::new(),
            first: self.number + 1,
            bad: vec![BadRecord::new(place, cause, &self.carry)],
        }
    }

    /// Reads on to the end of a line that was given up, in constant memory.
    fn finish_skipping(&mut self) -> Result<(), StepError> {
        if !std::mem::take(&mut self.skips) {
            return Ok(());
        }
        self.line += 1;
        loop {
            if let Some(end) = memchr(b'\n', &self.carry) {
                self.carry.drain(..=end);
                return Ok(());
            }
            self.carry.clear();
            self.carry.shrink_to(CHUNK_BYTES);
            if self.is_last {
                return Ok(());
            }
            self.fill(CHUNK_BYTES)?;
        }
    }
}
