use serde_json::{Map, Value, json};

use crate::plan::{parameters, parse_parameter};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn schema() -> Map<String, Value> {
    object(json!({
        "type": "object",
        "properties": {
            "month": { "type": "string", "pattern": "^\\d{4}-\\d{2}$", "default": "2024-01" },
            "count": { "type": "integer", "minimum": 1 },
            "nested": { "type": "object", "default": {}, "properties": { "deep": { "default": true } } },
            "any": {},
        },
        "required": ["count"],
    }))
}

#[test]
fn defaults_fill_in_and_the_rest_is_checked() {
    let given = parameters(Some(&schema()), object(json!({ "count": 3 }))).unwrap();
    assert_eq!(
        given,
        json!({ "count": 3, "month": "2024-01", "nested": { "deep": true } })
    );

    let faults = parameters(
        Some(&schema()),
        object(json!({ "month": "May", "cuont": 3 })),
    )
    .unwrap_err();
    let said: Vec<String> = faults
        .iter()
        .map(|fault| format!("{} {}", fault.pointer, fault.message))
        .collect();
    assert_eq!(
        said,
        [
            "/cuont unknown parameter \"cuont\"",
            " the key \"count\" is missing",
            "/month \"May\" does not fit the pattern ^\\d{4}-\\d{2}$",
        ]
    );
    assert_eq!(faults[0].hint.as_deref(), Some("did you mean \"count\"?"));
}

#[test]
fn a_pipeline_without_a_schema_takes_none() {
    assert_eq!(parameters(None, Map::new()).unwrap(), json!({}));
    let faults = parameters(None, object(json!({ "x": 1 }))).unwrap_err();
    assert_eq!(faults[0].message, "this pipeline takes no parameters");
}

#[test]
fn more_than_the_limit_is_refused() {
    let faults = parameters(
        Some(&schema()),
        object(json!({ "count": 1, "any": "x".repeat(262_144) })),
    )
    .unwrap_err();
    assert!(
        faults[0].message.ends_with("are over the limit of 262144"),
        "{faults:?}"
    );
}

#[test]
fn a_text_is_read_as_json_where_the_schema_wants_something_else() {
    let schema = schema();
    for (name, text, expected) in [
        ("month", "2024", json!("2024")),
        ("count", "7", json!(7)),
        ("count", "seven", json!("seven")),
        ("nested", "{\"deep\": false}", json!({ "deep": false })),
        ("any", "true", json!(true)),
        ("any", "plain words", json!("plain words")),
    ] {
        assert_eq!(
            parse_parameter(Some(&schema), name, text),
            expected,
            "{name}={text}"
        );
    }
}
