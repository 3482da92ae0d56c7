//! The broker goes down and comes back, is empty of a sudden, or is gone for long.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, Hints, five};
use crate::ledger::{check_effects, check_ends};
use crate::program::server::Server;
use crate::{seconds, size};

/// How soon hints have to be taken again.
const PROMISED: Duration = Duration::from_secs(5);

/// How often something is looked at.
const LOOK: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_gone_jobs_run_and_5_seconds_after_its_return_hints_are_taken() {
    let gone = seconds("ETL_CRASH_BROKER_SECONDS", 12);
    let fleet = Fleet::new(Hints::Broker).await;
    let mut processes = [
        fleet.start(&["worker"], 32, 8),
        fleet.start(&["worker"], 32, 8),
        fleet.start(&["scheduler"], 1, 1),
    ];
    let (pipeline, first) = fleet.submit_file(&five(0.1)).await;
    let client = fleet.client(&pipeline);
    let mut accepted = vec![first];
    accepted.extend(client.submit_many(10).await);

    fleet.services.kill("rabbitmq");
    let left = Instant::now();
    let every = Duration::from_millis(500);
    let count = (gone.as_millis() / every.as_millis()) as u64;
    let fed = client.feed(count, every).await.unwrap();
    accepted.extend(&fed);
    // Found in the store, which is asked every 2 to 10 s.
    fleet.wait_for_ends(Duration::from_secs(30)).await;
    let gone = left.elapsed();

    fleet.services.start("rabbitmq");
    let back = Instant::now();
    let operator = fleet.services.operator().await;
    while operator.counts().await.1 < 2 {
        assert!(
            back.elapsed() < PROMISED,
            "not both workers listen to the broker"
        );
        tokio::time::sleep(LOOK).await;
    }
    let listening = back.elapsed();
    // And what is published now is taken.
    accepted.extend(client.submit_many(5).await);
    fleet.wait_for_ends(Duration::from_secs(30)).await;
    let began = Instant::now();
    while operator.counts().await.0 > 0 {
        assert!(began.elapsed() < PROMISED, "hints are left where they are");
        tokio::time::sleep(LOOK).await;
    }
    assert!(processes.iter_mut().all(Server::is_running));
    check_ends(&fleet, &accepted).await;
    let repeated = check_effects(&fleet, &accepted, 5).await.0;
    assert_eq!(repeated, 0, "no worker died");
    eprintln!(
        "{} jobs, the broker was gone for {:.0} s; {:.1} s after its return both workers listened",
        accepted.len(),
        gone.as_secs_f64(),
        listening.as_secs_f64()
    );
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_emptied_and_killed_under_load_costs_no_job() {
    let jobs = size("ETL_CRASH_JOBS", 60);
    let fleet = Fleet::new(Hints::Broker).await;
    // Few at once, so that hints wait.
    let mut processes = [
        fleet.start(&["worker"], 4, 8),
        fleet.start(&["worker"], 4, 8),
        fleet.start(&["scheduler"], 1, 1),
    ];
    let (pipeline, first) = fleet.submit_file(&five(0.1)).await;
    let client = fleet.client(&pipeline);
    let mut accepted = vec![first];
    let mut purged = 0;
    for crash in [false, true] {
        accepted.extend(client.submit_many(jobs / 2).await);
        let operator = fleet.services.operator().await;
        let began = Instant::now();
        while purged == 0 || began.elapsed() < Duration::from_secs(1) {
            purged += operator.purge().await;
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "no hint ever waited"
            );
            tokio::time::sleep(LOOK).await;
        }
        if crash {
            fleet.services.kill("rabbitmq");
            fleet.services.start("rabbitmq");
        }
    }
    fleet.wait_for_ends(Duration::from_secs(60 + jobs)).await;
    assert!(processes.iter_mut().all(Server::is_running));
    check_ends(&fleet, &accepted).await;
    let repeated = check_effects(&fleet, &accepted, 5).await.0;
    assert_eq!(repeated, 0, "no worker died");
    eprintln!("{} jobs, {purged} hints thrown away", accepted.len());
    fleet.end().await;
}
