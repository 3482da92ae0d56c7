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
        (json!("{{ '{{' ~ params.count ~ \"}}\" }}"), json!("{{7}}")),
        (json!("{{ '{% set %}' }}"), json!("{% set %}")),
        (json!("<{{ '{% set %}' }}>"), json!("<{% set %}>")),
        (
            json!("{% raw %}{{ x }}{% set %}{% endraw %}!"),
            json!("{{ x }}{% set %}!"),
        ),
        (json!("{# {{ nothing }} #}{{ params.count }}"), json!("7")),
        (json!("{{- params.count -}}"), json!(7)),
        (json!("{{ params.count }}\n"), json!(7)),
        (
            json!(
                "{% if params.flag and index > 2 %}{{ params.month|upper }}{% else %}no{% endif %}"
            ),
            json!("2024-01"),
        ),
        (
            json!(
                "{% for f in steps['per-fund'].output.funds if f != 'a' %}{{ loop.index }}{{ f }}{% endfor %}"
            ),
            json!("1b"),
        ),
        (json!("{{ params.typo|default('none') }}"), json!("none")),
        (json!("{{ params.typo is defined }}"), json!(false)),
        (
            json!("{{ steps.extract.output.funds|map('upper')|list }}"),
            json!(["A", "B"]),
        ),
        (json!("{{ job.scheduled_for }}"), json!(null)),
        (json!("{{ steps.extract.status }}"), json!("success")),
        (
            json!("{{ 9007199254740993 }}"),
            json!(9_007_199_254_740_993_u64),
        ),
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
        "{{ [params.mnth] }}",
        "{{ {'a': params.mnth} }}",
        "{{ 1e308 * 10 }}",
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
fn keys_are_no_templates() {
    let value = json!({ "{{ params.count }}": "{{ params.count }}", "a/~b": "{{ nothing }}" });
    let template = Template::parse(&value).unwrap();
    assert_eq!(template.render(&scope()).unwrap_err().pointer, "/a~1~0b");
    let rendered = render(&json!({ "{{ params.count }}": "{{ params.count }}" })).unwrap();
    assert_eq!(*rendered, json!({ "{{ params.count }}": 7 }));
}

#[test]
fn steps_are_found_wherever_they_are_named() {
    for (template, steps) in [
        ("{{ steps['a-b'].output['x'] }}", &["a-b"][..]),
        ("{{ steps [ \"a-b\" ] .status }}", &["a-b"]),
        ("{{ x|default(steps.a.output) }}", &["a"]),
        ("{{ steps.a.output[steps['b'].output.at] }}", &["a", "b"]),
        (
            "{% if steps.a.status == 'failed' %}{{ steps['b-c'].output }}{% endif %}",
            &["a", "b-c"],
        ),
        (
            "{% for x in steps.a.output %}{{ steps.b.output }}{% else %}{{ steps.c.output }}{% endfor %}",
            &["a", "b", "c"],
        ),
        (
            "{{ 'steps[\"a\"]' ~ \"x steps['\" ~ steps.b.output ~ \"'] \" }}",
            &["b"],
        ),
        (
            "steps['a'] {{ params.steps['b'] }} {% raw %}{{ steps.c }}{% endraw %}{# {{ steps.d }} #}",
            &[],
        ),
        (
            "{{ (steps['a'].output if params.flag else steps.b.output) }}",
            &["a", "b"],
        ),
        (
            "{{ [steps.a.output, {'k': steps['b'].output}] }}",
            &["a", "b"],
        ),
        ("{{ steps.a.output is eq steps.b.output }}", &["a", "b"]),
    ] {
        let template_steps = Template::parse(&json!(template)).unwrap();
        assert_eq!(
            template_steps.steps().iter().collect::<Vec<_>>(),
            steps,
            "{template}"
        );
        assert!(!template_steps.has_dynamic_steps(), "{template}");
    }
    for template in [
        "{{ steps }}",
        "{{ steps|length }}",
        "{% for s in steps %}{{ s }}{% endfor %}",
        "{{ steps[params.x] }}",
        "{{ steps['a' ~ 'b'] }}",
        "{{ steps['a\\'b'] }}",
        "{{ steps|attr('a') }}",
    ] {
        let parsed = Template::parse(&json!(template)).unwrap();
        assert!(parsed.has_dynamic_steps(), "{template}");
    }
}

#[test]
fn only_one_single_expression_can_give_anything_but_text() {
    for (template, expected) in [
        ("{{ a }}", true),
        (" {{- a -}}\n", true),
        ("{{ '}} {{' }}", true),
        ("{{ a }} {{ b }}", false),
        ("{{ a }}{{ b }}", false),
        ("{# c #}{{ a }}", false),
        ("{% if a %}true{% endif %}", false),
        ("text", false),
    ] {
        let parsed = Template::parse(&json!(template)).unwrap();
        assert_eq!(parsed.is_expression(), expected, "{template}");
    }
}

#[test]
fn unknown_filters_and_tests_are_told_before_anything_runs() {
    for (template, message) in [
        ("{{ params.x|uper }}", "there is no filter \"uper\""),
        (
            "a {{ params.x | lower|slugify }}",
            "there is no filter \"slugify\"",
        ),
        ("{{ params.x is evn }}", "there is no test \"evn\" for `is`"),
        (
            "{% if params.x is not prime %}{% endif %}",
            "there is no test \"prime\" for `is`",
        ),
    ] {
        let faults = Template::parse(&json!(template)).unwrap_err();
        assert_eq!(faults[0].message, message);
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
        "{{ [[[1] * 100000] * 100000] * 100000 }}",
        "{{ [range(100000)] * 100000 }}",
        "{{ [1]|batch(1000000000, 'x') }}",
        "{{ [1]|slice(1000000000) }}",
        "{{ {'a': ['x' * 100000] * 100000} }}",
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
