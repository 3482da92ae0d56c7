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
    let refused = |text: &str| said(text).contains("stand for more than 1048576 bytes");
    assert!(refused(&format!("l0: &l0 [lol]\n{laughs}")));
    let aliases = format!("a: &a xxxxx\nb: [{}]", "*a,".repeat(340_000));
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

/// The faults of a pipeline of two steps, the second with `rest`.
fn of_second(rest: &str) -> String {
    said(&format!(
        "name: p\nparameters: {{ properties: {{ n: {{}} }} }}\nsteps:\n  - {{ name: first, connector_type: anything }}\n  - name: second\n    connector_type: anything\n    dependencies: [first]\n{rest}"
    ))
}

#[test]
fn each_template_is_told_with_its_own_place() {
    assert_snapshot!(of_second(
        "    config:\n      ok: '{{ steps.first.output }}'\n      list: [ '{{ steps.thrid.output }}', '{{ steps[\"second\"].output }}' ]\n      deep: { a/b: 'x {{ parms.n }}' }\n    when: '{{ params.n }} and more'\n    for_each: '{{ item }}'\n"
    ), @r#"
    10:15 /steps/1/config/list/0 a template names the step "thrid", which does not exist
    10:43 /steps/1/config/list/1 step "second" reads its own result, which it does not have yet
    11:20 /steps/1/config/deep/a~1b a template names "parms", which does not exist  [did you mean "params"?]
    12:11 /steps/1/when `when` is a text that is never true or false: "{{ params.n }} and more"  [write it as one single "{{ … }}"]
    13:15 /steps/1/for_each `item` exists only in a step with `for_each`
    "#);
}

#[test]
fn templates_are_checked_where_they_are_rendered_and_refused_where_they_are_not() {
    for (rest, expected) in [
        (
            "    credential: '{{ params.n }}'\n",
            "8:17 /steps/1/credential a credential is given by its name, templates are not rendered here",
        ),
        (
            "    credential: ''\n",
            "8:17 /steps/1/credential \"\" is not the name of a credential",
        ),
        (
            "hooks: { on_failure: [ { webhook: 'https://x/{{ params.n }}' } ] }\n",
            "8:35 /hooks/on_failure/0/webhook templates are not rendered in the URL of a webhook",
        ),
        (
            "hooks: { on_success: [ { webhook: 'https://x', parameters: { a: 1 } } ] }\n",
            "8:60 /hooks/on_success/0/parameters parameters are those of a triggered pipeline; a webhook gets the outcome of the job",
        ),
        (
            "hooks: { on_success: [ { trigger_pipeline: 'No Name', credential: x } ] }\n",
            "8:44 /hooks/on_success/0/trigger_pipeline \"No Name\" is not the name of a pipeline",
        ),
        (
            "hooks: { on_success: [ { trigger_pipeline: q, parameters: { a: '{{ item }}', b: '{{ steps.secnd.status }}' } } ] }\n",
            "8:64 /hooks/on_success/0/parameters/a `item` exists only in a step with `for_each`",
        ),
        (
            "schedule: '0 0 0 1 1 * 2030'\n",
            "8:11 /schedule \"0 0 0 1 1 * 2030\" is no cron expression",
        ),
        (
            "schedule: '@daily'\ncalendar: { name: b33, rule: skip }\n",
            "9:19 /calendar/name there is no business calendar \"b33\"  [did you mean \"b3\"?]",
        ),
        (
            "schedule: '@daily'\ncalendar: { name: ours, rule: skip }\n",
            "there is no business calendar \"ours\"  [known are b3 and br; any other needs `holidays`",
        ),
        (
            "schedule: '@daily'\ncalendar: { name: ours, rule: skip, holidays: [2026-12-24, 2026-02-30] }\n",
            "/calendar/holidays/1 \"2026-02-30\" is no day",
        ),
        (
            "schedule: '0 6 25 12 *'\ncalendar: { name: br, rule: skip }\n",
            "/calendar with this calendar the schedule never comes",
        ),
        (
            "calendar: { name: b3, nth_business_day: 31, at: '06:00' }\n",
            "8:41 /calendar/nth_business_day business days are counted from 1 to 23, or from -1 backwards",
        ),
    ] {
        let found = of_second(rest);
        assert!(found.contains(expected), "{expected}\nin\n{found}");
    }
    assert_eq!(
        of_second(
            "schedule: '@daily'\ntimezone: Europe/Lisbon\nhooks: { on_success: [ { trigger_pipeline: q, parameters: { a: '{{ steps.second.status }}' } } ] }\n"
        ),
        "valid: p"
    );
}

#[test]
fn a_template_passes_wherever_its_value_is_not_known_yet() {
    let copy = |config: &str| {
        said(&format!(
            "name: p\nparameters: {{ properties: {{ n: {{}} }} }}\nsteps:\n  - name: a\n    connector_type: copy\n    config: {config}\n"
        ))
    };
    for config in [
        "{ source: { type: csv, url: u }, sink: '{{ params.n }}' }",
        "{ source: { type: '{{ params.n }}', url: u }, sink: { type: csv, url: u, header: '{{ params.n }}' }, limit: '{{ params.n }}', on_bad_record: '{{ params.n }}' }",
    ] {
        assert_eq!(copy(config), "valid: p", "{config}");
    }
    assert_eq!(
        copy(
            "{ source: { type: '{{ params.n }}', url: u }, sink: { type: csv, url: 3, delimter: '{{ params.n }}' } }"
        ),
        "6:83 /steps/0/config/sink/url text is wanted here, this is 3\n6:86 /steps/0/config/sink/delimter unknown key \"delimter\"  [did you mean \"delimiter\"?]"
    );
}

#[test]
fn a_missing_part_is_told_once_and_what_would_follow_from_it_is_not() {
    assert_eq!(
        said("name: p\nsteps:\n  - name: a\n  - 7\n"),
        "3:5 /steps/0 the key \"connector_type\" is missing\n4:5 /steps/1 an object is wanted here, this is 7"
    );
}

#[test]
fn more_steps_than_the_limit_are_refused() {
    let mut pipeline = crate::model::Pipeline::new("p");
    pipeline.steps = (0..=crate::model::MAX_STEPS)
        .map(|at| crate::model::Step::new(format!("s{at}"), "anything"))
        .collect();
    let faults = crate::plan::validate(&pipeline, &registry());
    assert_eq!(faults.len(), 1);
    assert_eq!(
        faults[0].message,
        "100001 steps are over the limit of 100000"
    );
}
