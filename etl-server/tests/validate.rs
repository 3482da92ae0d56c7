//! `etl validate`: every fault, at its place, with what to do.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use program::Program;
use serde_json::{Value, json};

#[test]
fn every_fault_is_told_at_once_at_its_line_and_column() {
    let program = Program::new();
    let file = program.pipeline(
        r#"name: many
stpes: []
name: again
timezone: America/Sao_Paolo
steps:
  - name: a
    connector_type: slep
    dependencies: [c]
  - name: b
    connector_type: copy
    dependencies: [a, nobody]
    config:
      source: { type: csv, url: in.csv, delimeter: ";" }
      sink: { type: parqet, url: out }
  - name: b
    connector_type: sleep
    retry_count: many
    config: { seconds: "{{ steps.c.rows_processed }}" }
  - { name: c, connector_type: sleep, dependencies: [a], when: "{{ env.HOME }}", config: { seconds: "{{ 1 + }}" } }
  - { name: alone, connector_type: sleep, config: { seconds: "{{ steps.a.rows_processed }}" } }
"#,
    );
    let expected = [
        (2, 1, "unknown key \"stpes\"", "did you mean \"steps\"?"),
        (3, 1, "the key \"name\" is there twice", ""),
        (
            4,
            11,
            "America/Sao_Paolo",
            "did you mean \"America/Sao_Paulo\"?",
        ),
        (
            7,
            21,
            "unknown connector \"slep\"",
            "did you mean \"sleep\"?",
        ),
        (8, 19, "a -> c -> a", "remove one"),
        (11, 23, "depends on \"nobody\", which does not exist", ""),
        (
            13,
            41,
            "unknown key \"delimeter\"",
            "did you mean \"delimiter\"?",
        ),
        (14, 21, "parqet", "did you mean \"parquet\"?"),
        (
            15,
            11,
            "the step name \"b\" is used twice",
            "give it its own",
        ),
        (17, 18, "a whole number is wanted here", ""),
        (
            18,
            24,
            "reads step \"c\" but does not come after it",
            "add \"c\" to its dependencies",
        ),
        (
            19,
            64,
            "a template names \"env\", which does not exist",
            "params",
        ),
        (19, 101, "broken template", ""),
        (
            20,
            62,
            "reads step \"a\" but does not come after it",
            "add \"a\" to its dependencies",
        ),
    ];
    let told = program.run(&["validate", &file]).expect(2);
    let document = program.run(&["validate", &file, "--json"]).expect(2).json();
    let errors = document["errors"].as_array().unwrap();
    for (line, column, message, hint) in expected {
        let found = errors.iter().any(|error| {
            error["line"] == json!(line)
                && error["column"] == json!(column)
                && error["message"].as_str().unwrap().contains(message)
                && error["hint"].as_str().unwrap_or_default().contains(hint)
        });
        assert!(found, "{line}:{column} {message} in {document:#}");
        assert!(
            told.stderr.contains(&format!("{file}:{line}:{column}: ")),
            "{told:?}"
        );
    }
    assert_eq!(errors.len(), expected.len(), "{document:#}");
}

#[test]
fn the_document_has_the_keys_of_the_contract() {
    let program = Program::new();
    let good = program.pipeline(
        "name: good\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n",
    );
    let bad =
        program.pipeline("name: bad\nsteps: [{ name: a, connector_type: sleep, config: {} }]\n");
    let document = program.run(&["validate", &good, "--json"]).expect(0).json();
    assert_eq!(document, json!({ "valid": true, "errors": [] }));
    let document = program
        .run(&["validate", &good, &bad, "--json"])
        .expect(2)
        .json();
    assert_eq!(document["valid"], json!(false));
    let errors = document["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{document}");
    let mut keys: Vec<&String> = errors[0].as_object().unwrap().keys().collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["column", "file", "hint", "line", "message", "pointer"]
    );
    assert_eq!(
        [
            &errors[0]["file"],
            &errors[0]["line"],
            &errors[0]["pointer"]
        ],
        [&json!(bad), &json!(2), &json!("/steps/0/config")]
    );
    let told = program.run(&["validate", &good, &bad]).expect(2);
    assert!(
        told.stdout
            .contains("good.yaml: valid, pipeline \"good\" with 1 step\n"),
        "{told:?}"
    );
    assert!(told.stderr.contains("1 fault in 2 files"), "{told:?}");
    assert!(!program.path(".etl").exists());
}

#[test]
fn json_is_read_like_yaml_and_columns_are_counted_in_characters() {
    let program = Program::new();
    let file = program.file(
        "p.json",
        "{ \"name\": \"p\", \"description\": \"ação ação\", \"tgas\": [],\n  \"steps\": [] }",
    );
    let document = program.run(&["validate", &file, "--json"]).expect(2).json();
    let places: Vec<Value> = document["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| json!([error["line"], error["column"]]))
        .collect();
    assert_eq!(json!(places), json!([[1, 44], [2, 12]]), "{document}");
}

#[test]
fn the_examples_of_the_repository_are_valid() {
    let program = Program::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/pipelines");
    let files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .collect();
    assert!(!files.is_empty());
    let mut arguments = vec!["validate"];
    arguments.extend(files.iter().map(String::as_str));
    program.run(&arguments).expect(0);
}
