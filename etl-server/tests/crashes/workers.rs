//! Workers die in turn under load.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, Hints, five};
use crate::ledger::{check_effects, check_ends_or_poison};
use crate::program::server::Server;
use crate::{seconds, size};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_killed_lose_no_job_and_repeat_no_step_that_succeeded() {
    kill_in_turn(Hints::Store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_killed_beside_a_broker_lose_no_job_and_repeat_no_step_that_succeeded() {
    kill_in_turn(Hints::Broker).await;
}

async fn kill_in_turn(hints: Hints) {
    let jobs = size("ETL_CRASH_JOBS", 60);
    let every = seconds("ETL_CRASH_SECONDS", 3);
    let most = size("ETL_CRASH_KILLS", 4) as usize;
    let fleet = Fleet::new(hints).await;
    let start = || fleet.start(&["worker"], 32, 8);
    let mut workers = [start(), start()];
    let mut schedulers = [(); 2].map(|()| fleet.start(&["scheduler"], 1, 1));
    let (pipeline, first) = fleet.submit_file(&five(0.5)).await;
    let feeding = fleet
        .client(&pipeline)
        .feed(jobs - 1, Duration::from_millis(10));

    let began = Instant::now();
    // Not in step with the leases: a job that is taken over just before the next kill, each time, is given up as poison.
    let wait = |kills: usize| every.mul_f64([0.6, 1.3, 0.9, 1.2, 0.7, 1.4, 0.9][kills % 7]);
    let (mut next_kill, mut kills) = (began + wait(0), 0);
    loop {
        let open = fleet
            .database
            .number("SELECT count(*)::text FROM job_executions WHERE status IN ('pending', 'queued', 'running')")
            .await;
        if open == 0 && feeding.is_finished() {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60 + 3 * jobs),
            "{open} jobs are still open"
        );
        if kills < most && next_kill <= Instant::now() {
            let victim = &mut workers[kills % 2];
            victim.kill();
            *victim = start();
            kills += 1;
            next_kill = Instant::now() + wait(kills);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = began.elapsed();
    let mut accepted = feeding.await.unwrap();
    accepted.push(first);
    assert!(kills > 0);
    assert!(schedulers.iter_mut().all(Server::is_running));
    let poison = check_ends_or_poison(&fleet, &accepted).await;
    assert!(poison as u64 <= jobs / 200, "{poison} jobs were given up");
    let repeated = check_effects(&fleet, &accepted, 5).await.0;
    eprintln!(
        "{hints:?}: {jobs} jobs, {kills} kills, {:.1} s; {repeated} attempts were lost with their workers and repeated, \
         {poison} jobs given up",
        took.as_secs_f64()
    );
    fleet.end().await;
}
