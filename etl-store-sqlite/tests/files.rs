//! Which files the store takes, what it says of those it does not take, and who may use one beside its server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::store::{
    Catalog, ClaimRequest, HookStore, JobStore, Journal, LeaseState, PipelineFilter, PutPipeline,
    ReapRequest, ScheduleStore,
};
use etl_core::contract::{StoreError, StoreErrorKind};
use etl_core::model::{
    By, Commit, JobFilter, JobId, JobStatus, LogLevel, LogLine, NewJob, PageRequest, Pipeline,
    Step, StepKey, StepStatus, Timestamp,
};
use etl_core::testing::build::{a_worker, moves};
use etl_core::testing::{ManualClock, a_pipeline, new_job};
use etl_store_sqlite::SqliteStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};

async fn open(path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, Arc::new(ManualClock::default())).await
}

async fn open_shared(path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_shared(path, Arc::new(ManualClock::default())).await
}

async fn shell(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    options.connect().await.unwrap()
}

/// An error with all its causes.
fn told(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// A database with a job in it.
async fn with_a_job(store: &SqliteStore) -> NewJob {
    let put = PutPipeline {
        document: a_pipeline("p").step("a").step_after("b", &["a"]).build(),
        expected_version: None,
        by: By::system(),
    };
    store.put_pipeline(put).await.unwrap();
    let pipeline = store.pipeline("default", "p", None).await.unwrap().unwrap();
    let job = new_job(&pipeline);
    store.submit(job.clone()).await.unwrap();
    job
}

fn any(limit: usize) -> ClaimRequest {
    ClaimRequest {
        worker: a_worker(),
        jobs: None,
        limit,
        ttl: Duration::from_hours(1),
        tags: Vec::new(),
    }
}

#[tokio::test]
async fn a_new_database_and_its_folder_are_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/etl.db");
    let store = open(&path).await.unwrap();
    with_a_job(&store).await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for name in ["etl.db", "etl.db-wal", "etl.db-shm", "etl.db.lock"] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn an_empty_file_becomes_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    std::fs::write(&path, "").unwrap();
    let store = open(&path).await.unwrap();
    with_a_job(&store).await;
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused_by_name_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, "name,age\nalice,42\n".repeat(1000)).unwrap();
    let foreign = folder.path().join("foreign.db");
    let sql = "CREATE TABLE users (id INTEGER)";
    let mut conn = shell(&foreign).await;
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    sqlx::Connection::close(conn).await.unwrap();
    let before = [&garbage, &foreign].map(|path| std::fs::read(path).unwrap());

    for (path, kind, part) in [
        (&garbage, StoreErrorKind::Corrupt, "not a database"),
        (&foreign, StoreErrorKind::Incompatible, "another program"),
    ] {
        for opened in [open(path).await, open_shared(path).await] {
            let error = opened.unwrap_err();
            assert_eq!(error.kind, kind, "{}", told(&error));
            assert!(told(&error).contains(part), "{}", told(&error));
            let name = path.display().to_string();
            assert!(told(&error).contains(&name), "{}", told(&error));
        }
    }
    let error = open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(told(&error).contains("it is a folder"), "{}", told(&error));
    let error = open("/proc/no/etl.db").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    let error = open_shared(folder.path().join("none.db"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound);
    assert!(!folder.path().join("none.db").exists());

    let tables = "SELECT count(*) FROM sqlite_master";
    let tables: i64 = sqlx::query_scalar(tables)
        .fetch_one(&mut shell(&foreign).await)
        .await
        .unwrap();
    assert_eq!(tables, 1);
    assert_eq!(std::fs::read(&garbage).unwrap(), before[0]);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    open(&path).await.unwrap().close().await;
    let sql =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'the future', true, x'00', 0)";
    let mut conn = shell(&path).await;
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    for opened in [open(&path).await, open_shared(&path).await] {
        let error = opened.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Incompatible);
        let told = told(&error);
        assert!(told.contains("newer version"), "{told}");
        assert!(told.contains("9999"), "{told}");
    }
    let sql = "DELETE FROM _sqlx_migrations";
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    let error = open_shared(&path).await.unwrap_err();
    assert!(
        told(&error).contains("start its server"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn a_damaged_file_gives_errors_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.db");
    let store = open(&path).await.unwrap();
    let job = with_a_job(&store).await;
    store.claim(any(1)).await.unwrap();
    store.close().await;
    let whole = std::fs::read(&path).unwrap();
    let mut opened = 0;
    for round in 0..40 {
        let path = folder.path().join(format!("{round}.db"));
        let mut bytes = whole.clone();
        if round < 10 {
            bytes.truncate(whole.len() * round / 10);
        } else {
            // A stretch of every third page, wherever the round puts it, past the header of the file.
            for page in bytes.chunks_mut(4096).skip(1).step_by(3) {
                let at = round * 97 % 4000;
                page[at..(at + 64).min(4096)].fill(round as u8 ^ 0xa5);
            }
        }
        std::fs::write(&path, bytes).unwrap();
        if let Ok(store) = open(&path).await {
            opened += 1;
            read_everything(&store, job.id).await;
            let _ = store.claim(any(10)).await;
            let _ = store.cancel(job.id, "enough").await;
            store.close().await;
        }
    }
    assert!(opened > 0, "some damage is only met later");
}

async fn read_everything(store: &SqliteStore, job: JobId) {
    let page = PageRequest::default();
    let _ = store.pipelines(&PipelineFilter::default(), &page).await;
    let _ = store.jobs(&JobFilter::default(), &page).await;
    let _ = store.job(job).await;
    let _ = store.steps(job, &page).await;
    let _ = store.lines(job, 0, 100).await;
    let _ = store.waiting(Duration::ZERO, 100).await;
}

#[tokio::test]
async fn beside_its_server_a_database_can_be_read_and_its_jobs_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let server = open(&path).await.unwrap();
    let job = with_a_job(&server).await;
    let claimed = server.claim(any(1)).await.unwrap();
    let lease = claimed[0].lease;

    let error = open(&path).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::InUse);
    let pid = format!("process {}", std::process::id());
    assert!(told(&error).contains(&pid), "{}", told(&error));

    let beside = open_shared(&path).await.unwrap();
    let record = beside.job(job.id).await.unwrap().unwrap();
    assert_eq!(record.status, JobStatus::Running);
    let error = beside.claim(any(1)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::InUse);
    let reap = ReapRequest {
        job: None,
        limit: 1,
    };
    let error = beside.reap(reap).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::InUse);
    // A job may be handed in beside the server, which is then the one that runs it.
    let handed_in = with_a_job(&beside).await;
    assert_eq!(
        server.job(handed_in.id).await.unwrap().unwrap().status,
        JobStatus::Pending
    );
    assert_eq!(
        beside.cancel(job.id, "enough").await.unwrap(),
        JobStatus::Running
    );
    let worker = record.worker_id.unwrap();
    let states = server.renew(worker, &[lease], Duration::from_secs(9)).await;
    assert_eq!(states.unwrap(), [LeaseState::Cancel]);
    beside.close().await;
    // The end of a guest is not the server's.
    server.submit(job).await.unwrap();
    server.close().await;
    assert!(open(&path).await.is_ok());
}

#[tokio::test]
async fn beside_its_server_schedules_are_paused_and_pipelines_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let server = open(&path).await.unwrap();
    let mut document = Pipeline::new("daily");
    document.schedule = Some("@daily".into());
    document.steps.push(Step::new("a", "sleep"));
    let put = PutPipeline {
        document: Arc::new(document),
        expected_version: None,
        by: By("test".into()),
    };
    let id = server.put_pipeline(put).await.unwrap().id;

    let beside = open_shared(&path).await.unwrap();
    beside.pause(id).await.unwrap();
    let seen = server.schedule(id).await.unwrap().unwrap();
    assert!(seen.is_paused && seen.next_fire_at.is_none());
    beside.resume(id).await.unwrap();
    let seen = server.schedule(id).await.unwrap().unwrap();
    assert!(!seen.is_paused && seen.next_fire_at.is_some());
    assert!(beside.remove_pipeline("default", "daily").await.unwrap());
    assert!(server.schedule(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_that_starts_finds_the_leases_of_the_one_before_at_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let first = open(&path).await.unwrap();
    let job = with_a_job(&first).await;
    let claimed = first.claim(any(1)).await.unwrap();
    let begin = Commit {
        lease: claimed[0].lease,
        seq: 1,
        at: Timestamp::from_seconds(1),
        lines: Vec::new(),
        changes: vec![moves(StepKey::step(0), StepStatus::Running)],
    };
    first.commit(&[begin]).await.unwrap();
    drop(first);

    // A dropped store lets go of its file as soon as the writer sees it.
    let second = loop {
        match open(&path).await {
            Ok(store) => break store,
            Err(error) => assert_eq!(error.kind, StoreErrorKind::InUse),
        }
        tokio::task::yield_now().await;
    };
    let beside = open_shared(&path).await.unwrap();
    let record = beside.job(job.id).await.unwrap().unwrap();
    assert_eq!(record.status, JobStatus::Running, "a guest ends no lease");
    let reap = ReapRequest {
        job: None,
        limit: 10,
    };
    assert_eq!(second.reap(reap).await.unwrap(), [job.id]);
    let again = second.claim(any(1)).await.unwrap();
    assert!(again[0].lease.fence > claimed[0].lease.fence);
    assert_eq!(again[0].job.steps.len(), 1);
    assert_eq!(again[0].job.steps[0].status, StepStatus::Running);
}

#[tokio::test]
async fn text_of_any_kind_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path().join("etl.db")).await.unwrap();
    let job = with_a_job(&store).await;
    let messages = [
        "",
        "it's \"quoted\" \\ and\n\tbroken",
        "ação 🦀 \u{1}\u{7f}\u{fffd}\u{10ffff}",
        "a NUL\0in it\0",
    ];
    let lines = messages.map(|message| LogLine {
        job_id: job.id,
        seq: 0,
        step: Some("a".into()),
        item_index: Some(3),
        attempt: 2,
        timestamp: Timestamp::from_micros(1),
        level: LogLevel::Warn,
        message: message.into(),
        metadata: serde_json::from_str(
            r#"{"a\u0000b": [1.5, null, "\u0000", 18446744073709551615]}"#,
        )
        .unwrap(),
    });
    store.append(&lines).await.unwrap();
    let stored = store.lines(job.id, 0, 10).await.unwrap();
    for ((line, given), seq) in stored.iter().zip(&lines).zip(1..) {
        let expected = LogLine {
            seq,
            ..given.clone()
        };
        assert_eq!(*line, expected);
    }
    assert_eq!(stored.len(), lines.len());
}

#[tokio::test]
async fn a_database_that_knew_no_schedules_gets_them_from_now_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let store = open(&path).await.unwrap();
    let daily = a_pipeline("daily").step("a");
    let put = PutPipeline {
        document: daily.with(|p| p.schedule = Some("@daily".into())).build(),
        expected_version: None,
        by: By::system(),
    };
    let daily = store.put_pipeline(put).await.unwrap();
    with_a_job(&store).await;
    let first = store.schedule(daily.id).await.unwrap().unwrap();
    store.close().await;

    let before = "DROP TABLE schedule_fires; DROP TABLE schedules;
        ALTER TABLE job_hooks DROP COLUMN put_off; ALTER TABLE job_hooks DROP COLUMN put_off_until;
        DELETE FROM _sqlx_migrations WHERE version IN (3, 7, 12)";
    let mut conn = shell(&path).await;
    sqlx::raw_sql(before).execute(&mut conn).await.unwrap();
    sqlx::Connection::close(conn).await.unwrap();

    let store = open(&path).await.unwrap();
    assert_eq!(store.schedule(daily.id).await.unwrap(), Some(first));
    let all = store.schedules(&PageRequest::default()).await.unwrap();
    assert_eq!(all.items.len(), 1);
}

#[tokio::test]
async fn jobs_of_a_database_that_knew_no_tags_have_them_and_its_old_hooks_are_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let store = open(&path).await.unwrap();
    let put = PutPipeline {
        document: a_pipeline("tagged")
            .step("a")
            .with(|p| p.tags = vec!["red".into()])
            .build(),
        expected_version: None,
        by: By::system(),
    };
    store.put_pipeline(put).await.unwrap();
    let pipeline = store.pipeline("default", "tagged", None).await.unwrap();
    let job = new_job(&pipeline.unwrap());
    store.submit(job.clone()).await.unwrap();
    store.close().await;

    let before = format!(
        "ALTER TABLE job_executions DROP COLUMN tags; ALTER TABLE step_executions DROP COLUMN returned;
        ALTER TABLE job_hooks DROP COLUMN error; ALTER TABLE job_hooks DROP COLUMN completed_at;
        DROP INDEX idx_hooks_waiting; CREATE INDEX idx_hooks_pending ON job_hooks (created_at) WHERE status = 'pending';
        INSERT INTO job_hooks (job_id, position, kind, target, created_at)
        VALUES ('{}', 0, 'trigger_pipeline', '{{}}', '2024-01-01T00:00:00Z');
        DELETE FROM _sqlx_migrations WHERE version = 5",
        job.id
    );
    let mut conn = shell(&path).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(before))
        .execute(&mut conn)
        .await
        .unwrap();
    sqlx::Connection::close(conn).await.unwrap();

    let store = open(&path).await.unwrap();
    assert_eq!(store.waiting_hooks(9).await.unwrap(), []);
    let red = ClaimRequest {
        tags: vec!["red".into()],
        ..any(9)
    };
    let claimed = store.claim(red).await.unwrap();
    assert_eq!(claimed.len(), 1);
}
