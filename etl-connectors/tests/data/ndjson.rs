//! One JSON object a line.

use etl_core::model::{ErrorClass, StepError};
use serde_json::{Value, json};

use crate::testing::{Bench, copy, rows};

fn source(url: &str, keys: Value) -> Value {
    let mut source = json!({"type": "ndjson", "url": url});
    source
        .as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    source
}

async fn read(content: impl AsRef<[u8]>, keys: Value) -> Vec<Value> {
    let bench = Bench::new();
    bench.write("x.ndjson", content);
    rows(&bench, source("x.ndjson", keys)).await
}

async fn failure(content: impl AsRef<[u8]>, keys: Value) -> StepError {
    let bench = Bench::new();
    bench.write("x.ndjson", content);
    let sink = json!({"type": "csv", "url": "out.csv"});
    let outcome = copy(&bench, source("x.ndjson", keys), sink).await;
    let error = outcome.error();
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
    assert_eq!(bench.list("."), ["x.ndjson"]);
    outcome.result.unwrap_err()
}

#[tokio::test]
async fn values_keep_their_types_and_missing_keys_are_null() {
    let content = r#"{"i":1,"f":1.5,"b":true,"s":"x","o":{"a":[1,2]},"l":[{"x":null}]}
{"s":"y"}
{"o":null,"b":false,"i":null}
"#;
    assert_eq!(
        read(content, json!({})).await,
        [
            json!({"i": 1, "f": 1.5, "b": true, "s": "x", "o": {"a": [1, 2]}, "l": [{"x": null}]}),
            json!({"i": null, "f": null, "b": null, "s": "y", "o": null, "l": null}),
            json!({"i": null, "f": null, "b": false, "s": null, "o": null, "l": null}),
        ]
    );
}

#[tokio::test]
async fn a_column_gets_the_type_that_holds_all_its_values() {
    let content = r#"{"n":1,"s":1,"j":1,"u":1,"z":null}
{"n":2.5,"s":"x","j":[2],"u":18446744073709551615,"z":null}
"#;
    assert_eq!(
        read(content, json!({})).await,
        [
            json!({"n": 1.0, "s": "1", "j": 1, "u": "1", "z": null}),
            json!({"n": 2.5, "s": "x", "j": [2], "u": "18446744073709551615", "z": null}),
        ]
    );
}

#[tokio::test]
async fn escapes_spaces_and_line_endings_are_json_s() {
    let content = "\u{feff}\r\n  {\"a\" : \"x\\ny \\u00e9 \\\"\", \"\\u0062\" : \"\\ud83d\\ude00\"}  \r\n\n \t \n{\"b\":\"z\"}";
    assert_eq!(
        read(content, json!({})).await,
        [
            json!({"a": "x\ny é \"", "b": "😀"}),
            json!({"a": null, "b": "z"}),
        ]
    );
}

#[tokio::test]
async fn a_schema_sets_types_also_of_keys_that_are_not_there() {
    let keys = json!({"schema": {"at": "timestamp_tz", "price": "decimal(9,2)", "later": "int64", "o": "string"}});
    let content = "{\"at\":\"2013-01-01T01:00:00+01:00\",\"price\":1.5,\"o\":{\"a\":1}}\n";
    assert_eq!(
        read(content, keys.clone()).await,
        [json!({"at": "2013-01-01T00:00:00Z", "price": 1.5, "later": null, "o": "{\"a\":1}"})]
    );
    assert_eq!(read("", keys).await, Vec::<Value>::new());
    let error = failure("\n\n", json!({})).await;
    assert!(error.message.contains("`schema`"), "{error}");
    let error = failure("\nnothing of it is JSON\n", json!({})).await;
    assert!(error.message.contains("not valid JSON"), "{error}");
    assert_eq!(error.place.unwrap().line, Some(2));
}

#[tokio::test]
async fn a_bad_line_is_an_error_with_its_number() {
    for (line, cause) in [
        (&br#"{"a":1"#[..], "ends in the middle"),
        (br#"{"a":}"#, "not valid JSON at its byte 6"),
        (b"[1]", "no JSON object"),
        (b"1", "no JSON object"),
        (br#"{"a":1}{"a":2}"#, "not valid JSON"),
        (br#"{"a":"x"}"#, "no int64"),
        (br#"{"a":1.5}"#, "no int64"),
        (br#"{"a":1e999}"#, "no int64"),
        (br#"{"a":NaN}"#, "not valid JSON"),
        (br#"{"a":1,"a":2}"#, "is there twice"),
        (br#"{"a":null,"a":2}"#, "is there twice"),
        (br#"{"a":1,"new":2}"#, "\"new\" was not in the first rows"),
        (b"{\"a\":1,\"s\":\"\xff\"}", "not valid JSON"),
        (
            br#"{"a":1,"s":"\ud800"}"#,
            "escape that stands for no character",
        ),
        (b"{\"a\":\0}", "not valid JSON"),
    ] {
        let mut content = "{\"a\":1,\"s\":\"x\"}\n".repeat(10_500).into_bytes();
        content.extend_from_slice(b"\n");
        content.extend_from_slice(line);
        content.extend_from_slice(b"\n{\"a\":2}\n");
        let error = failure(content, json!({})).await;
        let shown = String::from_utf8_lossy(line);
        assert!(error.message.contains(cause), "{shown}: {error}");
        let place = error.place.clone().unwrap();
        assert_eq!(
            (place.line, place.row),
            (Some(10_502), Some(10_501)),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn bad_lines_are_set_aside_and_the_balance_holds() {
    let bench = Bench::new();
    bench.write(
        "x.ndjson",
        "{\"a\":1}\n{\"a\":\n\n{\"a\":\"x\"}\r\n{\"a\":2}\n",
    );
    let keys =
        json!({"schema": {"a": "int64"}, "on_bad_record": "quarantine", "max_quarantined": 2});
    let sink = json!({"type": "ndjson", "url": "out.ndjson"});
    let outcome = copy(&bench, source("x.ndjson", keys), sink).await;
    let balance = outcome.report().balance.unwrap();
    assert_eq!(
        (
            balance.rows_read,
            balance.rows_loaded,
            balance.rows_quarantined,
            balance.rows_filtered
        ),
        (4, 2, 2, 0)
    );
    assert_eq!(bench.read("out.ndjson"), "{\"a\":1}\n{\"a\":2}\n");
    let records = outcome.quarantine();
    assert_eq!(records[0]["record"], "{\"a\":");
    assert_eq!(records[0]["place"]["line"], 2);
    assert_eq!(records[1]["record"], "{\"a\":\"x\"}");
    assert_eq!(records[1]["place"]["line"], 4);
    assert_eq!(records[1]["place"]["column"], "a");
}

#[tokio::test]
async fn the_sink_writes_what_the_source_reads() {
    let bench = Bench::new();
    let content = r#"{"s":"x\ny \"é\" 😀","i":-1,"f":0.5,"b":true,"o":{"a":[1,{"b":"\n"}]},"day":"2013-01-01"}
{"s":null,"i":null,"f":null,"b":null,"o":null,"day":null}
"#;
    bench.write("x.ndjson", content);
    for name in ["y.ndjson", "y.ndjson.gz", "y.ndjson.zst"] {
        let outcome = copy(
            &bench,
            source("x.ndjson", json!({})),
            source(name, json!({})),
        )
        .await;
        assert_eq!(outcome.report().rows_processed, 2);
        assert_eq!(
            rows(&bench, source(name, json!({}))).await,
            rows(&bench, source("x.ndjson", json!({}))).await,
            "{name}"
        );
    }
    assert_eq!(bench.read("y.ndjson"), content);
}

#[tokio::test]
async fn a_long_line_is_a_record_like_any_other() {
    let text = "x".repeat(3 * 1024 * 1024);
    let content = format!("{{\"a\":1}}\n{{\"a\":2,\"t\":\"{text}\"}}\n{{\"a\":3}}\n");
    let found = read(content, json!({})).await;
    assert_eq!(found.len(), 3);
    assert_eq!(found[1]["t"].as_str().unwrap().len(), text.len());
    assert_eq!(found[2]["a"], 3);
}
