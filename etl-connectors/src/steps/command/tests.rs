use std::time::{Duration, Instant};

use etl_core::artifact::ArtifactStorage;
use etl_core::model::{ErrorClass, Pipeline, Step, StepRecord, StepStatus};
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

async fn run(config: Value) -> (Outcome, tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let etl = Etl::builder()
        .connector(Command)
        .storage(ArtifactStorage::folder(folder.path()).unwrap())
        .build();
    let outcome = etl.run(&pipeline(config), Map::new()).await.unwrap();
    let lines = etl.store().lines(outcome.job.id, 0, 10_000).await.unwrap();
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
    let line = r#"{"type":"artifact","name":"../../evil","path":"/etc/hostname"}"#;
    let (outcome, ..) = run(json!({ "argv": ["echo", line], "protocol": "jsonl" })).await;
    assert!(
        step(&outcome)
            .error_message
            .as_deref()
            .unwrap()
            .contains("is not an artifact name")
    );
}

#[tokio::test]
async fn a_cancelled_program_ends_with_all_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let etl = Etl::builder().connector(Command).build();
    let pid_file = folder.path().join("pid");
    let script = format!(
        "sleep 600 & echo $! > {0}.new; mv {0}.new {0}; echo started; wait",
        pid_file.display()
    );
    let mut handle = etl
        .start(
            &pipeline(json!({ "argv": ["sh", "-c", script] })),
            Map::new(),
        )
        .await
        .unwrap();
    while let Some(event) = handle.next_event().await.unwrap() {
        if matches!(&event.kind, etl_core::model::EventKind::Log(line) if line.message == "started")
        {
            break;
        }
    }
    let asked = Instant::now();
    etl.cancel(handle.id(), "enough").await.unwrap();
    handle.wait().await.unwrap();
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
    let child: i32 = std::fs::read_to_string(pid_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let gone = || {
        let status = std::fs::read_to_string(format!("/proc/{child}/stat"));
        status.map_or(true, |status| status.contains(") Z "))
    };
    assert!(gone(), "the child goes on");
    etl.shutdown().await;
}

#[tokio::test]
async fn endless_output_is_cut_and_not_kept() {
    let (outcome, _folder, lines) =
        run(json!({ "argv": ["head", "-c", "50000000", "/dev/zero"] })).await;
    assert!(outcome.is_success());
    assert!(step(&outcome).output_data["stdout"].as_str().unwrap().len() <= 64 * 1024 * 3);
    assert!(
        lines[0].ends_with("(48951424 more bytes left out)"),
        "{}",
        &lines[0][lines[0].len() - 60..]
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
