//! The database goes down as by a power cut, and comes back.

use std::time::Duration;

use crate::fleet::{Fleet, Hints, five};
use crate::ledger::{check_effects, check_ends};
use crate::program::server::Server;
use crate::size;

/// How soon all has to go on.
const PROMISED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_of_the_database_all_goes_on_within_5_seconds_and_no_job_is_lost() {
    let jobs = size("ETL_CRASH_JOBS", 60);
    let fleet = Fleet::new(Hints::Broker).await;
    // Few jobs at once, so that both have some.
    let mut processes = [
        fleet.start(&["worker"], 4, 8),
        fleet.start(&["worker"], 4, 8),
        fleet.start(&["scheduler"], 1, 1),
    ];
    let (pipeline, first) = fleet.submit_file(&five(0.3)).await;
    let client = fleet.client(&pipeline);
    let mut accepted = vec![first];
    let working =
        "SELECT count(DISTINCT worker_id)::text FROM job_executions WHERE status = 'running'";
    let mut slowest = Duration::ZERO;
    let restarts = size("ETL_CRASH_RESTARTS", 2);
    for _ in 0..restarts {
        accepted.extend(client.submit_many(jobs / restarts / 2).await);
        let both = |count| count == 2;
        fleet
            .wait_for("both work", Duration::from_secs(20), working, both)
            .await;
        let feeding = client.feed(jobs / restarts / 2, Duration::from_millis(20));
        fleet.services.kill("postgres");
        fleet.services.start("postgres");
        let back = fleet.now().await;
        // Each of the workers, not only one of them.
        let going = format!(
            "SELECT count(DISTINCT worker)::text FROM seen WHERE is_now = 'success' AND at > '{back}'::timestamptz"
        );
        let went = fleet
            .wait_for("both workers go on", PROMISED, &going, both)
            .await;
        slowest = slowest.max(went);
        accepted.extend(feeding.await.unwrap());
    }
    accepted.push(client.submit().await);
    fleet.wait_for_ends(Duration::from_secs(60 + jobs)).await;
    assert!(processes.iter_mut().all(Server::is_running));
    check_ends(&fleet, &accepted).await;
    let repeated = check_effects(&fleet, &accepted, 5).await.0;
    eprintln!(
        "{} jobs, {restarts} crashes of the database; it went on within {:.1} s; {repeated} attempts were repeated",
        accepted.len(),
        slowest.as_secs_f64()
    );
    fleet.end().await;
}
