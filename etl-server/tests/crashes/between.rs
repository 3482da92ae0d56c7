//! Processes that die exactly between two steps of what they do. Locks of the test hold them there, as any slow moment could.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fleet::{Fleet, Hints};
use crate::ledger::check_ends;
use crate::program::server::Server;

const SOON: Duration = Duration::from_secs(20);

/// Somebody waits for a lock in this database.
const WAITING: &str = "SELECT count(*)::text FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'etl' AND wait_event_type = 'Lock'";

const ONE: &str = "name: one
steps:
  - { name: a, connector_type: command, config: { argv: [sh, -c, 'echo {{ job.id }} a $(date +%s%N) >> effects.txt'] } }
";

async fn hold(conn: &mut PgConnection, sql: &str) {
    for sql in ["BEGIN", sql] {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *conn)
            .await
            .unwrap();
    }
}

/// Lets go of what is held, and waits until the dead process's own session has ended with whatever it was about.
async fn let_go(fleet: &Fleet, mut conn: PgConnection, dead: &[String]) {
    sqlx::raw_sql("ROLLBACK").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let there = format!(
        "SELECT count(*)::text FROM pg_stat_activity WHERE pid IN ({})",
        dead.join(", ")
    );
    fleet
        .wait_for("the session's end", SOON, &there, |count| count == 0)
        .await;
}

/// Waits until the process stands, kills it there, and says which sessions it had.
async fn kill_where_it_stands(fleet: &Fleet, process: &mut Server) -> Vec<String> {
    fleet
        .wait_for("it stands", SOON, WAITING, |count| count > 0)
        .await;
    let sessions = WAITING.replace("count(*)::text", "pid::text");
    let sessions = fleet.database.rows(sessions).await;
    process.kill();
    sessions.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatcher_that_dies_between_publishing_and_marking_loses_no_job_and_doubles_none() {
    let fleet = Fleet::new(Hints::Broker).await;
    let (pipeline, first) = fleet.submit_file(ONE).await;
    let mut accepted = vec![first];
    accepted.extend(fleet.client(&pipeline).submit_many(9).await);
    let jobs = accepted.len() as u32;
    // What the command has published is its own.
    let operator = fleet.services.operator().await;
    operator.purge().await;

    let mut conn = fleet.database.connect().await;
    hold(&mut conn, "SELECT 1 FROM job_executions FOR UPDATE").await;
    let mut dispatcher = fleet.start(&["scheduler"], 1, 1);
    let dead = kill_where_it_stands(&fleet, &mut dispatcher).await;
    let (published, _) = operator.counts().await;
    assert_eq!(published, jobs, "all were published");
    let_go(&fleet, conn, &dead).await;
    let unmarked = fleet
        .database
        .number("SELECT count(*)::text FROM job_executions WHERE status = 'pending'")
        .await;
    assert_eq!(unmarked, i64::from(jobs), "and none was marked");

    let _other = fleet.start(&["scheduler"], 1, 1);
    let marked = "SELECT count(*)::text FROM job_executions WHERE status = 'queued'";
    fleet
        .wait_for("they are marked", SOON, marked, |count| {
            count == i64::from(jobs)
        })
        .await;
    assert_eq!(operator.counts().await.0, 2 * jobs, "now two hints at each");
    let _worker = fleet.start(&["worker"], 32, 8);
    fleet.wait_for_ends(SOON).await;
    check_ends(&fleet, &accepted).await;
    let effects = crate::program::lines(&fleet.program.path("effects.txt"));
    assert_eq!(effects.len() as u32, jobs, "each ran once");
    fleet.end().await;
}

/// Where a scheduler is killed.
struct Place {
    name: &'static str,
    /// Run before, by whoever owns the database.
    prepare: &'static str,
    /// What the test holds.
    hold: &'static str,
    /// Whether what it was about becomes true without it.
    is_committed: bool,
}

/// Between the job and its steps; between the schedule's next fire and the row of this one; and in the middle of the commit, where
/// all is written and nobody was told.
const PLACES: [Place; 3] = [
    Place {
        name: "after the job's row",
        prepare: "",
        hold: "LOCK TABLE step_executions IN SHARE MODE",
        is_committed: false,
    },
    Place {
        name: "after the schedule was moved",
        prepare: "",
        hold: "LOCK TABLE schedule_fires IN SHARE MODE",
        is_committed: false,
    },
    Place {
        name: "in the commit",
        prepare: "
            CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM pg_advisory_xact_lock(4711); RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER stand_still AFTER INSERT ON schedule_fires DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION stand_still();",
        hold: "SELECT pg_advisory_xact_lock(4711)",
        is_committed: true,
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_dies_anywhere_in_a_fire_neither_loses_nor_doubles_it() {
    let fleet = Fleet::new(Hints::Broker).await;
    let every_second = format!("catchup: all\nschedule: '* * * * * *'\n{ONE}");
    let (_, by_hand) = fleet.submit_file(&every_second).await;
    fleet
        .database
        .run("UPDATE schedules SET is_paused = true, next_fire_at = NULL, next_start_at = NULL")
        .await;
    for place in PLACES {
        fleet.database.run(place.prepare).await;
        let mut conn = fleet.database.connect().await;
        hold(&mut conn, place.hold).await;
        // One fire is due, and none that was decided before.
        let due = fleet
            .database
            .text(
                "UPDATE schedules SET is_paused = false, rev = rev + 1, next_fire_at = at, next_start_at = at
                 FROM (SELECT greatest(
                     date_trunc('second', clock_timestamp()),
                     (SELECT max(nominal) + interval '1 second' FROM schedule_fires)) AS at) due
                 RETURNING next_fire_at::text",
            )
            .await;
        let mut scheduler = fleet.start(&["scheduler"], 1, 1);
        let dead = kill_where_it_stands(&fleet, &mut scheduler).await;
        let_go(&fleet, conn, &dead).await;
        let fires = format!(
            "SELECT count(*)::text FROM schedule_fires WHERE nominal = '{due}'::timestamptz"
        );
        let jobs = format!(
            "SELECT count(*)::text FROM job_executions WHERE scheduled_for = '{due}'::timestamptz"
        );
        let so_far = i64::from(place.is_committed);
        assert_eq!(
            fleet.database.number(&fires).await,
            so_far,
            "{}",
            place.name
        );
        assert_eq!(fleet.database.number(&jobs).await, so_far, "{}", place.name);

        let mut others = [(); 2].map(|()| fleet.start(&["scheduler"], 1, 1));
        let later = format!(
            "SELECT count(*)::text FROM schedule_fires WHERE nominal > '{due}'::timestamptz"
        );
        fleet
            .wait_for("the next fires", SOON, &later, |count| count >= 2)
            .await;
        others.iter_mut().for_each(Server::kill);
        assert_eq!(fleet.database.number(&fires).await, 1, "{}", place.name);
        assert_eq!(fleet.database.number(&jobs).await, 1, "{}", place.name);
        fleet
            .database
            .run("UPDATE schedules SET is_paused = true, rev = rev + 1, next_fire_at = NULL, next_start_at = NULL")
            .await;
    }
    // Every fire has its job, and no job has two.
    let wrong = "SELECT count(*)::text FROM schedule_fires f FULL JOIN
         (SELECT * FROM job_executions WHERE scheduled_for IS NOT NULL) j ON j.id = f.job_id AND j.scheduled_for = f.nominal
         WHERE f.job_id IS NULL OR j.id IS NULL";
    assert_eq!(fleet.database.number(wrong).await, 0);
    let _worker = fleet.start(&["worker"], 32, 8);
    fleet.wait_for_ends(SOON).await;
    let accepted = fleet
        .database
        .rows("SELECT id::text FROM job_executions")
        .await;
    let accepted: Vec<_> = accepted
        .iter()
        .map(|row| etl_core::model::JobId(row[0].parse().unwrap()))
        .collect();
    assert!(accepted.contains(&by_hand));
    check_ends(&fleet, &accepted).await;
    fleet.end().await;
}
