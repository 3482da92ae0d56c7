//! A worker stands still for longer than its lease, as a machine does that is suspended, and then goes on as if nothing had been.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::fleet::{Fleet, Hints};
use crate::ledger::check_ends;

/// Each attempt notes its job and its number, and tells the number as its output.
fn pipeline(name: &str, seconds: u32) -> String {
    format!(
        "name: {name}\nsteps:\n  - {{ name: a, connector_type: command, config: {{ argv: [sh, -c, \
         'echo {{{{ job.id }}}} $$ >> effects.txt; sleep {seconds}; echo $$'] }} }}\n"
    )
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wakes_after_its_lease_changes_nothing_of_what_its_successor_did() {
    let fleet = Fleet::new(Hints::Broker).await;
    let frozen = fleet.start(&["worker"], 16, 16);
    let (_, short) = fleet.submit_file(&pipeline("short", 4)).await;
    let (_, long) = fleet.submit_file(&pipeline("long", 14)).await;
    let (probe, first_probe) = fleet.submit_file(&pipeline("probe", 0)).await;
    let effects = || crate::program::lines(&fleet.program.path("effects.txt"));
    let effects_of = |job: &str| -> Vec<String> {
        let of_job = effects().into_iter().filter_map(|line| {
            let number = line.strip_prefix(job)?;
            Some(number.trim().to_owned())
        });
        of_job.collect()
    };
    let ended = |job: String| {
        format!(
            "SELECT count(*)::text FROM job_executions WHERE id = '{job}' AND status = 'success'"
        )
    };
    let (short, long) = (short.to_string(), long.to_string());
    let is_one = |count| count == 1;
    fleet
        .wait_for("the probe", SOON, &ended(first_probe.to_string()), is_one)
        .await;
    crate::program::wait_until("both run", || {
        effects_of(&short).len() == 1 && effects_of(&long).len() == 1
    });
    let its_id = fleet
        .database
        .text(format!(
            "SELECT worker_id FROM job_executions WHERE id = '{long}' AND status = 'running'"
        ))
        .await;
    // Its steps are processes of their own, which go on: their results lie there when it wakes.
    frozen.signal(Signal::SIGSTOP);
    // No more jobs than these two, so that there is one left for the other to show that it is awake.
    let heir = fleet.start(&["worker", "scheduler"], 2, 2);
    fleet
        .wait_for(
            "the short one",
            Duration::from_secs(45),
            &ended(short.clone()),
            is_one,
        )
        .await;
    let output = |job: &str| {
        format!("SELECT output_data->>'stdout' FROM step_executions WHERE job_id = '{job}'")
    };
    let told = fleet.database.text(output(&short)).await;
    let still = format!(
        "SELECT count(*)::text FROM job_executions WHERE id = '{long}' AND status = 'running' AND worker_id <> '{its_id}'"
    );
    assert_eq!(fleet.database.number(&still).await, 1);
    let woke = fleet.now().await;
    frozen.signal(Signal::SIGCONT);

    // It takes work again, so that it has seen what lay there.
    let client = fleet.client(&probe);
    let mut accepted = vec![first_probe];
    let awake = format!(
        "SELECT count(*)::text FROM seen WHERE worker = '{its_id}' AND at > '{woke}'::timestamptz
         AND step IS NULL AND is_now = 'success'"
    );
    let mut tries = 0;
    while fleet.database.number(&awake).await == 0 {
        tries += 1;
        assert!(tries < 200, "it does not wake");
        accepted.push(client.submit().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    fleet
        .wait_for("the long one", SOON, &ended(long.clone()), is_one)
        .await;
    fleet.wait_for_ends(SOON).await;

    assert_eq!(fleet.database.text(output(&short)).await, told);
    for job in [&short, &long] {
        let numbers = effects_of(job);
        let [before, after] = &numbers[..] else {
            panic!("it ran {} times", numbers.len());
        };
        assert_ne!(before, after);
        let told = fleet.database.text(output(job)).await;
        assert_eq!(told.trim(), after, "the output is the successor's");
        let late = format!(
            "SELECT count(*)::text FROM seen WHERE job = '{job}' AND worker = '{its_id}' AND at > '{woke}'::timestamptz"
        );
        assert_eq!(fleet.database.number(late).await, 0);
        let lost = format!("SELECT lost::text FROM step_executions WHERE job_id = '{job}'");
        assert_eq!(fleet.database.number(lost).await, 1);
    }
    let jobs = [short, long].map(|job| etl_core::model::JobId(job.parse().unwrap()));
    accepted.extend(jobs);
    check_ends(&fleet, &accepted).await;
    drop((frozen, heir));
    fleet.end().await;
}
