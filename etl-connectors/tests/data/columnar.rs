//! Parquet and Arrow.

use std::fmt::Write as _;

use etl_core::model::ErrorClass;
use serde_json::{Value, json};

use crate::testing::{Bench, copy, rows};

const SCHEMA: &str = r#"{"s":"string","i":"int64","f":"float64","d":"decimal(20,4)","b":"boolean","day":"date",
    "t":"timestamp","z":"timestamp_tz","raw":"binary","doc":"json"}"#;

/// A source with all types of columns, with nulls.
fn everything(bench: &Bench) -> Value {
    let mut lines = String::new();
    for n in 0..100 {
        if n % 3 == 0 {
            lines.push_str("{}\n");
        } else {
            let _ = writeln!(
                lines,
                r#"{{"s":"é {n}","i":{n},"f":{n}.25,"d":"{n}.0001","b":{},"day":"2013-01-{:02}","t":"2013-01-01T00:00:{:02}.5","z":"2013-01-01T00:00:{:02}Z","raw":"00{n:02x}","doc":{{"n":[{n}]}}}}"#,
                n % 2 == 0,
                n % 28 + 1,
                n % 60,
                n % 60,
            );
        }
    }
    bench.write("x.ndjson", lines);
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    json!({"type": "ndjson", "url": "x.ndjson", "schema": schema})
}

#[tokio::test]
async fn every_type_and_null_comes_back_from_parquet_and_arrow() {
    let bench = Bench::new();
    let from = everything(&bench);
    let expected = rows(&bench, from.clone()).await;
    assert_eq!(expected.len(), 100);
    for sink in [
        json!({"type": "parquet", "url": "a.parquet"}),
        json!({"type": "parquet", "url": "b.parquet", "compression": "snappy", "row_group_rows": 7}),
        json!({"type": "parquet", "url": "c.parquet", "compression": "gzip"}),
        json!({"type": "parquet", "url": "d.parquet", "compression": "lz4"}),
        json!({"type": "parquet", "url": "e.parquet", "compression": "none"}),
        json!({"type": "parquet", "url": "folder/"}),
        json!({"type": "arrow", "url": "a.arrow"}),
        json!({"type": "arrow", "url": "b.arrow.gz"}),
        json!({"type": "arrow", "url": "c.arrow.zst"}),
    ] {
        let outcome = copy(&bench, from.clone(), sink.clone()).await;
        assert_eq!(outcome.report().rows_processed, 100, "{sink}");
        // Through a copy, so that our own reader reads it and not the query engine's.
        let back = json!({"type": sink["type"], "url": sink["url"]});
        let again = json!({"type": "arrow", "url": "again.arrow"});
        let outcome = copy(&bench, back, again.clone()).await;
        let balance = outcome.report().balance.unwrap();
        assert_eq!((balance.rows_read, balance.rows_loaded), (100, 100));
        assert_eq!(rows(&bench, again).await, expected, "{sink}");
    }
}

#[tokio::test]
async fn row_groups_have_the_rows_that_were_asked_for() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    let bench = Bench::new();
    let from = everything(&bench);
    let sink =
        json!({"type": "parquet", "url": "a.parquet", "row_group_rows": 30, "compression": "zstd"});
    copy(&bench, from, sink).await.report();
    let file = std::fs::File::open(bench.path("a.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let groups = reader.metadata().row_groups();
    let rows: Vec<_> = groups
        .iter()
        .map(::parquet::file::metadata::RowGroupMetaData::num_rows)
        .collect();
    assert_eq!(rows, [30, 30, 30, 10]);
    let codec = groups[0].column(0).compression();
    assert!(
        matches!(codec, parquet::basic::Compression::ZSTD(_)),
        "{codec:?}"
    );
}

#[tokio::test]
async fn partitions_are_folders_whatever_their_values_are() {
    let odd = [
        "a/b",
        "..",
        "x=y%2F",
        "São Paulo",
        "a:b*?\"",
        "\\",
        "\u{7f}\n",
        "007",
        " ",
    ];
    for bench in [Bench::new(), Bench::in_memory()] {
        let mut lines = String::new();
        for (n, text) in odd.iter().enumerate() {
            lines.push_str(&format!("{}\n", json!({"n": n, "k": text, "y": 2013})));
        }
        lines.push_str("{\"n\":99,\"k\":null,\"y\":null}\n");
        bench.write("x.ndjson", lines);
        let from = json!({"type": "ndjson", "url": "x.ndjson"});
        let sink = json!({"type": "parquet", "url": "artifact://out", "partition_by": ["y", "k"]});
        let outcome = copy(&bench, from, sink).await;
        let files = outcome.report().output["files"].as_array().unwrap().clone();
        assert_eq!(files.len(), 10);
        let null = files.iter().find(|file| {
            let file = file.as_str().unwrap();
            file.contains(
                "/y=__HIVE_DEFAULT_PARTITION__/k=__HIVE_DEFAULT_PARTITION__/part-0.parquet",
            )
        });
        assert!(null.is_some(), "{files:?}");

        let root = outcome.artifact("out");
        let mut found = rows(&bench, json!({"type": "parquet", "url": root})).await;
        found.sort_by_key(|row| row["n"].as_u64());
        for (row, text) in found.iter().zip(odd) {
            assert_eq!(row["k"], text, "{row}");
            assert_eq!(row["y"], 2013);
        }
        assert_eq!(found[9], json!({"n": 99, "y": null, "k": null}));
        // Each file is found under the name that the output gives it.
        for file in files {
            let source = json!({"type": "parquet", "url": file});
            assert_eq!(rows(&bench, source).await.len(), 1, "{file}");
        }
    }
}

#[tokio::test]
async fn partition_columns_must_be_there_and_leave_one_for_the_files() {
    let bench = Bench::new();
    bench.write("x.ndjson", "{\"a\":1,\"b\":2}\n");
    let from = json!({"type": "ndjson", "url": "x.ndjson"});
    for (columns, words) in [(json!(["c"]), "\"c\""), (json!(["a", "b"]), "at least one")] {
        let sink = json!({"type": "parquet", "url": "out", "partition_by": columns});
        let outcome = copy(&bench, from.clone(), sink).await;
        assert!(
            outcome.error().message.contains(words),
            "{}",
            outcome.error()
        );
    }
    assert_eq!(bench.list("."), ["x.ndjson"]);
}

#[tokio::test]
async fn more_partitions_than_files_may_be_open_lose_no_row() {
    let bench = Bench::new();
    // Enough text for several batches.
    let filler = "x".repeat(200);
    let lines: String = (0..12_000)
        .map(|n| format!("{{\"n\":{n},\"k\":{},\"t\":\"{filler}\"}}\n", n * 7 % 300))
        .collect();
    bench.write("x.ndjson", lines);
    let from = json!({"type": "ndjson", "url": "x.ndjson"});
    let sink = json!({"type": "parquet", "url": "out", "partition_by": ["k"]});
    let outcome = copy(&bench, from, sink).await;
    assert_eq!(outcome.report().rows_processed, 12_000);
    let config = json!({
        "inputs": {"t": {"type": "parquet", "url": "out"}},
        "query": "SELECT count(*) AS rows, count(DISTINCT n) AS numbers, count(DISTINCT k) AS keys FROM t",
    });
    let outcome = bench.run("sql", config).await;
    assert_eq!(
        outcome.report().output["rows"],
        json!([{"rows": 12_000, "numbers": 12_000, "keys": 300}])
    );
    // However the rows are sorted: a folder is not cut into a file for every few rows.
    let files = files_below(&bench, "out");
    assert_eq!(files, 300);
}

/// How many files lie in the folders of a folder.
fn files_below(bench: &Bench, folder: &str) -> usize {
    let folders = bench.list(folder);
    folders
        .iter()
        .map(|name| bench.list(&format!("{folder}/{name}")).len())
        .sum()
}

#[tokio::test]
async fn files_are_read_as_one_if_no_value_changes_for_it() {
    let bench = Bench::new();
    let write = async |name: &str, content: &str, schema: Value| {
        bench.write("x.ndjson", content);
        let from = json!({"type": "ndjson", "url": "x.ndjson", "schema": schema});
        let sink = json!({"type": "parquet", "url": name});
        copy(&bench, from, sink).await.report();
    };
    let read = async || {
        let sink = json!({"type": "ndjson", "url": "out.ndjson"});
        copy(
            &bench,
            json!({"type": "parquet", "url": "in/*.parquet"}),
            sink,
        )
        .await
    };
    write("in/1.parquet", "{\"a\":1,\"b\":\"x\"}", json!({})).await;
    write("in/2.parquet", "{\"a\":2.0}", json!({"a": "float64"})).await;
    read().await.report();
    assert_eq!(
        bench.read("out.ndjson"),
        "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":null}\n"
    );
    for (content, words) in [
        ("{\"a\":2.5}", "not every value is both"),
        ("{\"a\":1e300}", "not every value is both"),
        ("{\"a\":\"x\"}", "not every value is both"),
        ("{\"a\":1,\"c\":1}", "also has \"c\""),
    ] {
        write("in/2.parquet", content, json!({})).await;
        let outcome = read().await;
        let error = outcome.error();
        assert_eq!(error.class, ErrorClass::Permanent);
        assert!(error.message.contains(words), "{content}: {error}");
        let place = error.place.clone().unwrap();
        assert!(place.file.unwrap().ends_with("in/2.parquet"));
    }
}

#[tokio::test]
async fn a_damaged_file_is_a_permanent_error_that_names_it() {
    for name in ["x.parquet", "x.arrow"] {
        let bench = Bench::new();
        let from = everything(&bench);
        let kind = name.split_once('.').unwrap().1;
        let at = json!({"type": kind, "url": name});
        copy(&bench, from, at.clone()).await.report();
        let good = std::fs::read(bench.path(name)).unwrap();
        let mut damaged = vec![
            (Vec::new(), true),
            (
                b"not a table at all, but long enough to be looked at".to_vec(),
                true,
            ),
            (good[..4].to_vec(), true),
            (good[..good.len() / 2].to_vec(), true),
            (good[..good.len() - 1].to_vec(), true),
        ];
        // Any byte may be any other; most of that is found, and none of it may end the process. The seed makes it repeatable.
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as usize
        };
        for _ in 0..300 {
            let mut bytes = good.clone();
            for _ in 0..=random() % 3 {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
            damaged.push((bytes, false));
        }
        for (bytes, must_fail) in damaged {
            bench.write(name, &bytes);
            let outcome = copy(
                &bench,
                at.clone(),
                json!({"type": "arrow", "url": "out.arrow"}),
            )
            .await;
            match &outcome.result {
                Ok(_) => assert!(!must_fail, "{} bytes of {name} were taken", bytes.len()),
                Err(error) => {
                    let place = error.place.as_ref().and_then(|place| place.file.clone());
                    let named = format!("{error} {}", place.unwrap_or_default());
                    assert!(named.contains(name), "{named}");
                    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn no_rows_are_a_file_with_columns() {
    let bench = Bench::new();
    bench.write("x.csv", "a,b\n");
    for kind in ["parquet", "arrow"] {
        let at = json!({"type": kind, "url": format!("x.{kind}")});
        copy(&bench, json!({"type": "csv", "url": "x.csv"}), at.clone())
            .await
            .report();
        let csv = json!({"type": "csv", "url": "back.csv"});
        copy(&bench, at, csv).await.report();
        assert_eq!(bench.read("back.csv"), "a,b\n", "{kind}");
    }
}
