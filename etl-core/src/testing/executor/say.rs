//! Laws of what a `Run` tells.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use object_store::ObjectStoreExt as _;
use serde_json::{Value, json};

use super::stage::{Stage, hear, next};
use super::{ExecutorFixture, ProbeConfig};
use crate::contract::ExecutorErrorKind;
use crate::model::{ErrorClass, LogLevel, MAX_JSON_BYTES, StepEvent, StepKey};

pub(super) async fn a_result_comes_once_and_last(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let value = json!({"rows": [1, 2.5, null], "word": "«naïve» 🦀"});
    let echo = ProbeConfig::Echo {
        value: value.clone(),
    };
    let (said, result) = stage.play(&echo).await;
    assert!(said.is_empty(), "{said:?}");
    let report = result.unwrap();
    assert_eq!((report.output, report.rows_processed), (value, 1));
}

pub(super) async fn a_large_output_comes_whole(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let value = Value::from("é".repeat(MAX_JSON_BYTES / 2 - 1));
    let echo = ProbeConfig::Echo {
        value: value.clone(),
    };
    let (_, result) = stage.play(&echo).await;
    assert_eq!(result.unwrap().output, value);
}

pub(super) async fn an_attempt_gets_all_that_it_is_given(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let mut task = stage.task(0, &ProbeConfig::Mirror);
    task.key.attempt = 3;
    task.checkpoint = Some(json!({"row": 17}));
    let credential = json!({"word": "open sesame"});
    let mut run = stage.start(task, Some(credential)).await;
    let (_, result) = hear(&mut run).await;
    let expected = json!({
        "step": "s",
        "attempt": 3,
        "credential": "open sesame",
        "checkpoint": {"row": 17},
    });
    assert_eq!(result.unwrap().output, expected);
}

pub(super) async fn everything_that_is_said_comes_in_order(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let (mut said, result) = stage.play(&ProbeConfig::Speak).await;
    assert_eq!(result.unwrap().rows_processed, 10);
    // Progress may be left out, and nothing else.
    said.retain(|event| !matches!(event, StepEvent::Progress { .. }));
    let [
        StepEvent::Log {
            level,
            message,
            metadata,
        },
        StepEvent::Checkpoint(point),
        StepEvent::Metric { name, value },
    ] = &said[..]
    else {
        panic!("{said:?}");
    };
    assert_eq!(*level, LogLevel::Warn);
    assert_eq!(message, "«careful» 🦀\nsecond line");
    assert_eq!(metadata["n"], json!([1, null]));
    assert_eq!(*point, json!({"at": 5}));
    assert_eq!((name.as_str(), *value), ("files", 2.5));
}

pub(super) async fn a_failure_keeps_its_class_message_and_place(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    for class in [
        ErrorClass::Transient,
        ErrorClass::Throttled,
        ErrorClass::Permanent,
        ErrorClass::Auth,
        ErrorClass::Poison,
    ] {
        let fail = ProbeConfig::Fail {
            class,
            message: "no «amount» 🦀".into(),
        };
        let fault = stage.play(&fail).await.1.expect_err("it fails");
        assert_eq!(fault.class, class);
        assert_eq!(fault.message, "no «amount» 🦀");
        let place = fault.place.expect("it has a place");
        assert_eq!(place.file.as_deref(), Some("in.csv"));
        assert_eq!((place.line, place.row), (Some(7), Some(6)));
        assert_eq!(place.column.as_deref(), Some("amount"));
    }
}

pub(super) async fn a_panic_fails_its_attempt_and_no_other(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let mut other = stage.start(stage.task(1, &ProbeConfig::Wait), None).await;
    super::stage::until_it_runs(&mut other).await;
    let panic = ProbeConfig::Panic {
        message: "index out of bounds".into(),
    };
    let fault = stage.play(&panic).await.1.expect_err("it panics");
    assert!(!fault.class.is_retryable(), "{fault}");
    let told = format!("{fault} {}", fault.causes().unwrap_or_default());
    assert!(told.contains("index out of bounds"), "{told}");

    other.cancel(Duration::from_secs(10)).await;
    let fault = hear(&mut other).await.1.expect_err("it was stopped");
    assert_eq!(fault.message, "stopped as asked");
    let echo = ProbeConfig::Echo { value: json!(1) };
    let mut next = stage.start(stage.task(2, &echo), None).await;
    assert_eq!(hear(&mut next).await.1.unwrap().output, json!(1));
}

pub(super) async fn an_unknown_connector_or_configuration_is_refused(
    fixture: &dyn ExecutorFixture,
) {
    let stage = Stage::on(fixture).await;
    let mut unknown = stage.task(0, &ProbeConfig::Wait);
    unknown.connector_type = "no_such_connector".into();
    let mut strange = stage.task(1, &ProbeConfig::Wait);
    strange.config = Arc::new(json!({"act": "no such act"}));
    for task in [unknown, strange] {
        let area = stage.storage.area(&task.key);
        match stage.executor.start(task, None, area).await {
            Err(fault) => assert_eq!(fault.kind, ExecutorErrorKind::Refused),
            Ok(mut run) => {
                let fault = hear(&mut run).await.1.expect_err("nothing can do that");
                assert!(!fault.class.is_retryable(), "{fault}");
            }
        }
    }
}

pub(super) async fn a_flood_of_lines_comes_whole_and_waits_for_its_reader(
    fixture: &dyn ExecutorFixture,
) {
    const LINES: u64 = 100_000;
    let stage = Stage::on(fixture).await;
    let flood = ProbeConfig::Flood { lines: LINES };
    let mut run = stage.start(stage.task(0, &flood), None).await;
    for n in 0..LINES {
        match next(&mut run).await {
            Some(StepEvent::Log { message, .. }) => assert_eq!(message, n.to_string()),
            other => panic!("line {n} is {other:?}"),
        }
        if stage.facts.same_process {
            let ahead = stage.counts().said.load(Ordering::SeqCst).saturating_sub(n);
            assert!(ahead <= 10_000, "{ahead} lines are kept in memory");
        }
    }
    let (said, result) = hear(&mut run).await;
    assert!(said.is_empty());
    assert_eq!(result.unwrap().rows_processed, LINES);
}

pub(super) async fn a_call_that_is_given_up_loses_nothing(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let flood = ProbeConfig::Flood { lines: 1000 };
    let mut run = stage.start(stage.task(0, &flood), None).await;
    let mut lines = 0;
    loop {
        // Polled once and dropped, every other time.
        let event = match run.next().now_or_never() {
            Some(event) => event,
            None => next(&mut run).await,
        };
        match event {
            Some(StepEvent::Log { message, .. }) => {
                assert_eq!(message, lines.to_string());
                lines += 1;
            }
            Some(StepEvent::Result(result)) => {
                assert_eq!(result.unwrap().rows_processed, 1000);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lines, 1000);
}

pub(super) async fn whoever_talks_after_the_result_is_not_heard(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let mut run = stage.start(stage.task(0, &ProbeConfig::Babble), None).await;
    loop {
        match next(&mut run).await {
            Some(StepEvent::Log { .. }) => {}
            Some(StepEvent::Result(result)) => {
                assert_eq!(result.unwrap().rows_processed, 0);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // Long enough for what was left behind to say something; nothing can be waited for that must not come.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let more = next(&mut run).await;
    assert!(more.is_none(), "{more:?} after the result");
}

pub(super) async fn an_artifact_is_below_its_attempts_own_prefix(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let mut uris = Vec::new();
    for (step, attempt) in [(0, 1), (0, 2), (1, 1)] {
        let text = format!("{step} {attempt}");
        let write = ProbeConfig::Artifact {
            name: "out/part.txt".into(),
            text: text.clone(),
        };
        let mut task = stage.task(step, &write);
        task.key.step = StepKey::item(step, 5);
        task.key.attempt = attempt;
        let area = stage.storage.area(&task.key);
        let mut run = stage.start(task, None).await;
        let (said, result) = hear(&mut run).await;
        result.unwrap();
        let [StepEvent::Artifact { name, uri }] = &said[..] else {
            panic!("{said:?}");
        };
        assert_eq!(name.as_str(), "out/part.txt");
        assert_eq!(*uri, area.uri(name));
        let location = stage.storage.locate(uri).expect("it is in the storage");
        let found = stage.storage.store().get(&location).await.unwrap();
        assert_eq!(found.bytes().await.unwrap(), text.as_bytes());
        uris.push(uri.clone());
    }
    uris.sort_unstable();
    uris.dedup();
    assert_eq!(uris.len(), 3);
}
