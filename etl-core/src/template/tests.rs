use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{Artifact, ArtifactName, StepStatus};

fn scope() -> Scope {
    let artifact = Artifact {
        name: ArtifactName::new("raw.parquet").unwrap(),
        uri: "file:///data/raw.parquet".into(),
    };
    let extract = Fact::step(
        StepStatus::Success,
        &json!({ "funds": ["a", "b"], "n": 3 }),
        &[artifact],
        42,
    );
    Scope {
        params: Some(Fact::from_json(
            &json!({ "month": "2024-01", "count": 7, "ratio": 0.5, "flag": true, "none": null }),
        )),
        job: Some(Fact::job(
            crate::model::JobId(uuid::Uuid::nil()),
            crate::model::TriggerType::Manual,
            None,
            0,
        )),
        steps: [
            ("extract".into(), extract.clone()),
            ("per-fund".into(), extract),
        ]
        .into(),
        item: Some((Fact::from_json(&json!({ "id": 9 })), 3)),
    }
}

fn render(value: &Value) -> Result<Arc<Value>, RenderError> {
    Template::parse(value)
        .unwrap_or_else(|faults| panic!("{value}: {faults:?}"))
        .render(&scope())
}

#[test]
fn a_single_expression_keeps_its_type_and_other_templates_give_text() {
    for (template, expected) in [
        (json!("{{ params.count }}"), json!(7)),
        (json!(" {{ params.ratio }} "), json!(0.5)),
        (json!("{{ params.flag }}"), json!(true)),
        (json!("{{ params.none }}"), json!(null)),
        (json!("{{ params.month != '2024-01' }}"), json!(false)),
        (json!("{{ steps.extract.output.funds }}"), json!(["a", "b"])),
        (
            json!("{{ steps['per-fund'].rows_processed + 1 }}"),
            json!(43),
        ),
        (
            json!("{{ steps.extract.artifacts['raw.parquet'] }}"),
            json!("file:///data/raw.parquet"),
        ),
        (
            json!("{{ {'a': item.id, 'b': [index]} }}"),
            json!({ "a": 9, "b": [3] }),
        ),
        (json!("{{ '}}' ~ params.count }}"), json!("}}7")),
        (json!("n={{ params.count }}"), json!("n=7")),
        (json!("{{ params.count }}{{ index }}"), json!("73")),
        (
            json!("{% for f in steps.extract.output.funds %}[{{ f }}]{% endfor %}"),
            json!("[a][b]"),
        ),
        (
            json!({ "a": [{ "b": "{{ job.trigger_type }}" }, 1] }),
            json!({ "a": [{ "b": "manual" }, 1] }),
        ),
    ] {
        assert_eq!(*render(&template).unwrap(), expected, "{template}");
    }
}

#[test]
fn a_literal_is_given_back_without_a_copy() {
    let template = Template::parse(&json!({ "a": ["no templates", { "here": 1 }] })).unwrap();
    assert!(template.is_literal());
    let (first, second) = (
        template.render(&scope()).unwrap(),
        template.render(&Scope::default()).unwrap(),
    );
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn what_it_names_is_known_before_it_is_rendered() {
    let template = Template::parse(&json!({
        "a": "{{ steps.extract.output.n ~ steps['per-fund'].status }}",
        "b": "{% if params.flag %}{{ item }}{% endif %} {{ typo }}",
    }))
    .unwrap();
    assert_eq!(
        template.steps().iter().collect::<Vec<_>>(),
        ["extract", "per-fund"]
    );
    assert_eq!(
        template.roots().iter().collect::<Vec<_>>(),
        ["item", "params", "typo"]
    );
    assert!(template.uses_item() && !template.has_dynamic_steps());
    let dynamic = Template::parse(&json!("{{ steps[params.month].output }}")).unwrap();
    assert!(dynamic.has_dynamic_steps());
}

#[test]
fn what_is_undefined_is_an_error_that_says_where() {
    for template in [
        "{{ params.mnth }}",
        "{{ steps.extract.output.nothing.deeper }}",
        "x {{ nowhere }}",
        "{{ env.HOME }}",
    ] {
        let error = render(&json!({ "url": template })).unwrap_err();
        assert_eq!(error.pointer, "/url", "{template}: {error}");
    }
}

#[test]
fn a_result_is_never_rendered_again() {
    let scope = Scope {
        params: Some(Fact::from_json(
            &json!({ "x": "{{ params.y }}", "y": "secret" }),
        )),
        ..Scope::default()
    };
    for template in ["{{ params.x }}", "<{{ params.x }}>"] {
        let rendered = Template::parse(&json!(template))
            .unwrap()
            .render(&scope)
            .unwrap();
        assert!(rendered.as_str().unwrap().contains("{{ params.y }}"));
    }
}

#[test]
fn broken_templates_are_faults_with_their_places() {
    let value = json!({ "a": "{{ unclosed", "b": ["{% for x in y %}", "{{ 1 + }}"], "c": "{% set x = 1 %}", "d": "{% include 'x' %}" });
    let faults = Template::parse(&value).unwrap_err();
    let places: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(places, ["/a", "/b/0", "/b/1", "/c", "/d"]);
}

#[test]
fn hostile_templates_end_with_an_error_and_little_memory() {
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(20_000), ")".repeat(20_000));
    let many = "{{".repeat(500_000);
    for template in [deep.as_str(), many.as_str()] {
        assert!(Template::parse(&json!(template)).is_err());
    }
    for template in [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
        "{{ 'x' * 100000000000 }}",
        "{{ range(1000000000) }}",
        "{{ 'aaaaaaaaaa'|replace('a', 'b' * 1000000) }}",
        "{{ (['x' * 100000] * 1000)|join('y') }}",
        "{{ 'a'|indent(1000000000) }}",
        "{{ '%1000000000d'|format(1) }}",
    ] {
        let result = Template::parse(&json!(template)).map(|template| template.render(&scope()));
        assert!(matches!(result, Err(_) | Ok(Err(_))), "{template}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,60}", braces in "[{}%# a.'\\[\\]]{0,40}") {
        for text in [text, braces] {
            if let Ok(template) = Template::parse(&Value::String(text)) {
                let _ = template.render(&scope());
            }
        }
    }
}
