//! The catalog: pipelines, their versions, and documents that were read once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{
    Audited, Catalog, PipelineFilter, PutPipeline, Result as StoreResult, StoredPipeline, audited,
};
use etl_core::model::{
    AuditEntry, By, Cursor, Page, PageRequest, Pipeline, PipelineId, PipelineRef, Timestamp,
};
use serde::Serialize;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::{NoContext, Uuid};

use crate::schedules;
use crate::store::SqliteStore;
use crate::writer::Tx;
use etl_store_sql::Answers;
use etl_store_sql::{Columns, count, json, parse, parse_json, time};
use etl_store_sql::{Fault, Result};

/// How many documents are kept parsed.
const KEPT_DOCUMENTS: usize = 256;

/// Documents by version, parsed once: a version never changes.
#[derive(Debug, Default)]
pub(crate) struct Documents(Mutex<HashMap<(PipelineId, u64), Arc<Pipeline>>>);

impl Documents {
    /// The document of a version that a stored job is pinned to.
    pub(crate) async fn read(
        &self,
        conn: &mut SqliteConnection,
        id: PipelineId,
        version: u64,
    ) -> Result<Arc<Pipeline>> {
        if let Some(document) = self.kept().get(&(id, version)) {
            return Ok(document.clone());
        }
        let stored = sqlx::query_scalar::<_, String>(DOCUMENT)
            .bind(id.to_string())
            .bind(count(version))
            .fetch_optional(conn)
            .await?
            .ok_or_else(|| {
                let message = format!("version {version} of pipeline {id} is gone");
                Fault::said(StoreErrorKind::Corrupt, message)
            })?;
        let document: Arc<Pipeline> = parse_json::<Pipeline>(&stored)?.into();
        let mut kept = self.kept();
        if kept.len() >= KEPT_DOCUMENTS {
            kept.clear();
        }
        kept.insert((id, version), document.clone());
        Ok(document)
    }

    /// Forgets everything: what was read may have been rolled back.
    pub(crate) fn forget(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<(PipelineId, u64), Arc<Pipeline>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wish to take a pipeline out of the list.
#[derive(Debug)]
pub(crate) struct RemovePipeline {
    namespace: String,
    name: String,
}

impl Audited<bool> for RemovePipeline {
    fn entry(&self, was_there: &bool) -> Option<AuditEntry> {
        was_there.then(|| audited::pipeline_removed(&self.namespace, &self.name))
    }
}

/// A row of `pipeline_steps`.
#[derive(Debug, Serialize)]
struct StepRow<'a> {
    id: Uuid,
    name: &'a str,
    connector_type: &'a str,
    config: String,
    dependencies: String,
    retry_count: u32,
    timeout_seconds: i64,
}

pub(crate) async fn put(tx: &mut Tx<'_>, puts: &[&PutPipeline]) -> Result<Answers<PipelineRef>> {
    let mut answers = Vec::with_capacity(puts.len());
    for put in puts {
        answers.push(match put_one(tx, put).await {
            Err(fault) if fault.kind == StoreErrorKind::Stale => Err(fault),
            other => Ok(other?),
        });
    }
    Ok(answers)
}

async fn put_one(tx: &mut Tx<'_>, put: &PutPipeline) -> Result<PipelineRef> {
    let document = &*put.document;
    let last = sqlx::query(LAST)
        .bind(&document.namespace)
        .bind(&document.name)
        .fetch_optional(&mut *tx.conn)
        .await?;
    let (id, version, removed) = match &last {
        Some(row) => (row.parsed(0)?, row.number(1)?, row.opt_str(2)?.is_some()),
        None => (new_id(tx.now), 0, true),
    };
    let current: u64 = if removed { 0 } else { version };
    if put.expected_version.is_some_and(|seen| seen != current) {
        let message = format!(
            "the current version of pipeline {} is {current}",
            document.name
        );
        return Err(Fault::said(StoreErrorKind::Stale, message));
    }
    let reference = |version| PipelineRef {
        id,
        namespace: document.namespace.as_str().into(),
        name: document.name.as_str().into(),
        version,
    };
    // One that this program can't read any more is another document.
    let before = match last.filter(|_| !removed) {
        Some(row) => parse_json::<Pipeline>(row.str(3)?).ok(),
        None => None,
    };
    if before.as_ref() == Some(document) {
        return Ok(reference(version));
    }
    let reference = reference(version + 1);
    write(tx, &reference, put).await?;
    schedules::follow(tx, id, before.as_ref(), document).await?;
    Ok(reference)
}

/// Writes a new version and makes it the current one.
async fn write(tx: &mut Tx<'_>, reference: &PipelineRef, put: &PutPipeline) -> Result<()> {
    let document = &*put.document;
    let id = reference.id.to_string();
    let stored = json(document)?;
    let (by, now) = (put.by.0.clone(), time(tx.now));
    sqlx::query(PUT)
        .bind(&id)
        .bind(&document.namespace)
        .bind(&document.name)
        .bind(count(reference.version))
        .bind(document.description.clone())
        .bind(&stored)
        .bind(document.schedule.clone())
        .bind(document.is_active)
        .bind(&by)
        .bind(&now)
        .execute(&mut *tx.conn)
        .await?;
    sqlx::query(PUT_VERSION)
        .bind(&id)
        .bind(count(reference.version))
        .bind(&stored)
        .bind(&by)
        .bind(&now)
        .execute(&mut *tx.conn)
        .await?;
    sqlx::query("DELETE FROM pipeline_steps WHERE pipeline_id = ?1")
        .bind(&id)
        .execute(&mut *tx.conn)
        .await?;
    sqlx::query(PUT_STEPS)
        .bind(&id)
        .bind(json(&step_rows(reference.id, document)?)?)
        .bind(&now)
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}

fn step_rows(pipeline: PipelineId, document: &Pipeline) -> Result<Vec<StepRow<'_>>> {
    document
        .steps
        .iter()
        .map(|step| {
            let needs = step.dependencies.iter().map(|name| pipeline.step_id(name));
            Ok(StepRow {
                id: pipeline.step_id(&step.name),
                name: &step.name,
                connector_type: &step.connector_type,
                config: json(&step.config)?,
                dependencies: json(&needs.collect::<Vec<_>>())?,
                retry_count: step.retry_count,
                timeout_seconds: count(step.timeout_seconds),
            })
        })
        .collect()
}

fn new_id(now: Timestamp) -> PipelineId {
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    let nanos = (micros % 1_000_000) as u32 * 1000;
    let time = uuid::Timestamp::from_unix(NoContext, micros / 1_000_000, nanos);
    PipelineId(Uuid::new_v7(time))
}

pub(crate) async fn remove(tx: &mut Tx<'_>, requests: &[&RemovePipeline]) -> Result<Answers<bool>> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let removed: Option<String> = sqlx::query_scalar(REMOVE)
            .bind(&request.namespace)
            .bind(&request.name)
            .bind(time(tx.now))
            .fetch_optional(&mut *tx.conn)
            .await?;
        if let Some(id) = &removed {
            schedules::take_away(tx, parse(id)?).await?;
        }
        answers.push(Ok(removed.is_some()));
    }
    Ok(answers)
}

#[async_trait]
impl Catalog for SqliteStore {
    async fn put_pipeline(&self, put: PutPipeline) -> StoreResult<PipelineRef> {
        self.ask_beside(put).await
    }

    async fn pipeline(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u64>,
    ) -> StoreResult<Option<StoredPipeline>> {
        let found = async {
            let row = sqlx::query(NAMED)
                .bind(namespace)
                .bind(name)
                .bind(version.map(count))
                .fetch_optional(self.readers())
                .await?;
            row.as_ref().map(stored).transpose()
        };
        found.await.map_err(|fault: Fault| fault.of("pipeline"))
    }

    async fn pipeline_version(
        &self,
        id: PipelineId,
        version: u64,
    ) -> StoreResult<Option<StoredPipeline>> {
        let found = async {
            let row = sqlx::query(VERSION)
                .bind(id.to_string())
                .bind(count(version))
                .fetch_optional(self.readers())
                .await?;
            row.as_ref().map(stored).transpose()
        };
        found
            .await
            .map_err(|fault: Fault| fault.of("pipeline_version"))
    }

    async fn pipeline_by_id(&self, id: PipelineId) -> StoreResult<Option<StoredPipeline>> {
        let found = async {
            let row = sqlx::query(BY_ID)
                .bind(id.to_string())
                .fetch_optional(self.readers())
                .await?;
            row.as_ref().map(stored).transpose()
        };
        found
            .await
            .map_err(|fault: Fault| fault.of("pipeline_by_id"))
    }

    async fn pipelines(
        &self,
        filter: &PipelineFilter,
        page: &PageRequest,
    ) -> StoreResult<Page<StoredPipeline>> {
        self.list(filter, page)
            .await
            .map_err(|fault| fault.of("pipelines"))
    }

    async fn remove_pipeline(&self, namespace: &str, name: &str) -> StoreResult<bool> {
        self.ask_beside(RemovePipeline {
            namespace: namespace.into(),
            name: name.into(),
        })
        .await
    }
}

impl SqliteStore {
    async fn list(
        &self,
        filter: &PipelineFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredPipeline>> {
        let (namespace, name) = match &page.cursor {
            None => ("", ""),
            Some(cursor) => cursor.0.split_once('/').ok_or_else(no_such_cursor)?,
        };
        let limit = page.limit.clamp(1, 500);
        let rows = sqlx::query(LIST)
            .bind(namespace)
            .bind(name)
            .bind(&filter.namespace)
            .bind(&filter.tag)
            .bind(limit as i64 + 1)
            .fetch_all(self.readers())
            .await?;
        let items = rows
            .iter()
            .take(limit)
            .map(stored)
            .collect::<Result<Vec<_>>>()?;
        let next_cursor = items.last().filter(|_| rows.len() > limit).map(|last| {
            let PipelineRef {
                namespace, name, ..
            } = &last.reference;
            Cursor(format!("{namespace}/{name}"))
        });
        Ok(Page { items, next_cursor })
    }
}

/// A cursor that none of our pages gave.
pub(crate) fn no_such_cursor() -> Fault {
    Fault::said(
        StoreErrorKind::NotFound,
        "the cursor is not one of this list",
    )
}

/// A row of [`NAMED`], [`VERSION`] or [`LIST`].
fn stored(row: &SqliteRow) -> Result<StoredPipeline> {
    Ok(StoredPipeline {
        reference: PipelineRef {
            id: row.parsed(0)?,
            namespace: row.shared(1)?,
            name: row.shared(2)?,
            version: row.number(3)?,
        },
        document: parse_json::<Pipeline>(row.str(4)?)?.into(),
        created_by: By(row.str(5)?.into()),
        created_at: row.parsed(6)?,
        updated_at: row.parsed(7)?,
    })
}

pub(crate) const DOCUMENT: &str =
    "SELECT document FROM pipeline_versions WHERE pipeline_id = ?1 AND version = ?2";

pub(crate) const LAST: &str =
    "SELECT id, version, removed_at, config FROM pipelines WHERE namespace = ?1 AND name = ?2";

const PUT: &str = "
    INSERT INTO pipelines (
        id, namespace, name, version, description, config, schedule, is_active, created_by, created_at, updated_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)
    ON CONFLICT (id) DO UPDATE SET
        version = excluded.version, description = excluded.description, config = excluded.config,
        schedule = excluded.schedule, is_active = excluded.is_active, updated_at = excluded.updated_at,
        removed_at = NULL";

const PUT_VERSION: &str = "
    INSERT INTO pipeline_versions (pipeline_id, version, document, created_by, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5)";

const PUT_STEPS: &str = "
    INSERT INTO pipeline_steps (
        id, pipeline_id, name, connector_type, config, dependencies, retry_count, timeout_seconds, order_index, created_at)
    SELECT value->>'id', ?1, value->>'name', value->>'connector_type', value->>'config', value->>'dependencies',
        value->>'retry_count', value->>'timeout_seconds', key, ?3
    FROM jsonb_each(?2)";

pub(crate) const REMOVE: &str = "
    UPDATE pipelines SET removed_at = ?3 WHERE namespace = ?1 AND name = ?2 AND removed_at IS NULL
    RETURNING id";

pub(crate) const NAMED: &str = "
    SELECT p.id, p.namespace, p.name, v.version, v.document, v.created_by, p.created_at, v.created_at
    FROM pipelines p
    JOIN pipeline_versions v ON v.pipeline_id = p.id
        AND v.version = coalesce(?3, CASE WHEN p.removed_at IS NULL THEN p.version END)
    WHERE p.namespace = ?1 AND p.name = ?2";

pub(crate) const VERSION: &str = "
    SELECT p.id, p.namespace, p.name, v.version, v.document, v.created_by, p.created_at, v.created_at
    FROM pipeline_versions v JOIN pipelines p ON p.id = v.pipeline_id
    WHERE v.pipeline_id = ?1 AND v.version = ?2";

pub(crate) const BY_ID: &str = "
    SELECT p.id, p.namespace, p.name, v.version, v.document, v.created_by, p.created_at, v.created_at
    FROM pipelines p JOIN pipeline_versions v ON v.pipeline_id = p.id AND v.version = p.version
    WHERE p.id = ?1 AND p.removed_at IS NULL";

pub(crate) const LIST: &str = "
    SELECT p.id, p.namespace, p.name, v.version, v.document, v.created_by, p.created_at, v.created_at
    FROM pipelines p JOIN pipeline_versions v ON v.pipeline_id = p.id AND v.version = p.version
    WHERE (p.namespace, p.name) > (?1, ?2) AND p.removed_at IS NULL
        AND (?3 IS NULL OR p.namespace = ?3)
        AND (?4 IS NULL OR EXISTS (SELECT 1 FROM json_each(p.config, '$.tags') t WHERE t.value = ?4))
    ORDER BY p.namespace, p.name LIMIT ?5";
