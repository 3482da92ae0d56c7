//! What the REST API answers: `etl serve --role api` on PostgreSQL as a process of its own, asked over connections that stay open.
//!
//! `api [MINUTES]`: with a number, it is asked for so long at half the load that it should bear, and its memory is looked at each
//! minute; by default it is measured how much it bears. The database server is that of `scripts/services`.

mod client;
mod server;

use std::time::Duration;

use anyhow::{Context, Result};
use client::Load;
use etl_benches::database::Database;
use etl_benches::{Goal, Report};
use server::Server;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(8);
/// Jobs that are there before anything is measured.
const JOBS: usize = 2_000;
/// Connections that ask at the same time.
const CONNECTIONS: usize = 64;

/// What the API should bear, in requests a second, and how long one answer in a hundred may take at half of it, in ms.
const LISTS: f64 = 3_000.0;
const EXECUTIONS: f64 = 800.0;
const P99: Goal = Goal::AtMost(50.0);

#[tokio::main]
async fn main() -> Result<()> {
    let minutes = std::env::args()
        .nth(1)
        .map(|text| {
            text.parse::<u32>()
                .with_context(|| format!("{text:?} is no number of minutes"))
        })
        .transpose()?;
    let database = Database::new().await?;
    let server = Server::start(&database.url()?).await?;
    let measured = match minutes {
        None => measure(&server).await,
        Some(minutes) => soak(&server, minutes).await,
    };
    server.stop().await?;
    database.remove().await?;
    measured
}

async fn measure(server: &Server) -> Result<()> {
    let mut report = Report::new("api");
    report.fact("connections", CONNECTIONS);
    report.fact("jobs before", JOBS);
    let list = server.get("/api/v1/jobs");
    let execute = server.post(&format!("/api/v1/pipelines/{}/execute", server.pipeline));
    server.jobs(&execute, JOBS).await?;
    for (name, request, goal) in [
        ("GET /health", server.get("/health"), None),
        ("GET /api/v1/auth/me", server.get("/api/v1/auth/me"), None),
        (
            "GET /api/v1/jobs, 50 of them",
            list.clone(),
            Some(Goal::AtLeast(LISTS)),
        ),
        (
            "POST /api/v1/pipelines/{id}/execute",
            execute.clone(),
            Some(Goal::AtLeast(EXECUTIONS)),
        ),
    ] {
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            let seen = Load::as_fast_as_it_goes(CONNECTIONS, ROUND);
            runs.push(seen.run(server.address, &request).await?.a_second);
        }
        report.add(name, "requests/s", runs, goal);
    }
    for (name, request, rate) in [
        ("GET /api/v1/jobs", list, LISTS / 2.0),
        ("POST …/execute", execute, EXECUTIONS / 2.0),
    ] {
        let (mut half, mut most) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let seen = Load::at(rate, CONNECTIONS, ROUND);
            let seen = seen.run(server.address, &request).await?;
            half.push(seen.percentile(50.0));
            most.push(seen.percentile(99.0));
        }
        report.add(format!("{name}, {rate} a second: p50"), "ms", half, None);
        report.add(
            format!("{name}, {rate} a second: p99"),
            "ms",
            most,
            Some(P99),
        );
    }
    report.add("memory of the server", "MiB", vec![server.memory()?], None);
    report.keep()?;
    Ok(())
}

/// Both kinds of requests at half the load, for so long.
async fn soak(server: &Server, minutes: u32) -> Result<()> {
    let mut report = Report::new("api-soak");
    report.fact("minutes", minutes);
    let list = server.get("/api/v1/jobs");
    let execute = server.post(&format!("/api/v1/pipelines/{}/execute", server.pipeline));
    server.jobs(&execute, JOBS).await?;
    let minute = Duration::from_mins(1);
    for at in 1..=minutes {
        let lists = Load::at(LISTS / 4.0, CONNECTIONS / 2, minute);
        let executions = Load::at(EXECUTIONS / 4.0, CONNECTIONS / 2, minute);
        let (lists, executions) = tokio::try_join!(
            lists.run(server.address, &list),
            executions.run(server.address, &execute)
        )?;
        report.add(
            format!("minute {at}: memory of the server"),
            "MiB",
            vec![server.memory()?],
            None,
        );
        for (name, seen) in [("GET /api/v1/jobs", lists), ("POST …/execute", executions)] {
            let name = format!("minute {at}: {name}: p99");
            report.add(name, "ms", vec![seen.percentile(99.0)], Some(P99));
        }
    }
    report.keep()?;
    Ok(())
}
