//! Many schedulers and many schedules, all due in the same second, and no two schedulers' clocks say the same.

use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::Clock as _;
use etl_core::contract::store::{Catalog, PutPipeline};
use etl_core::model::{By, Pipeline};
use etl_core::runtime::SystemClock;
use futures_util::StreamExt;
use futures_util::stream;

use crate::fleet::{Fleet, Hints};
use crate::program::server::Server;
use crate::size;

const SCHEDULERS: usize = 10;

/// From when schedules are stored to when they are due: they have to be stored by then.
const AHEAD: Duration = Duration::from_secs(10);

const LONG: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_schedulers_an_hour_apart_one_fires_each_of_a_thousand_schedules_that_are_due_together()
 {
    let schedules = size("ETL_CRASH_SCHEDULES", 1000);
    let fleet = Fleet::new(Hints::Store).await;
    // From five hours behind to four ahead; one of them is right.
    let mut schedulers: Vec<Server> = (-5..)
        .take(SCHEDULERS)
        .map(|hours| fleet.start_off(&["scheduler"], hours))
        .collect();
    for (scheduler, hours) in schedulers.iter().zip(-5..) {
        let off = scheduler.clock() - SystemClock.now().as_micros() / 1_000_000;
        assert!((off - hours * 3600).abs() < 60, "a clock is {off} s off");
    }
    let cron = fleet
        .database
        .text(format!(
            "SELECT to_char((clock_timestamp() + interval '{} s') AT TIME ZONE 'UTC', 'FMSS FMMI FMHH24 FMDD FMMM *')",
            AHEAD.as_secs()
        ))
        .await;
    stream::iter(0..schedules)
        .map(|number| {
            let document: Pipeline = serde_json::from_value(serde_json::json!({
                "name": format!("p{number}"),
                "schedule": cron,
                "steps": [{"name": "a", "connector_type": "sleep", "config": {"seconds": 0}}],
            }))
            .unwrap();
            let put = PutPipeline {
                document: Arc::new(document),
                expected_version: None,
                by: By::system(),
            };
            fleet.store.put_pipeline(put)
        })
        .buffer_unordered(64)
        .for_each(|stored| async {
            stored.unwrap();
        })
        .await;
    let due = fleet
        .database
        .rows("SELECT DISTINCT next_fire_at::text FROM schedules")
        .await;
    assert_eq!(due.len(), 1, "they were stored too late: {due:?}");
    let due = &due[0][0];

    let fired = "SELECT count(*)::text FROM schedule_fires WHERE job_id IS NOT NULL";
    // Some of them die when it begins.
    fleet
        .wait_for("the first fire", LONG, fired, |count| count > 0)
        .await;
    for scheduler in &mut schedulers[..3] {
        scheduler.kill();
    }
    let all = |count| count == schedules as i64;
    fleet.wait_for("all fires", LONG, fired, all).await;
    let seconds = fleet
        .database
        .text(format!(
            "SELECT extract(epoch FROM max(created_at) - '{due}'::timestamptz)::text FROM schedule_fires"
        ))
        .await;
    // All that are left look once more, so that a second fire had its chance.
    let watched = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'etl'";
    assert!(fleet.database.number(watched).await >= SCHEDULERS as i64 - 3);

    let each = fleet
        .database
        .rows(
            "SELECT count(*)::text, count(DISTINCT f.pipeline_id)::text, count(DISTINCT f.job_id)::text, count(DISTINCT f.nominal)::text
             FROM schedule_fires f",
        )
        .await;
    assert_eq!(
        each[0].join(" "),
        format!("{schedules} {schedules} {schedules} 1")
    );
    let jobs = fleet
        .database
        .rows(
            "SELECT count(*)::text, count(DISTINCT pipeline_id)::text FROM job_executions WHERE trigger_type = 'scheduled'",
        )
        .await;
    assert_eq!(jobs[0].join(" "), format!("{schedules} {schedules}"));
    assert!(schedulers[3..].iter_mut().all(Server::is_running));
    eprintln!(
        "{schedules} schedules, {SCHEDULERS} schedulers an hour apart: all fired {seconds} s after they were due"
    );
    drop(schedulers);
    fleet.end().await;
}
