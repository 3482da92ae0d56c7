//! `etl cancel`: asks for the end of a job, also one that another process runs.

use etl_core::contract::store::JobStore;
use etl_core::model::JobStatus;

use super::job_of;
use crate::args::CancelArgs;
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{print, print_json};

pub(crate) async fn execute(config: &Config, args: &CancelArgs) -> Result<Exit, Failure> {
    let open = deployment::look(config).await?;
    let store = &**open.store();
    let before = job_of(store, args.id).await?;
    JobStore::cancel(store, args.id, "cancelled by `etl cancel`").await?;
    let job = job_of(store, args.id).await?;
    open.close().await;
    if args.json {
        print_json(&job)?;
        return Ok(Exit::Success);
    }
    print(&if before.status.is_terminal() {
        format!("job {} has ended already: {}\n", job.id, job.status)
    } else if job.status == JobStatus::Running {
        format!(
            "job {} is asked to end; if no process runs it, `etl retry {0}` ends it\n",
            job.id
        )
    } else {
        format!("job {} is {}\n", job.id, job.status)
    })?;
    Ok(Exit::Success)
}
