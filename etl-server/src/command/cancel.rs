//! `etl cancel`: asks for the end of a job, also one that another process runs.

use etl_core::contract::store::{JobStore, Journal};
use etl_core::model::JobStatus;
use serde_json::json;

use crate::args::CancelArgs;
use crate::config::Config;
use crate::embedded;
use crate::failure::{Exit, Failure};
use crate::view::print_json;

pub(crate) async fn execute(config: &Config, args: &CancelArgs) -> Result<Exit, Failure> {
    let store = embedded::look(config).await?;
    let Some(before) = Journal::job(&store, args.id).await? else {
        return Err(
            Failure::input(format!("there is no job {}", args.id)).hint("`etl jobs` lists them")
        );
    };
    let status = JobStore::cancel(&store, args.id, "cancelled by `etl cancel`").await?;
    store.close().await;
    if args.json {
        print_json(&json!({ "id": args.id, "status": status }));
    } else if before.status.is_terminal() {
        println!("job {} has ended already: {status}", args.id);
    } else if status == JobStatus::Running {
        println!(
            "job {} is asked to end; if no process runs it, `etl retry {0}` ends it",
            args.id
        );
    } else {
        println!("job {} is {status}", args.id);
    }
    Ok(Exit::Success)
}
