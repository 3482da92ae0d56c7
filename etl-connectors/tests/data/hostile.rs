//! Input that is meant to do harm: it costs bounded memory and time, and ends in an error that says why.

use std::io::Write as _;
use std::path::Path;

use etl_core::model::ErrorClass;
use serde_json::{Value, json};

use crate::testing::{Bench, copy};

/// A gzip file of `head` and then `megabytes` of `byte`: small on disk.
fn bomb(path: &Path, head: &str, byte: u8, megabytes: usize) {
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(head.as_bytes()).unwrap();
    let block = vec![byte; 1024 * 1024];
    for _ in 0..megabytes {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap();
}

/// The most memory that this process has had, in MiB.
fn peak_memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes / 1024
}

/// Copies `source` and gives the error, which must be a permanent one.
async fn refused(bench: &Bench, source: Value) -> String {
    let before = peak_memory_mb();
    let outcome = copy(bench, source, json!({"type": "arrow", "url": "out.arrow"})).await;
    let error = outcome.error();
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
    assert!(!bench.path("out.arrow").exists());
    let risen = peak_memory_mb() - before;
    assert!(risen < 200, "{risen} MiB for {error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_end_stops_at_the_limit_of_a_record() {
    let bench = Bench::new();
    for (kind, head) in [
        ("csv", ""),
        ("csv", "a,b\n1,2\n3,"),
        ("csv", "a,b\n1,\""),
        ("ndjson", ""),
        ("ndjson", "{\"a\":1}\n"),
    ] {
        bomb(&bench.path("x.gz"), head, b'0', 64);
        let source = json!({"type": kind, "url": "x.gz"});
        let error = refused(&bench, source).await;
        assert!(
            error.contains("longer than 16777216 bytes"),
            "{kind} {head:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_set_aside_takes_no_memory_however_long_it_is() {
    let bench = Bench::new();
    for (kind, head, tail) in [
        ("csv", "a,b\n1,", "\n2,3\n"),
        ("ndjson", "{\"a\":1}\n{\"a\":", "\n{\"a\":2}\n"),
    ] {
        bomb(&bench.path("x.gz"), head, b'0', 40);
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(bench.path("x.gz"))
            .unwrap();
        let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        member.write_all(tail.as_bytes()).unwrap();
        file.write_all(&member.finish().unwrap()).unwrap();
        drop(file);
        let before = peak_memory_mb();
        let source = json!({"type": kind, "url": "x.gz", "on_bad_record": "quarantine", "max_quarantined": 1});
        let outcome = copy(&bench, source, json!({"type": "csv", "url": "out.csv"})).await;
        assert_eq!(
            outcome.report().balance.unwrap().rows_quarantined,
            1,
            "{kind}"
        );
        assert!(
            bench
                .read("out.csv")
                .lines()
                .last()
                .unwrap()
                .starts_with('2')
        );
        assert_eq!(
            outcome.quarantine()[0]["record"].as_str().unwrap().len(),
            64 * 1024
        );
        let risen = peak_memory_mb() - before;
        assert!(risen < 200, "{risen} MiB for {kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_of_short_lines_streams_through() {
    let bench = Bench::new();
    bomb(&bench.path("x.csv.gz"), "a\n", b'\n', 24);
    let before = peak_memory_mb();
    let source = json!({"type": "csv", "url": "x.csv.gz"});
    let outcome = copy(&bench, source, json!({"type": "csv", "url": "out.csv"})).await;
    assert_eq!(outcome.report().rows_processed, 0);
    let risen = peak_memory_mb() - before;
    assert!(risen < 100, "{risen} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_columns_are_refused_and_ten_thousand_are_not() {
    let bench = Bench::new();
    bench.write("x.csv", "a,".repeat(1_000_000));
    let error = refused(&bench, json!({"type": "csv", "url": "x.csv"})).await;
    assert!(error.contains("1000001 fields; at most 100000"), "{error}");

    let keys: Vec<_> = (0..200_000).map(|n| format!("\"{n}\":1")).collect();
    bench.write("x.ndjson", format!("{{{}}}\n", keys.join(",")));
    let error = refused(&bench, json!({"type": "ndjson", "url": "x.ndjson"})).await;
    assert!(
        error.contains("200000 different keys; at most 100000"),
        "{error}"
    );

    // All of one name, which is the hardest case for making them distinct.
    let (names, cells) = (vec!["a"; 10_000].join(","), vec!["1"; 10_000].join(","));
    bench.write("x.csv", format!("{names}\n{cells}\n"));
    let source = json!({"type": "csv", "url": "x.csv"});
    let outcome = copy(&bench, source, json!({"type": "csv", "url": "out.csv"})).await;
    assert_eq!(outcome.report().rows_processed, 1);
    let header = bench.read("out.csv");
    assert!(header.starts_with("a,a_2,a_3,"), "{}", &header[..40]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_nothing_but_bad_records_costs_bounded_memory() {
    let bench = Bench::new();
    let before = peak_memory_mb();
    for (text, schema) in [
        ("a\n".to_owned() + &"x,\n".repeat(150_000), json!({})),
        (
            "a\n".to_owned() + &"x\n".repeat(150_000),
            json!({"a": "int64"}),
        ),
    ] {
        bench.write("x.csv", text);
        let source = json!({"type": "csv", "url": "x.csv", "schema": schema, "on_bad_record": "quarantine", "max_quarantined": 150_000});
        let outcome = copy(&bench, source, json!({"type": "csv", "url": "out.csv"})).await;
        assert_eq!(outcome.report().balance.unwrap().rows_quarantined, 150_000);
    }
    let risen = peak_memory_mb() - before;
    assert!(risen < 150, "{risen} MiB");
}

#[tokio::test]
async fn lengths_that_a_file_claims_are_not_believed() {
    let bench = Bench::new();
    // A message of 2 GiB, a body of 2^62 bytes, and a footer longer than the file.
    let mut huge_message = b"ARROW1\0\0".to_vec();
    huge_message.extend([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]);
    bench.write("x.arrow", huge_message);
    let error = refused(&bench, json!({"type": "arrow", "url": "x.arrow"})).await;
    assert!(error.contains("x.arrow"), "{error}");
    let mut huge_footer = b"PAR1".to_vec();
    huge_footer.extend([0; 64]);
    huge_footer.extend(0x7FFF_FFFF_u32.to_le_bytes());
    huge_footer.extend(b"PAR1");
    bench.write("x.parquet", huge_footer);
    let error = refused(&bench, json!({"type": "parquet", "url": "x.parquet"})).await;
    assert!(error.contains("x.parquet"), "{error}");
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_instead_of_waited_for() {
    let bench = Bench::new();
    let pipe = bench.path("pipe.csv");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for kind in ["csv", "ndjson", "parquet", "arrow"] {
        for url in [pipe.to_str().unwrap(), "/dev/zero"] {
            let error = refused(&bench, json!({"type": kind, "url": url})).await;
            assert!(error.contains("no regular file"), "{error}");
        }
    }
}

#[tokio::test]
async fn deeply_nested_json_does_not_exhaust_the_stack() {
    let bench = Bench::new();
    let depth = 1_000_000;
    let nested = format!("{{\"a\":{}{}}}\n", "[".repeat(depth), "]".repeat(depth));
    bench.write("x.ndjson", &nested);
    let source = json!({"type": "ndjson", "url": "x.ndjson"});
    let outcome = copy(
        &bench,
        source,
        json!({"type": "ndjson", "url": "out.ndjson"}),
    )
    .await;
    assert_eq!(outcome.report().rows_processed, 1);
    assert_eq!(bench.read("out.ndjson"), nested);
}
