use std::sync::Arc;

use etl_core::artifact::ArtifactStorage;
use etl_core::contract::{ContextParts, StepContext};
use etl_core::model::{
    AttemptKey, ExecutorKind, Fence, JobId, StepError, StepKey, StepTask, Timestamp,
};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::flow::Flow;

const MIB: usize = 1024 * 1024;

fn flow() -> Flow {
    let key = AttemptKey {
        job: JobId(uuid::Uuid::nil()),
        step: StepKey::step(0),
        attempt: 1,
    };
    let task = StepTask {
        key,
        fence: Fence(1),
        pipeline: "p".into(),
        step_name: "s".into(),
        connector_type: "sql".into(),
        config: Arc::new(Value::Null),
        credential: None,
        executor: ExecutorKind::InProcess,
        resources: None,
        checkpoint: None,
        deadline: Timestamp::from(chrono::Utc::now()),
        base_dir: None,
    };
    Flow::new(StepContext::new(ContextParts {
        task: Arc::new(task),
        artifacts: ArtifactStorage::memory().area(&key),
        events: mpsc::channel(1).0,
        cancellation: CancellationToken::new(),
    }))
}

/// How many rows a query gives within so much memory.
async fn rows(memory: usize, sql: &str) -> Result<usize, StepError> {
    let session = Session::with_memory(&flow(), memory)?;
    let rows = session.query(sql).await?;
    rows.batches
        .map(|batch| batch.map(|batch| batch.num_rows()))
        .try_fold(0, |sum, rows| async move { Ok(sum + rows) })
        .await
}

#[tokio::test]
async fn sorts_and_groups_of_more_than_the_memory_go_on_on_disk() {
    let series = "generate_series(1, 300000)";
    let sort =
        format!("SELECT value, repeat('x', 100) AS t FROM {series} ORDER BY value % 1000, t");
    assert_eq!(rows(24 * MIB, &sort).await.unwrap(), 300_000);
    let group = format!(
        "SELECT value, count(*) AS n, max(repeat('x', 50)) AS t FROM {series} GROUP BY value"
    );
    assert_eq!(rows(24 * MIB, &group).await.unwrap(), 300_000);
}

#[tokio::test]
async fn what_can_not_go_on_on_disk_fails_and_says_why() {
    let series = "generate_series(1, 400000)";
    let sql = &format!("SELECT a.value AS x FROM {series} a JOIN {series} b ON a.value = b.value");
    let error = rows(MIB, sql).await.unwrap_err();
    assert!(
        error.message.contains("more memory than a step has"),
        "{error}"
    );
}

#[cfg(feature = "csv")]
/// Writes a CSV file's rows as a Parquet file.
async fn copy_to_parquet(from: &str, to: &str) {
    let mut session = Session::with_memory(&flow(), 64 * MIB).unwrap();
    let config = crate::endpoint::SourceConfig::from_url(from).unwrap();
    session.add_input("rows", &config).await.unwrap();
    let mut rows = session.query("SELECT * FROM rows").await.unwrap();
    let file = std::fs::File::create(to).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, rows.schema.clone(), None).unwrap();
    while let Some(batch) = rows.batches.next().await {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.close().unwrap();
}

#[tokio::test]
async fn the_smaller_input_of_a_join_is_the_one_that_is_kept() {
    use crate::endpoint::SourceConfig;

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let rows: String = (0..200_000)
        .map(|row| format!("{row},{},{row:x>80}\n", row % 3))
        .collect();
    let large = file("large.csv", format!("id,kind,filler\n{rows}"));
    let small = file("small.csv", "kind,name\n0,none\n1,one\n".into());
    let parquet = folder.path().join("large.parquet");
    let parquet = parquet.to_str().unwrap().to_owned();
    copy_to_parquet(&large, &parquet).await;
    let cases = [
        (&large, "JOIN", 133_334),
        (&large, "LEFT JOIN", 200_000),
        (&parquet, "JOIN", 133_334),
        (&parquet, "LEFT JOIN", 200_000),
    ];
    for (large, join, expected) in cases {
        // Too little to keep the larger input, which comes first in the query.
        let mut session = Session::with_memory(&flow(), 12 * MIB).unwrap();
        for (name, url) in [("large", large), ("small", &small)] {
            let config = SourceConfig::from_url(url).unwrap();
            session.add_input(name, &config).await.unwrap();
        }
        let sql = format!(
            "SELECT l.id, l.filler, s.name, t.name AS again FROM large l {join} small s ON s.kind = l.kind \
             LEFT JOIN small t ON t.name = s.name"
        );
        let rows = session.query(&sql).await.unwrap();
        let rows: usize = rows
            .batches
            .map(|batch| batch.map(|batch| batch.num_rows()))
            .try_fold(0, |sum, rows| async move { Ok(sum + rows) })
            .await
            .unwrap();
        assert_eq!(rows, expected, "{large} {join}");
    }
}
