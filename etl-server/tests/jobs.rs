//! Looking at what was run: `jobs`, `job`, `logs`, `connectors`, help and completions, and readers that go away.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use program::Program;
use serde_json::{Value, json};

/// A pipeline whose step says so many lines.
fn talkative(lines: u32) -> String {
    format!(
        "name: talkative\nsteps: [{{ name: a, connector_type: command, config: {{ argv: [seq, \"{lines}\"] }} }}]\n"
    )
}

#[test]
fn jobs_are_listed_newest_first_and_in_pages() {
    let program = Program::new();
    let empty = program.run(&["jobs", "--json"]).expect(0);
    assert_eq!(empty.json(), json!({ "items": [], "next_cursor": null }));
    assert!(
        empty.stderr.contains("no database") && !program.path(".etl").exists(),
        "{empty:?}"
    );

    for name in ["one", "two", "three"] {
        let file = program.pipeline(&format!("name: {name}\nsteps: [{{ name: a, connector_type: sleep, config: {{ seconds: 0 }} }}]\n"));
        program.run(&["run", &file]).expect(0);
    }
    let mut seen = Vec::new();
    let mut arguments = vec![
        "jobs".to_owned(),
        "--json".into(),
        "--limit".into(),
        "2".into(),
    ];
    loop {
        let page = program
            .run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
            .expect(0)
            .json();
        let mut keys: Vec<&String> = page.as_object().unwrap().keys().collect();
        keys.sort_unstable();
        assert_eq!(keys, ["items", "next_cursor"]);
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|job| job["pipeline"].clone()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => {
                arguments.truncate(4);
                arguments.extend(["--cursor".into(), cursor.into()]);
            }
            None => break,
        }
    }
    assert_eq!(seen, ["three", "two", "one"]);
    let filtered = program
        .run(&["jobs", "--pipeline", "two", "--status", "success", "--json"])
        .json();
    assert_eq!(filtered["items"].as_array().unwrap().len(), 1);
    let none = program
        .run(&["jobs", "--status", "failed", "--json"])
        .json();
    assert_eq!(none["items"], json!([]));
    let table = program.run(&["jobs"]).expect(0);
    assert!(
        table.stdout.contains("three") && table.stdout.contains("manual"),
        "{table:?}"
    );
    let bad = program.run(&["jobs", "--cursor", "nonsense"]).expect(2);
    assert!(bad.stderr.contains("cursor"), "{bad:?}");
}

#[test]
fn a_job_has_the_columns_of_its_tables() {
    let program = Program::new();
    let file = program.pipeline("name: p\nparameters: { properties: { n: { type: integer, default: 0 } } }\nsteps: [{ name: a, connector_type: sleep, config: { seconds: \"{{ params.n }}\" } }]\n");
    program.run(&["run", &file]).expect(0);
    let job = program
        .run(&["job", &program.last_id(), "--json"])
        .expect(0)
        .json();
    for column in [
        "id",
        "pipeline_id",
        "status",
        "trigger_type",
        "triggered_by",
        "parameters",
        "context",
        "started_at",
        "completed_at",
        "duration_ms",
        "worker_id",
        "retry_attempt",
        "error_message",
        "error_stack",
        "created_at",
    ] {
        assert!(job.get(column).is_some(), "{column} in {job}");
    }
    assert_eq!(
        json!([
            job["status"],
            job["trigger_type"],
            job["parameters"],
            job["retry_attempt"]
        ]),
        json!(["success", "manual", { "n": 0 }, 0])
    );
    let mut listed = program.last_job();
    listed["steps"] = job["steps"].clone();
    assert_eq!(listed, job);
    let step = &job["steps"][0];
    for column in [
        "id",
        "job_id",
        "step_id",
        "status",
        "progress",
        "started_at",
        "completed_at",
        "duration_ms",
        "input_data",
        "output_data",
        "logs_url",
        "artifacts_url",
        "error_message",
        "metrics",
        "created_at",
    ] {
        assert!(step.get(column).is_some(), "{column} in {step}");
    }
    for time in [
        &job["created_at"],
        &job["started_at"],
        &step["started_at"],
        &step["completed_at"],
    ] {
        let time = time.as_str().unwrap();
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    }
}

#[test]
fn a_log_is_one_object_a_line_in_order() {
    let program = Program::new();
    let file = program.pipeline(&talkative(2500));
    program.run(&["run", &file, "--json"]).expect(0);
    let logs = program
        .run(&["logs", &program.last_id(), "--json"])
        .expect(0);
    let lines: Vec<Value> = logs
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said: Vec<u32> = lines
        .iter()
        .filter(|line| line["step"] == "a")
        .filter_map(|line| line["message"].as_str()?.parse().ok())
        .collect();
    assert_eq!(said, (1..=2500).collect::<Vec<_>>());
    assert!(
        lines
            .iter()
            .all(|line| line["timestamp"].is_string() && line["level"].is_string())
    );
    let plain = program.run(&["logs", &program.last_id()]).expect(0);
    let events = lines
        .iter()
        .filter(|line| line["metadata"]["event"].is_string());
    assert_eq!(plain.stdout.lines().count(), lines.len() - events.count());
}

#[test]
fn connectors_are_listed_with_their_schemas() {
    let program = Program::new();
    let list = program.run(&["connectors", "--json"]).expect(0).json();
    let items = list["items"].as_array().unwrap();
    let names: Vec<&str> = items
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect();
    for name in ["command", "copy", "fail", "sleep", "sql"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    for item in items {
        let name = item["name"].as_str().unwrap();
        let one = program
            .run(&["connectors", name, "--json"])
            .expect(0)
            .json();
        assert_eq!(one["config_schema"]["type"], json!("object"), "{name}");
        assert_eq!(&one, item);
        let told = program.run(&["connectors", name]).expect(0);
        assert!(told.stdout.starts_with(name), "{told:?}");
    }
    let unknown = program.run(&["connectors", "coppy"]).expect(2);
    assert!(
        unknown.stderr.contains("did you mean \"copy\"?"),
        "{unknown:?}"
    );
}

#[test]
fn help_and_completions_come_without_touching_anything() {
    let program = Program::new();
    program.file("etl.toml", "this is not toml");
    let help = program.run(&["--help"]).expect(0);
    let commands = [
        "run",
        "validate",
        "connectors",
        "jobs",
        "job",
        "logs",
        "retry",
        "cancel",
        "completions",
    ];
    for command in commands {
        assert!(
            help.stdout.contains(&format!("\n  {command} ")),
            "{command}"
        );
        let one = program.run(&[command, "--help"]).expect(0);
        assert!(
            one.stdout.contains("Example") && one.stdout.contains("Usage: etl "),
            "{one:?}"
        );
    }
    assert!(help.stdout.contains("130 cancelled") && help.stdout.contains("etl.toml"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            program
                .run(&["completions", shell])
                .expect(0)
                .stdout
                .contains("etl")
        );
    }
    assert!(
        program
            .run(&["--version"])
            .expect(0)
            .stdout
            .starts_with("etl ")
    );
    assert_eq!(std::fs::read_dir(program.folder.path()).unwrap().count(), 1);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let program = Program::new();
    let file = program.pipeline(&talkative(5_000));
    let closed = "\"$ETL\" \"$@\" | true; exec 2>&1; \"$ETL\" \"$@\" | head -n 1";
    for arguments in [
        &["run", &file][..],
        &["run", &file, "--json"],
        &["jobs"],
        &["jobs", "--json"],
        &["--help"],
        &["connectors"],
        &["completions", "bash"],
    ] {
        let run = program.shell(closed, arguments).expect(0);
        assert!(!format!("{run:?}").contains("panicked"), "{run:?}");
    }
    let id = program.last_id();
    for arguments in [
        &["logs", &id][..],
        &["logs", "-f", &id],
        &["logs", "--json", &id],
        &["job", &id],
    ] {
        let run = program.shell(closed, arguments).expect(0);
        assert!(!format!("{run:?}").contains("panicked"), "{run:?}");
    }
    // Both outputs at once: the job goes on all the same.
    let count = || {
        program
            .run(&["jobs", "--status", "success", "--json"])
            .json()["items"]
            .as_array()
            .unwrap()
            .len()
    };
    let before = count();
    program
        .shell("\"$ETL\" \"$@\" 2>&1 | true", &["run", &file])
        .expect(0);
    let last = || program.last_job()["status"].clone();
    assert_eq!((count(), last()), (before + 1, json!("success")));
}

#[test]
fn an_output_that_is_full_is_said() {
    let program = Program::new();
    let run = program
        .shell("\"$ETL\" connectors > /dev/full", &[])
        .expect(3);
    assert!(
        run.stderr.contains("standard output can't be written to"),
        "{run:?}"
    );
}
