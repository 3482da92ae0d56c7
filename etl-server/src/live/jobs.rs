//! The states of many jobs: those that are on their way, and what becomes of them and of those that come. A state that lasted for a
//! moment may be left out, the last one never is.

use std::collections::{HashMap, HashSet, VecDeque};

use etl_core::contract::store::Result;
use etl_core::contract::{Clock, Store};
use etl_core::model::{JobFilter, JobId, JobRecord, JobStatus, PageRequest, PipelineId, Timestamp};
use etl_core::runtime::SystemClock;

use super::hub::Moved;
use super::job::summary;
use super::message::{Channel, ServerMessage, Summary};

/// How many jobs that are on their way are followed; of more, the newest.
const FOLLOWED: usize = 500;
/// How many jobs that have ended are known to have been told.
const ENDED: usize = 2000;
/// How many of the newest jobs are looked at for ones that nobody told of.
const NEWEST: usize = 100;

/// What a watcher of many jobs knows.
#[derive(Debug)]
pub(super) struct JobsFeed {
    channel: Channel,
    /// Only of this one.
    pipeline: Option<PipelineId>,
    pipeline_name: Option<String>,
    since: Timestamp,
    /// Which state was told of each, as of which line of its log.
    open: HashMap<JobId, (JobStatus, u64)>,
    ended: HashSet<JobId>,
    ended_in_order: VecDeque<JobId>,
}

impl JobsFeed {
    /// From now on, beginning with the jobs that are on their way. `None` if there is no such pipeline.
    pub(super) async fn open(
        store: &dyn Store,
        pipeline: Option<PipelineId>,
    ) -> Result<Option<(Self, Vec<ServerMessage>)>> {
        let pipeline_name = match pipeline {
            None => None,
            Some(id) => match store.pipeline_by_id(id).await? {
                Some(stored) => Some(stored.document.name.clone()),
                None => return Ok(None),
            },
        };
        let mut feed = Self {
            channel: pipeline.map_or(Channel::Global, Channel::Pipeline),
            pipeline,
            pipeline_name,
            since: SystemClock.now(),
            open: HashMap::new(),
            ended: HashSet::new(),
            ended_in_order: VecDeque::new(),
        };
        let mut first = Vec::new();
        for job in feed.on_their_way(store).await? {
            feed.take(store, &job, None, &mut first).await?;
        }
        Ok(Some((feed, first)))
    }

    /// The newest jobs that have not ended; the oldest of them first, as they came.
    async fn on_their_way(&self, store: &dyn Store) -> Result<Vec<JobRecord>> {
        let filter = JobFilter {
            status: vec![JobStatus::Pending, JobStatus::Queued, JobStatus::Running],
            ..self.filter()
        };
        let jobs = store.jobs(&filter, &PageRequest::first(FOLLOWED)).await?;
        Ok(jobs.items.into_iter().rev().collect())
    }

    fn filter(&self) -> JobFilter {
        JobFilter {
            pipeline: self.pipeline_name.clone(),
            ..JobFilter::default()
        }
    }

    /// Adds what this job has become to the messages.
    pub(super) async fn look_at(
        &mut self,
        store: &dyn Store,
        moved: &Moved,
        messages: &mut Vec<ServerMessage>,
    ) -> Result<()> {
        if self.ended.contains(&moved.job) {
            return Ok(());
        }
        match moved.found(store).await? {
            Some((job, summary)) => self.take(store, job, *summary, messages).await?,
            None => {
                self.open.remove(&moved.job);
            }
        }
        Ok(())
    }

    /// Adds what all that are followed have become, and which have come. What was added before a failure holds.
    pub(super) async fn look_at_all(
        &mut self,
        store: &dyn Store,
        messages: &mut Vec<ServerMessage>,
    ) -> Result<()> {
        let mut left: HashSet<JobId> = self.open.keys().copied().collect();
        for job in self.on_their_way(store).await? {
            left.remove(&job.id);
            self.take(store, &job, None, messages).await?;
        }
        for job in left {
            self.look_at(store, &Moved::new(job), messages).await?;
        }
        let newest = PageRequest::first(NEWEST);
        let newest = store.jobs(&self.filter(), &newest).await?;
        for job in newest.items.into_iter().rev() {
            if job.created_at >= self.since {
                self.take(store, &job, None, messages).await?;
            }
        }
        Ok(())
    }

    async fn take(
        &mut self,
        store: &dyn Store,
        job: &JobRecord,
        known: Option<Summary>,
        messages: &mut Vec<ServerMessage>,
    ) -> Result<()> {
        let is_ours = self.pipeline.is_none_or(|id| id == job.pipeline_id);
        if !is_ours || self.ended.contains(&job.id) {
            return Ok(());
        }
        if job.status.is_terminal() {
            let summary = match known {
                Some(summary) => summary,
                None => summary(store, job).await?,
            };
            self.open.remove(&job.id);
            self.ended.insert(job.id);
            self.ended_in_order.push_back(job.id);
            if self.ended_in_order.len() > ENDED
                && let Some(oldest) = self.ended_in_order.pop_front()
            {
                self.ended.remove(&oldest);
            }
            messages.push(ServerMessage::state(self.channel, job, SystemClock.now()));
            messages.push(ServerMessage::end(self.channel, job, summary));
            return Ok(());
        }
        let told = self.open.get(&job.id).copied();
        // What was read for all may be older than what was told here.
        let is_old = told.is_some_and(|(_, seq)| seq > job.log_last_seq);
        let is_room = told.is_some() || self.open.len() < FOLLOWED;
        if is_old || !is_room {
            return Ok(());
        }
        self.open.insert(job.id, (job.status, job.log_last_seq));
        if told.is_none_or(|(status, _)| status != job.status) {
            messages.push(ServerMessage::state(self.channel, job, SystemClock.now()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use etl_core::contract::store::{Catalog, JobStore, PutPipeline};
    use etl_core::memory::MemoryStore;
    use etl_core::model::{By, NewJob, PipelineRef, TriggerType};
    use serde_json::json;
    use std::sync::Arc;
    use uuid::Uuid;

    use super::*;

    async fn a_pipeline(store: &MemoryStore, name: &str) -> NewJob {
        let document = json!({ "name": name, "steps": [
            { "name": "wait", "connector_type": "sleep", "config": { "seconds": 1 } },
        ]});
        let document: Arc<etl_core::model::Pipeline> =
            Arc::new(serde_json::from_value(document).unwrap());
        let put = PutPipeline {
            document: Arc::clone(&document),
            expected_version: None,
            by: By::system(),
        };
        let pipeline: PipelineRef = store.put_pipeline(put).await.unwrap();
        NewJob {
            id: JobId(Uuid::now_v7()),
            pipeline,
            document,
            trigger_type: TriggerType::Manual,
            triggered_by: By::system(),
            scheduled_for: None,
            parameters: json!({}),
            context: serde_json::Map::new(),
            priority: 5,
            max_active: None,
            idempotency_key: None,
            retry_of: None,
            retry_attempt: 0,
            taken_over: Vec::new(),
        }
    }

    async fn submitted(store: &MemoryStore, job: &NewJob) -> JobId {
        let id = JobId(Uuid::now_v7());
        let job = NewJob { id, ..job.clone() };
        store.submit(job).await.unwrap().job()
    }

    fn told(messages: &mut Vec<ServerMessage>) -> Vec<String> {
        let told = messages.drain(..).map(|message| {
            let message: serde_json::Value = serde_json::from_str(&message.text()).unwrap();
            let part = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            let payload = &message["payload"];
            let job = part(&payload["job_id"]);
            format!(
                "{} {job} {}",
                part(&message["type"]),
                part(&payload["status"])
            )
        });
        told.collect()
    }

    #[tokio::test]
    async fn without_a_bus_what_became_of_every_job_is_told_once() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let ours = a_pipeline(&store, "ours").await;
        let others = a_pipeline(&store, "others").await;
        let before = submitted(&store, &ours).await;
        let of_others = submitted(&store, &others).await;
        let pipeline = Some(ours.pipeline.id);
        let (mut feed, mut messages) = JobsFeed::open(&store, pipeline).await.unwrap().unwrap();
        assert_eq!(told(&mut messages), [format!("status {before} pending")]);

        // One comes, one comes and ends between two looks, and one that was there ends.
        let comes = submitted(&store, &ours).await;
        let passes = submitted(&store, &ours).await;
        for job in [passes, before, of_others] {
            store.cancel(job, "no more").await.unwrap();
        }
        feed.look_at_all(&store, &mut messages).await.unwrap();
        let mut all = told(&mut messages);
        all.sort();
        let mut expected = vec![
            format!("complete {before} cancelled"),
            format!("complete {passes} cancelled"),
            format!("status {before} cancelled"),
            format!("status {comes} pending"),
            format!("status {passes} cancelled"),
        ];
        expected.sort();
        assert_eq!(all, expected);

        feed.look_at_all(&store, &mut messages).await.unwrap();
        for job in [before, comes, passes, of_others] {
            let moved = Moved::new(job);
            feed.look_at(&store, &moved, &mut messages).await.unwrap();
        }
        assert_eq!(told(&mut messages), [""; 0]);
    }

    #[tokio::test]
    async fn a_move_is_read_once_for_all_who_watch() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let ours = a_pipeline(&store, "ours").await;
        let (mut one, _) = JobsFeed::open(&store, None).await.unwrap().unwrap();
        let (mut other, _) = JobsFeed::open(&store, None).await.unwrap().unwrap();
        let job = submitted(&store, &ours).await;
        let moved = Moved::new(job);
        let mut messages = Vec::new();
        one.look_at(&store, &moved, &mut messages).await.unwrap();
        assert_eq!(told(&mut messages), [format!("status {job} pending")]);

        // Whoever comes to it later is told the same, and by the next move the rest.
        store.cancel(job, "no more").await.unwrap();
        other.look_at(&store, &moved, &mut messages).await.unwrap();
        assert_eq!(told(&mut messages), [format!("status {job} pending")]);
        let moved = Moved::new(job);
        let end = ["status", "complete"].map(|kind| format!("{kind} {job} cancelled"));
        for feed in [&mut one, &mut other] {
            feed.look_at(&store, &moved, &mut messages).await.unwrap();
            assert_eq!(told(&mut messages), end);
        }
    }

    #[tokio::test]
    async fn of_many_jobs_that_end_every_end_is_told() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let ours = a_pipeline(&store, "ours").await;
        let (mut feed, mut messages) = JobsFeed::open(&store, None).await.unwrap().unwrap();
        let mut jobs = Vec::new();
        // More than are looked at as the newest.
        for _ in 0..2 * NEWEST {
            jobs.push(submitted(&store, &ours).await);
        }
        feed.look_at_all(&store, &mut messages).await.unwrap();
        assert_eq!(told(&mut messages).len(), jobs.len());
        for job in &jobs {
            store.cancel(*job, "no more").await.unwrap();
        }
        feed.look_at_all(&store, &mut messages).await.unwrap();
        let all = told(&mut messages);
        for job in &jobs {
            let end = format!("complete {job} cancelled");
            assert_eq!(all.iter().filter(|one| **one == end).count(), 1, "{job}");
        }
    }
}
