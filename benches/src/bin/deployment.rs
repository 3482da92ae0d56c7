//! What goes through a deployment: PostgreSQL as the store and RabbitMQ as the queue, every state flushed to the disk, beside what
//! PostgreSQL gives to plain transactions in the same run.
//!
//! `deployment [JOBS]`: how many one-step jobs a round has, by default 10,000. The two systems are those of `scripts/services`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etl_benches::database::{Database, variable};
use etl_benches::load::Load;
use etl_benches::{Form, Goal, Noop, Report, pipeline};
use etl_core::sdk::Etl;
use etl_queue_amqp::{AmqpOptions, AmqpQueue};
use etl_store_postgres::{Options, PostgresStore};
use sqlx::{Connection, PgConnection};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;

/// One-step jobs a second, every state of them durable.
const GOAL: Goal = Goal::AtLeast(2000.0);

const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// What hints at jobs.
#[derive(Debug, Clone, Copy)]
enum Hints {
    Store,
    Broker,
}

/// `(name, hints, jobs and steps at once, callers)`.
const SETUPS: [(&str, Hints, Option<usize>, usize); 4] = [
    ("RabbitMQ, defaults, 64 callers", Hints::Broker, None, 64),
    (
        "RabbitMQ, 256 jobs and steps at once, 256 callers",
        Hints::Broker,
        Some(256),
        256,
    ),
    (
        "RabbitMQ, 1,024 jobs and steps at once, 1,024 callers",
        Hints::Broker,
        Some(1024),
        1024,
    ),
    (
        "the store as the queue, 1,024 jobs and steps at once, 1,024 callers",
        Hints::Store,
        Some(1024),
        1024,
    ),
];

#[tokio::main]
async fn main() -> Result<()> {
    let jobs = match std::env::args().nth(1) {
        Some(text) => text
            .parse()
            .with_context(|| format!("{text:?} is no number of jobs"))?,
        None => 10_000,
    };
    let mut report = Report::new("deployment");
    report.fact("jobs", jobs);

    let mut runs = Vec::new();
    for _ in 0..ROUNDS {
        let database = Database::new().await?;
        runs.push(transactions(&database).await?);
        database.remove().await?;
    }
    report.add(
        "PostgreSQL alone: one row a transaction",
        "tx/s",
        runs,
        None,
    );
    for (name, hints, limit, callers) in SETUPS {
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            let database = Database::new().await?;
            runs.push(whole(&database, hints, limit, callers, jobs).await?);
            database.remove().await?;
        }
        report.add(
            format!("engine: one-step jobs, {name}"),
            "jobs/s",
            runs,
            Some(GOAL),
        );
    }
    report.keep()?;
    Ok(())
}

/// How many a second, of one connection.
async fn transactions(database: &Database) -> Result<f64> {
    let mut conn = PgConnection::connect(&database.url()?).await?;
    sqlx::raw_sql("CREATE TABLE rows (id BIGSERIAL PRIMARY KEY, text TEXT NOT NULL)")
        .execute(&mut conn)
        .await?;
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < LONG_ENOUGH {
        sqlx::query("INSERT INTO rows (text) VALUES ($1)")
            .bind("about as much as a state of a step")
            .execute(&mut conn)
            .await?;
        count += 1;
    }
    let took = began.elapsed();
    conn.close().await?;
    Ok(f64::from(count) / took.as_secs_f64())
}

/// One process with everything in it: who submits, who dispatches and who works.
async fn whole(
    database: &Database,
    hints: Hints,
    limit: Option<usize>,
    callers: usize,
    jobs: usize,
) -> Result<f64> {
    let store = PostgresStore::open(&database.url()?, Options::default()).await?;
    let store = Arc::new(store);
    let mut builder = Etl::builder()
        .connector(Noop)
        .store(store.clone())
        .events(Arc::new(store.events()));
    let mut broker = None;
    match hints {
        Hints::Store => builder = builder.queue(Arc::new(store.queue())),
        Hints::Broker => {
            let names = AmqpOptions::default().with_names(
                format!("{}.jobs", database.name()),
                format!("{}.dlq", database.name()),
            );
            let queue = AmqpQueue::connect(&variable("ETL_TEST_AMQP_URL")?, names).await?;
            let queue = Arc::new(queue);
            builder = builder.queue(queue.clone());
            broker = Some(queue);
        }
    }
    if let Some(limit) = limit {
        builder = builder.max_jobs(limit).max_steps(limit);
    }
    let etl = builder.build();
    let stored = etl.put(&pipeline(Form::Wide, 1)).await?;
    let load = Load {
        callers,
        waits: false,
    };
    let rate = load.run(&etl, &stored, jobs).await?;
    etl.shutdown().await;
    if let Some(queue) = broker {
        queue.close().await;
    }
    store.close().await;
    Ok(rate)
}
