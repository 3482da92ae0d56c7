//! A file's bytes to chunks of whole records, with bounded memory.

use std::io::{self, Read};
use std::sync::Arc;

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use etl_core::model::{Place, StepError};

use super::records::{Fault, Field, Scan, Scanner, Skipper};
use crate::flow::{BadRecord, Flow};
use crate::location::{Compression, Input, decompressed};

/// How much text makes a chunk: a few thousand rows, so that batches are worth their overhead and memory stays small.
const CHUNK_BYTES: usize = 1024 * 1024;

/// The longest record. A longer one is bad, whether it is one line or a quote that nobody closed.
pub(super) const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

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
        let reader = decompressed(input.read(flow)?, compression.of(&input.name))
            .map_err(|error| input.failed(error))?;
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
                return self.skip_record().map(Some);
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
        while at < self.carry.len() {
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

    /// Gives up the record that the carry begins with and reads on to its end, in constant memory.
    fn skip_record(&mut self) -> Result<Chunk, StepError> {
        self.number += 1;
        let place = Place {
            file: Some(self.file.to_string()),
            line: Some(self.line),
            column: None,
            row: Some(self.number),
        };
        let bad = BadRecord::new(place, self.too_long(), &self.carry);
        let mut skipper = Skipper::default();
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
        Ok(Chunk {
            file: self.file.clone(),
            text: Vec::new(),
            fields: Vec::new(),
            rows: Vec::new(),
            width: self.width,
            bad: vec![bad],
        })
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

/// Any encoding as UTF-8. Malformed input becomes the byte 0xFF, which is not UTF-8 either, so that the record that it is in
/// is found bad by the same check as in a UTF-8 file.
struct Utf8Reader {
    inner: Box<dyn Read + Send>,
    /// `None`: the bytes are passed on as they are.
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    consumed: usize,
    ended: bool,
    flushed: bool,
    pending: Vec<u8>,
    taken: usize,
}

const RAW_BYTES: usize = 64 * 1024;

impl Utf8Reader {
    fn new(mut inner: Box<dyn Read + Send>, encoding: &'static Encoding) -> Self {
        // The mark is looked for here and not by the decoder, so that UTF-8, the common case, needs no decoder.
        let mut start = Vec::new();
        let failed = (&mut inner).take(3).read_to_end(&mut start).err();
        let (encoding, mark) = Encoding::for_bom(&start).unwrap_or((encoding, 0));
        start.drain(..mark);
        let inner: Box<dyn Read + Send> = match failed {
            Some(error) => Box::new(Failing(Some(error))),
            None => inner,
        };
        let is_utf8 = encoding == UTF_8;
        Self {
            inner,
            decoder: (!is_utf8).then(|| encoding.new_decoder_without_bom_handling()),
            raw: if is_utf8 { Vec::new() } else { start.clone() },
            consumed: 0,
            ended: false,
            flushed: false,
            pending: if is_utf8 { start } else { Vec::new() },
            taken: 0,
        }
    }

    /// Decodes some more into `pending`.
    fn refill(&mut self) -> io::Result<()> {
        self.pending.clear();
        self.taken = 0;
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        while self.pending.is_empty() && !self.flushed {
            if self.consumed == self.raw.len() && !self.ended {
                self.raw.clear();
                self.consumed = 0;
                let read = (&mut self.inner)
                    .take(RAW_BYTES as u64)
                    .read_to_end(&mut self.raw)?;
                self.ended = read < RAW_BYTES;
            }
            let raw = &self.raw[self.consumed..];
            let room = decoder
                .max_utf8_buffer_length_without_replacement(raw.len())
                .unwrap_or(4 * RAW_BYTES);
            self.pending.resize(room + 1, 0);
            let (result, read, written) =
                decoder.decode_to_utf8_without_replacement(raw, &mut self.pending, self.ended);
            self.consumed += read;
            self.pending.truncate(written);
            match result {
                DecoderResult::InputEmpty => self.flushed = self.ended,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => self.pending.push(0xFF),
            }
        }
        Ok(())
    }
}

impl Read for Utf8Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.pending.len() {
            if self.decoder.is_none() {
                return self.inner.read(into);
            }
            self.refill()?;
        }
        let pending = &self.pending[self.taken..];
        let length = pending.len().min(into.len());
        into[..length].copy_from_slice(&pending[..length]);
        self.taken += length;
        Ok(length)
    }
}

struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}
