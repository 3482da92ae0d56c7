//! How long the work of a killed worker stands still.

use std::time::Duration;

use crate::fleet::{Fleet, Hints};
use crate::ledger::check_ends;
use crate::size;

/// How many jobs the worker has when it dies.
const JOBS: u64 = 32;

/// What is promised, from the worker's death to the next attempt's start.
const PROMISED: f64 = 25.0;

const SLOW: &str = "name: slow
steps:
  - { name: a, connector_type: sleep, config: { seconds: 12 } }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_a_killed_worker_runs_again_within_25_seconds() {
    let fleet = Fleet::new(Hints::Broker).await;
    let (mut accepted, mut waits) = (Vec::new(), Vec::new());
    for _ in 0..size("ETL_CRASH_TAKEOVERS", 1) {
        let mut victim = fleet.start(&["worker"], JOBS as u32, JOBS as u32);
        let (pipeline, first) = fleet.submit_file(SLOW).await;
        accepted.push(first);
        accepted.extend(fleet.client(&pipeline).submit_many(JOBS - 1).await);
        let running = "SELECT count(*)::text FROM step_executions WHERE status = 'running'";
        let all = |count| count == JOBS as i64;
        fleet
            .wait_for("all are running", Duration::from_secs(11), running, all)
            .await;
        let _heir = fleet.start(&["worker", "scheduler"], JOBS as u32, JOBS as u32);
        // Before it, so that the figure is rather too large than too small.
        let died = fleet.now().await;
        victim.kill();
        assert_eq!(
            fleet.database.number(running).await,
            JOBS as i64,
            "some ended before the worker did"
        );
        fleet.wait_for_ends(Duration::from_secs(90)).await;
        let again = format!(
            "SELECT extract(epoch FROM min(at) - '{died}'::timestamptz)::text FROM seen
             WHERE step IS NOT NULL AND is_now = 'running' AND at > '{died}'::timestamptz GROUP BY job"
        );
        let seconds = fleet.database.rows(again).await;
        assert_eq!(seconds.len() as u64, JOBS);
        waits.extend(seconds.iter().map(|row| row[0].parse::<f64>().unwrap()));
    }
    check_ends(&fleet, &accepted).await;
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share).round() as usize];
    let longest = at(1.0);
    eprintln!(
        "{} attempts ran again after their worker's death: half within {:.1} s, 99 % within {:.1} s, all within {longest:.1} s",
        waits.len(),
        at(0.5),
        at(0.99)
    );
    assert!(longest <= PROMISED, "{longest} s");
    fleet.end().await;
}
