//! Rows stream: no source runs far ahead of its sink, and both stop when they are told to.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::testing::{Bench, copy};

/// A file of so many rows, of 20 bytes each.
fn rows_file(bench: &Bench, name: &str, rows: usize) {
    let line = |n: usize| match name.split_once('.').unwrap().1 {
        "csv" => format!("{n:09},{n:09}\n"),
        _ => format!("{{\"a\":{n},\"b\":{n}}}\n"),
    };
    let head = if name.ends_with("csv") { "a,b\n" } else { "" };
    let text: String = (0..rows).map(line).collect();
    bench.write(name, head.to_owned() + &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_copy_stops_within_a_second_and_leaves_nothing() {
    for (name, sink) in [
        ("x.csv", json!({"type": "csv", "url": "out.csv"})),
        ("x.ndjson", json!({"type": "parquet", "url": "out.parquet"})),
        ("x.csv", json!({"type": "ndjson", "url": "folder/"})),
    ] {
        let bench = Bench::new();
        rows_file(&bench, name, 600_000);
        let kind = name.split_once('.').unwrap().1;
        let cancellation = bench.cancellation.clone();
        let stopping = async {
            // Not before there is something to leave behind.
            while bench.list(".").len() < 2 {
                tokio::task::yield_now().await;
            }
            cancellation.cancel();
            Instant::now()
        };
        let (outcome, cancelled) = tokio::join!(
            copy(&bench, json!({"type": kind, "url": name}), sink),
            stopping
        );
        let took = cancelled.elapsed();
        assert!(
            outcome.error().message.contains("cancelled"),
            "{}",
            outcome.error()
        );
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
        assert_eq!(bench.list("."), [name]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_step_does_not_wait_for_the_end_of_a_bomb() {
    use std::io::Write as _;
    let bench = Bench::new();
    let file = std::fs::File::create(bench.path("x.csv.gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    // Blank lines: nothing to emit, so nothing that would notice but the reader itself.
    encoder.write_all(b"a\n1\n").unwrap();
    let block = vec![b'\n'; 1024 * 1024];
    for _ in 0..400 {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap();
    let cancellation = bench.cancellation.clone();
    let source = json!({"type": "csv", "url": "x.csv.gz"});
    let begun = Instant::now();
    let running = copy(&bench, source, json!({"type": "csv", "url": "out.csv"}));
    let stopping = async {
        tokio::task::yield_now().await;
        cancellation.cancel();
    };
    let (outcome, ()) = tokio::join!(running, stopping);
    assert!(
        outcome.error().message.contains("cancelled"),
        "{}",
        outcome.error()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_grows_with_the_rows_and_not_with_their_square() {
    for (name, sink) in [
        ("x.csv", json!({"type": "ndjson", "url": "out.ndjson"})),
        ("x.ndjson", json!({"type": "csv", "url": "out.csv"})),
        ("x.csv", json!({"type": "parquet", "url": "out.parquet"})),
        ("x.csv", json!({"type": "arrow", "url": "out.arrow"})),
    ] {
        let bench = Bench::new();
        let mut took = Vec::new();
        for rows in [25_000, 200_000] {
            rows_file(&bench, name, rows);
            let kind = name.split_once('.').unwrap().1;
            let begun = Instant::now();
            let outcome = copy(&bench, json!({"type": kind, "url": name}), sink.clone()).await;
            took.push(begun.elapsed());
            assert_eq!(outcome.report().rows_processed, rows as u64);
        }
        // Eight times the rows; what is quadratic takes 64 times as long.
        assert!(
            took[1] < took[0] * 30 + Duration::from_secs(1),
            "{name} {sink}: {took:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_while_rows_pass() {
    let bench = Bench::new();
    rows_file(&bench, "x.csv", 300_000);
    let source = json!({"type": "csv", "url": "x.csv"});
    let sink = json!({"type": "csv", "url": "out.csv"});
    let outcome = copy(&bench, source, sink).await;
    outcome.report();
    let percents: Vec<u8> = outcome
        .progress
        .iter()
        .filter_map(|(percent, _)| *percent)
        .collect();
    assert!(percents.is_sorted(), "{percents:?}");
    assert_eq!(percents.last(), Some(&100));
    assert!(percents.len() > 1, "{percents:?}");
}

#[tokio::test]
async fn a_file_that_vanishes_after_it_was_found_is_an_error_that_names_it() {
    let bench = Bench::new();
    bench.write("in/1.csv", "a\n".to_owned() + &"1\n".repeat(300_000));
    bench.write("in/2.csv", "a\n2\n");
    let gone = bench.path("in/2.csv");
    let source = json!({"type": "csv", "url": "in/*.csv"});
    let copying = copy(&bench, source, json!({"type": "csv", "url": "out.csv"}));
    let removing = async {
        while bench.list(".").len() < 2 {
            tokio::task::yield_now().await;
        }
        std::fs::remove_file(&gone).unwrap();
    };
    let (outcome, ()) = tokio::join!(copying, removing);
    let error = outcome.error();
    assert!(
        error.message.contains("in/2.csv failed: it is not there"),
        "{error}"
    );
    assert_eq!(bench.list("."), ["in"]);
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_read_is_read_to_some_whole_record() {
    use std::io::Write as _;
    let bench = Bench::new();
    bench.write("x.csv", "a\n".to_owned() + &"1\n".repeat(300_000));
    let path = bench.path("x.csv");
    let source = json!({"type": "csv", "url": "x.csv"});
    let copying = copy(&bench, source, json!({"type": "csv", "url": "out.csv"}));
    let growing = async {
        while bench.list(".").len() < 2 {
            tokio::task::yield_now().await;
        }
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(&b"1\n".repeat(1000)).unwrap();
    };
    let (outcome, ()) = tokio::join!(copying, growing);
    let rows = outcome.report().rows_processed;
    assert!((300_000..=301_000).contains(&rows), "{rows}");
}
