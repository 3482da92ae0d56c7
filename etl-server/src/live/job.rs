//! Everything of one job, from where a watcher is.

use etl_core::contract::store::Result;
use etl_core::contract::{Clock, Store};
use etl_core::model::{
    Event, JobId, JobRecord, JobStatus, LogEvent, LogLine, Page, PageRequest, PipelineId,
    StepStatus,
};
use etl_core::runtime::SystemClock;

use super::message::{Channel, ServerMessage, Summary};

/// Lines that are read at once.
const LINES: usize = 500;

/// Where a watcher of a job is.
#[derive(Debug)]
pub(super) struct JobFeed {
    pub(super) job: JobId,
    pipeline: PipelineId,
    /// The last line that was told.
    after: u64,
    /// The last line that there was when this was opened, if the job had ended by then.
    ended_by: Option<u64>,
    /// Whether its end was told: what comes after is only told of by the bus.
    pub(super) has_ended: bool,
}

impl JobFeed {
    /// From after a line on; or from now on, beginning with the state that the job is in. `None` if there is no such job.
    pub(super) async fn open(
        store: &dyn Store,
        job: JobId,
        after_seq: Option<u64>,
    ) -> Result<Option<(Self, Vec<ServerMessage>)>> {
        let Some(record) = store.job(job).await? else {
            return Ok(None);
        };
        // The state and the number of the line as of which it is true come in one look.
        let feed = Self {
            job,
            pipeline: record.pipeline_id,
            after: after_seq.map_or(record.log_last_seq, |seq| seq.min(record.log_last_seq)),
            ended_by: record.status.is_terminal().then_some(record.log_last_seq),
            has_ended: after_seq.is_none() && record.status.is_terminal(),
        };
        let channel = Channel::Job(job);
        let mut first = Vec::new();
        if after_seq.is_none() {
            first.push(ServerMessage::state(channel, &record, SystemClock.now()));
            if record.status.is_terminal() {
                let summary = summary(store, &record).await?;
                first.push(ServerMessage::end(channel, &record, summary));
            }
        }
        Ok(Some((feed, first)))
    }

    /// What has been told of the job since, in order, and whether that is all there is. A failure leaves the place where it was.
    pub(super) async fn read(&mut self, store: &dyn Store) -> Result<(Vec<ServerMessage>, bool)> {
        let lines = store.lines(self.job, self.after, LINES).await?;
        let is_all = lines.len() < LINES;
        let (mut after, mut has_ended) = (self.after, self.has_ended);
        let mut messages = Vec::with_capacity(lines.len());
        for line in lines {
            if line.seq > after + 1 {
                messages.push(self.archived(after, line.seq - 1));
            }
            after = line.seq;
            let summary = match line.event() {
                Some(event) if is_end(event) => {
                    has_ended = true;
                    Some(self.summary_of(store, &line).await?)
                }
                _ => None,
            };
            messages.push(ServerMessage::line(self.pipeline, line, summary));
        }
        if let Some(last) = self.ended_by
            && is_all
            && !has_ended
        {
            // The line that tells the end was seen before, or is in the archive.
            if after < last {
                messages.push(self.archived(after, last));
                messages.extend(self.end(store).await?);
                after = last;
            }
            has_ended = true;
        }
        (self.after, self.has_ended) = (after, has_ended);
        Ok((messages, is_all))
    }

    /// That lines were dropped after they had been archived.
    fn archived(&self, after: u64, last: u64) -> ServerMessage {
        let message = format!(
            "lines {} to {last} are in the archive alone: GET /api/v1/jobs/{}/logs?after_seq={after}",
            after + 1,
            self.job,
        );
        let channel = Channel::Job(self.job).to_string();
        ServerMessage::error(&channel, message, SystemClock.now())
    }

    /// The end, as the job's record has it.
    async fn end(&self, store: &dyn Store) -> Result<Option<ServerMessage>> {
        let Some(record) = store.job(self.job).await? else {
            return Ok(None);
        };
        let summary = summary(store, &record).await?;
        let channel = Channel::Job(self.job);
        Ok(Some(ServerMessage::end(channel, &record, summary)))
    }

    /// How far a step of this job is.
    pub(super) fn progress(&self, event: &Event) -> Option<ServerMessage> {
        let is_ours = event.job_id == self.job;
        is_ours.then(|| ServerMessage::progress(self.pipeline, event))?
    }

    /// Of the line that tells the end, or counted where it does not say: a store ended the job.
    async fn summary_of(&self, store: &dyn Store, line: &LogLine) -> Result<Summary> {
        let said = |key| line.metadata.get(key).and_then(serde_json::Value::as_u64);
        if let Some(steps_total) = said("steps_total") {
            return Ok(Summary {
                steps_total,
                steps_success: said("steps_success").unwrap_or_default(),
                steps_failed: said("steps_failed").unwrap_or_default(),
                rows_processed: said("rows_processed").unwrap_or_default(),
            });
        }
        match store.job(self.job).await? {
            Some(record) => summary(store, &record).await,
            None => Ok(Summary::default()),
        }
    }
}

fn is_end(event: LogEvent) -> bool {
    let ends = JobStatus::ALL.iter().filter(|status| status.is_terminal());
    ends.filter_map(|status| LogEvent::of_job(*status))
        .any(|end| end == event)
}

/// What became of the steps of a job.
pub(super) async fn summary(store: &dyn Store, job: &JobRecord) -> Result<Summary> {
    let mut summary = Summary {
        rows_processed: job.rows_processed,
        ..Summary::default()
    };
    let mut page = PageRequest::first(500);
    loop {
        let Page { items, next_cursor } = store.steps(job.id, &page).await?;
        for step in items {
            summary.steps_total += 1;
            match step.status {
                StepStatus::Success => summary.steps_success += 1,
                StepStatus::Failed | StepStatus::Timeout => summary.steps_failed += 1,
                _ => {}
            }
        }
        match next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return Ok(summary),
        }
    }
}
