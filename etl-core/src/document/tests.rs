//! What a text says, and where.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::yaml::load;
use super::{Place, read};
use crate::model::{ForEach, MAX_DOCUMENT_BYTES, TriggerRule, When};

fn value(text: &str) -> Value {
    let loaded = load(text).unwrap_or_else(|fault| panic!("{text:?}: {fault:?}"));
    assert_eq!(loaded.faults, [], "{text:?}");
    loaded.value
}

/// Every fault as `line:column pointer message`.
fn faults(text: &str) -> Vec<String> {
    let line = |fault: super::LocatedFault| {
        let (line, column) = (fault.line, fault.column);
        format!(
            "{line}:{column} {} {}",
            fault.fault.pointer, fault.fault.message
        )
    };
    read(text).faults.into_iter().map(line).collect()
}

#[test]
fn plain_scalars_have_the_types_of_yaml_1_2_and_quoted_ones_are_text() {
    for (text, expected) in [
        ("", json!(null)),
        ("~", json!(null)),
        ("null", json!(null)),
        ("true", json!(true)),
        ("False", json!(false)),
        ("yes", json!("yes")),
        ("no", json!("no")),
        ("on", json!("on")),
        ("12", json!(12)),
        ("-12", json!(-12)),
        ("+12", json!(12)),
        ("012", json!(12)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("0x+5", json!("0x+5")),
        ("0o9", json!("0o9")),
        ("1_000", json!("1_000")),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("1e3", json!(1000.0)),
        ("1.2.3", json!("1.2.3")),
        ("2024-01-01", json!("2024-01-01")),
        ("12:30:45", json!("12:30:45")),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("'12'", json!("12")),
        ("\"true\"", json!("true")),
        ("!!str 12", json!("12")),
        ("! 12", json!("12")),
        ("!!int 12", json!(12)),
        ("!!float 3", json!(3)),
        ("!!seq [1]", json!([1])),
        ("!!map {a: 1}", json!({ "a": 1 })),
    ] {
        assert_eq!(value(&format!("x: {text}"))["x"], expected, "{text:?}");
    }
}

#[test]
fn block_texts_and_foldings_are_what_yaml_says() {
    let text = "a: |\n  one\n  two\nb: >-\n  one\n  two\nc: 'it''s'\nd: \"tab\\t\\u00e9\"\n";
    assert_eq!(
        value(text),
        json!({ "a": "one\ntwo\n", "b": "one two", "c": "it's", "d": "tab\té" })
    );
}

#[test]
fn a_number_that_does_not_fit_is_neither_rounded_nor_taken_for_text() {
    for number in ["99999999999999999999", "1e999", "-.inf", ".nan"] {
        let found = faults(&format!("name: p\nsteps: []\npriority: {number}\n"));
        let expected = format!("3:11 /priority the number {number} does not fit into 64 bits");
        assert_eq!(found[0], expected);
    }
}

#[test]
fn tags_that_mean_nothing_here_are_faults_at_their_place() {
    let found = faults(
        "name: !secret p\nsteps: !!set {a}\ntags: [!!int seven]\ndescription: !!binary aGk=\n",
    );
    for expected in [
        "1:7 /name the tag !secret is not supported",
        "2:8 /steps the tag !!set is not supported",
        "3:8 /tags/0 \"seven\" is tagged as int and is none",
        "4:14 /description the tag !!binary is not supported",
    ] {
        let (place, message) = expected.split_once(' ').unwrap();
        // The place of a tagged value is its tag's or its text's.
        let line = place.split(':').next().unwrap();
        assert!(
            found
                .iter()
                .any(|fault| fault.starts_with(&format!("{line}:")) && fault.ends_with(message)),
            "{expected} in {found:#?}"
        );
    }
}

#[test]
fn json_is_read_as_json_with_its_own_places() {
    let text = "{\n\t\"name\": \"p\",\n\t\"description\": \"say \\\"hi\\\" \\/ \\u00e9 \\ud83d\\ude00\", \"x\": 1,\n\t\"tags\": [\"a\",\"b\"],\"steps\": []\n}\n";
    let read = read(text);
    let document = read.document.unwrap();
    assert_eq!(
        document.pipeline.description.as_deref(),
        Some("say \"hi\" / é 😀")
    );
    assert_eq!(document.pipeline.tags, ["a", "b"]);
    let fault = &read.faults[0];
    assert_eq!((fault.line, fault.column), (3, 54), "{fault:?}");
    assert_eq!(fault.fault.message, "unknown key \"x\"");
}

#[test]
fn half_a_surrogate_pair_is_refused_and_an_escaped_backslash_is_no_escape() {
    assert!(load("{\"a\": \"\\ud83d\"}").is_err());
    assert_eq!(
        value("{\"a\": \"\\\\ud83d\\\\ude00\"}")["a"],
        "\\ud83d\\ude00"
    );
    assert_eq!(value("a: '\\ud83d\\ude00'")["a"], "\\ud83d\\ude00");
}

#[test]
fn every_key_and_value_has_its_place_counted_in_characters() {
    let text = "\u{feff}name: ação\nção: 1\ntags: [é, \"ü\" , x]\nsteps:\n  - name: a\n    config: {\n      k: [1, {é: 2}]\n    }\n";
    let loaded = load(text).unwrap();
    let at = |place: Place| (place.line, place.column);
    for (pointer, key, value) in [
        ("/name", (1, 1), (1, 7)),
        ("/ção", (2, 1), (2, 6)),
        ("/tags/1", (3, 11), (3, 11)),
        ("/tags/2", (3, 17), (3, 17)),
        ("/steps/0", (5, 5), (5, 5)),
        ("/steps/0/name", (5, 5), (5, 11)),
        ("/steps/0/config", (6, 5), (6, 13)),
        ("/steps/0/config/k/1/é", (7, 15), (7, 18)),
    ] {
        assert_eq!(at(loaded.places.of(pointer)), key, "key {pointer}");
        assert_eq!(
            at(loaded.places.of_value(pointer)),
            value,
            "value {pointer}"
        );
    }
    // What is not there is shown at what it would be part of.
    assert_eq!(at(loaded.places.of("/steps/0/retry/jitter")), (5, 5));
    assert_eq!(at(loaded.places.of_value("/nowhere")), (1, 1));
}

#[test]
fn keys_with_slashes_and_tildes_are_escaped_in_pointers() {
    let loaded = load("a/b: {~c: 1, ~c: 2}\n").unwrap();
    assert_eq!(loaded.places.of_value("/a~1b/~0c").column, 11);
    assert_eq!(loaded.faults[0].1.pointer, "/a~1b/~0c");
}

#[test]
fn an_alias_stands_for_the_whole_value_and_has_the_place_where_it_stands() {
    let text = "name: p\nsteps:\n  - { name: a, connector_type: x, retry: &r { jitter: false } }\n  - name: b\n    connector_type: x\n    retry: *r\n";
    let read = read(text);
    assert_eq!(read.faults, []);
    let steps = read.document.unwrap().pipeline.steps;
    assert_eq!(steps[1].retry, steps[0].retry);
    assert!(!steps[1].retry.jitter);
    let loaded = load(text).unwrap();
    assert_eq!(loaded.places.of_value("/steps/1/retry/jitter").line, 6);
}

#[test]
fn a_key_that_is_there_twice_is_told_each_time_and_the_first_counts() {
    let text = "name: p\nname: q\nsteps: []\n\"name\": r\n";
    assert_eq!(
        faults(text)[..2],
        [
            "2:1 /name the key \"name\" is there twice; the first is in line 1",
            "4:1 /name the key \"name\" is there twice; the first is in line 1",
        ]
    );
    assert_eq!(read(text).document.unwrap().pipeline.name, "p");
}

#[test]
fn a_misspelt_key_is_read_as_what_was_meant_so_that_nothing_false_follows() {
    let text = "name: p\nsteps:\n  - { name: a, connector_type: x }\n  - { name: b, connector_type: x, dependancies: [a] }\n";
    assert_eq!(
        faults(text),
        ["4:35 /steps/1/dependancies unknown key \"dependancies\""]
    );
    let pipeline = read(text).document.unwrap().pipeline;
    assert_eq!(pipeline.steps[1].dependencies, ["a"]);
    // What is wrong with the value is shown where it stands.
    let document = read(text).document.unwrap();
    let unknown = crate::model::Fault::new("/steps/1/dependencies/0", "…");
    assert_eq!(document.locate(unknown).column, 50);
    let required = "name: p\nstep:\n  - { nam: a, connector_type: x }\n";
    assert_eq!(faults(required), ["2:1 /step unknown key \"step\""]);
}

#[test]
fn a_wrong_type_is_named_with_what_is_wanted_and_hides_nothing_else() {
    let text = "name: 7\nis_active: maybe\ntags: fast\npriority: \"5\"\nmax_parallel_steps: 0\nconcurrency: 3\nsteps:\n  - just text\n  - name: a\n    connector_type: [x]\n    retry_count: -1\n    dependencies: { on: b }\n    resources: { cpu: fast }\n    when: 3\n    for_each: 4\n    nmae: x\n";
    assert_eq!(
        faults(text),
        [
            "6:14 /concurrency an object is wanted here, this is 3",
            "2:12 /is_active true or false is wanted here, this is \"maybe\"",
            "5:21 /max_parallel_steps the least is 1, this is 0",
            "1:7 /name text is wanted here, this is 7",
            "4:11 /priority a whole number is wanted here, this is \"5\"",
            "8:5 /steps/0 an object is wanted here, this is \"just text\"",
            "10:21 /steps/1/connector_type text is wanted here, this is a list",
            "12:19 /steps/1/dependencies a list is wanted here, this is an object",
            "15:15 /steps/1/for_each a list or text is wanted here, this is 4",
            "16:5 /steps/1/nmae unknown key \"nmae\"",
            "13:23 /steps/1/resources/cpu a number is wanted here, this is \"fast\"",
            "11:18 /steps/1/retry_count the least is 0, this is -1",
            "14:11 /steps/1/when true or false or text is wanted here, this is 3",
            "3:7 /tags a list is wanted here, this is \"fast\"",
        ]
    );
}

#[test]
fn the_whole_vocabulary_of_the_document_is_read_and_written_back() {
    let text = r#"
name: fidc-monthly
namespace: default
description: Monthly fund report
schedule: "0 6 10 * *"
timezone: America/Sao_Paulo
calendar: { name: b3, rule: roll_forward }
is_active: true
tags: [funds]
parameters:
  type: object
  properties:
    month: { type: string, pattern: '^\d{4}-\d{2}$', default: "2024-01" }
concurrency: { limit: 1, on_limit: queue }
max_parallel_steps: 8
priority: 5
steps:
  - name: extract
    connector_type: copy
    credential: cvm
    config:
      source: { type: csv, url: "{{ params.dir }}/{{ params.month }}.csv", delimiter: ";", encoding: latin1 }
      sink:   { type: parquet, url: "artifact://raw.parquet" }
    retry_count: 3
    retry: { base_delay_seconds: 1, max_delay_seconds: 60, jitter: true }
    timeout_seconds: 3600
    executor: in_process
    resources: { cpu: 1.0, memory_mb: 512 }
  - name: alert
    connector_type: webhook
    dependencies: [extract]
    trigger_rule: one_failed
    when: "{{ params.month != '2024-01' }}"
  - name: per_fund
    connector_type: command
    dependencies: [extract]
    for_each: "{{ steps.extract.output.funds }}"
hooks:
  on_success: [ { trigger_pipeline: fidc-publish, parameters: {} } ]
  on_failure: [ { webhook: "https://example.org", credential: ops-hook } ]
"#;
    let read_text = read(text);
    assert_eq!(read_text.faults, []);
    let pipeline = read_text.document.unwrap().pipeline;
    assert_eq!(pipeline.steps[0].config["source"]["delimiter"], ";");
    assert_eq!(pipeline.steps[1].trigger_rule, TriggerRule::OneFailed);
    assert!(matches!(pipeline.steps[1].when, Some(When::Template(_))));
    assert!(matches!(
        pipeline.steps[2].for_each,
        Some(ForEach::Template(_))
    ));
    let defaults = &pipeline.steps[1];
    assert_eq!((defaults.retry_count, defaults.timeout_seconds), (3, 3600));
    let written = serde_json::to_string(&pipeline).unwrap();
    let again = read(&written);
    assert_eq!(again.faults, []);
    assert_eq!(again.document.unwrap().pipeline, pipeline);
}

#[test]
fn a_document_over_the_limit_is_refused_before_it_is_read() {
    let filler = "#".repeat(MAX_DOCUMENT_BYTES - 18);
    let fits = format!("name: p\nsteps: []\n{filler}");
    assert_eq!(fits.len(), MAX_DOCUMENT_BYTES);
    assert!(read(&fits).document.is_some());
    let found = faults(&format!("{fits}#"));
    assert_eq!(found, ["1:1  the document is larger than 1048576 bytes"]);
}

#[test]
fn long_keys_and_copied_texts_do_not_multiply() {
    // Half a megabyte of text, aliased thousands of times, would be gigabytes.
    let text = format!(
        "a: &a \"{}\"\nb: [{}]",
        "x".repeat(500_000),
        "*a,".repeat(100_000)
    );
    assert!(
        load(&text)
            .unwrap_err()
            .message
            .contains("stand for more than")
    );
    let nested = format!(
        "{}{}{}",
        "[&x ".repeat(60),
        "1,".repeat(250_000),
        "]".repeat(60)
    );
    assert!(
        load(&nested)
            .unwrap_err()
            .message
            .contains("stand for more than")
    );
    let long = format!("? {}\n: [{}]", "k".repeat(4000), "1,".repeat(100_000));
    assert!(load(&long).unwrap_err().message.contains("bytes together"));
    let many = format!("name: p\nsteps: [{}]", "1,".repeat(300_000));
    assert!(read(&many).faults.len() <= 1000);
}

proptest! {
    #[test]
    fn any_json_is_read_as_serde_reads_it(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let loaded = load(&text).map_err(|fault| TestCaseError::fail(format!("{text}: {fault:?}")))?;
            prop_assert_eq!(&loaded.value, &value);
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e15f64..1e15).prop_map(Value::from),
        "[ -~é\\n\\t😀]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z~/\" {}:é]{1,6}", inner, 0..5)
                .prop_filter("`<<` has a meaning of its own", |map| !map
                    .contains_key("<<"))
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
