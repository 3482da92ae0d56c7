//! What really happened, by witnesses beside the program: triggers of the database that note every state, and the file in which
//! steps note their effects.

use std::collections::{HashMap, HashSet};

use etl_core::model::JobId;

use crate::fleet::Fleet;
use crate::program::database::Database;

/// Notes every state of every job and step from now on, with the time of the database.
pub async fn watch(database: &Database) {
    database.run(WATCH).await;
}

const WATCH: &str = "
    CREATE TABLE seen (
        n BIGSERIAL PRIMARY KEY, at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(), job UUID NOT NULL, step INT, item INT,
        was TEXT, is_now TEXT NOT NULL, worker TEXT);
    CREATE INDEX ON seen (job, n);
    CREATE FUNCTION see_job() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO seen (job, was, is_now, worker)
        VALUES (NEW.id, CASE TG_OP WHEN 'UPDATE' THEN OLD.status END, NEW.status, NEW.worker_id);
        RETURN NULL;
    END $$;
    CREATE TRIGGER see_job AFTER INSERT OR UPDATE OF status ON job_executions FOR EACH ROW EXECUTE FUNCTION see_job();
    CREATE FUNCTION see_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO seen (job, step, item, was, is_now, worker)
        SELECT NEW.job_id, NEW.order_index, NEW.item_index, OLD.status, NEW.status, j.worker_id
        FROM job_executions j WHERE j.id = NEW.job_id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER see_step AFTER UPDATE OF status ON step_executions FOR EACH ROW EXECUTE FUNCTION see_step();";

/// States that end a job or a step.
const TERMINAL: &str = "('success', 'failed', 'timeout', 'cancelled', 'skipped')";

/// How many attempts were repeated because they were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated(pub usize);

/// Every job that was accepted is there and succeeded; it and each of its steps ended once, and nothing came after that.
pub async fn check_ends(fleet: &Fleet, accepted: &[JobId]) {
    assert_eq!(check_ends_or_poison(fleet, accepted).await, 0);
}

/// As [`check_ends`], but a job may have failed of a step that was lost with more workers than the engine lets one have: it
/// can't know that the step is not what kills them. How many did.
pub async fn check_ends_or_poison(fleet: &Fleet, accepted: &[JobId]) -> usize {
    let there = fleet
        .database
        .rows("SELECT id::text, status FROM job_executions")
        .await;
    let there: HashMap<&str, &str> = there
        .iter()
        .map(|row| (row[0].as_str(), row[1].as_str()))
        .collect();
    let poison = fleet
        .database
        .rows(
            "SELECT s.job_id::text FROM step_executions s
             JOIN dead_letters d ON (d.job_id, d.order_index) = (s.job_id, s.order_index)
             WHERE s.status = 'failed' AND s.lost = 4 AND d.error_class = 'poison'",
        )
        .await;
    let poison: HashSet<&str> = poison.iter().map(|row| row[0].as_str()).collect();
    for job in accepted.iter().map(ToString::to_string) {
        let job = job.as_str();
        let wanted = if poison.contains(job) {
            "failed"
        } else {
            "success"
        };
        assert_eq!(there.get(job).copied(), Some(wanted), "job {job}");
    }
    assert_eq!(there.len(), accepted.len());
    let not_once = format!(
        "SELECT job::text, step::text, item::text, count(*)::text FROM seen WHERE is_now IN {TERMINAL}
         GROUP BY job, step, item HAVING count(*) <> 1"
    );
    let none: [Vec<String>; 0] = [];
    assert_eq!(fleet.database.rows(not_once).await, none);
    let after_the_end = format!(
        "SELECT later.job::text, later.step::text, later.was, later.is_now FROM seen ended
         JOIN seen later ON later.job = ended.job AND later.n > ended.n
             AND (later.step, later.item) IS NOT DISTINCT FROM (ended.step, ended.item)
         WHERE ended.is_now IN {TERMINAL}"
    );
    assert_eq!(fleet.database.rows(after_the_end).await, none);
    // A job's end is the last that happens to it.
    let steps_after_jobs = format!(
        "SELECT s.job::text, s.step::text, s.is_now FROM seen j
         JOIN seen s ON s.job = j.job AND s.n > j.n AND s.step IS NOT NULL
         WHERE j.step IS NULL AND j.is_now IN {TERMINAL}"
    );
    assert_eq!(fleet.database.rows(steps_after_jobs).await, none);
    poison.len()
}

/// Every step that succeeded has its effect; none has one that began after its end was remembered, and only what was lost with its
/// worker has more than one.
pub async fn check_effects(fleet: &Fleet, jobs: &[JobId], steps_each: usize) -> Repeated {
    let steps = fleet
        .database
        .rows(
            "SELECT s.job_id::text, p.name, s.status, (extract(epoch FROM s.completed_at) * 1000000)::bigint::text, s.lost::text
             FROM step_executions s JOIN pipeline_steps p ON p.id = s.step_id",
        )
        .await;
    assert_eq!(steps.len(), jobs.len() * steps_each);
    let effects = std::fs::read_to_string(fleet.program.path("effects.txt")).unwrap();
    let mut starts: HashMap<(&str, &str), Vec<u128>> = HashMap::new();
    for line in effects.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let nanos = words[2].parse::<u128>().unwrap();
        let of_step = starts.entry((words[0], words[1])).or_default();
        of_step.push(nanos / 1000);
    }
    // Counted as a target counts that knows (job, step) for a key: once each, and none that belongs to no step.
    let ran = steps.iter().filter(|step| step[2] != "skipped").count();
    assert_eq!(starts.len(), ran);
    let mut repeated = 0;
    for step in &steps {
        let [job, name, status, completed, lost] = &step[..] else {
            panic!("{step:?}");
        };
        if status == "skipped" {
            continue;
        }
        let starts = &starts[&(job.as_str(), name.as_str())];
        let completed: u128 = completed.parse().unwrap();
        assert!(
            starts.iter().all(|start| *start <= completed),
            "step {name} of job {job} ran again after its end ({status})"
        );
        let lost: usize = lost.parse().unwrap();
        assert!(
            starts.len() <= 1 + lost,
            "step {name} of job {job} was lost {lost} times and started at {starts:?}"
        );
        repeated += starts.len() - 1;
    }
    Repeated(repeated)
}
