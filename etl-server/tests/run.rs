//! `etl run`: outcomes, exit statuses, parameters, interrupts.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use program::{Program, wait_until};
use serde_json::{Value, json};

/// A pipeline of one step that does nothing.
const NOTHING: &str =
    "name: nothing\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n";
/// A pipeline that does not end by itself.
const LONG: &str =
    "name: long\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 600 } }]\n";

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_outcome_is_one_document_with_the_keys_of_the_contract() {
    let program = Program::new();
    program.file("in.csv", "id,name\n1,a\n2,b\n");
    let file = program.pipeline(
        "name: two
steps:
  - name: copied
    connector_type: copy
    config: { source: { type: csv, url: in.csv }, sink: { type: parquet, url: \"artifact://out.parquet\" } }
  - { name: each, connector_type: sleep, dependencies: [copied], for_each: [0, 0.001], config: { seconds: \"{{ item }}\" } }
  - { name: never, connector_type: sleep, dependencies: [copied], when: false, config: { seconds: 0 } }
",
    );
    let run = program.run(&["run", &file, "--json"]).expect(0);
    assert_eq!(run.stderr, "");
    let document = run.json();
    assert_eq!(
        keys(&document),
        [
            "bytes_transferred",
            "duration_ms",
            "error_message",
            "job_id",
            "pipeline",
            "rows_processed",
            "status",
            "steps"
        ]
    );
    assert_eq!(
        (
            &document["pipeline"],
            &document["status"],
            &document["rows_processed"],
            &document["error_message"]
        ),
        (&json!("two"), &json!("success"), &json!(2), &Value::Null)
    );
    let steps = document["steps"].as_array().unwrap();
    for step in steps {
        assert_eq!(
            keys(step),
            [
                "artifacts",
                "attempts",
                "bytes_transferred",
                "connector_type",
                "duration_ms",
                "error_message",
                "index",
                "name",
                "output",
                "rows_processed",
                "status"
            ]
        );
    }
    let told: Vec<Value> = steps
        .iter()
        .map(|step| {
            json!([
                step["name"],
                step["index"],
                step["status"],
                step["attempts"]
            ])
        })
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["copied", null, "success", 1],
            ["each", 0, "success", 1],
            ["each", 1, "success", 1],
            ["never", null, "skipped", 0]
        ])
    );
    let url = steps[0]["artifacts"]["out.parquet"].as_str().unwrap();
    assert!(
        std::path::Path::new(url.strip_prefix("file://").unwrap()).is_file(),
        "{url}"
    );
}

#[test]
fn a_failed_job_says_so_by_status_message_and_document() {
    let program = Program::new();
    let file = program.pipeline(
        "name: broken
steps:
  - { name: a, connector_type: fail, config: { message: no luck, class: permanent } }
  - { name: b, connector_type: sleep, dependencies: [a], config: { seconds: 0 } }
",
    );
    let run = program.run(&["run", &file]).expect(1);
    assert!(
        run.stdout.contains("no luck") && run.stdout.contains("skipped (upstream failed)"),
        "{run:?}"
    );
    assert!(
        run.stderr.contains("a: failed, no luck") && run.stderr.contains("--from-failed"),
        "{run:?}"
    );
    let document = program.run(&["run", &file, "--json"]).expect(1).json();
    assert_eq!(document["status"], json!("failed"));
    assert!(
        document["error_message"]
            .as_str()
            .unwrap()
            .contains("no luck"),
        "{document}"
    );
    assert_eq!(document["steps"][0]["error_message"], json!("no luck"));
}

#[test]
fn a_job_that_takes_too_long_fails() {
    let program = Program::new();
    let file = program.pipeline(
        "name: slow\ntimeout_seconds: 1\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 600 } }]\n",
    );
    let document = program.run(&["run", &file, "--json"]).expect(1).json();
    assert_eq!(document["status"], json!("timeout"));
}

#[test]
fn a_run_that_no_terminal_watches_is_told_in_plain_lines() {
    let program = Program::new();
    let file = program.pipeline(NOTHING);
    let run = program.run(&["run", &file]).expect(0);
    let said: Vec<&str> = run.stderr.lines().collect();
    assert!(
        said[0].starts_with("job ") && said[0].ends_with(" of nothing"),
        "{run:?}"
    );
    assert!(
        said.iter().any(|line| line.ends_with("a: running")),
        "{run:?}"
    );
    assert!(
        said.iter().any(|line| line.contains("a: success in ")),
        "{run:?}"
    );
    assert!(
        run.stdout.contains("connector") && run.stdout.contains("nothing: success in "),
        "{run:?}"
    );
    assert!(!format!("{run:?}").contains("\\u{1b}"), "{run:?}");
}

#[test]
fn what_a_step_says_can_not_steer_the_terminal() {
    let program = Program::new();
    let file = program.pipeline(
        r#"name: rude
steps:
  - name: a
    connector_type: command
    retry_count: 0
    config: { argv: [sh, -c, "printf \"\\033[2Jgone\\n\"; printf \"\\033]0;title\\007\\n\" >&2; exit 3"] }
"#,
    );
    let run = program.run(&["run", &file]).expect(1);
    let logs = program.run(&["logs", &program.last_id()]).expect(0);
    let job = program.run(&["job", &program.last_id()]).expect(0);
    for text in [&run.stdout, &run.stderr, &logs.stdout, &job.stdout] {
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    }
    assert!(
        logs.stdout.contains("[2Jgone") && run.stdout.contains("exit status 3"),
        "{logs:?}"
    );
}

#[test]
fn parameters_are_typed_by_the_schema_and_checked_before_anything_runs() {
    let program = Program::new();
    let file = program.pipeline(
        r#"name: p
parameters:
  properties:
    n: { type: number }
    list: { type: array, items: { type: integer }, default: [] }
    flag: { type: boolean, default: false }
    month: { type: string, pattern: "^\\d{4}-\\d{2}$", default: "2024-01" }
    digits: { type: string, default: "7" }
  required: [n]
steps:
  - { name: a, connector_type: sleep, config: { seconds: "{{ params.n }}" } }
"#,
    );
    let given = |pairs: &[&str]| {
        let mut arguments = vec!["run", file.as_str(), "--json"];
        arguments.extend(pairs.iter().flat_map(|pair| ["-p", *pair]));
        program.run(&arguments)
    };
    for pairs in [
        &["n=0.01"][..],
        &[
            "n=0",
            "list=[1, 2]",
            "flag=true",
            "digits=007",
            "month=2024-02",
        ],
        &["n=5", "n=0"],
    ] {
        given(pairs).expect(0);
    }
    let parameters = program.run(&["jobs", "--json"]).json()["items"][1]["parameters"].clone();
    assert_eq!(
        parameters,
        json!({ "n": 0, "list": [1, 2], "flag": true, "digits": "007", "month": "2024-02" })
    );
    for (pairs, pointer, said) in [
        (&[][..], "", "\"n\" is missing"),
        (&["n=soon"], "/n", "a number is wanted here"),
        (
            &["n=0", "list=[1, \"x\"]"],
            "/list/1",
            "a whole number is wanted here",
        ),
        (&["n=0", "list=1"], "/list", "a list is wanted here"),
        (
            &["n=0", "flag=yes"],
            "/flag",
            "true or false is wanted here",
        ),
        (&["n=0", "month=2024"], "/month", "does not fit the pattern"),
        (
            &["n=0", "mnth=2024-01"],
            "/mnth",
            "unknown parameter \"mnth\"",
        ),
    ] {
        let refused = given(pairs).expect(2);
        let document = refused.json();
        assert_eq!(keys(&document), ["errors"]);
        let error = &document["errors"][0];
        assert_eq!(
            keys(error),
            ["column", "file", "hint", "line", "message", "pointer"]
        );
        assert_eq!(error["pointer"], json!(pointer), "{document}");
        assert!(
            error["message"].as_str().unwrap().contains(said),
            "{document}"
        );
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let nearest = given(&["n=0", "mnth=2024-01"]).json();
    assert_eq!(
        nearest["errors"][0]["hint"],
        json!("did you mean \"month\"?")
    );
    assert_eq!(
        program.run(&["jobs", "--json"]).json()["items"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn wrong_input_ends_with_2_and_makes_nothing() {
    let program = Program::new();
    let file = program.pipeline(NOTHING);
    let no_job = "00000000-0000-7000-8000-000000000000";
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["run"],
        &["run", "nowhere.yaml"],
        &["run", "unknown-name"],
        &["run", "."],
        &["run", &file, "-p", "n"],
        &["run", &file, "-p", "=1"],
        &["run", &file, "-p", "n=1"],
        &["run", &file, "--parallelism", "0"],
        &["run", &file, "--database-url", "mysql://somewhere"],
        &["validate"],
        &["validate", "nowhere.yaml"],
        &["connectors", "coppy"],
        &["jobs", "--status", "sleeping"],
        &["jobs", "--limit", "501"],
        &["job", "no-id"],
        &["job", no_job],
        &["logs", no_job],
        &["cancel", no_job],
        &["retry", no_job],
    ] {
        let refused = program.run(arguments).expect(2);
        assert!(
            !refused.stderr.is_empty() && refused.stdout.is_empty(),
            "{arguments:?}: {refused:?}"
        );
    }
    assert!(!program.path(".etl").exists());
    program.run(&["run", &file]).expect(0);
    for command in ["job", "logs", "cancel", "retry"] {
        let refused = program.run(&[command, no_job]).expect(2);
        assert!(
            refused.stderr.contains(no_job) && refused.stderr.contains("etl jobs"),
            "{refused:?}"
        );
    }
}

#[test]
fn a_failure_before_there_is_a_job_is_one_document_too() {
    let program = Program::new();
    let file = program.pipeline("name: p\nsteps: [{ name: a, connector_type: slep }]\n");
    let validated = program.run(&["validate", &file, "--json"]).expect(2);
    let run = program.run(&["run", &file, "--json"]).expect(2);
    assert_eq!(run.json(), validated.json());
    assert!(run.stderr.contains("did you mean \"sleep\"?"), "{run:?}");
    for (arguments, status) in [
        (&["run", "unknown", "--json"][..], 2),
        (
            &["job", "00000000-0000-7000-8000-000000000000", "--json"],
            2,
        ),
        (
            &[
                "jobs",
                "--json",
                "--database-url",
                // Nobody listens there.
                "postgres://me:secret@127.0.0.1:1/db",
            ],
            3,
        ),
        (&["jobs", "--json", "--database-url", "sqlite://p.yaml"], 3),
    ] {
        let refused = program.run(arguments).expect(status);
        let document = refused.json();
        assert_eq!(keys(&document), ["errors"]);
        assert!(document["errors"][0]["message"].is_string(), "{document}");
        assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
    }
}

#[test]
fn a_pipeline_that_ran_is_remembered_under_its_name() {
    let program = Program::new();
    let file = program.pipeline(NOTHING);
    program.run(&["run", &file]).expect(0);
    std::fs::remove_file(file).unwrap();
    let again = program.run(&["run", "nothing", "--json"]).expect(0).json();
    assert_eq!(again["pipeline"], json!("nothing"));
}

#[test]
fn an_interrupt_cancels_the_job_and_exits_with_130() {
    let program = Program::new();
    let file = program.pipeline(LONG);
    for json in [false, true] {
        for terminate in [false, true] {
            let mut arguments = vec!["run", &file];
            arguments.extend(json.then_some("--json"));
            let mut child = program.spawn(&arguments);
            if json {
                wait_until("the step runs", || {
                    let job = program.last_job();
                    job["status"] == "running" && job["id"] != Value::Null
                });
            } else {
                child.wait_for_line("a: running");
            }
            if terminate {
                child.terminate();
            } else {
                child.interrupt();
            }
            let run = child.finish().expect(130);
            if json {
                assert_eq!(run.json()["status"], json!("cancelled"));
            }
            assert_eq!(program.last_job()["status"], json!("cancelled"));
        }
    }
}

#[test]
fn a_second_interrupt_leaves_at_once_and_the_job_can_be_ended_later() {
    let program = Program::new();
    let pids = program.path("pid");
    let file = program.pipeline(&format!(
        "name: stubborn\nsteps: [{{ name: a, connector_type: command, config: {{ argv: [sh, -c, \"trap : TERM; echo $$ > {}; while :; do sleep 600; done\"] }} }}]\n",
        pids.display()
    ));
    let mut child = program.spawn(&["run", &file]);
    wait_until("the program of the step runs", || {
        !program::lines(&pids).is_empty()
    });
    child.interrupt();
    child.wait_for_line("interrupted").interrupt();
    let left = child.finish().expect(130);
    assert!(left.stderr.contains("left as it is"), "{left:?}");
    let id = program.last_id();
    let pid = program::lines(&pids)[0].clone();
    // Of a dead one that nobody has waited for there is an entry, but no command line.
    wait_until("the program of the step is gone", || {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .unwrap_or_default()
            .is_empty()
    });
    let ended = program.run(&["retry", &id, "--json"]).expect(130).json();
    assert_eq!(
        (&ended["job_id"], &ended["status"]),
        (&json!(id), &json!("cancelled"))
    );
}

#[test]
fn another_process_can_look_at_a_running_job_and_cancel_it() {
    let program = Program::new();
    let file = program.pipeline(LONG);
    let mut child = program.spawn(&["run", &file]);
    child.wait_for_line("a: running");
    let jobs = program
        .run(&["jobs", "--status", "running", "--json"])
        .json();
    let id = jobs["items"][0]["id"].as_str().unwrap().to_owned();
    for arguments in [&["run", &file][..], &["retry", &id]] {
        let refused = program.run(arguments).expect(3);
        assert!(
            refused.stderr.contains("is used by process")
                && refused.stderr.contains("--database-url"),
            "{refused:?}"
        );
    }
    let follower = program.spawn(&["logs", "-f", &id]);
    let cancelled = program.run(&["cancel", &id, "--json"]).expect(0).json();
    assert_eq!(cancelled["id"], json!(id));
    child.finish().expect(130);
    follower.finish().expect(0);
    assert_eq!(program.last_job()["status"], json!("cancelled"));
    assert!(
        program
            .run(&["cancel", &id])
            .expect(0)
            .stdout
            .contains("has ended already")
    );
}

#[test]
fn a_store_that_can_not_be_reached_ends_with_3() {
    let program = Program::new();
    let file = program.pipeline(NOTHING);
    program.file("text", "not a database");
    for setting in [
        ["--database-url", "sqlite:///proc/etl/etl.db"],
        ["--database-url", "sqlite://text/below/a/file.db"],
        ["--database-url", "sqlite://text"],
        ["--database-url", "sqlite://."],
        ["--storage-url", "file:///proc/etl"],
        ["--storage-url", "file://text"],
    ] {
        let refused = program
            .run(&["run", &file, setting[0], setting[1]])
            .expect(3);
        assert!(
            refused.stderr.contains("hint: ") && refused.stdout.is_empty(),
            "{setting:?}: {refused:?}"
        );
    }
}

#[test]
fn ten_thousand_items_end_well_and_each_is_told() {
    let program = Program::new();
    let file = program.pipeline(
        "name: wide
steps:
  - { name: each, connector_type: sleep, for_each: \"{{ range(10000) }}\", config: { seconds: \"{{ 0 * item }}\" } }
  - { name: after, connector_type: sleep, dependencies: [each], config: { seconds: 0 } }
",
    );
    let document = program
        .run(&["run", &file, "--parallelism", "64", "--json"])
        .expect(0)
        .json();
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 10_001);
    assert!(
        steps
            .iter()
            .take(10_000)
            .enumerate()
            .all(|(at, step)| step["index"] == json!(at))
    );
    assert!(
        steps
            .iter()
            .all(|step| step["status"] == "success" && step["attempts"] == 1)
    );
    let job = program.run(&["job", &program.last_id()]).expect(0);
    assert!(
        job.stdout.contains("each × 10000") && job.stdout.lines().count() < 80,
        "{job:?}"
    );
}

#[test]
fn a_job_that_ended_is_repeated_as_a_new_one() {
    let program = Program::new();
    let witness = program.path("witness");
    let file = program.pipeline(&format!(
        "name: twice
steps:
  - {{ name: a, connector_type: command, config: {{ argv: [sh, -c, \"echo a >> {0}\"] }} }}
  - {{ name: each, connector_type: command, dependencies: [a], for_each: [x, y], config: {{ argv: [sh, -c, \"echo {{{{ item }}}} >> {0}\"] }} }}
  - {{ name: b, connector_type: command, dependencies: [each], retry_count: 0, config: {{ argv: [sh, -c, \"test -e {0}.go && echo b >> {0}\"] }} }}
",
        witness.display()
    ));
    let first = program.run(&["run", &file, "--json"]).expect(1).json()["job_id"].clone();
    std::fs::write(witness.with_extension("go"), "").unwrap();
    let id = first.as_str().unwrap();

    let second = program
        .run(&["retry", id, "--from-failed", "--json"])
        .expect(0)
        .json();
    assert_ne!(second["job_id"], first);
    assert_eq!(second["steps"].as_array().unwrap().len(), 4);
    let count = |word: &str| {
        program::lines(&witness)
            .iter()
            .filter(|line| *line == word)
            .count()
    };
    assert_eq!(
        [count("a"), count("x"), count("y"), count("b")],
        [1, 1, 1, 1]
    );
    let job = program
        .run(&["job", second["job_id"].as_str().unwrap(), "--json"])
        .json();
    assert_eq!(
        (&job["retry_of"], &job["retry_attempt"]),
        (&first, &json!(1))
    );

    let third = program.run(&["retry", id, "--json"]).expect(0).json();
    assert_eq!(
        [count("a"), count("x"), count("y"), count("b")],
        [2, 2, 2, 2]
    );
    let job = program
        .run(&["job", third["job_id"].as_str().unwrap(), "--json"])
        .json();
    assert_eq!(job["retry_of"], first);
    let old = program.run(&["job", id, "--json"]).json();
    assert_eq!(old["status"], json!("failed"));
}
