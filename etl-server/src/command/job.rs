//! `etl job`: one job with its steps.

use etl_core::sdk::Outcome;
use serde_json::json;

use super::{job_of, steps_of};
use crate::args::JobArgs;
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{print, print_json, summary};

pub(crate) async fn execute(config: &Config, args: &JobArgs) -> Result<Exit, Failure> {
    let open = deployment::look(config).await?;
    let store = &**open.store();
    let job = job_of(store, args.id).await?;
    let steps = steps_of(store, args.id).await?;
    open.close().await;
    if args.json {
        let mut document = json!(job);
        document["steps"] = json!(steps);
        print_json(&document)?;
    } else {
        print(&summary(&Outcome { job, steps }))?;
    }
    Ok(Exit::Success)
}
