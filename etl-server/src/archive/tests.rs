use etl_core::model::{LogLevel, Timestamp};
use object_store::PutPayload;
use serde_json::{Map, json};
use uuid::Uuid;

use super::*;

fn line(job_id: JobId, seq: u64, message: &str) -> LogLine {
    LogLine {
        job_id,
        seq,
        step: Some("a".into()),
        item_index: None,
        attempt: 1,
        timestamp: Timestamp::from_seconds(seq as i64),
        level: LogLevel::Info,
        message: message.into(),
        metadata: Map::from_iter([("n".into(), json!(seq))]),
    }
}

fn ndjson(lines: &[LogLine]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).unwrap();
        text.push(b'\n');
    }
    text
}

async fn stored(job: JobId, bytes: Vec<u8>) -> ArtifactStorage {
    let storage = ArtifactStorage::memory();
    let location = storage.log_archive(job);
    let object = PutPayload::from(bytes);
    storage.store().put(&location, object).await.unwrap();
    storage
}

async fn read(storage: &ArtifactStorage, job: JobId) -> Result<Vec<LogLine>, ArchiveError> {
    let mut archive = Archive::open(storage, job).await?.unwrap();
    let mut lines = Vec::new();
    while let Some(more) = archive.next().await? {
        lines.extend(more);
    }
    assert!(archive.next().await?.is_none(), "the end stays the end");
    Ok(lines)
}

#[tokio::test]
async fn lines_come_back_however_they_are_cut() {
    let job = JobId(Uuid::now_v7());
    // Long lines that don't compress, and short ones: borders of slices, blocks and lines fall anywhere.
    let random = || {
        (0..700)
            .map(|_| Uuid::new_v4().to_string())
            .collect::<String>()
    };
    let lines: Vec<LogLine> = (1..200)
        .map(|seq| match seq % 7 {
            0 => line(job, seq, &random()),
            _ => line(job, seq, "ação\nand so on"),
        })
        .collect();
    let bytes = zstd::encode_all(&*ndjson(&lines), LEVEL).unwrap();
    assert!(bytes.len() > SLICE * 4);
    let storage = stored(job, bytes).await;
    assert_eq!(read(&storage, job).await.unwrap(), lines);
    let other = JobId(Uuid::now_v7());
    assert!(Archive::open(&storage, other).await.unwrap().is_none());
}

#[tokio::test]
async fn a_damaged_archive_is_no_short_one() {
    let job = JobId(Uuid::now_v7());
    let lines: Vec<LogLine> = (1..50).map(|seq| line(job, seq, "m")).collect();
    let text = ndjson(&lines);
    let whole = zstd::encode_all(&*text, LEVEL).unwrap();
    let within_a_line = zstd::encode_all(&text[..text.len() - 5], LEVEL).unwrap();
    let endless = zstd::encode_all(&*vec![b'x'; 3 * LONGEST_LINE], LEVEL).unwrap();
    let strange = zstd::encode_all(&b"{}\n"[..], LEVEL).unwrap();
    let cut = whole[..whole.len() - 3].to_vec();
    for bytes in [
        cut,
        within_a_line,
        endless,
        strange,
        b"no zstd at all".to_vec(),
    ] {
        let storage = stored(job, bytes).await;
        assert!(read(&storage, job).await.is_err());
    }
}
