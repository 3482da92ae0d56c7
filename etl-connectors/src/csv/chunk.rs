//! A file's bytes to chunks of whole records, with bounded memory.

use std::io::Read;
use std::sync::Arc;

use encoding_rs::Encoding;
use etl_core::model::{Place, StepError};

use super::encoding::Utf8Reader;
use super::records::{Fault, Field, Scan, Scanner, Skipper};
use crate::flow::{BadRecord, Flow};
use crate::location::{Compression, Input};

/// How much text makes a chunk: a few thousand rows, so that batches are worth their overhead and memory stays small.
const CHUNK_BYTES: usize = 1024 * 1024;

/// The longest record. A longer one is bad, whether it is one line or a quote that nobody closed.
pub(super) const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// The most records of a chunk, so that a chunk full of bad ones does not take many times its size in memory.
const CHUNK_RECORDS: usize = 64 * 1024;

/// Records of one file, cut but not decoded.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) file: Arc<str>,
    pub(super) text: Vec<u8>,
    /// The fields of all rows, `width` for each.
    pub(super) fields: Vec<Field>,
    pub(super) rows: Vec<Row>,
    pub(super) width: usize,
    /// Records that can't be rows.
    pub(super) bad: Vec<BadRecord>,
}

/// Where a row is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// From here in the chunk's text …
    pub(super) start: u32,
    /// … to here.
    pub(super) end: u32,
    /// The line that it begins at, from 1.
    pub(super) line: u64,
    /// Which record of the file it is, from 1, the header not counted.
    pub(super) number: u64,
}

impl Chunk {
    /// The place of a row.
    pub(super) fn place(&self, row: Row) -> Place {
        Place {
            file: Some(self.file.to_string()),
            line: Some(row.line),
            column: None,
            row: Some(row.number),
        }
    }
}

/// Cuts one file.
pub(super) struct Chunks {
    file: Arc<str>,
    reader: Box<dyn Read + Send>,
    scanner: Scanner,
    max_record: usize,
    /// The beginning of a record whose end is not read yet.
    carry: Vec<u8>,
    is_last: bool,
    line: u64,
    number: u64,
    width: usize,
    /// Passes over a record that is too long, once it is told of.
    skipper: Option<Skipper>,
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks")
            .field("file", &self.file)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl Chunks {
    pub(super) fn open(
        input: &Input,
        flow: &Flow,
        compression: Compression,
        encoding: &'static Encoding,
        scanner: Scanner,
    ) -> Result<Self, StepError> {
        let reader = input.read(flow, compression)?;
        Ok(Self::new(
            input.name.clone(),
            reader,
            encoding,
            scanner,
            MAX_RECORD_BYTES,
        ))
    }

    pub(super) fn new(
        file: Arc<str>,
        reader: Box<dyn Read + Send>,
        encoding: &'static Encoding,
        scanner: Scanner,
        max_record: usize,
    ) -> Self {
        Self {
            file,
            reader: Box::new(Utf8Reader::new(reader, encoding)),
            scanner,
            max_record,
            carry: Vec::new(),
            is_last: false,
            line: 1,
            number: 0,
            width: 0,
            skipper: None,
        }
    }

    /// How many fields a record has to have.
    pub(super) fn expect_width(&mut self, width: usize) {
        self.width = width;
    }

    /// The fields of the first record, as text, and with `consume` left behind as a header; `None` for an empty file.
    pub(super) fn first_record(&mut self, consume: bool) -> Result<Option<Vec<String>>, StepError> {
        let mut target = 64 * 1024;
        loop {
            self.fill(target)?;
            let mut fields = Vec::new();
            if self.carry.is_empty() {
                return Ok(None);
            }
            match self.scanner.scan(&self.carry, 0, self.is_last, &mut fields) {
                Scan::Incomplete if self.carry.len() > self.max_record => {
                    return Err(self.bad_header(&self.too_long()));
                }
                Scan::Incomplete => target *= 2,
                Scan::Record {
                    fault: Some(fault), ..
                } => {
                    return Err(self.bad_header(cause_of(fault)));
                }
                Scan::Record { next, lines, .. } if fields.is_empty() => {
                    self.carry.drain(..next);
                    self.line += lines;
                }
                Scan::Record { next, lines, .. } => {
                    let names = fields
                        .iter()
                        .map(|field| {
                            let bytes = &self.carry[field.range()];
                            let text = std::str::from_utf8(bytes).map_err(|_| {
                                self.bad_header("it is not valid text in this encoding")
                            })?;
                            Ok(unescape(text, *field, self.scanner_quote()).into_owned())
                        })
                        .collect::<Result<_, StepError>>()?;
                    if consume {
                        self.carry.drain(..next);
                        self.line += lines;
                    }
                    return Ok(Some(names));
                }
            }
        }
    }

    /// The next records; `None` at the end. Records that are not `width` fields wide are among the bad ones.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, StepError> {
        self.finish_skipping()?;
        let mut target = CHUNK_BYTES;
        loop {
            self.fill(target)?;
            if self.carry.is_empty() && self.is_last {
                return Ok(None);
            }
            let chunk = self.cut();
            if let Some(chunk) = chunk {
                return Ok(Some(chunk));
            }
            if self.carry.is_empty() {
                continue;
            }
            if self.carry.len() > self.max_record {
                return Ok(Some(self.give_up_record()));
            }
            target = (self.carry.len() * 2)
                .max(CHUNK_BYTES)
                .min(self.max_record + 1);
        }
    }

    /// Reads until the carry has `target` bytes or the file ends.
    fn fill(&mut self, target: usize) -> Result<(), StepError> {
        let missing = target.saturating_sub(self.carry.len());
        if missing == 0 || self.is_last {
            return Ok(());
        }
        self.carry.reserve(missing);
        let read = (&mut self.reader)
            .take(missing as u64)
            .read_to_end(&mut self.carry)
            .map_err(|error| crate::flow::fault::io(format!("reading {}", self.file), error))?;
        self.is_last = read < missing;
        Ok(())
    }

    /// Cuts the whole records off the carry; `None` if there is none.
    fn cut(&mut self) -> Option<Chunk> {
        let mut chunk = Chunk {
            file: self.file.clone(),
            text: Vec::new(),
            fields: Vec::new(),
            rows: Vec::new(),
            width: self.width,
            bad: Vec::new(),
        };
        let mut at = 0;
        while at < self.carry.len() && chunk.rows.len() + chunk.bad.len() < CHUNK_RECORDS {
            let first = chunk.fields.len();
            let scan = self
                .scanner
                .scan(&self.carry, at, self.is_last, &mut chunk.fields);
            let Scan::Record {
                end,
                next,
                lines,
                fault,
            } = scan
            else {
                chunk.fields.truncate(first);
                break;
            };
            let found = chunk.fields.len() - first;
            if found > 0 {
                self.number += 1;
                let row = Row {
                    start: at as u32,
                    end: end as u32,
                    line: self.line,
                    number: self.number,
                };
                let cause = match fault {
                    Some(fault) => Some(cause_of(fault).to_owned()),
                    None if end - at > self.max_record => Some(self.too_long()),
                    None if found != self.width => Some(format!(
                        "the record has {found} fields, not {} as expected",
                        self.width
                    )),
                    None => None,
                };
                match cause {
                    None => chunk.rows.push(row),
                    Some(cause) => {
                        chunk.fields.truncate(first);
                        let raw = &self.carry[at..end];
                        chunk.bad.push(BadRecord::new(chunk.place(row), cause, raw));
                    }
                }
            }
            self.line += lines;
            at = next;
        }
        if at == 0 {
            return None;
        }
        let rest = self.carry[at..].to_vec();
        self.carry.truncate(at);
        chunk.text = std::mem::replace(&mut self.carry, rest);
        (!chunk.rows.is_empty() || !chunk.bad.is_empty()).then_some(chunk)
    }

    /// Gives up the record that the carry begins with. Its rest is passed over when more is asked for: whoever fails for it need
    /// not wait for its end.
    fn give_up_record(&mut self) -> Chunk {
        self.number += 1;
        let place = Place {
            file: Some(self.file.to_string()),
            line: Some(self.line),
            column: None,
            row: Some(self.number),
        };
        self.skipper = Some(Skipper::default());
        Chunk {
            file: self.file.clone(),
            text: Vec::new(),
            fields: Vec::new(),
            rows: Vec::new(),
            width: self.width,
            bad: vec![BadRecord::new(place, self.too_long(), &self.carry)],
        }
    }

    /// Reads on to the end of a record that was given up, in constant memory.
    fn finish_skipping(&mut self) -> Result<(), StepError> {
        let Some(mut skipper) = self.skipper.take() else {
            return Ok(());
        };
        loop {
            if let Some(next) = skipper.skip(&self.scanner, &self.carry) {
                self.carry.drain(..next);
                break;
            }
            self.carry.clear();
            self.carry.shrink_to(CHUNK_BYTES);
            if self.is_last {
                break;
            }
            self.fill(CHUNK_BYTES)?;
        }
        self.line += skipper.lines;
        Ok(())
    }

    fn scanner_quote(&self) -> u8 {
        self.scanner.quote().unwrap_or_default()
    }

    fn too_long(&self) -> String {
        format!(
            "the record is longer than {} bytes; a quote may not be closed, or `delimiter`, `quote` or `encoding` may not be \
             those of the file",
            self.max_record
        )
    }

    fn bad_header(&self, why: &str) -> StepError {
        StepError::permanent(format!("the first record can't be read: {why}")).at(Place {
            file: Some(self.file.to_string()),
            line: Some(self.line),
            ..Place::default()
        })
    }
}

fn cause_of(fault: Fault) -> &'static str {
    match fault {
        Fault::Unclosed => "a quote is opened and never closed",
        Fault::AfterQuote => "text stands between a closing quote and the next delimiter",
    }
}

/// A field's text with doubled quotes as one.
pub(super) fn unescape(text: &str, field: Field, quote: u8) -> std::borrow::Cow<'_, str> {
    if !field.is_escaped() {
        return text.into();
    }
    let quote = char::from(quote);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == quote {
            // The scanner saw to it that the other half of the pair follows.
            chars.next();
        }
    }
    out.into()
}
