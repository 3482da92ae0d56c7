//! Flows of functions, as a program that embeds the engine writes them.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use etl_core::contract::{Observation, Observer, Progress, StepContext, Store};
use etl_core::document;
use etl_core::memory::MemoryStore;
use etl_core::model::{
    ArtifactName, BoxError, EventKind, JobStatus, PageRequest, Pipeline, RetryPolicy, StepError,
    StepStatus,
};
use etl_core::sdk::{Etl, EtlError, Flow};
use etl_core::testing::TokioClock;
use serde_json::{Map, Value, json};

fn none() -> Map<String, Value> {
    Map::new()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

async fn numbers(count: u64) -> Result<Vec<u64>, StepError> {
    Ok((1..=count).collect())
}

async fn sum(numbers: Vec<u64>) -> Result<u64, StepError> {
    Ok(numbers.iter().sum())
}

/// A flow with a parameter, and the handle of its end.
fn flow() -> (Flow, etl_core::sdk::StepHandle<u64>) {
    let flow = Flow::new("sums");
    let count = flow.parameter::<u64>("count");
    let numbers = flow.step("numbers", numbers).after(&count);
    let sum = flow.step("sum", sum).after(&numbers);
    (flow, sum)
}

#[tokio::test(start_paused = true)]
async fn the_same_flow_runs_inline_and_on_a_store_and_by_its_document() {
    let (flow, sum) = flow();
    let given = object(json!({ "count": 4 }));
    let inline = flow.run_inline(given.clone()).await.unwrap();
    assert_eq!(inline.output(&sum).unwrap(), 10);

    let clock = Arc::new(TokioClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let etl = Etl::builder()
        .clock(clock)
        .store(store.clone())
        .flow(&flow)
        .build();
    assert_eq!(
        etl.run(&flow, given.clone())
            .await
            .unwrap()
            .output(&sum)
            .unwrap(),
        10
    );

    // What it describes is a document like any other: it can be written down, read back, and run.
    let described = flow.describe().unwrap();
    let text = serde_json::to_string_pretty(&described).unwrap();
    let read = document::read(&text);
    assert_eq!(read.faults, []);
    let document: Pipeline = read.document.unwrap().pipeline;
    assert_eq!(document, described);
    assert_eq!(
        etl.run(&document, given)
            .await
            .unwrap()
            .output(&sum)
            .unwrap(),
        10
    );
    assert_eq!(document.steps[1].dependencies, ["numbers"]);
    // The same pipeline in the same version, whichever way it came.
    let stored = etl.put(&flow).await.unwrap();
    assert_eq!(stored.reference.version, 1);
    etl.shutdown().await;
}

#[tokio::test]
async fn a_job_can_be_awaited_in_a_task_of_its_own() {
    let (flow, sum) = flow();
    let etl = Etl::builder().flow(&flow).build();
    let job = etl.start(&flow, object(json!({ "count": 4 }))).await;
    let outcome = tokio::spawn(async move { job.unwrap().wait().await });
    assert_eq!(outcome.await.unwrap().unwrap().output(&sum).unwrap(), 10);
    let run = tokio::spawn(async move { etl.run(&flow, object(json!({ "count": 4 }))).await });
    assert_eq!(run.await.unwrap().unwrap().output(&sum).unwrap(), 10);
}

#[tokio::test(start_paused = true)]
async fn parameters_are_checked_by_the_types_that_take_them() {
    let (flow, _) = flow();
    for (given, expected) in [
        (json!({}), "parameter : the key \"count\" is missing"),
        (
            json!({ "count": "four" }),
            "parameter /count: a whole number is wanted here, this is \"four\"",
        ),
        (
            json!({ "count": 1, "cuont": 1 }),
            "parameter /cuont: unknown parameter \"cuont\"",
        ),
    ] {
        let refused = flow.run_inline(object(given)).await.unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    let with_default = Flow::new("default");
    let count = with_default.parameter_or("count", 2_u64);
    let numbers = with_default.step("numbers", numbers).after(&count);
    let outcome = with_default.run_inline(none()).await.unwrap();
    assert_eq!(outcome.output(&numbers).unwrap(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_step_takes_up_to_eight_inputs_of_any_types_in_order() {
    let flow = Flow::new("eight");
    let text = |name: &str| {
        let value = name.to_owned();
        flow.step(name, move || {
            let value = value.clone();
            async move { Ok::<_, StepError>(value) }
        })
    };
    let (a, c, e, g) = (text("a"), text("c"), text("e"), text("g"));
    let number = flow.step("number", || async { Ok::<_, StepError>(2_i64) });
    let flag = flow.parameter_or("flag", true);
    let all = flow
        .step(
            "all",
            |a: String, b: i64, c: String, d: bool, e: String, f: i64, g: String, h: bool| async move {
                Ok::<_, StepError>(format!("{a}{b}{c}{d}{e}{f}{g}{h}"))
            },
        )
        .after((&a, &number, &c, &flag, &e, &number, &g, &flag));
    let outcome = flow.run_inline(none()).await.unwrap();
    assert_eq!(outcome.output(&all).unwrap(), "a2ctruee2gtrue");
}

#[derive(Debug, thiserror::Error)]
#[error("the bank said no")]
struct BankError(#[from] std::num::ParseIntError);

#[tokio::test(start_paused = true)]
async fn any_error_can_leave_a_step_and_says_whether_it_is_worth_another_attempt() {
    let flow = Flow::new("errors");
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let policy = RetryPolicy::default();
    flow.step("io", move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err::<u64, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset)) }
    })
    .retry(2, policy);
    flow.step("own", || async {
        Err::<u64, _>(BankError("x".parse::<u64>().unwrap_err()))
    })
    .retry(2, policy);
    flow.step("boxed", || async {
        let number: u64 = "7".parse()?;
        Err::<u64, BoxError>(StepError::auth(format!("{number} refused")).into())
    })
    .retry(2, policy);
    flow.step("question", || async {
        let parsed: Value = serde_json::from_str("{")?;
        Ok::<_, StepError>(parsed)
    })
    .retry(2, policy);
    let outcome = flow.run_inline(none()).await.unwrap();
    assert_eq!(outcome.status(), JobStatus::Failed);
    for (step, attempt, class, message) in [
        ("io", 3, "transient", "connection reset"),
        ("own", 1, "permanent", "the bank said no"),
        ("boxed", 1, "auth", "7 refused"),
        (
            "question",
            1,
            "permanent",
            "EOF while parsing an object at line 1 column 1",
        ),
    ] {
        let record = outcome.step(step).unwrap();
        assert_eq!(record.attempt, attempt, "{step}");
        assert_eq!(record.error_class.unwrap().as_str(), class, "{step}");
        assert_eq!(record.error_message.as_deref(), Some(message), "{step}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert_eq!(
        outcome.step("own").unwrap().error_stack.as_deref(),
        Some("invalid digit found in string")
    );
}

#[tokio::test(start_paused = true)]
async fn a_function_speaks_through_its_context() {
    let flow = Flow::new("context");
    let worked = flow
        .step_with_context("work", |ctx: StepContext| async move {
            let done = ctx.restored().and_then(Value::as_u64).unwrap_or(0);
            ctx.checkpoint(5.into()).await;
            ctx.progress(Progress {
                percent: Some(50),
                rows_processed: 5,
                ..Progress::default()
            });
            ctx.info("half way").await;
            ctx.metric("speed", 1.5).await;
            let name = ArtifactName::new("out.txt")?;
            ctx.publish(name).await;
            if done == 0 {
                return Err::<_, BoxError>(StepError::transient("once").into());
            }
            Ok(done)
        })
        .retry(1, RetryPolicy::default());
    let read = flow.connector(
        "read",
        "function",
        json!({ "function": "context/echo", "inputs": [worked.artifact("out.txt")] }),
    );
    let read = read.follows(&worked);
    // The function of the connector step above.
    let other = Flow::new("context");
    let given = other.parameter::<String>("unused");
    other
        .step(
            "echo",
            |text: String| async move { Ok::<_, StepError>(text) },
        )
        .after(&given);

    let etl = Etl::builder().flow(&other).build();
    let mut handle = etl.start(&flow, none()).await.unwrap();
    let mut progress = Vec::new();
    let job = handle.id();
    while let Some(event) = handle.next_event().await.unwrap() {
        if let EventKind::Progress {
            progress: Some(percent),
            ..
        } = event.kind
        {
            progress.push(percent);
        }
    }
    assert_eq!(progress.first(), Some(&50));
    let outcome = handle.wait().await.unwrap();
    assert_eq!(outcome.output(&worked).unwrap(), 5);
    let url = outcome.output(&read).unwrap();
    assert!(
        url.as_str().is_some_and(|url| url.ends_with("out.txt")),
        "{url}"
    );
    let record = outcome.step("work").unwrap();
    assert_eq!(record.metrics["speed"], json!(1.5));
    let lines = etl.store().lines(job, 0, 100).await.unwrap();
    let told = lines
        .iter()
        .filter(|line| line.message == "half way")
        .count();
    assert_eq!(told, 2);
    etl.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_function_hears_that_its_job_is_cancelled() {
    let flow = Flow::new("deaf");
    flow.step_with_context("waits", |ctx: StepContext| async move {
        ctx.cancelled().cancelled().await;
        Err::<u64, _>(StepError::transient("heard"))
    });
    let etl = Etl::builder().build();
    let mut handle = etl.start(&flow, none()).await.unwrap();
    while let Some(event) = handle.next_event().await.unwrap() {
        if matches!(
            event.kind,
            EventKind::Step {
                status: StepStatus::Running,
                ..
            }
        ) {
            etl.cancel(handle.id(), "enough").await.unwrap();
        }
    }
    assert_eq!(handle.wait().await.unwrap().status(), JobStatus::Cancelled);
    etl.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_fans_out_with_types() {
    let flow = Flow::new("fan_out");
    let count = flow.parameter::<u64>("count");
    let numbers = flow.step("numbers", numbers).after(&count);
    let squares = flow
        .step("squares", |n: u64| async move { Ok::<_, StepError>(n * n) })
        .for_each(&numbers);
    let total = flow.step("total", sum).after(&squares);
    for (count, squares_expected) in [(0, vec![]), (3, vec![1, 4, 9])] {
        let outcome = flow
            .run_inline(object(json!({ "count": count })))
            .await
            .unwrap();
        assert_eq!(
            outcome.output(&total).unwrap(),
            squares_expected.iter().sum::<u64>()
        );
        assert_eq!(outcome.output(&squares).unwrap(), squares_expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_starts_again_takes_up_the_jobs_of_its_flow() {
    let clock = Arc::new(TokioClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let flow = Flow::new("again");
    let slow = flow.step("slow", || async {
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        Ok::<_, StepError>(1_u64)
    });
    flow.step("next", |n: u64| async move { Ok::<_, StepError>(n + 1) })
        .after(&slow);
    let first = Etl::builder()
        .clock(clock.clone())
        .store(store.clone())
        .build();
    let mut handle = first.start(&flow, none()).await.unwrap();
    let job = handle.id();
    while let Some(event) = handle.next_event().await.unwrap() {
        if matches!(
            event.kind,
            EventKind::Step {
                status: StepStatus::Running,
                ..
            }
        ) {
            break;
        }
    }
    drop((first, handle));

    // It knows the functions before it takes up anything; nobody hands it the flow again.
    let second = Etl::builder()
        .clock(clock)
        .store(store.clone())
        .flow(&flow)
        .build();
    let outcome = second.resume(job).await.unwrap().wait().await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.job.error_message);
    let steps = store
        .steps(job, &PageRequest::first(10))
        .await
        .unwrap()
        .items;
    assert_eq!((steps[0].attempt, steps[0].lost), (2, 1));
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wired_or_named_twice_is_told_and_nothing_runs() {
    let flow = Flow::new("unwired");
    flow.step("sum", sum);
    let EtlError::Invalid(faults) = flow.describe().unwrap_err() else {
        panic!("a fault of the flow")
    };
    assert_eq!(
        faults[0].message,
        "step \"sum\" takes inputs and was given none"
    );

    let twice = Flow::new("twice");
    twice.step("a", || async { Ok::<_, StepError>(1_u64) });
    twice.step("a", || async { Ok::<_, StepError>(2_u64) });
    let EtlError::Invalid(faults) = twice.run_inline(none()).await.unwrap_err() else {
        panic!("a fault of the flow")
    };
    assert_eq!(faults[0].message, "the step name \"a\" is used twice");
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<Observation>>);

impl Observer for Heard {
    fn observe(&self, observation: &Observation) {
        self.0.lock().unwrap().push(observation.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_each_fact_once_and_how_long_it_took() {
    let tried = Arc::new(AtomicU32::new(0));
    let flow = Flow::new("observed");
    let counter = Arc::clone(&tried);
    let shaky = flow
        .step("shaky", move || {
            let attempt = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(std::time::Duration::from_secs(20)).await;
                if attempt == 0 {
                    return Err(StepError::transient("not yet"));
                }
                Ok(vec![1_u64, 2])
            }
        })
        .retry(1, RetryPolicy::default());
    flow.step("items", |n: u64| async move { Ok::<_, StepError>(n) })
        .for_each(&shaky);
    let heard = Arc::<Heard>::default();
    let etl = Etl::builder()
        .clock(Arc::new(TokioClock::default()))
        .observer(heard.clone())
        .build();
    etl.run(&flow, none()).await.unwrap();
    etl.shutdown().await;

    let heard = heard.0.lock().unwrap();
    let retried = Observation::StepRetried {
        connector: "function".into(),
    };
    assert_eq!(heard.iter().filter(|one| **one == retried).count(), 1);
    let took: Vec<_> = heard
        .iter()
        .filter_map(|one| match one {
            Observation::StepEnded {
                status: StepStatus::Success,
                took,
                ..
            } => Some(took.unwrap().as_secs() >= 40),
            _ => None,
        })
        .collect();
    // The shaky step with both of its attempts, two items and the fan-out.
    assert_eq!(took, [true, false, false, false]);
    let ends: Vec<_> = heard
        .iter()
        .filter_map(|one| match one {
            Observation::JobEnded {
                pipeline,
                status,
                took,
                ..
            } => Some((&*pipeline.name, *status, took.unwrap().as_secs() >= 40)),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [("observed", JobStatus::Success, true)]);
    assert_eq!(heard.len(), 6);
}
