//! CSV as it is found.

use std::io::Write as _;

use etl_core::model::ErrorClass;
use serde_json::{Value, json};

use crate::testing::{Bench, copy, rows};

/// The rows of a CSV file of this content with these keys beside `type` and `url`.
async fn read(content: impl AsRef<[u8]>, keys: Value) -> Vec<Value> {
    let bench = Bench::new();
    bench.write("x.csv", content);
    rows(&bench, source("x.csv", keys)).await
}

fn source(url: &str, keys: Value) -> Value {
    let mut source = json!({"type": "csv", "url": url});
    source
        .as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    source
}

/// What reading such a file fails with.
async fn failure(content: impl AsRef<[u8]>, keys: Value) -> etl_core::model::StepError {
    let bench = Bench::new();
    bench.write("x.csv", content);
    let sink = json!({"type": "ndjson", "url": "out.ndjson"});
    let outcome = copy(&bench, source("x.csv", keys), sink).await;
    let error = outcome.error();
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
    assert_eq!(bench.list("."), ["x.csv"], "a failed copy leaves nothing");
    outcome.result.unwrap_err()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn types_are_inferred_and_empty_cells_are_null() {
    let content = "i,f,b,d,t,z,s\n\
        1,1.5,true,2013-01-01,2013-01-01 05:00:00,2013-01-01T05:00:00Z,x\n\
        ,,,,,,\n\
        -2,1e3,FALSE,2013-12-31,2013-01-01,2013-01-01T05:00:00+01:00,007x\n";
    assert_eq!(
        read(content, json!({})).await,
        [
            json!({"i": 1, "f": 1.5, "b": true, "d": "2013-01-01", "t": "2013-01-01T05:00:00",
                   "z": "2013-01-01T05:00:00Z", "s": "x"}),
            json!({"i": null, "f": null, "b": null, "d": null, "t": null, "z": null, "s": null}),
            json!({"i": -2, "f": 1000.0, "b": false, "d": "2013-12-31", "t": "2013-01-01T00:00:00",
                   "z": "2013-01-01T04:00:00Z", "s": "007x"}),
        ]
    );
}

#[tokio::test]
async fn any_one_character_delimits_and_quotes() {
    let expected = [json!({"a": 1, "b": "x,;\t|y"})];
    for (content, keys) in [
        ("a;b\n1;\"x,;\t|y\"\n", json!({"delimiter": ";"})),
        ("a\tb\n1\t\"x,;\t|y\"\n", json!({"delimiter": "\t"})),
        ("a\tb\n1\t\"x,;\t|y\"\n", json!({"delimiter": "\\t"})),
        (
            "a|b\n1|'x,;\t|y'\n",
            json!({"delimiter": "|", "quote": "'"}),
        ),
        (
            "a\x01b\n1\x01x,;\t|y\n",
            json!({"delimiter": "\x01", "quote": ""}),
        ),
    ] {
        assert_eq!(read(content, keys.clone()).await, expected, "{keys}");
    }
}

#[tokio::test]
async fn without_quotes_a_quote_is_a_character() {
    let rows = read("a,b\n\"x,y\"\n", json!({"quote": ""})).await;
    assert_eq!(rows, [json!({"a": "\"x", "b": "y\""})]);
}

#[tokio::test]
async fn quoted_fields_hold_line_breaks_and_doubled_quotes() {
    let content = "a,b\r\n\"x\r\ny\",\"say \"\"hi\"\"\"\r\n\"\",\"\"\"\"\r\n";
    assert_eq!(
        read(content, json!({})).await,
        [
            json!({"a": "x\r\ny", "b": "say \"hi\""}),
            json!({"a": "", "b": "\""}),
        ]
    );
}

#[tokio::test]
async fn every_line_ending_ends_a_record_and_the_last_one_is_optional() {
    let expected = [json!({"a": 1, "b": "x"}), json!({"a": 2, "b": "y"})];
    for content in [
        "a,b\n1,x\n2,y\n",
        "a,b\n1,x\n2,y",
        "a,b\r\n1,x\r\n2,y\r\n",
        "a,b\r\n1,x\r\n2,y",
        "a,b\r1,x\r2,y\r",
        "a,b\r1,x\r2,y",
        "\n\na,b\n\n1,x\r\n\r\n2,y\n\n\n",
    ] {
        assert_eq!(read(content, json!({})).await, expected, "{content:?}");
    }
}

#[tokio::test]
async fn without_a_header_columns_are_numbered() {
    let rows = read("1,x\n2,y\n", json!({"header": false})).await;
    assert_eq!(
        rows,
        [
            json!({"column_1": 1, "column_2": "x"}),
            json!({"column_1": 2, "column_2": "y"}),
        ]
    );
}

#[tokio::test]
async fn names_that_are_double_or_missing_become_distinct() {
    let rows = read("a,a,,a_2,a,\n1,2,3,4,5,6\n", json!({})).await;
    assert_eq!(
        rows,
        [json!({"a": 1, "a_3": 2, "column_3": 3, "a_2": 4, "a_4": 5, "column_6": 6})]
    );
}

#[tokio::test]
async fn encodings_are_read_by_their_names_and_a_byte_order_mark_wins() {
    let expected = [json!({"n": "São €"})];
    let utf16: Vec<u8> = "n\nSão €\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut marked = vec![0xFF, 0xFE];
    marked.extend(&utf16);
    for (content, encoding) in [
        ("n\nSão €\n".as_bytes(), "utf-8"),
        ("\u{feff}n\nSão €\n".as_bytes(), "UTF-8"),
        ("\u{feff}n\nSão €\n".as_bytes(), "latin1"),
        (b"n\nS\xe3o \x80\n", "latin1"),
        (b"n\nS\xe3o \x80\n", "iso-8859-1"),
        (b"n\nS\xe3o \x80\n", "windows-1252"),
        (&utf16, "utf-16"),
        (&marked, "utf-8"),
    ] {
        let rows = read(content, json!({"encoding": encoding})).await;
        assert_eq!(rows, expected, "{encoding}");
    }
    for unknown in ["klingon", "", "hz-gb-2312"] {
        let error = failure("n\n1\n", json!({"encoding": unknown})).await;
        assert!(error.message.contains("`encoding`"), "{error}");
        assert!(error.message.contains("WHATWG"), "{error}");
    }
}

#[tokio::test]
async fn numbers_and_times_are_read_as_they_are_written() {
    let keys = json!({
        "delimiter": ";", "decimal": ",", "null_values": ["", "NA", "-"],
        "date_format": "%d/%m/%Y", "timestamp_format": "%d/%m/%Y %H:%M",
    });
    let content =
        "v;d;t;n\n1,5;31/12/2013;31/12/2013 23:59;NA\n-;NA;NA;-\n\"2,0\"; 01/01/2013 ;NA;7\n";
    assert_eq!(
        read(content, keys).await,
        [
            json!({"v": 1.5, "d": "2013-12-31", "t": "2013-12-31T23:59:00", "n": null}),
            json!({"v": null, "d": null, "t": null, "n": null}),
            json!({"v": 2.0, "d": "2013-01-01", "t": null, "n": 7}),
        ]
    );
}

#[tokio::test]
async fn a_schema_sets_types_and_the_rest_is_inferred() {
    let keys = json!({"schema": {
        "code": "string", "price": "decimal(9,2)", "at": "timestamp_tz", "doc": "json", "raw": "binary",
        "flag": "boolean", "day": "date", "local": "timestamp", "f": "float64",
    }});
    let content = "code,price,at,doc,raw,flag,day,local,f,n\n\
        007,10.5,2013-01-01T05:00:00-05:00,\"{\"\"a\"\":[1]}\",00ff,1,2013-01-01,2013-01-01T05:00:00.25,3,4\n\
        ,,,,,,,,,\n";
    assert_eq!(
        read(content, keys).await,
        [
            json!({"code": "007", "price": 10.50, "at": "2013-01-01T10:00:00Z", "doc": {"a": [1]}, "raw": "00ff",
                   "flag": true, "day": "2013-01-01", "local": "2013-01-01T05:00:00.250", "f": 3.0, "n": 4}),
            json!({"code": null, "price": null, "at": null, "doc": null, "raw": null, "flag": null, "day": null,
                   "local": null, "f": null, "n": null}),
        ]
    );
}

#[tokio::test]
async fn a_schema_that_names_no_column_of_the_file_is_refused() {
    let error = failure("a,b\n1,2\n", json!({"schema": {"c": "int64"}})).await;
    assert!(error.message.contains("\"c\""), "{error}");
    assert!(error.message.contains("\"a\", \"b\""), "{error}");
}

#[tokio::test]
async fn a_late_row_that_does_not_fit_is_an_error_with_its_place() {
    let mut content = "id,v\n".to_owned();
    for row in 0..10_500 {
        content.push_str(&format!("{row},1\n"));
    }
    content.push_str("10500,\"two\nlines\"\n");
    let error = failure(content, json!({})).await;
    let place = error.place.clone().unwrap();
    assert!(place.file.unwrap().ends_with("/x.csv"));
    assert_eq!((place.line, place.row), (Some(10_502), Some(10_501)));
    assert_eq!(place.column.as_deref(), Some("v"));
    assert!(error.message.contains("int64"), "{error}");
    assert!(
        !error.message.contains("lines"),
        "values stay out of messages: {error}"
    );
}

#[tokio::test]
async fn absurd_values_do_not_fit_and_nothing_is_guessed() {
    for (column_type, cell) in [
        ("int64", "9223372036854775808"),
        ("int64", "1.0"),
        ("float64", "1e999"),
        ("float64", "1,5"),
        ("decimal(5,2)", "1000.00"),
        ("decimal(5,2)", "1.005"),
        ("decimal(38,0)", &"9".repeat(300)),
        ("date", "99999-01-01"),
        ("date", "2013-02-29"),
        ("timestamp", "2013-01-01T25:00:00"),
        ("timestamp_tz", "2013-01-01T10:00:00+99:00"),
        ("boolean", "maybe"),
        ("binary", "abc"),
        ("json", "{"),
    ] {
        let keys = json!({"schema": {"v": column_type}, "quote": "'"});
        let error = failure(format!("v\n'{cell}'\n"), keys).await;
        assert!(error.message.contains(column_type), "{cell}: {error}");
        assert_eq!(error.place.as_ref().unwrap().line, Some(2), "{cell}");
    }
    // What no number type holds stays text when types are inferred.
    let rows = read("a,b,c\n99999999999999999999,1e999,99999-01-01\n", json!({})).await;
    assert_eq!(
        rows,
        [json!({"a": "99999999999999999999", "b": "1e999", "c": "99999-01-01"})]
    );
}

#[tokio::test]
async fn records_of_another_width_or_form_are_errors_with_their_place() {
    for (content, line, cause) in [
        ("a,b\n1,2\n3\n", 3, "1 fields, not 2"),
        ("a,b\n1,2,3\n", 2, "3 fields, not 2"),
        ("a,b\n1,\"x\ny\"\n3,\"z\"w\n", 4, "after a closing quote"),
        ("a,b\n1,\"x\n\n\n", 2, "never closed"),
        ("a,\"b\n", 1, "never closed"),
    ] {
        let error = failure(content, json!({})).await;
        let cause = cause.replace("after a closing quote", "between a closing quote");
        assert!(error.message.contains(&cause), "{content:?}: {error}");
        assert_eq!(error.place.clone().unwrap().line, Some(line), "{content:?}");
    }
}

#[tokio::test]
async fn text_that_is_not_of_the_encoding_is_an_error_with_its_place() {
    for (content, line) in [
        (&b"a,b\n1,x\n2,\xff\xfe\n"[..], 3),
        (b"a,b\n1,x\n2,\xc3\n3,y\n", 3),
        (b"\xff,b\n1,x\n", 1),
    ] {
        let error = failure(content, json!({})).await;
        assert!(error.message.contains("encoding"), "{error}");
        assert_eq!(error.place.clone().unwrap().line, Some(line), "{error}");
    }
}

#[tokio::test]
async fn a_nul_is_a_character_like_any_other() {
    assert_eq!(read("a\nx\0y\n", json!({})).await, [json!({"a": "x\0y"})]);
}

#[tokio::test]
async fn an_empty_file_is_an_error_and_a_header_alone_is_no_rows() {
    for empty in ["", "\u{feff}", "\n\r\n"] {
        let error = failure(empty, json!({})).await;
        assert!(error.message.contains("empty"), "{error}");
    }
    assert_eq!(read("a,b\n", json!({})).await, Vec::<Value>::new());
    assert_eq!(read("a,b", json!({})).await, Vec::<Value>::new());

    let bench = Bench::new();
    bench.write("x.csv", "a,b\n");
    let sink = json!({"type": "csv", "url": "out.csv"});
    let outcome = copy(&bench, source("x.csv", json!({})), sink).await;
    assert_eq!(outcome.report().rows_processed, 0);
    assert_eq!(bench.read("out.csv"), "a,b\n");
}

#[tokio::test]
async fn a_missing_file_is_an_error_that_names_it() {
    let bench = Bench::new();
    for (url, words) in [
        ("none.csv", "it is not there"),
        ("none-*.csv", "no file matches"),
        ("none/*.csv", "no file matches"),
    ] {
        let sink = json!({"type": "csv", "url": "out.csv"});
        let outcome = copy(&bench, source(url, json!({})), sink).await;
        let error = outcome.error();
        assert_eq!(error.class, ErrorClass::Permanent);
        assert!(error.message.contains(words), "{error}");
        assert!(error.message.contains("none"), "{error}");
    }
}

#[tokio::test]
async fn compression_is_known_by_the_extension_or_told() {
    let content = b"a\n1\n2\n";
    let expected = [json!({"a": 1}), json!({"a": 2})];
    let zstd = zstd::encode_all(&content[..], 3).unwrap();
    let members = [gzip(b"a\n1"), gzip(b""), gzip(b"\n2\n")].concat();
    let frames = [
        zstd::encode_all(&b"a\n1"[..], 3).unwrap(),
        zstd::encode_all(&b"\n2\n"[..], 3).unwrap(),
    ]
    .concat();
    let bench = Bench::new();
    for (name, bytes, keys) in [
        ("x.csv.gz", &gzip(content), json!({})),
        ("x.CSV.GZ", &gzip(content), json!({})),
        ("members.csv.gz", &members, json!({})),
        ("x.csv.zst", &zstd, json!({})),
        ("frames.csv.zst", &frames, json!({})),
        ("gzip.csv", &gzip(content), json!({"compression": "gzip"})),
        ("zstd.gz", &zstd, json!({"compression": "zstd"})),
        (
            "plain.gz",
            &content.to_vec(),
            json!({"compression": "none"}),
        ),
    ] {
        bench.write(name, bytes);
        assert_eq!(rows(&bench, source(name, keys)).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_damaged_archive_is_a_permanent_error_that_names_the_file() {
    let text: String = (0..20_000).map(|n| format!("{n},{}\n", n * 7919)).collect();
    let text = format!("a,b\n{text}");
    let gzipped = gzip(text.as_bytes());
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let flipped = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0x55);
        bytes
    };
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    for (name, bytes) in [
        ("flipped.csv.gz", flipped(&gzipped)),
        ("half.csv.gz", half(&gzipped)),
        ("plain.csv.gz", text.clone().into_bytes()),
        ("flipped.csv.zst", flipped(&zstd)),
        ("half.csv.zst", half(&zstd)),
        ("plain.csv.zst", text.clone().into_bytes()),
    ] {
        let bench = Bench::new();
        bench.write(name, bytes);
        let sink = json!({"type": "csv", "url": "out.csv"});
        let outcome = copy(&bench, source(name, json!({})), sink).await;
        let error = outcome.error();
        assert_eq!(error.class, ErrorClass::Permanent, "{name}: {error}");
        let place = error.place.as_ref().and_then(|place| place.file.clone());
        let named = format!("{error} {}", place.unwrap_or_default());
        assert!(named.contains(name), "{named}");
        assert_eq!(bench.list("."), [name]);
    }
}

#[tokio::test]
async fn many_files_are_read_as_one_by_the_names_of_their_columns() {
    let bench = Bench::new();
    bench.write("in/2.csv", "b,a\nx,2\n");
    bench.write("in/1.csv", "a,b\n1,w\n");
    bench.write("in/3.csv", "");
    bench.write("in/4.csv.gz", gzip(b"a,b\n3,y\n"));
    bench.write("in/.hidden.csv", "c\n1\n");
    let expected = [
        json!({"a": 1, "b": "w"}),
        json!({"a": 2, "b": "x"}),
        json!({"a": 3, "b": "y"}),
    ];
    for url in ["in/*", "in", "in/", "in/*.csv*", "**/*.csv*"] {
        assert_eq!(
            rows(&bench, source(url, json!({}))).await,
            expected,
            "{url}"
        );
    }

    for (columns, words) in [("a", "lacks \"b\""), ("a,b,c", "also has \"c\"")] {
        bench.write("in/5.csv", format!("{columns}\n"));
        let sink = json!({"type": "csv", "url": "out.csv"});
        let outcome = copy(&bench, source("in/*", json!({})), sink).await;
        let error = outcome.error();
        assert!(error.message.contains(words), "{error}");
        assert!(
            error
                .place
                .as_ref()
                .unwrap()
                .file
                .as_ref()
                .unwrap()
                .ends_with("5.csv")
        );
    }
}

#[tokio::test]
async fn bad_records_are_set_aside_with_place_cause_and_text_up_to_a_bound() {
    let bench = Bench::new();
    let content = b"a,b\n1,x\n2\nthree,y\n4,\xff\n\"5\"5,z\n6,w\n";
    bench.write("x.csv", content);
    let keys = |max: u64| json!({"schema": {"a": "int64"}, "on_bad_record": "quarantine", "max_quarantined": max});
    let sink = json!({"type": "csv", "url": "out.csv"});
    let outcome = copy(&bench, source("x.csv", keys(4)), sink.clone()).await;
    let balance = outcome.report().balance.unwrap();
    assert_eq!(
        (
            balance.rows_read,
            balance.rows_loaded,
            balance.rows_quarantined,
            balance.rows_filtered
        ),
        (6, 2, 4, 0)
    );
    assert_eq!(bench.read("out.csv"), "a,b\n1,x\n6,w\n");

    let records = outcome.quarantine();
    let summary: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record["place"]["line"].as_u64().unwrap(),
                record["place"]["row"].as_u64().unwrap(),
                record["record"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        summary,
        [
            (3, 2, "2"),
            (4, 3, "three,y"),
            (5, 4, "4,\u{fffd}"),
            (6, 5, "\"5\"5,z")
        ]
    );
    assert_eq!(records[1]["place"]["column"], "a");
    assert!(
        records
            .iter()
            .all(|record| !record["cause"].as_str().unwrap().is_empty())
    );

    // One more than is allowed fails the step, with the place of the one.
    bench.write("x.csv", content);
    let outcome = copy(&bench, source("x.csv", keys(3)), sink).await;
    let error = outcome.error();
    assert!(error.message.contains("`max_quarantined` (3)"), "{error}");
    assert_eq!(error.place.as_ref().unwrap().line, Some(6));
}

#[tokio::test]
async fn the_balance_counts_what_a_query_leaves_out() {
    let bench = Bench::new();
    let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
    bench.write("x.csv", format!("n\n{lines}bad\n"));
    let config = json!({
        "source": source("x.csv", json!({"schema": {"n": "int64"}, "on_bad_record": "quarantine", "max_quarantined": 1})),
        "query": "SELECT n FROM source WHERE n % 2 = 0",
        "sink": {"type": "csv", "url": "out.csv"},
    });
    let outcome = bench.run("copy", config).await;
    let balance = outcome.report().balance.unwrap();
    assert_eq!(
        (
            balance.rows_read,
            balance.rows_loaded,
            balance.rows_quarantined,
            balance.rows_filtered
        ),
        (5001, 2500, 1, 2500)
    );
}

#[tokio::test]
async fn the_sink_writes_what_the_source_reads() {
    let bench = Bench::new();
    let schema = json!({
        "s": "string", "i": "int64", "f": "float64", "d": "decimal(38,4)", "b": "boolean", "day": "date",
        "t": "timestamp", "z": "timestamp_tz", "raw": "binary", "doc": "json",
    });
    bench.write(
        "x.ndjson",
        [
            r#"{"s":"a;b \"q\"\n,","i":-9223372036854775808,"f":1e-300,"d":"1234567890123456789012345678901234.5678","b":true,"day":"0001-01-01","t":"1969-12-31T23:59:59.999999","z":"2013-01-01T00:00:00Z","raw":"00ff","doc":{"a":[1,"x"]}}"#,
            r#"{"s":"","i":null,"f":null,"d":null,"b":null,"day":null,"t":null,"z":null,"raw":null,"doc":null}"#,
            r#"{"s":null,"i":9223372036854775807,"f":-0.1,"d":"-0.0001","b":false,"day":"9999-12-31","t":"9999-12-31T23:59:59","z":"1900-02-28T00:00:00.5Z","raw":"","doc":"text"}"#,
            r#"{"s":" São € ","i":0,"f":2,"d":"5","b":true,"day":"2012-02-29","t":"2012-02-29T00:00:00","z":"2012-02-29T00:00:00Z","raw":"aB","doc":[null]}"#,
        ]
        .join("\n"),
    );
    let from = json!({"type": "ndjson", "url": "x.ndjson", "schema": schema});
    let mut expected = rows(&bench, from.clone()).await;
    // An empty cell of another type than text is null however it is quoted.
    expected[2]["raw"] = Value::Null;
    for (name, keys) in [
        ("a.csv", json!({})),
        ("b.csv.gz", json!({"delimiter": ";", "decimal": ","})),
        (
            "c.csv.zst",
            json!({"quote": "'", "encoding": "windows-1252"}),
        ),
        (
            "d.csv",
            json!({"encoding": "utf-16le", "null_values": ["NULL", ""]}),
        ),
        (
            "e.csv",
            json!({"date_format": "%d/%m/%Y", "timestamp_format": "%Y-%m-%d %H:%M:%S%.f%:z", "delimiter": "|"}),
        ),
    ] {
        let sink = source(name, keys.clone());
        if name == "e.csv" {
            // A pattern with an offset has nothing to write for a time of no zone.
            let outcome = copy(&bench, from.clone(), sink).await;
            assert!(
                outcome.error().message.contains("pattern"),
                "{}",
                outcome.error()
            );
            continue;
        }
        let outcome = copy(&bench, from.clone(), sink).await;
        assert_eq!(outcome.report().rows_processed, 4, "{name}");
        let mut keys = keys;
        keys["schema"] = schema.clone();
        assert_eq!(rows(&bench, source(name, keys)).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_column_of_one_keeps_its_rows() {
    let bench = Bench::new();
    bench.write("x.ndjson", "{\"a\":1}\n{\"a\":null}\n{\"a\":3}\n");
    let from = json!({"type": "ndjson", "url": "x.ndjson"});
    copy(&bench, from.clone(), source("x.csv", json!({})))
        .await
        .report();
    assert_eq!(bench.read("x.csv"), "a\n1\n\"\"\n3\n");
    let expected = [json!({"a": 1}), json!({"a": null}), json!({"a": 3})];
    assert_eq!(rows(&bench, source("x.csv", json!({}))).await, expected);

    let outcome = copy(&bench, from.clone(), source("y.csv", json!({"quote": ""}))).await;
    assert!(outcome.error().message.contains("null_values"));
    copy(
        &bench,
        from,
        source("y.csv", json!({"quote": "", "null_values": ["NA"]})),
    )
    .await
    .report();
    assert_eq!(bench.read("y.csv"), "a\n1\nNA\n3\n");
}

#[tokio::test]
async fn text_that_the_encoding_lacks_or_quotes_would_need_fails_the_step() {
    let bench = Bench::new();
    bench.write("x.ndjson", "{\"a\":\"日本\"}\n");
    let from = json!({"type": "ndjson", "url": "x.ndjson"});
    let outcome = copy(
        &bench,
        from.clone(),
        source("x.csv", json!({"encoding": "latin1"})),
    )
    .await;
    assert!(
        outcome.error().message.contains("U+65E5"),
        "{}",
        outcome.error()
    );
    bench.write("x.ndjson", "{\"a\":\"x,y\"}\n");
    let outcome = copy(&bench, from, source("x.csv", json!({"quote": ""}))).await;
    assert!(
        outcome.error().message.contains("`quote`"),
        "{}",
        outcome.error()
    );
    assert_eq!(bench.list("."), ["x.ndjson"]);
}

#[tokio::test]
async fn a_configuration_is_checked_before_it_runs() {
    for (keys, key) in [
        (json!({"delimiter": ""}), "delimiter"),
        (json!({"delimiter": "||"}), "delimiter"),
        (json!({"delimiter": "é"}), "delimiter"),
        (json!({"delimiter": "\n"}), "delimiter"),
        (json!({"quote": ","}), "quote"),
        (json!({"decimal": ";"}), "decimal"),
        (json!({"date_format": "%"}), "date_format"),
        (json!({"timestamp_format": "%Q"}), "timestamp_format"),
    ] {
        let error = failure("a\n1\n", keys.clone()).await;
        assert!(
            error.message.contains(&format!("`{key}`")),
            "{keys}: {error}"
        );
    }
}
