//! `etl job`: one job with its steps.

use etl_core::contract::store::Journal;
use etl_core::model::{JobId, PageRequest, StepRecord};
use etl_core::sdk::Outcome;
use etl_store_sqlite::SqliteStore;
use serde_json::json;

use super::job_of;
use crate::args::JobArgs;
use crate::config::Config;
use crate::embedded;
use crate::failure::{Exit, Failure};
use crate::view::{print, print_json, summary};

pub(crate) async fn execute(config: &Config, args: &JobArgs) -> Result<Exit, Failure> {
    let store = embedded::look(config).await?;
    let job = job_of(&store, args.id).await?;
    let steps = steps(&store, args.id).await?;
    store.close().await;
    if args.json {
        let mut document = json!(job);
        document["steps"] = json!(steps);
        print_json(&document)?;
    } else {
        print(&summary(&Outcome { job, steps }))?;
    }
    Ok(Exit::Success)
}

async fn steps(store: &SqliteStore, job: JobId) -> Result<Vec<StepRecord>, Failure> {
    let mut steps = Vec::new();
    let mut request = PageRequest::first(500);
    loop {
        let page = store.steps(job, &request).await?;
        steps.extend(page.items);
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return Ok(steps),
        }
    }
}
