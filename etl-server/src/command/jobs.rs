//! `etl jobs`: jobs, newest first.

use etl_core::contract::Store;
use etl_core::contract::store::Journal;
use etl_core::model::{Cursor, JobFilter, JobRecord, Page, PageRequest};

use crate::args::JobsArgs;
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{duration, print, print_json, say, table};

pub(crate) async fn execute(config: &Config, args: JobsArgs) -> Result<Exit, Failure> {
    let page = match deployment::look_if_there(config).await? {
        Some(store) => {
            let page = page(&**store.store(), &args).await?;
            store.close().await;
            page
        }
        None => {
            say("note: there is no database yet; `etl run` makes it");
            Page {
                items: Vec::new(),
                next_cursor: None,
            }
        }
    };
    if args.json {
        print_json(&page)?;
        return Ok(Exit::Success);
    }
    let mut table = table([
        "job", "pipeline", "status", "trigger", "created", "took", "rows",
    ]);
    for job in &page.items {
        table.add_row([
            job.id.to_string(),
            job.pipeline.to_string(),
            job.status.to_string(),
            job.trigger_type.to_string(),
            job.created_at.to_string(),
            job.duration_ms.map(duration).unwrap_or_default(),
            job.rows_processed.to_string(),
        ]);
    }
    print(&format!("{table}\n"))?;
    if let Some(cursor) = page.next_cursor {
        print(&format!("more: --cursor {}\n", cursor.0))?;
    }
    Ok(Exit::Success)
}

async fn page(store: &dyn Store, args: &JobsArgs) -> Result<Page<JobRecord>, Failure> {
    let filter = JobFilter {
        status: args.status.clone(),
        pipeline: args.pipeline.clone(),
        ..JobFilter::default()
    };
    let request = PageRequest {
        limit: args.limit.into(),
        cursor: args.cursor.clone().map(Cursor),
    };
    Ok(Journal::jobs(store, &filter, &request).await?)
}
