use etl_core::model::{JobStatus, PipelineId, StepStatus, TriggerType};

use super::*;

fn a_pipeline(namespace: &str, name: &str) -> PipelineRef {
    PipelineRef {
        id: PipelineId("00000000-0000-7000-8000-000000000001".parse().unwrap()),
        namespace: namespace.into(),
        name: name.into(),
        version: 1,
    }
}

fn a_job(namespace: &str, name: &str, took: Option<u64>) -> Observation {
    Observation::JobEnded {
        pipeline: a_pipeline(namespace, name),
        status: JobStatus::Success,
        trigger: TriggerType::Api,
        took: took.map(Duration::from_secs),
    }
}

#[test]
fn names_labels_and_buckets_are_those_that_dashboards_were_made_for() {
    let metrics = Metrics::new();
    metrics.observe(&a_job("default", "daily", Some(61)));
    metrics.observe(&a_job("team", "daily", None));
    metrics.observe(&Observation::StepEnded {
        connector: "copy".into(),
        status: StepStatus::Failed,
        took: Some(Duration::from_secs(30)),
        rows: 12,
        bytes: 0,
    });
    metrics.observe(&Observation::StepRetried {
        connector: "copy".into(),
    });
    metrics.observe(&Observation::Buried);
    metrics.observe(&Observation::LeaseLost);
    metrics.observe(&Observation::Fired {
        lag: Duration::from_millis(700),
    });
    metrics.store_operation("claim", Duration::from_millis(2));
    metrics.set(Gauges {
        active_jobs: 3,
        queue_depth: Some(12),
        is_available: true,
    });
    let text = metrics.render();
    for line in [
        "# TYPE etl_jobs counter",
        r#"etl_jobs_total{pipeline="daily",status="success",trigger_type="api"} 1"#,
        r#"etl_jobs_total{pipeline="team/daily",status="success",trigger_type="api"} 1"#,
        "# TYPE etl_job_duration_seconds histogram",
        r#"etl_job_duration_seconds_sum{pipeline="daily"} 61.0"#,
        r#"etl_job_duration_seconds_bucket{le="60.0",pipeline="daily"} 0"#,
        r#"etl_job_duration_seconds_bucket{le="300.0",pipeline="daily"} 1"#,
        r#"etl_job_duration_seconds_bucket{le="600.0",pipeline="daily"} 1"#,
        r#"etl_job_duration_seconds_bucket{le="1800.0",pipeline="daily"} 1"#,
        r#"etl_job_duration_seconds_bucket{le="3600.0",pipeline="daily"} 1"#,
        r#"etl_job_duration_seconds_bucket{le="7200.0",pipeline="daily"} 1"#,
        r#"etl_job_duration_seconds_bucket{le="+Inf",pipeline="daily"} 1"#,
        r#"etl_steps_total{connector="copy",status="failed"} 1"#,
        r#"etl_step_duration_seconds_bucket{le="10.0",connector="copy"} 0"#,
        r#"etl_step_duration_seconds_bucket{le="30.0",connector="copy"} 1"#,
        r#"etl_step_duration_seconds_bucket{le="60.0",connector="copy"} 1"#,
        r#"etl_step_duration_seconds_bucket{le="1800.0",connector="copy"} 1"#,
        "# TYPE etl_active_jobs gauge",
        "etl_active_jobs 3",
        "etl_queue_depth 12",
        "etl_workers_available 1",
        r#"etl_rows_processed_total{connector="copy"} 12"#,
        r#"etl_step_retries_total{connector="copy"} 1"#,
        "etl_dead_letters_total 1",
        "etl_lease_lost_total 1",
        r#"etl_schedule_lag_seconds_bucket{le="0.5"} 0"#,
        r#"etl_schedule_lag_seconds_bucket{le="1.0"} 1"#,
        r#"etl_store_operation_seconds_bucket{le="0.0025",operation="claim"} 1"#,
        "# EOF",
    ] {
        assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
    }
    // A job that never ran has no duration, and what is 0 no series.
    assert!(!text.contains(r#"duration_seconds_sum{pipeline="team/daily"}"#));
    assert!(!text.contains("bytes_transferred_total{"));
}

#[test]
fn a_deployment_of_many_pipelines_has_an_end_of_series() {
    let metrics = Metrics::new();
    for number in 0..1_200 {
        metrics.observe(&a_job("default", &format!("p{number}"), None));
    }
    let text = metrics.render();
    let series = text
        .lines()
        .filter(|line| line.starts_with("etl_jobs_total{"));
    assert_eq!(series.count(), 1_001);
    let others = r#"etl_jobs_total{pipeline="other",status="success",trigger_type="api"} 200"#;
    assert!(text.lines().any(|line| line == others), "{text}");
}

#[test]
fn what_names_say_can_not_break_the_text() {
    let metrics = Metrics::new();
    metrics.observe(&a_job("default", "a\"b\\c\nd", None));
    let text = metrics.render();
    assert!(text.contains(r#"pipeline="a\"b\\c\nd""#), "{text}");
}

#[test]
fn a_gauge_that_is_not_known_stays() {
    let metrics = Metrics::new();
    metrics.set(Gauges {
        queue_depth: Some(4),
        ..Gauges::default()
    });
    metrics.set(Gauges::default());
    assert!(metrics.render().contains("etl_queue_depth 4"));
}
