//! The scanner against `csv-core`, and chunks with limits small enough to be met.

use std::io::Read;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use encoding_rs::{Encoding, UTF_8, UTF_16LE, WINDOWS_1252};
use proptest::prelude::*;

use super::chunk::{Chunk, Chunks, unescape};
use super::records::{Fault, Scan, Scanner, Skipper};

/// A record: its fields, and whether something is wrong with it.
type Parsed = (Vec<String>, Option<Fault>);

/// What our scanner makes of `bytes`, which come in pieces that end at `cuts`.
fn ours(scanner: &Scanner, bytes: &[u8], cuts: &[usize]) -> Vec<Parsed> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    let mut ends = ends.into_iter();
    let mut end = ends.next().unwrap();
    let mut is_last = ends.len() == 0;
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() || !is_last {
        let mut fields = Vec::new();
        let scan = scanner.scan(&bytes[..end], at, is_last, &mut fields);
        match scan {
            Scan::Record { next, fault, .. } if at < end => {
                if !fields.is_empty() {
                    let text = |field: &super::records::Field| {
                        let text = std::str::from_utf8(&bytes[field.range()]).unwrap();
                        unescape(text, *field, scanner.quote().unwrap_or_default()).into_owned()
                    };
                    found.push((fields.iter().map(text).collect(), fault));
                }
                at = next;
            }
            _ => {
                end = ends.next().unwrap();
                is_last = ends.len() == 0;
            }
        }
    }
    found
}

/// What `csv-core` makes of them.
fn theirs(mut reader: Reader, mut bytes: &[u8]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let (mut output, mut ends) = (vec![0; bytes.len() + 16], vec![0; bytes.len() + 16]);
    let (mut written, mut count) = (0, 0);
    loop {
        let (result, read, wrote, ended) =
            reader.read_record(bytes, &mut output[written..], &mut ends[count..]);
        bytes = &bytes[read..];
        written += wrote;
        count += ended;
        match result {
            ReadRecordResult::Record => {
                let mut start = 0;
                let fields = ends[..count].iter().map(|end| {
                    let field = String::from_utf8(output[start..*end].to_vec()).unwrap();
                    start = *end;
                    field
                });
                found.push(fields.collect());
                (written, count) = (0, 0);
            }
            ReadRecordResult::End => return found,
            ReadRecordResult::InputEmpty => {}
            full => panic!("{full:?}"),
        }
    }
}

fn assert_same(delimiter: u8, quote: Option<u8>, text: &str, cuts: &[usize]) {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter);
    match quote {
        Some(quote) => builder.quote(quote),
        None => builder.quoting(false),
    };
    let theirs = theirs(builder.build(), text.as_bytes());
    let ours = ours(&Scanner::new(delimiter, quote), text.as_bytes(), cuts);
    let our_widths: Vec<_> = ours.iter().map(|(fields, _)| fields.len()).collect();
    let their_widths: Vec<_> = theirs.iter().map(Vec::len).collect();
    assert_eq!(our_widths, their_widths, "{text:?}");
    for ((fields, fault), expected) in ours.iter().zip(&theirs) {
        // What is malformed we refuse, and csv-core guesses at.
        if fault.is_none() {
            assert_eq!(fields, expected, "{text:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_text_is_cut_as_csv_core_cuts_it(
        text in "[a,;\"'\n\r é]{0,40}",
        cuts in prop::collection::vec(0..1000_usize, 0..8),
    ) {
        assert_same(b',', Some(b'"'), &text, &cuts);
        assert_same(b';', Some(b'\''), &text, &cuts);
        assert_same(b',', None, &text, &cuts);
    }

    #[test]
    fn well_formed_text_has_no_fault(
        records in prop::collection::vec(prop::collection::vec("[a,\"\n\r é]{0,6}", 1..5), 1..8),
        crlf in any::<bool>(),
        cuts in prop::collection::vec(0..1000_usize, 0..8),
    ) {
        let line = |fields: &Vec<String>| {
            let fields: Vec<_> = fields
                .iter()
                .map(|field| format!("\"{}\"", field.replace('"', "\"\"")))
                .collect();
            fields.join(",") + if crlf { "\r\n" } else { "\n" }
        };
        let text: String = records.iter().map(line).collect();
        let expected: Vec<Parsed> = records.into_iter().map(|fields| (fields, None)).collect();
        prop_assert_eq!(ours(&Scanner::new(b',', Some(b'"')), text.as_bytes(), &cuts), expected);
        assert_same(b',', Some(b'"'), &text, &cuts);
    }

    #[test]
    fn skipping_a_record_ends_where_scanning_it_does(
        text in "[a,\"\n\r]{1,30}",
        piece in 1..8_usize,
    ) {
        let scanner = Scanner::new(b',', Some(b'"'));
        let Scan::Record { next, lines, .. } = scanner.scan(text.as_bytes(), 0, true, &mut Vec::new()) else {
            panic!("the last buffer is complete");
        };
        let mut skipper = Skipper::default();
        let (mut skipped, mut from) = (text.len(), 0);
        for bytes in text.as_bytes().chunks(piece) {
            if let Some(end) = skipper.skip(&scanner, bytes) {
                skipped = from + end;
                break;
            }
            from += bytes.len();
        }
        prop_assert_eq!(skipped, next, "{:?}", text);
        // A lone carriage return at the very end is seen only when more follows.
        if !text[..next].ends_with('\r') {
            prop_assert_eq!(skipper.lines, lines, "{:?}", text);
        }
    }
}

/// Gives a few bytes at a time.
struct Pieces<R>(R, usize);

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.1 = self.1 * 7 % 8191 + 1;
        let length = into.len().min(self.1);
        self.0.read(&mut into[..length])
    }
}

fn chunks(text: &[u8], encoding: &'static Encoding, max_record: usize) -> Chunks {
    let reader = Box::new(Pieces(std::io::Cursor::new(text.to_vec()), 3));
    let scanner = Scanner::new(b',', Some(b'"'));
    Chunks::new("x.csv".into(), reader, encoding, scanner, max_record)
}

fn fields(chunk: &Chunk) -> Vec<Vec<String>> {
    chunk
        .fields
        .chunks(chunk.width)
        .map(|row| {
            row.iter()
                .map(|field| {
                    let text = std::str::from_utf8(&chunk.text[field.range()]).unwrap();
                    unescape(text, *field, b'"').into_owned()
                })
                .collect()
        })
        .collect()
}

#[test]
fn records_over_many_chunks_are_those_of_csv_core() {
    let mut text = String::new();
    for n in 0..30_000 {
        text.push_str(&format!(
            "{n},\"line\n{n}, \"\"{}\"\"\",é\r\n",
            "x".repeat(n % 41)
        ));
    }
    let mut chunks = chunks(text.as_bytes(), UTF_8, 1000);
    chunks.expect_width(3);
    let (mut found, mut line, mut number) = (Vec::new(), 1, 0);
    while let Some(chunk) = chunks.next().unwrap() {
        assert!(chunk.bad.is_empty());
        for row in &chunk.rows {
            number += 1;
            assert_eq!((row.line, row.number), (line, number));
            line += 2;
        }
        found.extend(fields(&chunk));
    }
    assert_eq!(found, theirs(Reader::new(), text.as_bytes()));
}

#[test]
fn a_record_over_the_limit_is_bad_and_the_next_one_is_not() {
    let long = "x".repeat(3_000_000);
    for (record, lines) in [
        (format!("1,{long}\n"), 1),
        (format!("1,\"{long}\n\n\"\r\n"), 3),
        (format!("1,\"{long}\"\"\n\"\n"), 2),
        (format!("{}\n", ",".repeat(3_000_000)), 1),
    ] {
        let text = format!("a,b\n{record}2,y\n");
        let mut chunks = chunks(text.as_bytes(), UTF_8, 1_500_000);
        assert_eq!(chunks.first_record(true).unwrap().unwrap(), ["a", "b"]);
        chunks.expect_width(2);
        let (mut bad, mut good) = (Vec::new(), Vec::new());
        while let Some(mut chunk) = chunks.next().unwrap() {
            bad.append(&mut chunk.bad);
            good.extend(chunk.rows.iter().map(|row| (row.line, row.number)));
        }
        assert_eq!(bad.len(), 1);
        assert!(bad[0].cause.contains("1500000 bytes"), "{}", bad[0].cause);
        assert_eq!((bad[0].place.line, bad[0].place.row), (Some(2), Some(1)));
        assert!(bad[0].record.len() <= 64 * 1024);
        assert_eq!(good, [(2 + lines, 2)]);
    }
}

#[test]
fn a_header_over_the_limit_is_an_error() {
    let text = "x".repeat(3_000_000);
    for text in [text.clone(), format!("\"{text}")] {
        let error = chunks(text.as_bytes(), UTF_8, 1_500_000)
            .first_record(true)
            .unwrap_err();
        assert!(error.message.contains("1500000 bytes"), "{error}");
    }
}

#[test]
fn decoding_is_the_same_however_the_bytes_come() {
    let text = "é€😀,x\n".repeat(50_000);
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut cut = utf16.clone();
    cut.pop();
    for (bytes, encoding, bad) in [
        (text.clone().into_bytes(), UTF_8, 0),
        (utf16, UTF_16LE, 0),
        (cut, UTF_16LE, 1),
        (b"\xe9\x80,x\n".repeat(50_000), WINDOWS_1252, 0),
    ] {
        let mut chunks = chunks(&bytes, encoding, 1000);
        chunks.expect_width(2);
        let (mut rows, mut invalid) = (0, 0);
        while let Some(chunk) = chunks.next().unwrap() {
            rows += chunk.rows.len();
            invalid += usize::from(std::str::from_utf8(&chunk.text).is_err());
        }
        assert_eq!((rows, invalid), (50_000, bad), "{}", encoding.name());
    }
}
