//! Figures of what is remembered.

use async_trait::async_trait;
use etl_core::contract::store::{Figures, Result as StoreResult};
use etl_core::model::{JobFigures, PipelineId, StepFigures, Timestamp};
use sqlx::{Postgres, QueryBuilder};

use crate::store::PostgresStore;
use etl_store_sql::{Fault, RANKS, Result, job_figures, step_figures, time};

#[async_trait]
impl Figures for PostgresStore {
    async fn backlog(&self, most: u64) -> StoreResult<u64> {
        let counted = async {
            let count: i64 = sqlx::query_scalar(BACKLOG)
                .bind(i64::try_from(most).unwrap_or(i64::MAX))
                .fetch_one(self.readers())
                .await?;
            Ok(count.unsigned_abs())
        };
        counted.await.map_err(|fault: Fault| fault.of("backlog"))
    }

    async fn job_figures(
        &self,
        pipeline: Option<PipelineId>,
        from: Timestamp,
    ) -> StoreResult<JobFigures> {
        let figures = self.figures_of_jobs(pipeline, from).await;
        figures.map_err(|fault| fault.of("job_figures"))
    }

    async fn step_figures(&self, connector: &str, from: Timestamp) -> StoreResult<StepFigures> {
        let figures = self.figures_of_steps(connector, from).await;
        figures.map_err(|fault| fault.of("step_figures"))
    }
}

impl PostgresStore {
    async fn figures_of_jobs(
        &self,
        pipeline: Option<PipelineId>,
        from: Timestamp,
    ) -> Result<JobFigures> {
        let mut hours = of_jobs(HOURS, pipeline, from);
        hours.push(" GROUP BY 1, 2 ORDER BY 1");
        let hours = hours.build().fetch_all(self.readers()).await?;
        let mut ranks = of_jobs(JOB_DURATIONS, pipeline, from);
        ranks
            .push(" AND j.duration_ms IS NOT NULL) ranked WHERE ")
            .push(RANKS)
            .push(" ORDER BY n");
        let ranks = ranks.build().fetch_all(self.readers()).await?;
        let mut classes = of_jobs(JOB_ERRORS, pipeline, from);
        classes.push(
            " AND j.status IN ('failed', 'timeout') AND s.status IN ('failed', 'timeout') AND s.error_class IS NOT NULL GROUP BY 1",
        );
        let classes = classes.build().fetch_all(self.readers()).await?;
        job_figures(&hours, &ranks, &classes)
    }

    async fn figures_of_steps(&self, connector: &str, from: Timestamp) -> Result<StepFigures> {
        let mut statuses = of_steps(STEP_STATUSES, connector, from);
        statuses.push(" GROUP BY 1");
        let statuses = statuses.build().fetch_all(self.readers()).await?;
        let mut ranks = of_steps(STEP_DURATIONS, connector, from);
        ranks
            .push(" AND s.duration_ms IS NOT NULL) ranked WHERE ")
            .push(RANKS)
            .push(" ORDER BY n");
        let ranks = ranks.build().fetch_all(self.readers()).await?;
        let mut classes = of_steps(STEP_ERRORS, connector, from);
        classes.push(
            " AND s.status IN ('failed', 'timeout') AND s.error_class IS NOT NULL GROUP BY 1",
        );
        let classes = classes.build().fetch_all(self.readers()).await?;
        step_figures(&statuses, &ranks, &classes)
    }
}

/// A query over the jobs that were accepted since, by the index of their pipeline if one is asked for.
fn of_jobs(select: &str, pipeline: Option<PipelineId>, from: Timestamp) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(select);
    query
        .push(" WHERE j.created_at >= ")
        .push_bind(time(from))
        .push("::timestamptz");
    if let Some(pipeline) = pipeline {
        query
            .push(" AND j.pipeline_id = ")
            .push_bind(pipeline.to_string())
            .push("::uuid");
    }
    query
}

/// A query over the step executions of a connector in such jobs.
fn of_steps(select: &str, connector: &str, from: Timestamp) -> QueryBuilder<Postgres> {
    let mut query = of_jobs(select, None, from);
    query
        .push(" AND p.connector_type = ")
        .push_bind(connector.to_owned());
    query
}

const HOURS: &str = "
    SELECT etl_text(date_trunc('hour', j.created_at, 'UTC')), j.status, count(*), sum(j.rows_processed)::bigint, sum(j.bytes_transferred)::bigint
    FROM job_executions j";

const JOB_DURATIONS: &str = "
    SELECT duration_ms, n, total FROM (
        SELECT j.duration_ms, row_number() OVER (ORDER BY j.duration_ms) AS n, count(*) OVER () AS total
        FROM job_executions j";

const JOB_ERRORS: &str = "
    SELECT s.error_class, count(*) FROM job_executions j JOIN step_executions s ON s.job_id = j.id";

const STEP_STATUSES: &str = "
    SELECT s.status, count(*), sum(s.attempt)::bigint, sum(s.rows_processed)::bigint, sum(s.bytes_transferred)::bigint
    FROM job_executions j JOIN step_executions s ON s.job_id = j.id JOIN pipeline_steps p ON p.id = s.step_id";

const STEP_DURATIONS: &str = "
    SELECT duration_ms, n, total FROM (
        SELECT s.duration_ms, row_number() OVER (ORDER BY s.duration_ms) AS n, count(*) OVER () AS total
        FROM job_executions j JOIN step_executions s ON s.job_id = j.id JOIN pipeline_steps p ON p.id = s.step_id";

const STEP_ERRORS: &str = "
    SELECT s.error_class, count(*)
    FROM job_executions j JOIN step_executions s ON s.job_id = j.id JOIN pipeline_steps p ON p.id = s.step_id";

pub(crate) const BACKLOG: &str = "
    SELECT count(*) FROM (
        SELECT 1 FROM job_executions WHERE status IN ('pending', 'queued') LIMIT $1
    ) waiting";
