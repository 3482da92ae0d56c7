//! A job's log as its event stream.

use std::collections::BTreeMap;

use etl_core::model::*;
use serde_json::json;

use crate::probe::*;

#[tokio::test(start_paused = true)]
async fn the_log_tells_every_move_once_and_ends_with_the_jobs_end() {
    let (_, _, etl) = setup();
    let mut each = step("each", &["first"], json!({ "value": "{{ item }}" }));
    each.for_each = Some(ForEach::Items(vec![json!("x"), json!("y")]));
    let mut skipped = step("skipped", &[], json!({}));
    skipped.when = Some(When::Literal(false));
    let mut fails = step("fails", &[], json!({ "panics": true }));
    fails.retry_count = 0;
    let steps = vec![step("first", &[], json!({})), each, skipped, fails];
    let outcome = etl.run(&pipeline("p", steps), none()).await.unwrap();
    let lines = etl.store().lines(outcome.job.id, 0, 1000).await.unwrap();
    assert!(lines.iter().map(|line| line.seq).eq(1..=lines.len() as u64));

    let mut told: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for line in &lines {
        let event = line.event().unwrap_or_else(|| panic!("{line:?}"));
        let whose = (line.step.as_deref().unwrap_or(""), line.item_index);
        told.entry(whose).or_default().push(event.as_str());
    }
    let ran = vec!["step_started", "step_completed"];
    let expected = BTreeMap::from([
        (("", None), vec!["job_started", "job_failed"]),
        (("first", None), ran.clone()),
        (("each", None), vec!["step_expanded", "step_completed"]),
        (("each", Some(0)), ran.clone()),
        (("each", Some(1)), ran),
        (("skipped", None), vec!["step_skipped"]),
        (("fails", None), vec!["step_started", "step_failed"]),
    ]);
    assert_eq!(told, expected);

    let last = lines.last().unwrap();
    assert_eq!(last.event(), Some(LogEvent::JobFailed));
    assert_eq!(last.level, LogLevel::Error);
    let figure = |name: &str| last.metadata[name].as_u64();
    assert_eq!(figure("steps_total"), Some(4));
    assert_eq!(figure("steps_success"), Some(2));
    assert_eq!(figure("steps_failed"), Some(1));
    assert_eq!(figure("duration_ms"), outcome.job.duration_ms);
    assert_eq!(figure("rows_processed"), Some(outcome.job.rows_processed));
}
