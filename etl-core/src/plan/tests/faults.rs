use insta::assert_snapshot;

use super::registry;
use crate::plan::check_text;

fn said(text: &str) -> String {
    match check_text(text, &registry()) {
        Ok(document) => format!("valid: {}", document.pipeline.name),
        Err(faults) => {
            let line = |f: &crate::document::LocatedFault| {
                let hint = f
                    .fault
                    .hint
                    .as_ref()
                    .map(|hint| format!("  [{hint}]"))
                    .unwrap_or_default();
                format!(
                    "{}:{} {} {}{hint}",
                    f.line, f.column, f.fault.pointer, f.fault.message
                )
            };
            faults.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn every_kind_of_fault_is_found_in_one_look() {
    assert_snapshot!(said(
        r#"name: Broken Name
scheduel: "0 6 * * *"
timezone: America/Sao_Paolo
priority: 12
parameters:
  type: object
  properties:
    month: { type: string, default: 5 }
steps:
  - name: extract
    connector_type: copi
    retry_count: three
    dependencies: [load]
  - name: clean
    connector_type: copy
    dependancies: [extract]
    config:
      source: { type: cvs, url: a.csv }
      sink: { type: csv, url: b.csv, delimeter: ";" }
      limit: many
  - name: load
    connector_type: copy
    dependencies: [extract, cleen]
    when: "{{ parms.month == 'x' }}"
    config:
      source: { type: csv, url: "{{ steps.clean.output.url }}" }
      sink: { url: b.csv }
      on_bad_record: ignore
  - connector_type: anything
    config: { a: "{{ unclosed" }
hooks:
  on_success: [ { webhook: "ftp://x", trigger_pipeline: y } ]
"#
    ));
}

#[test]
fn a_good_document_is_valid_and_templates_pass_for_any_value() {
    assert_snapshot!(said(r#"
name: good
schedule: "@daily"
parameters: { type: object, properties: { n: { type: integer, default: 3 }, dir: { type: string } } }
steps:
  - name: a
    connector_type: copy
    config:
      source: { type: csv, url: "{{ params.dir }}/x.csv", header: "{{ params.n > 2 }}" }
      sink: { type: parquet, url: "artifact://x.parquet" }
      limit: "{{ params.n }}"
  - { name: per-fund, connector_type: anything, dependencies: [a], for_each: "{{ steps.a.output.files }}", config: { x: "{{ item }}" } }
  - { name: last, connector_type: anything, dependencies: [per-fund], config: { all: "{{ steps['per-fund'].output }}" } }
"#), @"valid: good");
}

#[test]
fn each_fault_says_where_and_what_to_do() {
    let step =
        |rest: &str| format!("name: p\nsteps:\n  - name: a\n    connector_type: anything\n{rest}");
    let mut all = String::new();
    for text in [
        "",
        "[]",
        "name: p",
        "name: p\nsteps: []",
        "name: p\nsteps:\n - just text",
        "name: p\nname: q\nsteps: [{name: a, connector_type: anything}]",
        "name: [unclosed\nsteps: x",
        "name: p\n\tsteps: []",
        "name: p\nsteps: []\n---\nname: q",
        "a: &a [*a]",
        "name: p\nsteps: [{name: a, connector_type: anything, <<: {config: {}}}]",
        &step("    config: { x: '{{ item }}' }"),
        &step("    config: { x: '{{ steps.a.output }}' }"),
        &step(
            "    config: { x: '{{ steps.b.output }}' }\n  - { name: b, connector_type: anything }",
        ),
        &step("    config: { x: '{{ steps[params.s].output }}' }"),
        &step("    config: { x: '{{ env.HOME }}' }"),
        &step("    config: { x: '{% set a = 1 %}' }"),
        &step("    for_each: files"),
        &step("    when: maybe"),
        &step("    executor: docker"),
        &step("    executor: dokcer"),
        &step("    trigger_rule: all_sucess"),
        &step("    retry: { base_delay_seconds: -1, jiter: true }"),
        &step("    timeout_seconds: 0"),
        &step("    resources: { memory_mb: lots }"),
        &step("schedule: 61 * * * *"),
        &step("schedule: 0 0 31 2 *"),
        &step("calendar: { name: b3 }"),
        &step("calendar: { name: b3, nth_business_day: 5 }"),
        &step("concurrency: { on_limit: skip }"),
        &step("parameters: { type: objct }"),
        &step("hooks: { on_failure: [ {} ] }"),
        "{\"name\": \"json\", \"steps\": [{\"name\": \"a\", \"connector_type\": \"anything\", \"x\": 1}]}",
    ] {
        all.push_str(&format!(
            "─── {}\n{}\n",
            text.lines().last().unwrap_or_default().trim(),
            said(text)
        ));
    }
    assert_snapshot!(all);
}

#[test]
fn hostile_texts_are_refused_in_bounded_memory() {
    let laughs: String = (1..12)
        .map(|at| {
            format!(
                "l{at}: &l{at} [{}]\n",
                vec![format!("*l{}", at - 1); 9].join(",")
            )
        })
        .collect();
    let refused = |text: &str| said(text).ends_with("aliases stand for more than 100000 values");
    assert!(refused(&format!("l0: &l0 [lol]\n{laughs}")));
    let aliases = format!("a: &a x\nb: [{}]", "*a,".repeat(340_000));
    assert!(refused(&aliases[..1_000_000]) && aliases.len() > 1_000_000);
    let deep = format!("name: {}", "[".repeat(100_000));
    assert!(
        said(&deep).contains("nested") || said(&deep).contains("not YAML"),
        "{}",
        said(&deep)
    );
    assert_snapshot!(said(&" ".repeat(1_048_577)), @"1:1  the document is larger than 1048576 bytes");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_place_is_in_the_text(text in "[a-z:\\-\\[\\]{}&*!|>'\"%@`#,?\\n \\t0-9]{0,120}") {
        if let Err(faults) = check_text(&text, &registry()) {
            let lines = text.split('\n').count();
            for fault in faults {
                proptest::prop_assert!(fault.line >= 1 && fault.line <= lines + 1, "{fault:?}");
            }
        }
    }
}
