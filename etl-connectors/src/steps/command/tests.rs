use std::time::{Duration, Instant};

use etl_core::artifact::ArtifactStorage;
use etl_core::model::{
    ErrorClass, EventKind, JobId, LogLine, Pipeline, Step, StepRecord, StepStatus,
};
use etl_core::sdk::{Etl, Outcome};
use serde_json::{Map, Value, json};

use super::{Command, protocol};

fn pipeline(config: Value) -> Pipeline {
    let mut step = Step::new("s", "command");
    step.retry_count = 0;
    step.config = config;
    Pipeline {
        steps: vec![step],
        ..Pipeline::new("p")
    }
}

/// What the program said: the lines of the log but those by which the engine tells what became of the job.
async fn said(etl: &Etl, job: JobId) -> Vec<LogLine> {
    let lines = etl.store().lines(job, 0, 10_000).await.unwrap();
    let said = lines.into_iter().filter(|line| line.event().is_none());
    said.collect()
}

async fn run(config: Value) -> (Outcome, tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let etl = Etl::builder()
        .connector(Command)
        .storage(ArtifactStorage::folder(folder.path()).unwrap())
        .build();
    let outcome = etl.run(&pipeline(config), Map::new()).await.unwrap();
    let lines = said(&etl, outcome.job.id).await;
    let lines = lines
        .iter()
        .map(|line| format!("{} {}", line.level, line.message))
        .collect();
    etl.shutdown().await;
    (outcome, folder, lines)
}

fn step(outcome: &Outcome) -> &StepRecord {
    outcome.step("s").unwrap()
}

#[tokio::test]
async fn the_output_is_logged_and_kept_and_no_shell_reads_the_arguments() {
    let (outcome, _folder, lines) = run(json!({ "argv": ["echo", "$HOME", "*", "a;b"] })).await;
    assert_eq!(
        step(&outcome).output_data,
        json!({ "exit_code": 0, "stdout": "$HOME * a;b\n" })
    );
    assert_eq!(lines, ["INFO $HOME * a;b"]);
}

#[tokio::test]
async fn a_program_gets_its_own_environment_and_nothing_secret_of_ours() {
    let (outcome, ..) = run(json!({ "argv": ["env"], "env": { "GIVEN": "yes" } })).await;
    let stdout = step(&outcome).output_data["stdout"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(stdout.contains("GIVEN=yes\n") && stdout.contains("PATH="));
    assert!(!stdout.contains("CARGO"), "{stdout}");
}

#[tokio::test]
async fn the_exit_status_decides_and_the_failure_quotes_standard_error() {
    let (outcome, _folder, lines) =
        run(json!({ "argv": ["sh", "-c", "echo one >&2; echo two >&2; exit 7"] })).await;
    let message = step(&outcome).error_message.clone().unwrap();
    assert_eq!(
        message,
        "the program ended with exit status 7; the last it said:\none\ntwo"
    );
    assert_eq!(step(&outcome).error_class, Some(ErrorClass::Transient));
    assert!(lines.contains(&"WARN one".to_owned()));
    let (outcome, ..) = run(json!({ "argv": ["sh", "-c", "kill -9 $$"] })).await;
    assert_eq!(
        step(&outcome).error_message.as_deref(),
        Some("the program was ended by SIGKILL")
    );
    let (outcome, ..) = run(json!({ "argv": ["no-such-program"] })).await;
    assert_eq!(step(&outcome).error_class, Some(ErrorClass::Permanent));
}

#[tokio::test]
async fn a_program_speaks_the_step_protocol() {
    let script = r#"
import json, sys
task = json.load(sys.stdin)
def say(**line): print(json.dumps(line), flush=True)
say(type="log", level="WARN", message="hello", metadata={"a": 1})
say(type="progress", progress=42, rows_processed=10)
say(type="metric", name="speed", value=1.5)
say(type="checkpoint", state={"at": 10})
open(task["output_folder"] + "/out.txt", "w").write("data")
say(type="artifact", name="out.txt", path="out.txt")
print("not json")
say(type="result", success=True, rows_processed=10, bytes_transferred=4, output={"attempt": task["attempt"], "x": task["config"]["argv"][0]})
"#;
    let (outcome, _folder, lines) =
        run(json!({ "argv": ["python3", "-c", script], "protocol": "jsonl" })).await;
    let step = step(&outcome);
    assert_eq!(
        (step.status, step.rows_processed, step.bytes_transferred),
        (StepStatus::Success, 10, 4),
        "{step:?}"
    );
    assert_eq!(step.output_data, json!({ "attempt": 1, "x": "python3" }));
    assert_eq!(step.metrics.get("speed"), Some(&json!(1.5)));
    let path = step.artifacts[0].uri.strip_prefix("file://").unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "data");
    assert_eq!(lines, ["WARN hello", "INFO not json"]);
}

#[tokio::test]
async fn a_protocol_program_needs_a_result_line_and_its_own_class_counts() {
    let (outcome, ..) =
        run(json!({ "argv": ["sh", "-c", "echo why >&2"], "protocol": "jsonl" })).await;
    let message = step(&outcome).error_message.clone().unwrap();
    assert_eq!(
        message,
        "the program ended with exit status 0 without a result line; the last it said:\nwhy"
    );
    let line =
        r#"{"type":"result","success":false,"error":{"message":"bad month","class":"permanent"}}"#;
    let (outcome, ..) = run(json!({ "argv": ["echo", line], "protocol": "jsonl" })).await;
    assert_eq!(
        (
            step(&outcome).error_message.as_deref(),
            step(&outcome).error_class
        ),
        (Some("bad month"), Some(ErrorClass::Permanent))
    );
}

#[tokio::test]
async fn an_artifact_can_not_leave_its_folder() {
    for (name, path, says) in [
        ("../../evil", "/etc/hostname", "is not an artifact name"),
        ("a", "../../../x", "leads by its `..` out of"),
        ("a", "/tmp/../etc/hostname", "has a `..`"),
        ("a", "missing", "no file is there"),
        ("a", "/dev/zero", "no file is there"),
    ] {
        let line = json!({ "type": "artifact", "name": name, "path": path }).to_string();
        let (outcome, ..) = run(json!({ "argv": ["echo", line], "protocol": "jsonl" })).await;
        let message = step(&outcome).error_message.clone().unwrap();
        assert!(message.contains(says), "{path}: {message}");
        assert_eq!(step(&outcome).error_class, Some(ErrorClass::Permanent));
    }
}

#[tokio::test]
async fn a_file_from_elsewhere_is_taken_over_as_an_artifact() {
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(elsewhere.path(), "data").unwrap();
    let line = json!({ "type": "artifact", "name": "a.txt", "path": elsewhere.path() }).to_string();
    let result = r#"{"type":"result","success":true}"#;
    let argv = json!(["printf", "%s\n%s\n", line, result]);
    let (outcome, _folder, _) = run(json!({ "argv": argv, "protocol": "jsonl" })).await;
    let uri = &step(&outcome).artifacts[0].uri;
    let path = uri.strip_prefix("file://").unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "data");
}

#[tokio::test]
async fn a_program_reads_what_it_is_given_or_nothing() {
    let (outcome, ..) = run(json!({ "argv": ["cat"], "stdin": "a\nb" })).await;
    assert_eq!(step(&outcome).output_data["stdout"], "a\nb\n");
    let (outcome, ..) = run(json!({ "argv": ["cat"] })).await;
    assert_eq!(step(&outcome).output_data["stdout"], "");
    let (outcome, ..) = run(json!({ "argv": ["true"], "stdin": "x".repeat(10_000_000) })).await;
    assert!(outcome.is_success(), "input that nobody reads");
}

#[tokio::test]
async fn a_program_runs_in_the_folder_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap();
    let (outcome, ..) = run(json!({ "argv": ["pwd"], "cwd": place })).await;
    let stdout = step(&outcome).output_data["stdout"].as_str().unwrap();
    assert_eq!(stdout.trim_end(), place.to_str().unwrap());
    for (cwd, says) in [
        ("sub", "only a pipeline that is run from a file"),
        ("/no/such", "does not exist"),
    ] {
        let (outcome, ..) = run(json!({ "argv": ["pwd"], "cwd": cwd })).await;
        let message = step(&outcome).error_message.clone().unwrap();
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn a_program_that_closes_its_outputs_is_waited_for() {
    let script = "exec 1>&- 2>&-; sleep 0.3; exit 3";
    let (outcome, ..) = run(json!({ "argv": ["sh", "-c", script] })).await;
    let message = step(&outcome).error_message.clone().unwrap();
    assert_eq!(message, "the program ended with exit status 3");
}

#[tokio::test]
async fn a_child_that_is_left_behind_keeps_nobody_waiting_and_is_ended() {
    let script = "sleep 600 & echo $!";
    let begun = Instant::now();
    let (outcome, ..) = run(json!({ "argv": ["sh", "-c", script] })).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let stdout = step(&outcome).output_data["stdout"].as_str().unwrap();
    assert_ended(stdout.trim().parse().unwrap()).await;
}

#[tokio::test]
async fn what_a_failure_quotes_is_bounded() {
    let script = "import sys; sys.stderr.write(('ä' * 1000000 + chr(10)) * 12); sys.exit(1)";
    let (outcome, ..) = run(json!({ "argv": ["python3", "-c", script] })).await;
    let message = step(&outcome).error_message.clone().unwrap();
    assert!(message.len() < 25_000, "{}", message.len());
    assert!(
        message.ends_with("ä…"),
        "{}",
        &message[message.len() - 10..]
    );
    let script = "import json; print(json.dumps({'type': 'result', 'success': False, 'error': 'x' * 500000}))";
    let (outcome, ..) =
        run(json!({ "argv": ["python3", "-c", script], "protocol": "jsonl" })).await;
    let message = step(&outcome).error_message.clone().unwrap();
    assert!(message.len() < 3_000, "{}", message.len());
}

#[tokio::test]
async fn a_cancelled_program_ends_with_all_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let script = format!(
        "sleep 600 & echo $! > {0}; echo started; wait",
        pid_file.display()
    );
    let (_, took) = cancelled(&script).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    let child = std::fs::read_to_string(pid_file).unwrap();
    assert_ended(child.trim().parse().unwrap()).await;
}

/// Starts a script, cancels it when it has said `started`, and gives its log lines and how long its end took.
async fn cancelled(script: &str) -> (Vec<String>, Duration) {
    let etl = Etl::builder().connector(Command).build();
    let pipeline = pipeline(json!({ "argv": ["sh", "-c", script] }));
    let mut handle = etl.start(&pipeline, Map::new()).await.unwrap();
    while let Some(event) = handle.next_event().await.unwrap() {
        if matches!(&event.kind, EventKind::Log(line) if line.message == "started") {
            break;
        }
    }
    let asked = Instant::now();
    etl.cancel(handle.id(), "enough").await.unwrap();
    let id = handle.id();
    handle.wait().await.unwrap();
    let took = asked.elapsed();
    let lines = said(&etl, id).await;
    etl.shutdown().await;
    let lines = lines.into_iter().map(|line| line.message);
    (lines.collect(), took)
}

#[tokio::test]
async fn a_program_that_is_told_to_stop_can_say_last_words() {
    // Its `sleep` is told to stop as well, and some shells say so on standard error.
    let script = "exec 2>/dev/null; trap 'echo bye; exit 0' TERM; echo started; while :; do sleep 0.05; done";
    let (lines, took) = cancelled(script).await;
    assert_eq!(lines, ["started", "bye"]);
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_result_line_that_cannot_be_read_is_a_fault_and_no_log_line() {
    let line = r#"{"type": "result", "success": true, "rows_processed": 12.5}"#;
    let (outcome, ..) = run(json!({ "argv": ["echo", line], "protocol": "jsonl" })).await;
    let step = step(&outcome);
    assert_eq!(step.error_class, Some(ErrorClass::Permanent));
    let message = step.error_message.as_deref().unwrap();
    assert!(
        message.starts_with("the program's result line is wrong: invalid type: floating point"),
        "{message}"
    );
}

#[tokio::test]
async fn a_program_that_reports_success_as_it_is_stopped_has_succeeded() {
    let script = r#"trap 'echo "{\"type\":\"result\",\"success\":true,\"rows_processed\":3}"; exit 0' TERM
        while :; do sleep 0.05; done"#;
    let mut pipeline = pipeline(json!({ "argv": ["sh", "-c", script], "protocol": "jsonl" }));
    pipeline.steps[0].timeout_seconds = 1;
    let etl = Etl::builder().connector(Command).build();
    let outcome = etl.run(&pipeline, Map::new()).await.unwrap();
    etl.shutdown().await;
    let step = step(&outcome);
    assert_eq!((step.status, step.rows_processed), (StepStatus::Success, 3));
}

#[tokio::test]
async fn a_program_that_does_not_stop_is_ended() {
    let script = "trap '' TERM; echo started; while :; do sleep 0.05; done";
    let (lines, took) = cancelled(script).await;
    assert_eq!(lines, ["started"]);
    assert!(took < Duration::from_secs(8), "{took:?}");
}

/// Fails unless the process ends within a second: its signal is on the way when a step ends.
async fn assert_ended(process: i32) {
    let goes_on = || {
        let status = std::fs::read_to_string(format!("/proc/{process}/stat"));
        status.is_ok_and(|status| !status.contains(") Z "))
    };
    let begun = Instant::now();
    while goes_on() {
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "process {process} goes on"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn endless_output_is_cut_and_not_kept() {
    let (outcome, _folder, lines) =
        run(json!({ "argv": ["head", "-c", "50000000", "/dev/zero"] })).await;
    assert!(outcome.is_success());
    assert!(step(&outcome).output_data["stdout"].as_str().unwrap().len() <= 64 * 1024 * 3);
    assert!(
        lines[0].len() < 1024 * 1024 && lines[0].ends_with("cut)"),
        "{}",
        lines[0].len()
    );
}

proptest::proptest! {
    #[test]
    fn no_line_makes_the_parser_panic(line in ".{0,80}", value in "[{}\\[\\]\":,a-z0-9 ]{0,80}") {
        let _ = protocol::parse(&line);
        let _ = protocol::parse(&value);
        let _ = protocol::parse(&format!("{{\"type\":\"progress\",{value}}}"));
    }
}

async fn run_with_credential(config: Value) -> (Outcome, Vec<String>) {
    let credential = json!({ "user": "etl", "password": "hunter2-canary" });
    let etl = Etl::builder()
        .connector(Command)
        .credential("bank", credential)
        .build();
    let mut pipeline = pipeline(config);
    pipeline.steps[0].credential = Some("bank".into());
    let outcome = etl.run(&pipeline, Map::new()).await.unwrap();
    let lines = said(&etl, outcome.job.id).await;
    let lines = lines.into_iter().map(|line| line.message).collect();
    etl.shutdown().await;
    (outcome, lines)
}

#[tokio::test]
async fn a_program_gets_its_credential_in_a_file_that_goes_with_it() {
    let script = "sha256sum < $ETL_CREDENTIAL_FILE; stat -c %a $ETL_CREDENTIAL_FILE; echo $ETL_CREDENTIAL_FILE; env | grep -c canary";
    let (outcome, lines) = run_with_credential(json!({
        "argv": ["sh", "-c", script], "env": { "ETL_CREDENTIAL_FILE": "/etc/passwd" }
    }))
    .await;
    // Of {"password":"hunter2-canary","user":"etl"}, by sha256sum.
    assert_eq!(
        lines[..2],
        [
            "2734721251bc1862d4fca8650a6217666a48dea4e8d44ca78dd5bb93e5c374d1  -".to_owned(),
            "400".to_owned()
        ],
        "{outcome:?}"
    );
    assert!(!std::path::Path::new(&lines[2]).exists());
    assert_eq!(lines[3], "0", "it is not in the environment");

    // Without a credential there is no such variable.
    let (outcome, ..) = run(json!({ "argv": ["sh", "-c", "echo [$ETL_CREDENTIAL_FILE]"] })).await;
    assert_eq!(step(&outcome).output_data["stdout"], "[]\n");
}

#[tokio::test]
async fn a_program_of_the_protocol_gets_its_credential_in_the_task() {
    let script = r#"
import json, sys, hashlib
task = json.load(sys.stdin)
same = task["credential"] == {"user": "etl", "password": "hunter2-canary"}
print(json.dumps({"type": "result", "success": True, "output": {"same": same}}))
"#;
    let (outcome, _) =
        run_with_credential(json!({ "argv": ["python3", "-c", script], "protocol": "jsonl" }))
            .await;
    assert_eq!(step(&outcome).output_data, json!({ "same": true }));
}

#[tokio::test]
async fn what_a_program_says_of_its_credential_is_not_remembered() {
    let loud = "cat $ETL_CREDENTIAL_FILE; cat $ETL_CREDENTIAL_FILE >&2; base64 -w0 $ETL_CREDENTIAL_FILE | head -c 0; printf hunter2-canary | base64; exit ";
    for status in [0, 3] {
        let (outcome, lines) =
            run_with_credential(json!({ "argv": ["sh", "-c", format!("{loud}{status}")] })).await;
        let said = format!("{outcome:?} {lines:?}");
        assert!(!said.contains("canary"), "{said}");
        assert!(!said.contains("aHVudGVyMi1jYW5hcnk"), "{said}");
        assert!(lines[0].contains("[redacted]"), "{lines:?}");
    }
    let jsonl = r#"
import json, sys
password = json.load(sys.stdin)["credential"]["password"]
say = lambda **line: print(json.dumps(line), flush=True)
say(type="log", level="INFO", message=password, metadata={password: [password]})
say(type="checkpoint", state={"password": password})
say(type="result", success=SUCCESS, output={"password": password}, error={"class": "permanent", "message": password})
"#;
    for success in ["True", "False"] {
        let script = jsonl.replace("SUCCESS", success);
        let config = json!({ "argv": ["python3", "-c", script], "protocol": "jsonl" });
        let (outcome, lines) = run_with_credential(config).await;
        let said = format!("{outcome:?} {lines:?}");
        assert!(!said.contains("canary"), "{said}");
        assert!(said.contains("[redacted]"), "{said}");
    }
}
