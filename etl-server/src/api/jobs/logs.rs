//! What a job and its steps said, from the store and, where that has the lines no more, from the archive.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use etl_core::contract::store::Journal;
use etl_core::model::{Cursor, JobId, JobRecord, LogLevel, LogLine, Page};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::job_of;
use super::steps::step_of;
use crate::api::Api;
use crate::api::extract::{Id, Ids, Limit, Query, page, parameter};
use crate::api::problem::Problem;
use crate::api::route::Route;
use crate::archive::{Archive, ArchiveError};
use crate::identity::Resource;

/// How many lines are looked at for one page.
const LOOKED_AT: usize = 10_000;
/// How many are read at once.
const READ: usize = 500;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/jobs/{id}/logs", Resource::Jobs, of_job)
            .says("What a job and its steps said, in order"),
        Route::get(
            "/api/v1/jobs/{id}/steps/{step_id}/logs",
            Resource::Jobs,
            of_step,
        )
        .says("What a step execution said, in order"),
    ]
}

/// Which lines are asked for. A page may have fewer than `limit` although it is not the last.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Wanted {
    #[schemars(with = "Limit")]
    limit: Option<String>,
    cursor: Option<String>,
    /// Only lines after the one with this `seq`: what is new since.
    #[schemars(with = "u64")]
    after_seq: Option<String>,
    /// Only lines as grave as this, or graver.
    #[schemars(with = "LogLevel")]
    level: Option<String>,
}

pub(in crate::api) async fn of_job(
    State(api): State<Arc<Api>>,
    Id(job): Id<JobId>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<LogLine>>, Problem> {
    let wanted = Lines::of(wanted, None)?;
    let job = job_of(&api, job).await?;
    wanted.page(&api, &job).await.map(Json)
}

pub(in crate::api) async fn of_step(
    State(api): State<Arc<Api>>,
    Ids(job, step): Ids<JobId, Uuid>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<LogLine>>, Problem> {
    let job = job_of(&api, job).await?;
    let step = step_of(&api, job.id, step).await?;
    let wanted = Lines::of(wanted, Some((step.name, step.item_index)))?;
    wanted.page(&api, &job).await.map(Json)
}

/// The lines that are asked for.
struct Lines {
    limit: usize,
    after: u64,
    level: LogLevel,
    step: Option<(Arc<str>, Option<u32>)>,
}

impl Lines {
    fn of(wanted: Wanted, step: Option<(Arc<str>, Option<u32>)>) -> Result<Self, Problem> {
        let after = parameter("after_seq", wanted.after_seq.as_deref())?;
        let page = page(wanted.limit.as_deref(), wanted.cursor)?;
        let from = page.cursor.map(|cursor| cursor.0.parse::<u64>());
        let from = from.transpose();
        let from =
            from.map_err(|_| Problem::parameter("cursor", "it is not one that this list gave"))?;
        Ok(Self {
            limit: page.limit,
            // No line has a number that a store could not count to.
            after: from.max(after).unwrap_or_default().min(i64::MAX as u64),
            level: parameter("level", wanted.level.as_deref())?.unwrap_or(LogLevel::Debug),
            step,
        })
    }

    fn has(&self, line: &LogLine) -> bool {
        let is_of_step = self.step.as_ref().is_none_or(|(name, item_index)| {
            line.step.as_ref() == Some(name) && line.item_index == *item_index
        });
        line.seq > self.after && line.level >= self.level && is_of_step
    }

    async fn page(&self, api: &Api, job: &JobRecord) -> Result<Page<LogLine>, Problem> {
        let mut found = Found::after(self.after);
        let mut lines = Journal::lines(&*api.store, job.id, self.after, READ).await?;
        // The store drops the lines of jobs that ended long ago.
        let is_whole = lines
            .first()
            .is_some_and(|line| line.seq == self.after.saturating_add(1));
        if !is_whole && job.status.is_terminal() && job.started_at.is_some() {
            self.read_archive(api, job, &mut found).await?;
            if found.is_full(self.limit) {
                return Ok(found.page());
            }
            lines.retain(|line| line.seq > found.last);
        }
        while !lines.is_empty() {
            let is_last = lines.len() < READ;
            for line in lines {
                found.take(self, line);
                if found.is_full(self.limit) {
                    return Ok(found.page());
                }
            }
            if is_last {
                break;
            }
            lines = Journal::lines(&*api.store, job.id, found.last, READ).await?;
        }
        Ok(found.last_page())
    }

    /// From its beginning: it is compressed as a whole.
    async fn read_archive(
        &self,
        api: &Api,
        job: &JobRecord,
        found: &mut Found,
    ) -> Result<(), Problem> {
        let unreadable = |error: ArchiveError| Problem::internal(&error);
        let archive = Archive::open(&api.storage, job.id).await;
        let Some(mut archive) = archive.map_err(unreadable)? else {
            return Ok(());
        };
        while let Some(lines) = archive.next().await.map_err(unreadable)? {
            for line in lines {
                if line.seq <= self.after {
                    continue;
                }
                found.take(self, line);
                if found.is_full(self.limit) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// What was found so far.
struct Found {
    items: Vec<LogLine>,
    /// The last line that was looked at.
    last: u64,
    looked_at: usize,
}

impl Found {
    fn after(last: u64) -> Self {
        Self {
            items: Vec::new(),
            last,
            looked_at: 0,
        }
    }

    fn take(&mut self, wanted: &Lines, line: LogLine) {
        self.last = line.seq;
        self.looked_at += 1;
        if wanted.has(&line) {
            self.items.push(line);
        }
    }

    fn is_full(&self, limit: usize) -> bool {
        self.items.len() >= limit || self.looked_at >= LOOKED_AT
    }

    fn page(self) -> Page<LogLine> {
        Page {
            next_cursor: Some(Cursor(self.last.to_string())),
            items: self.items,
        }
    }

    fn last_page(self) -> Page<LogLine> {
        Page {
            items: self.items,
            next_cursor: None,
        }
    }
}
