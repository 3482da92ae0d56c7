//! Lines with limits small enough to be met, and what one line may cost.

use std::time::Instant;

use super::decode::{Decoder, Keys, Seen};
use super::lines::{Chunk, Lines};
use crate::column::{ColumnType, Columns};

fn lines(text: &[u8], max_record: usize) -> Vec<Chunk> {
    let reader = Box::new(std::io::Cursor::new(text.to_vec()));
    let mut lines = Lines::new("x.ndjson".into(), reader, max_record);
    std::iter::from_fn(|| lines.next().unwrap()).collect()
}

#[test]
fn a_line_over_the_limit_is_bad_and_the_next_one_is_not() {
    let long = "x".repeat(3_000_000);
    for end in ["\n{}\n", "\n{}", "\r\n\r\n{}\r\n"] {
        let text = format!("{{}}\n{long}{end}");
        let (mut bad, mut good) = (Vec::new(), Vec::new());
        for mut chunk in lines(text.as_bytes(), 1_500_000) {
            for index in 0..chunk.lines.len() {
                let place = chunk.place(index);
                good.push((place.line.unwrap(), place.row.unwrap()));
                assert_eq!(chunk.line(index), b"{}");
            }
            bad.append(&mut chunk.bad);
        }
        assert_eq!(bad.len(), 1);
        assert!(bad[0].cause.contains("1500000 bytes"), "{}", bad[0].cause);
        assert_eq!((bad[0].place.line, bad[0].place.row), (Some(2), Some(2)));
        let blank = u64::from(end.contains("\n\r\n"));
        assert_eq!(good, [(1, 1), (3 + blank, 3)]);
    }
}

#[test]
fn lines_over_many_chunks_keep_their_numbers() {
    let text: String = (1..=200_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let mut expected = 1;
    for chunk in lines(text.as_bytes(), 1000) {
        for index in 0..chunk.lines.len() {
            let place = chunk.place(index);
            assert_eq!((place.line, place.row), (Some(expected), Some(expected)));
            assert_eq!(
                chunk.line(index),
                format!("{{\"n\":{expected}}}").as_bytes()
            );
            expected += 1;
        }
    }
    assert_eq!(expected, 200_001);
}

#[test]
fn many_keys_cost_no_more_than_their_number() {
    let count = 5_000;
    let schema: Columns = (0..count)
        .map(|n| (format!("k{n}"), ColumnType::Int64))
        .collect();
    let decoder = Decoder::new(Keys::default(), &[] as &[Seen], &schema);
    // Backwards, so that no key is where the decoder looks first.
    let pairs: Vec<_> = (0..count).rev().map(|n| format!("\"k{n}\":{n}")).collect();
    let text = format!("{{{}}}\n", pairs.join(",")) + &"{}\n".repeat(1000);
    let begun = Instant::now();
    let chunks = lines(text.as_bytes(), 16 * 1024 * 1024);
    let (mut rows, mut largest) = (0, 0);
    for chunk in &chunks {
        for first in (0..chunk.lines.len()).step_by(decoder.batch_rows()) {
            let end = chunk.lines.len().min(first + decoder.batch_rows());
            let (batch, bad) = decoder.decode(chunk, first..end).unwrap();
            assert!(bad.is_empty());
            rows += batch.num_rows();
            largest = largest.max(batch.num_rows());
        }
    }
    assert_eq!(rows, 1001);
    assert!(
        largest * count <= 1024 * 1024,
        "{largest} rows in one batch"
    );
    // Quadratic work would take minutes.
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}
