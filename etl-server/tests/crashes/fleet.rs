//! A deployment: a database, a folder, and the processes that a test starts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etl_core::contract::store::{Catalog, StoredPipeline};
use etl_core::model::{By, JobId, TriggerType};
use etl_core::runtime::{Intake, IntakeError, Trigger};
use etl_store_postgres::{Options, PostgresStore};
use serde_json::Map;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::ledger;
use crate::program::Program;
use crate::program::database::Database;
use crate::program::server::Server;
use crate::services::Services;

/// What hints at jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hints {
    /// The store.
    Store,
    /// RabbitMQ.
    Broker,
}

pub struct Fleet {
    pub services: Services,
    pub program: Program,
    pub database: Database,
    pub store: Arc<PostgresStore>,
    queue_url: String,
}

impl Fleet {
    /// With tables, with the ledger's eyes on them, and with no process.
    pub async fn new(hints: Hints) -> Self {
        let services = Services::up();
        let database = Database::on(services.postgres.clone()).await;
        let opened = PostgresStore::open(&database.url(), Options::default()).await;
        let queue_url = match hints {
            Hints::Store => "store:".to_owned(),
            Hints::Broker => {
                services.empty_queues().await;
                services.broker.clone()
            }
        };
        let fleet = Self {
            services,
            program: Program::new(),
            database,
            store: Arc::new(opened.unwrap()),
            queue_url,
        };
        ledger::watch(&fleet.database).await;
        fleet
    }

    /// A process with these roles that runs so many jobs and steps at once.
    pub fn start(&self, roles: &[&str], max_jobs: u32, max_steps: u32) -> Server {
        self.start_with(roles, max_jobs, max_steps, &[])
    }

    /// The same, whose clock is wrong by so many hours. Time goes on as fast as it does.
    pub fn start_off(&self, roles: &[&str], hours: i32) -> Server {
        let library = std::env::var("ETL_TEST_FAKETIME")
            .ok()
            .filter(|path| !path.is_empty())
            .expect("ETL_TEST_FAKETIME names libfaketime.so.1; `scripts/services up` installs it and `scripts/services env` tells where it is");
        let offset = format!("{hours:+}h");
        let wrong = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME", offset.as_str()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        self.start_with(roles, 1, 1, &wrong)
    }

    fn start_with(
        &self,
        roles: &[&str],
        max_jobs: u32,
        max_steps: u32,
        more: &[(&str, &str)],
    ) -> Server {
        let (database_url, jobs) = (self.database.url(), max_jobs.to_string());
        let steps = max_steps.to_string();
        let mut environment = vec![
            ("ETL_DATABASE_URL", database_url.as_str()),
            ("ETL_QUEUE_URL", self.queue_url.as_str()),
            ("ETL_MAX_JOBS", jobs.as_str()),
            ("ETL_MAX_STEPS", steps.as_str()),
        ];
        environment.extend(more);
        Server::start(&self.program, roles, &environment).wait_until_up()
    }

    /// Stores a pipeline and submits its first job, by the program.
    pub async fn submit_file(&self, text: &str) -> (StoredPipeline, JobId) {
        let file = self.program.pipeline(text);
        let environment = [
            ("ETL_DATABASE_URL", self.database.url()),
            ("ETL_QUEUE_URL", self.queue_url.clone()),
        ];
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let submitted = self.program.run_with(&["submit", &file], &environment);
        let id: Uuid = submitted.expect(0).stdout.trim().parse().unwrap();
        let name = std::path::Path::new(&file).file_stem().unwrap();
        let stored = self
            .store
            .pipeline("default", name.to_str().unwrap(), None)
            .await;
        (stored.unwrap().unwrap(), JobId(id))
    }

    /// Who submits more of it.
    pub fn client(&self, pipeline: &StoredPipeline) -> Client {
        Client {
            intake: Intake::new(self.store.clone()),
            pipeline: pipeline.clone(),
        }
    }

    /// Waits until no job is open any more.
    pub async fn wait_for_ends(&self, within: Duration) {
        let open = "SELECT count(*)::text FROM job_executions WHERE status IN ('pending', 'queued', 'running')";
        self.wait_for("no open job", within, open, |count| count == 0)
            .await;
    }

    /// Waits until the number that a query gives is right. How long it took.
    pub async fn wait_for(
        &self,
        what: &str,
        within: Duration,
        sql: &str,
        is_right: impl Fn(i64) -> bool,
    ) -> Duration {
        let began = Instant::now();
        loop {
            let number = self.database.number(sql).await;
            if is_right(number) {
                return began.elapsed();
            }
            assert!(
                began.elapsed() < within,
                "not within {within:?}: {what}; it is {number}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The database's time.
    pub async fn now(&self) -> String {
        self.database
            .text("SELECT clock_timestamp()::text AS now")
            .await
    }

    pub async fn end(self) {
        self.store.close().await;
        self.database.drop().await;
    }
}

/// Submits jobs as a program does that has the engine in it.
#[derive(Clone)]
pub struct Client {
    intake: Intake,
    pipeline: StoredPipeline,
}

impl Client {
    /// Submits a job, and again under the same id while the store is away. When it answers, the job was accepted.
    pub async fn submit(&self) -> JobId {
        let id = JobId(Uuid::now_v7());
        loop {
            let trigger = Trigger::new(TriggerType::Api, By::system(), Map::new());
            match self.intake.submit(id, &self.pipeline, trigger).await {
                Ok(_) => return id,
                Err(IntakeError::Store(_)) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub async fn submit_many(&self, count: u64) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for _ in 0..count {
            jobs.push(self.submit().await);
        }
        jobs
    }

    /// Submits so many, one each time that `every` has passed.
    pub fn feed(&self, count: u64, every: Duration) -> JoinHandle<Vec<JobId>> {
        let client = self.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(every);
            let mut jobs = Vec::new();
            for _ in 0..count {
                ticks.tick().await;
                jobs.push(client.submit().await);
            }
            jobs
        })
    }
}

/// Five steps, two of them beside each other; each notes when it starts, in nanoseconds of this machine's clock, and takes so
/// many seconds.
pub fn five(seconds: f64) -> String {
    let step = |name: &str, after: &str| {
        format!(
            "  - {{ name: {name}, connector_type: command, dependencies: [{after}], config: {{ argv: [sh, -c, \
             'echo {{{{ job.id }}}} $0 $(date +%s%N) >> effects.txt; sleep {seconds}', {name}] }} }}\n"
        )
    };
    let steps = [("a", ""), ("b", "a"), ("c", "a"), ("d", "b, c"), ("e", "d")];
    let steps: String = steps
        .iter()
        .map(|(name, after)| step(name, after))
        .collect();
    format!("name: five\nsteps:\n{steps}")
}
