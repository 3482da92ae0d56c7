//! Documents that were made to do harm: a clear error with its place, status 2, bounded memory and time, no panic.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use program::{Finished, Program};

/// Address space that the program gets, in KiB: far less than any of these documents could take if they were believed.
const MEMORY: u32 = 1024 * 1024;
/// How long a refusal may take in a build without optimisation.
const TIME: Duration = Duration::from_secs(20);

/// Validates a document within bounds.
fn validate(document: impl AsRef<[u8]>) -> Finished {
    let program = Program::new();
    let file = program.file("p.yaml", document);
    let began = Instant::now();
    let script = format!("ulimit -v {MEMORY}; exec \"$ETL\" \"$@\"");
    let validated = program.shell(&script, &["validate", &file, "--json"]);
    assert!(began.elapsed() < TIME, "it took {:?}", began.elapsed());
    assert!(
        !validated.stderr.contains("panicked"),
        "{}",
        validated.stderr
    );
    validated
}

/// The place and message of the first fault of a document that has to be refused.
fn refused(document: impl AsRef<[u8]>) -> (u64, u64, String) {
    let refused = validate(document);
    assert_eq!(refused.status, 2, "{}", refused.stderr);
    let errors = refused.json()["errors"].clone();
    let first = &errors[0];
    (
        first["line"].as_u64().unwrap(),
        first["column"].as_u64().unwrap(),
        first["message"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn aliases_do_not_multiply() {
    let mut laughs =
        String::from("name: p\nx0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..20 {
        let before = vec![format!("*x{}", level - 1); 9].join(", ");
        let _ = writeln!(laughs, "x{level}: &x{level} [{before}]");
    }
    let (line, _, message) = refused(&laughs);
    assert!(
        message.contains("aliases stand for more than") && line > 2,
        "{line}: {message}"
    );

    let mut many = String::from("name: p\nx: &x [a, b, c, d]\ny:\n");
    while many.len() < 1_000_000 {
        many.push_str("- *x\n");
    }
    validate(&many).expect(2);

    let long = format!(
        "name: p\nx: &x \"{}\"\ny: [{}]\n",
        "a".repeat(500_000),
        "*x, ".repeat(100_000)
    );
    let (line, _, message) = refused(&long);
    assert!(
        message.contains("aliases stand for more than") && line == 3,
        "{line}: {message}"
    );
    assert!(refused("name: p\nx: &x [*x]\n").2.contains("no end"));
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        let deep = format!(
            "name: p\nsteps: \n  {}1{}\n",
            open.repeat(100_000),
            close.repeat(100_000)
        );
        let (line, _, message) = refused(&deep);
        assert!(line >= 3, "{line}: {message}");
    }
    assert!(
        refused(format!(
            "name: p\nx: {}1{}\n",
            "[".repeat(70),
            "]".repeat(70)
        ))
        .2
        .contains("nested")
    );
}

#[test]
fn a_document_over_the_limit_is_refused_whole() {
    let large = format!("name: p\ndescription: {}\n", "x".repeat(1024 * 1024));
    let (_, _, message) = refused(&large);
    assert!(message.contains("larger than 1048576 bytes"), "{message}");
    let program = Program::new();
    assert!(
        program
            .run(&["validate", "/dev/zero"])
            .expect(2)
            .stderr
            .contains("larger than")
    );
    assert!(
        program
            .run(&["run", "/dev/zero"])
            .expect(2)
            .stderr
            .contains("larger than")
    );
}

#[test]
fn text_that_is_no_text_is_told_with_its_place() {
    let (line, column, message) = refused(b"name: p\nsteps: [\xc3\xa7\xff]\n");
    assert_eq!((line, column), (2, 10));
    assert!(message.contains("not UTF-8"), "{message}");
    for document in [
        &b""[..],
        b"\0",
        b"\xff\xfe",
        b"%",
        b"&",
        b"{{",
        b"name: \x07",
        b"- - -",
        b"? [a]\n: b",
        b"!!binary aGk=",
        b"--- a\n--- b",
        b"null",
        b"\xef\xbb\xbf",
    ] {
        refused(document);
    }
}

#[test]
fn long_keys_over_many_values_do_not_multiply() {
    let flat = format!(
        "name: p\n\"{}\": [{}]\n",
        "k".repeat(300_000),
        "a,".repeat(300_000)
    );
    refused(&flat);
    let mut nested = String::from("name: p\nx: ");
    for level in 0..60 {
        let _ = write!(nested, "{{\"{}{level}\": ", "k".repeat(8_000));
    }
    nested.push_str(&format!("[{}]", "a,".repeat(200_000)));
    nested.push_str(&"}".repeat(60));
    refused(&nested);
}

#[test]
fn faults_by_the_thousand_are_all_told_in_bounded_time() {
    let mut document = String::from("name: p\nsteps:\n");
    let mut steps = 0;
    while document.len() < 1_000_000 {
        let _ = writeln!(
            document,
            "- {{name: s{steps}, connector_type: slep, x: 1, dependencies: [t{steps}]}}"
        );
        steps += 1;
    }
    let refused = validate(&document).expect(2);
    let errors = refused.json()["errors"].as_array().unwrap().len();
    assert!(errors >= 1_000, "{errors}");
}

#[test]
fn a_cycle_is_spelt_out_however_long() {
    let (line, _, message) = refused(
        "name: p\nsteps:\n- { name: a, connector_type: sleep, dependencies: [c], config: { seconds: 0 } }\n- { name: b, connector_type: sleep, dependencies: [a], config: { seconds: 0 } }\n- { name: c, connector_type: sleep, dependencies: [b], config: { seconds: 0 } }\n",
    );
    assert_eq!(
        (line, message.as_str()),
        (3, "steps wait for each other: a -> c -> b -> a")
    );
    let steps = 11_000;
    let mut ring = String::from("name: p\nsteps:\n");
    for step in 0..steps {
        let _ = writeln!(
            ring,
            "- {{name: s{step}, connector_type: sleep, config: {{seconds: 0}}, dependencies: [s{}]}}",
            (step + 1) % steps
        );
    }
    let (_, _, message) = refused(&ring);
    assert!(
        message.contains("s0 -> s1 -> ") && message.contains("more"),
        "{message}"
    );
}

#[test]
fn the_largest_documents_are_checked_in_seconds() {
    let mut wide = String::from("name: p\nsteps:\n");
    let mut chain = wide.clone();
    let mut steps = 0;
    while chain.len() < 1_000_000 {
        let _ = writeln!(
            wide,
            "- {{name: s{steps}, connector_type: sleep, config: {{seconds: 0}}}}"
        );
        let before = if steps == 0 {
            "config: {seconds: 0}".to_owned()
        } else {
            format!(
                "dependencies: [s{}], config: {{seconds: \"{{{{ steps.s0.rows_processed }}}}\"}}",
                steps - 1
            )
        };
        let _ = writeln!(
            chain,
            "- {{name: s{steps}, connector_type: sleep, {before}}}"
        );
        steps += 1;
    }
    validate(&wide).expect(0);
    // Each step reads the first, which is far above it.
    validate(&chain).expect(0);
}

#[test]
fn templates_reach_nothing_but_what_they_are_given() {
    for expression in [
        "env.HOME",
        "environ",
        "secrets.db",
        "credentials",
        "self",
        "steps.a.__class__",
        "config",
        "get_env('HOME')",
        "include('/etc/passwd')",
        "debug()",
        "namespace()",
        "loop",
        "params.__init__.__globals__",
        "lipsum",
        "cycler",
    ] {
        let text = format!(
            "name: p\nsteps: [{{ name: a, connector_type: command, config: {{ argv: [echo, \"{{{{ {expression} }}}}\"] }} }}]\n"
        );
        let program = Program::new();
        let file = program.pipeline(&text);
        let run = program.run_with(&["run", &file], &[("HOME", "/home/hunter2")]);
        assert!(matches!(run.status, 1 | 2), "{expression}: {run:?}");
        assert!(
            !format!("{run:?}").contains("hunter2"),
            "{expression}: {run:?}"
        );
    }
    for statement in [
        "include '/etc/passwd'",
        "import 'x' as y",
        "extends 'x'",
        "macro m() %}{% endmacro",
        "set x = 1",
        "call m()",
    ] {
        let (_, _, message) = refused(format!(
            "name: p\nsteps: [{{ name: a, connector_type: command, config: {{ argv: [echo, \"{{% {statement} %}}\"] }} }}]\n"
        ));
        assert!(
            message.starts_with("broken template: "),
            "{statement}: {message}"
        );
    }
}

#[test]
fn a_template_without_an_end_runs_out_of_fuel() {
    let huge = "range(100000)";
    for template in [
        format!(
            "{{% for a in {huge} %}}{{% for b in {huge} %}}{{% for c in {huge} %}}{{% endfor %}}{{% endfor %}}{{% endfor %}}"
        ),
        format!("{{% for a in {huge} %}}{{{{ 'x' * 100 }}}}{{% endfor %}}"),
        "{{ 'x' * 1000000000 }}".into(),
        format!(
            "{{{{ {huge} | map('string') | join('{}') }}}}",
            "x".repeat(1000)
        ),
        format!("{{{{ {} }}}}", vec!["'aaaaaaaaaa'"; 5000].join(" ~ ")),
        format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        "{{".repeat(20_000),
        "{% if true %}".repeat(4_000),
    ] {
        let program = Program::new();
        let text = format!(
            "name: p\nsteps: [{{ name: a, connector_type: command, retry_count: 0, config: {{ argv: [\"true\", \"{template}\"] }} }}]\n"
        );
        let file = program.pipeline(&text);
        let began = Instant::now();
        let run = program.shell("ulimit -v 4194304; exec \"$ETL\" \"$@\"", &["run", &file]);
        let shown: String = template.chars().take(60).collect();
        assert!(matches!(run.status, 0..=2), "{shown}: {run:?}");
        assert!(
            !run.stderr.contains("panicked") && began.elapsed() < TIME,
            "{shown}: {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn an_artifact_stays_below_its_step() {
    for name in [
        "../out.parquet",
        "a/../../out.parquet",
        "/etc/out.parquet",
        "..%2fout.parquet",
        "a\\\\\\\\..\\\\\\\\out.parquet",
        ".",
        "",
    ] {
        let program = Program::new();
        program.file("in.csv", "a\n1\n");
        let file = program.pipeline(&format!(
            "name: p\nsteps:\n- name: a\n  connector_type: copy\n  retry_count: 0\n  config: {{ source: {{ type: csv, url: in.csv }}, sink: {{ type: parquet, url: \"artifact://{name}\" }} }}\n"
        ));
        let run = program.run(&["run", &file]);
        let escaped = [
            ".etl/data/jobs/out.parquet",
            ".etl/data/out.parquet",
            "out.parquet",
        ]
        .map(|path| program.path(path))
        .iter()
        .any(|path| path.exists());
        assert!(
            !escaped && !std::path::Path::new("/etc/out.parquet").exists(),
            "{name}: {run:?}"
        );
        // Percent signs mean nothing in an artifact's name.
        assert!(
            matches!(run.status, 1 | 2) || name.contains('%'),
            "{name}: {run:?}"
        );
    }
}

#[test]
fn a_pattern_that_backtracks_without_end_is_no_trap() {
    let program = Program::new();
    let file = program.pipeline("name: p\nparameters: { properties: { x: { type: string, pattern: \"^(a+)+$\" } } }\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n");
    let began = Instant::now();
    let text = format!("x={}!", "a".repeat(2_000));
    program.run(&["run", &file, "-p", &text]).expect(2);
    assert!(began.elapsed() < TIME, "{:?}", began.elapsed());
}

#[test]
fn parameters_over_the_limit_are_refused() {
    let program = Program::new();
    let file = program.pipeline("name: p\nparameters: { properties: { x: { type: array } } }\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n");
    let part = format!("[\"{}\"]", "a".repeat(100_000));
    program
        .run(&["run", &file, "-p", &format!("x={part}")])
        .expect(0);
    let deep = format!("x={}{}", "[".repeat(20_000), "]".repeat(20_000));
    program.run(&["run", &file, "-p", &deep]).expect(2);
    let over = "{{ range(100000) }}";
    let wide = program.pipeline(&format!("name: q\nsteps:\n- {{ name: a, connector_type: sleep, for_each: \"{over}\", when: false, config: {{ seconds: 0 }} }}\n- {{ name: b, connector_type: sleep, for_each: \"{{{{ range(50001) | list + range(50000) | list }}}}\", config: {{ seconds: 0 }} }}\n"));
    let run = program.run(&["run", &wide]).expect(1);
    assert!(
        run.stdout
            .contains("gave 100001 items; at most 100000 are allowed"),
        "{run:?}"
    );
}
