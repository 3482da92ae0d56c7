//! Bytes to records and fields: the inner loop, without I/O.

use memchr::memchr;

/// A field within a buffer. The two highest bits of the length are flags, so that a field takes 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    start: u32,
    length_and_flags: u32,
}

const QUOTED: u32 = 1 << 31;
const ESCAPED: u32 = 1 << 30;

impl Field {
    fn new(start: usize, end: usize, flags: u32) -> Self {
        Self {
            start: start as u32,
            length_and_flags: (end - start) as u32 | flags,
        }
    }

    /// Where in the buffer, without quotes.
    pub(super) const fn range(self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + (self.length_and_flags & !(QUOTED | ESCAPED)) as usize
    }

    /// Whether it stood in quotes.
    pub(super) const fn is_quoted(self) -> bool {
        self.length_and_flags & QUOTED != 0
    }

    /// Whether it holds doubled quotes that stand for one.
    pub(super) const fn is_escaped(self) -> bool {
        self.length_and_flags & ESCAPED != 0
    }
}

/// What stood at the scanner's position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// A record, or an empty line (no field was added).
    Record {
        /// Where the record ends, its line break left out.
        end: usize,
        /// Where the next one begins.
        next: usize,
        /// Line breaks in it, its own included.
        lines: u64,
        /// What is wrong with it.
        fault: Option<Fault>,
    },
    /// The buffer ends before the record does.
    Incomplete,
}

/// What can be wrong with the form of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A quote was opened and the file ends.
    Unclosed,
    /// Text stands between a closing quote and the next delimiter.
    AfterQuote,
}

/// Finds records in a buffer.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    delimiter: u8,
    quote: Option<u8>,
    /// Whether a byte ends an unquoted field.
    ends: [bool; 256],
}

impl Scanner {
    pub(super) fn new(delimiter: u8, quote: Option<u8>) -> Self {
        let mut ends = [false; 256];
        for byte in [delimiter, b'\n', b'\r'] {
            ends[usize::from(byte)] = true;
        }
        Self {
            delimiter,
            quote,
            ends,
        }
    }

    /// The quote, if there is one.
    pub(super) const fn quote(&self) -> Option<u8> {
        self.quote
    }

    /// Scans one record from `start` and adds its fields. `is_last`: nothing follows the buffer. Must not be called at the end
    /// of the last buffer. If it is incomplete, the fields added are to be dropped.
    pub(super) fn scan(
        &self,
        buffer: &[u8],
        start: usize,
        is_last: bool,
        fields: &mut Vec<Field>,
    ) -> Scan {
        let first = fields.len();
        let mut at = start;
        let mut lines = 0;
        let mut fault = None;
        loop {
            if self.quote.is_some() && buffer.get(at).copied() == self.quote {
                let Some(closed) = self.quoted(buffer, at + 1, is_last) else {
                    if !is_last {
                        return Scan::Incomplete;
                    }
                    fields.push(Field::new(at + 1, buffer.len(), QUOTED));
                    return Scan::Record {
                        end: buffer.len(),
                        next: buffer.len(),
                        lines: lines + count_lines(&buffer[at..]),
                        fault: Some(Fault::Unclosed),
                    };
                };
                let content = &buffer[at + 1..closed.end];
                lines += count_lines(content);
                fields.push(Field::new(at + 1, closed.end, closed.flags));
                at = closed.end + 1;
                let after = self.field_end(buffer, at);
                if after != at {
                    fault = Some(Fault::AfterQuote);
                    at = after;
                }
            } else {
                let end = self.field_end(buffer, at);
                fields.push(Field::new(at, end, 0));
                at = end;
            }
            match buffer.get(at) {
                Some(byte) if *byte == self.delimiter => at += 1,
                Some(b'\n') => return finish(fields, first, start..at, at + 1, lines, fault),
                Some(_) => {
                    // A carriage return. Whether a line feed follows must be known.
                    let next = match buffer.get(at + 1) {
                        Some(b'\n') => at + 2,
                        None if !is_last => return Scan::Incomplete,
                        _ => at + 1,
                    };
                    return finish(fields, first, start..at, next, lines, fault);
                }
                None if is_last => {
                    return finish(fields, first, start..at, at, lines, fault);
                }
                None => return Scan::Incomplete,
            }
        }
    }

    /// Where the unquoted text at `at` ends.
    fn field_end(&self, buffer: &[u8], at: usize) -> usize {
        let rest = buffer.get(at..).unwrap_or_default();
        rest.iter()
            .position(|byte| self.ends[usize::from(*byte)])
            .map_or(buffer.len(), |length| at + length)
    }

    /// Where the closing quote of the field that begins at `at` is; `None` if it is not in the buffer, or can't be told yet.
    fn quoted(&self, buffer: &[u8], at: usize, is_last: bool) -> Option<Closed> {
        let quote = self.quote?;
        let mut flags = QUOTED;
        let mut from = at;
        loop {
            let end = from + memchr(quote, buffer.get(from..)?)?;
            match buffer.get(end + 1) {
                Some(byte) if *byte == quote => {
                    flags |= ESCAPED;
                    from = end + 2;
                }
                None if !is_last => return None,
                _ => return Some(Closed { end, flags }),
            }
        }
    }
}

/// The end of a record. An empty line has no field.
fn finish(
    fields: &mut Vec<Field>,
    first: usize,
    record: std::ops::Range<usize>,
    next: usize,
    lines: u64,
    fault: Option<Fault>,
) -> Scan {
    if record.is_empty() {
        fields.truncate(first);
    }
    Scan::Record {
        end: record.end,
        next,
        lines: lines + u64::from(next > record.end),
        fault,
    }
}

struct Closed {
    end: usize,
    flags: u32,
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Finds the end of a record that is too long to be kept, with no memory of it.
#[derive(Debug, Default)]
pub(super) struct Skipper {
    state: SkipState,
    /// Line breaks passed.
    pub(super) lines: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum SkipState {
    #[default]
    FieldStart,
    Unquoted,
    Quoted,
    /// A quote inside a quoted field: the end of it, or the first of two.
    QuoteInQuoted,
    CarriageReturn,
}

impl Skipper {
    /// Skips over `bytes` of the record; where the next record begins in them, if it does.
    pub(super) fn skip(&mut self, scanner: &Scanner, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().copied().enumerate() {
            let is_quote = Some(byte) == scanner.quote;
            self.lines += u64::from(byte == b'\n');
            self.state = match self.state {
                SkipState::CarriageReturn if byte == b'\n' => return Some(at + 1),
                SkipState::CarriageReturn => {
                    self.lines += 1;
                    return Some(at);
                }
                SkipState::Quoted if is_quote => SkipState::QuoteInQuoted,
                SkipState::Quoted => SkipState::Quoted,
                SkipState::QuoteInQuoted | SkipState::FieldStart if is_quote => SkipState::Quoted,
                _ if byte == b'\n' => return Some(at + 1),
                _ if byte == b'\r' => SkipState::CarriageReturn,
                _ if byte == scanner.delimiter => SkipState::FieldStart,
                _ => SkipState::Unquoted,
            };
        }
        None
    }
}
