//! `etl jobs`: jobs, newest first.

use etl_core::contract::store::Journal;
use etl_core::model::{Cursor, JobFilter, PageRequest};

use crate::args::JobsArgs;
use crate::config::Config;
use crate::embedded;
use crate::failure::{Exit, Failure};
use crate::view::{duration, print_json, table};

pub(crate) async fn execute(config: &Config, args: JobsArgs) -> Result<Exit, Failure> {
    let store = embedded::look(config).await?;
    let filter = JobFilter {
        status: args.status,
        pipeline: args.pipeline,
        ..JobFilter::default()
    };
    let request = PageRequest {
        limit: args.limit.into(),
        cursor: args.cursor.map(Cursor),
    };
    let page = store.jobs(&filter, &request).await?;
    store.close().await;
    if args.json {
        print_json(&page);
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
    println!("{table}");
    if let Some(cursor) = page.next_cursor {
        println!("more: --cursor {}", cursor.0);
    }
    Ok(Exit::Success)
}
