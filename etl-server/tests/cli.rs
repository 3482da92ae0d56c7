//! The program as its users meet it: commands, exit statuses, what goes to which output.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "the helpers of tests are tests")]

mod program;

use program::{Program, pipeline_file};
use serde_json::{Value, json};

#[test]
fn a_pipeline_runs_and_its_outcome_is_one_document() {
    let program = Program::new();
    let file = pipeline_file(
        &program,
        "name: two\nsteps:\n  - { name: a, connector_type: sleep, config: { seconds: 0 } }\n  - { name: b, connector_type: sleep, dependencies: [a], config: { seconds: 0.01 } }\n",
    );
    let run = program.run(&["run", &file, "--json"]);
    assert_eq!(run.status, 0, "{run:?}");
    let document = run.json();
    assert_eq!(
        [&document["pipeline"], &document["status"]],
        [&json!("two"), &json!("success")]
    );
    let steps: Vec<&Value> = document["steps"].as_array().unwrap().iter().collect();
    assert_eq!(steps.len(), 2);
    for key in [
        "name",
        "index",
        "connector_type",
        "status",
        "attempts",
        "rows_processed",
        "bytes_transferred",
        "duration_ms",
        "output",
        "artifacts",
        "error_message",
    ] {
        assert!(steps[0].get(key).is_some(), "{key}");
    }

    let id = document["job_id"].as_str().unwrap();
    let job = program.run(&["job", id, "--json"]).json();
    assert_eq!(
        [&job["id"], &job["status"]],
        [&json!(id), &json!("success")]
    );
    let jobs = program.run(&["jobs", "--json"]).json();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1);
    assert!(program.run(&["jobs"]).stdout.contains(id));
}

#[test]
fn a_failed_job_says_so_by_status_and_message() {
    let program = Program::new();
    let file = pipeline_file(
        &program,
        "name: broken\nsteps:\n  - { name: a, connector_type: fail, config: { message: no luck, class: permanent } }\n  - { name: b, connector_type: sleep, dependencies: [a], config: { seconds: 0 } }\n",
    );
    let run = program.run(&["run", &file]);
    assert_eq!(run.status, 1);
    assert!(
        run.stdout.contains("no luck") && run.stdout.contains("skipped (upstream failed)"),
        "{run:?}"
    );
    assert!(run.stderr.contains("--from-failed"));
    let id = program.run(&["jobs", "--json"]).json()["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let logs = program.run(&["logs", &id, "--json"]);
    assert!(
        logs.stdout
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    assert!(logs.stdout.contains("no luck"));
}

#[test]
fn a_wrong_document_is_told_with_every_place_and_nothing_is_made() {
    let program = Program::new();
    let file = pipeline_file(
        &program,
        "name: p\nstpes: []\nsteps:\n  - { name: a, connector_type: slep, dependencies: [a] }\n",
    );
    for command in ["run", "validate"] {
        let refused = program.run(&[command, &file]);
        assert_eq!(refused.status, 2);
        for said in [
            "p.yaml:2:1: unknown key \"stpes\"",
            "did you mean \"steps\"?",
            "did you mean \"sleep\"?",
            "a -> a",
        ] {
            assert!(
                refused.stderr.contains(said),
                "{command}: {said} in {}",
                refused.stderr
            );
        }
    }
    let document = program.run(&["validate", &file, "--json"]).json();
    assert_eq!(
        (
            &document["valid"],
            document["errors"].as_array().unwrap().len()
        ),
        (&json!(false), 3)
    );
    assert!(document["errors"][0]["line"].is_u64() && document["errors"][0]["pointer"].is_string());
    assert!(!program.folder.path().join(".etl").exists());
}

#[test]
fn parameters_are_typed_by_the_schema_and_checked_before_anything_runs() {
    let program = Program::new();
    let file = pipeline_file(
        &program,
        "name: p\nparameters: { properties: { n: { type: number }, label: { type: string, default: x } }, required: [n] }\nsteps:\n  - { name: a, connector_type: sleep, config: { seconds: '{{ params.n }}' } }\n",
    );
    for (arguments, status) in [
        (vec!["run", &file, "-p", "n=0.01"], 0),
        (vec!["run", &file, "-p", "n=0", "-p", "label=7"], 0),
        (vec!["run", &file], 2),
        (vec!["run", &file, "-p", "n=soon"], 2),
        (vec!["run", &file, "-p", "n=0", "-p", "lable=7"], 2),
        (vec!["run", &file, "-p", "n"], 2),
        (vec!["run", "nowhere.yaml"], 2),
        (vec!["run", "unknown-name"], 2),
        (vec!["run", "p", "-p", "n=0"], 0),
        (vec!["frobnicate"], 2),
        (vec!["job", "no-id"], 2),
        (vec!["logs", "00000000-0000-7000-8000-000000000000"], 2),
    ] {
        let run = program.run(&arguments);
        assert_eq!(run.status, status, "{arguments:?}: {run:?}");
        assert!(status == 0 || !run.stderr.is_empty());
    }
}

#[test]
fn connectors_are_listed_with_their_schemas() {
    let program = Program::new();
    let list = program.run(&["connectors", "--json"]).json();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect();
    for name in ["assert", "command", "copy", "fail", "sleep", "sql"] {
        assert!(names.contains(&name), "{name} in {names:?}");
        let one = program.run(&["connectors", name, "--json"]).json();
        assert_eq!(one["config_schema"]["type"], json!("object"), "{name}");
    }
    let unknown = program.run(&["connectors", "coppy"]);
    assert_eq!(unknown.status, 2);
}

#[test]
fn an_interrupt_cancels_the_job_and_exits_with_130() {
    let program = Program::new();
    let file = pipeline_file(
        &program,
        "name: long\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 600 } }]\n",
    );
    let mut child = program.spawn(&["run", &file]);
    child.wait_for_line("a: running").interrupt();
    let run = child.finish();
    assert_eq!(run.status, 130, "{run:?}");
    let job = program.run(&["jobs", "--json"]).json()["items"][0].clone();
    assert_eq!(job["status"], json!("cancelled"));
}

#[test]
fn another_process_can_look_at_a_running_job_and_cancel_it() {
    let program = Program::new();
    let file = pipeline_file(
        &program,
        "name: long\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 600 } }]\n",
    );
    let mut child = program.spawn(&["run", &file]);
    child.wait_for_line("a: running");
    let job = program
        .run(&["jobs", "--status", "running", "--json"])
        .json()["items"][0]
        .clone();
    let id = job["id"].as_str().unwrap();
    let second = program.run(&["run", &file]);
    assert_eq!(second.status, 3, "{second:?}");
    assert!(second.stderr.contains("another server"), "{second:?}");
    assert_eq!(program.run(&["cancel", id]).status, 0);
    assert_eq!(child.finish().status, 130);
    assert_eq!(
        program.run(&["job", id, "--json"]).json()["status"],
        json!("cancelled")
    );
}

#[test]
fn a_killed_run_goes_on_under_its_own_id_and_repeats_nothing_that_succeeded() {
    let program = Program::new();
    let marks = program.folder.path().join("marks");
    let text = format!(
        "name: long\nsteps:\n  - {{ name: first, connector_type: command, config: {{ argv: [sh, -c, 'echo first >> {0}'] }} }}\n  - {{ name: slow, connector_type: command, dependencies: [first], config: {{ argv: [sh, -c, 'test -e {0}.go || sleep 600; echo slow >> {0}'] }} }}\n",
        marks.display()
    );
    let file = pipeline_file(&program, &text);
    let mut child = program.spawn(&["run", &file]);
    child.wait_for_line("slow: running").kill();
    let id = program.run(&["jobs", "--json"]).json()["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::write(marks.with_extension("go"), "").unwrap();

    let other = pipeline_file(
        &program,
        "name: other\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n",
    );
    let beside = program.run(&["run", &other]);
    assert_eq!(beside.status, 0);
    assert!(
        beside.stderr.contains(&format!("etl retry {id}")),
        "{beside:?}"
    );

    let retried = program.run(&["retry", &id, "--json"]);
    assert_eq!(retried.status, 0, "{retried:?}");
    assert_eq!(retried.json()["job_id"], json!(id));
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), "first\nslow\n");
}

#[test]
fn help_and_completions_come_without_touching_anything() {
    let program = Program::new();
    let help = program.run(&["--help"]);
    assert_eq!(help.status, 0);
    for command in [
        "run",
        "validate",
        "connectors",
        "jobs",
        "job",
        "logs",
        "retry",
        "cancel",
        "completions",
    ] {
        assert!(help.stdout.contains(command), "{command}");
    }
    assert!(
        program
            .run(&["completions", "bash"])
            .stdout
            .contains("_etl")
    );
    assert_eq!(std::fs::read_dir(program.folder.path()).unwrap().count(), 0);
}

#[test]
fn configuration_comes_from_flag_environment_file_and_default_in_that_order() {
    let program = Program::new();
    let file = pipeline_file(
        &program,
        "name: p\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n",
    );
    let at = |name: &str| program.folder.path().join(name);
    std::fs::write(at("etl.toml"), "database_url = \"sqlite://from-file.db\"\n").unwrap();
    assert_eq!(program.run(&["run", &file]).status, 0);
    assert!(at("from-file.db").exists());
    assert_eq!(
        program
            .run_with(
                &["run", &file],
                &[("ETL_DATABASE_URL", "sqlite://from-env.db")]
            )
            .status,
        0
    );
    assert!(at("from-env.db").exists());
    let flags = ["run", &file, "--database-url", "sqlite://from-flag.db"];
    assert_eq!(
        program
            .run_with(&flags, &[("ETL_DATABASE_URL", "sqlite://unused.db")])
            .status,
        0
    );
    assert!(at("from-flag.db").exists() && !at("unused.db").exists());
    std::fs::write(at("etl.toml"), "databse_url = \"x\"\n").unwrap();
    assert_eq!(program.run(&["run", &file]).status, 2);
}
