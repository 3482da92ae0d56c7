//! That every statement which runs beside others finds its rows by an index: what SQLite says of each.

use std::sync::Arc;

use etl_core::model::{JobFilter, JobStatus};
use etl_core::testing::ManualClock;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Execute, Row, SqliteConnection};

use crate::{
    SqliteStore, accounts, audit, catalog, claim, commit, credentials, dead_letters, figures,
    journal, lease, letters, log_days, put_off, retention, schedules, steps, submit,
};

/// Statements whose order comes from an index too.
const ORDERED: &[(&str, &str)] = &[
    ("claim::PENDING", claim::PENDING),
    ("claim::WAITING", claim::WAITING),
    ("lease::EXPIRED", lease::EXPIRED),
    ("journal::LINES", journal::LINES),
    ("journal::STEPS", journal::STEPS),
    ("catalog::LIST", catalog::LIST),
    ("credentials::LIST", credentials::LIST),
    ("retention::UNARCHIVED", retention::UNARCHIVED),
    ("retention::EXPIRED", retention::EXPIRED),
    ("letters::LETTERS", letters::LETTERS),
    ("letters::HOOKS", letters::HOOKS),
    ("letters::WAITING", letters::WAITING),
    ("schedules::DUE", schedules::DUE),
    ("schedules::FIRES", schedules::FIRES),
    ("schedules::LIST", schedules::LIST),
];

const OTHERS: &[(&str, &str)] = &[
    ("catalog::DOCUMENT", catalog::DOCUMENT),
    ("catalog::LAST", catalog::LAST),
    ("catalog::NAMED", catalog::NAMED),
    ("catalog::REMOVE", catalog::REMOVE),
    ("catalog::VERSION", catalog::VERSION),
    ("catalog::BY_ID", catalog::BY_ID),
    ("claim::NAMED", claim::NAMED),
    ("claim::RUNNING", claim::RUNNING),
    ("claim::CLAIM", claim::CLAIM),
    ("claim::BEGUN", claim::BEGUN),
    ("commit::COUNT_COMMITS", commit::COUNT_COMMITS),
    ("commit::FORGET_CHECKPOINTS", commit::FORGET_CHECKPOINTS),
    ("commit::INSERT_ITEMS", commit::INSERT_ITEMS),
    ("commit::MOVE_JOBS", commit::MOVE_JOBS),
    ("commit::READ_JOBS", commit::READ_JOBS),
    ("credentials::ONE", credentials::ONE),
    ("credentials::BY_ID", credentials::BY_ID),
    ("credentials::NEXT", credentials::NEXT),
    ("credentials::RESEAL", credentials::RESEAL),
    ("credentials::IS_THERE", credentials::IS_THERE),
    ("credentials::REMOVE", credentials::REMOVE),
    ("figures::BACKLOG", figures::BACKLOG),
    ("journal::JOB", journal::JOB),
    ("journal::LAST_LINES", journal::LAST_LINES),
    ("lease::ASK", lease::ASK),
    ("lease::END", lease::END),
    ("lease::EXPIRED_JOB", lease::EXPIRED_JOB),
    ("lease::HAND_BACK", lease::HAND_BACK),
    ("lease::READ", lease::READ),
    ("lease::RENEW", lease::RENEW),
    ("log_days::LOGGED", log_days::LOGGED),
    ("log_days::DROP_LINES", log_days::DROP_LINES),
    ("letters::KNOWN_HOOKS", letters::KNOWN_HOOKS),
    ("letters::KNOWN_LETTERS", letters::KNOWN_LETTERS),
    ("letters::SETTLE", letters::SETTLE),
    ("retention::FORGETTABLE", retention::FORGETTABLE),
    ("retention::ARCHIVED", retention::ARCHIVED),
    ("retention::FORGET", retention::FORGET),
    ("put_off::HOOKS", put_off::HOOKS),
    ("put_off::SCHEDULES", put_off::SCHEDULES),
    ("schedules::CURRENT", schedules::CURRENT),
    ("schedules::KNOWN_FIRES", schedules::KNOWN_FIRES),
    ("schedules::MOVE", schedules::MOVE),
    ("schedules::ONE", schedules::ONE),
    ("schedules::RAISE", schedules::RAISE),
    ("schedules::REVS", schedules::REVS),
    ("schedules::STATE", schedules::STATE),
    ("schedules::TAKE_AWAY", schedules::TAKE_AWAY),
    ("steps::BEGUN", steps::BEGUN),
    ("steps::FORGET_CHECKPOINTS", steps::FORGET_CHECKPOINTS),
    ("steps::READ", steps::READ),
    ("steps::SKIP_PENDING", steps::SKIP_PENDING),
    ("steps::WRITE", steps::WRITE),
    ("submit::DISPATCHED", submit::DISPATCHED),
    ("submit::KNOWN_IDS", submit::KNOWN_IDS),
    ("submit::KNOWN_KEYS", submit::KNOWN_KEYS),
    ("submit::KNOWN_VERSIONS", submit::KNOWN_VERSIONS),
    ("submit::ON_THEIR_WAY", submit::ON_THEIR_WAY),
];

async fn database() -> (tempfile::TempDir, SqliteConnection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let store = SqliteStore::open(&path, Arc::new(ManualClock::default())).await;
    store.unwrap().close().await;
    let conn = SqliteConnectOptions::new().filename(path).connect().await;
    (folder, conn.unwrap())
}

async fn plan(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::query(explain).fetch_all(conn).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(3)).collect()
}

/// Lines that walk a table from end to end. Lists of parameters are walked, of course, and so is what waits.
fn scans(plan: &[String]) -> Vec<&String> {
    let lists = [
        "VIRTUAL TABLE",
        "SCAN k",
        "(subquery",
        "CONSTANT ROW",
        "idx_jobs_pending",
        "idx_jobs_waiting",
        "idx_audit_unsealed",
        "idx_audit_chain",
    ];
    plan.iter()
        .filter(|line| line.starts_with("SCAN") && !lists.iter().any(|list| line.contains(list)))
        .collect()
}

#[tokio::test]
async fn no_statement_walks_a_table() {
    let (_folder, mut conn) = database().await;
    for (name, sql) in ORDERED.iter().chain(OTHERS) {
        let plan = plan(&mut conn, sql).await;
        assert!(scans(&plan).is_empty(), "{name}: {plan:#?}");
    }
}

#[tokio::test]
async fn no_statement_about_accounts_walks_or_sorts_a_table() {
    let (_folder, mut conn) = database().await;
    let others = audit::SQL.all().into_iter().chain(dead_letters::SQL.all());
    for (name, sql) in accounts::SQL.all().into_iter().chain(others) {
        // Any user will do: the first one that is come by.
        if name == "any_user" {
            continue;
        }
        let plan = plan(&mut conn, sql).await;
        assert!(scans(&plan).is_empty(), "{name}: {plan:#?}");
        let sorts = plan.iter().any(|line| line.contains("FOR ORDER BY"));
        assert!(!sorts, "{name}: {plan:#?}");
    }
}

#[tokio::test]
async fn no_ordered_statement_sorts_a_table() {
    let (_folder, mut conn) = database().await;
    for (name, sql) in ORDERED {
        let plan = plan(&mut conn, sql).await;
        let sorts = plan.iter().any(|line| line.contains("FOR ORDER BY"));
        assert!(!sorts, "{name}: {plan:#?}");
    }
}

#[tokio::test]
async fn what_waits_is_found_among_what_waits() {
    let (_folder, mut conn) = database().await;
    for (sql, index) in [
        (claim::PENDING, "idx_jobs_pending"),
        (claim::WAITING, "idx_jobs_waiting"),
        (lease::EXPIRED, "idx_jobs_leases"),
        (claim::RUNNING, "idx_jobs_slots"),
        (claim::BEGUN, "idx_steps_begun"),
        (schedules::DUE, "idx_schedules_due"),
    ] {
        let plan = plan(&mut conn, sql).await;
        assert!(plan[0].contains(index), "{index}: {plan:#?}");
    }
}

#[tokio::test]
async fn a_list_of_jobs_walks_an_index_for_each_state_and_pipeline() {
    let (_folder, mut conn) = database().await;
    let filters = [
        JobFilter::default(),
        JobFilter {
            status: vec![JobStatus::Failed, JobStatus::Success],
            ..JobFilter::default()
        },
    ];
    for filter in &filters {
        for pipelines in [None, Some(["p".to_owned()])] {
            let before = ("2013-01-01T10:00:00.000000Z".to_owned(), "i".to_owned());
            let pipelines = pipelines.as_ref().map(<[_; 1]>::as_slice);
            let mut list = journal::job_list(filter, pipelines, Some(&before), 51);
            let sql = list.build().sql();
            let plan = plan(&mut conn, sql.as_str()).await;
            assert!(scans(&plan).is_empty(), "{plan:#?}");
            // What is sorted is the few rows that each arm let through.
            for pair in plan.windows(2) {
                let ends_an_arm = pair[1].starts_with("SCAN (subquery");
                assert!(
                    !ends_an_arm || pair[0].starts_with("SEARCH job_executions"),
                    "{plan:#?}"
                );
            }
        }
    }
}
