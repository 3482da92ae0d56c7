//! `etl run`: one job from its pipeline to its end.

use std::path::{Path, PathBuf};

use etl_core::contract::Store;
use etl_core::contract::store::{Catalog, Journal, StoredPipeline};
use etl_core::model::{By, JobFilter, JobStatus, PageRequest, TriggerType};
use etl_core::plan;
use etl_core::runtime::Trigger;
use etl_core::sdk::Etl;
use serde_json::{Map, Value};

use super::follow;
use crate::args::RunArgs;
use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::{document, embedded};

pub(crate) async fn execute(config: &Config, args: RunArgs) -> Result<Exit, Failure> {
    // A faulty file is told before anything is opened or made.
    let file = named_file(&args.pipeline);
    let document = match &file {
        Some(file) => Some(
            document::read(file, &embedded::registry())
                .map_err(|faults| document::refuse(&faults))?,
        ),
        None => None,
    };
    if let Some(document) = &document {
        check_parameters(document.pipeline.parameters.as_ref(), &args.parameters)?;
    }
    let store = embedded::serve(config).await?;
    say_what_waits(&*store).await?;
    let etl = embedded::engine(config, store.clone(), args.parallelism)?;
    let outcome =
        submit_and_follow(&etl, file.as_deref(), document.map(|d| d.pipeline), &args).await;
    etl.shutdown().await;
    store.close().await;
    outcome
}

async fn submit_and_follow(
    etl: &Etl,
    file: Option<&Path>,
    document: Option<etl_core::model::Pipeline>,
    args: &RunArgs,
) -> Result<Exit, Failure> {
    let pipeline = match document {
        Some(document) => etl.put(&document).await?,
        None => stored(&**etl.store(), &args.pipeline).await?,
    };
    let parameters = check_parameters(pipeline.document.parameters.as_ref(), &args.parameters)?;
    let mut trigger = Trigger::new(TriggerType::Manual, By("cli".into()), parameters);
    trigger.context = context(file)?;
    let handle = etl.submit(&pipeline, trigger).await?;
    follow::to_the_end(etl, handle, &pipeline, args.json).await
}

/// The file that the argument means, or none if it is a pipeline's name.
fn named_file(argument: &str) -> Option<PathBuf> {
    let path = PathBuf::from(argument);
    let looks_like_one = argument.contains(['/', '\\']) || path.extension().is_some();
    (looks_like_one || path.is_file()).then_some(path)
}

async fn stored(store: &dyn Store, name: &str) -> Result<StoredPipeline, Failure> {
    Catalog::pipeline(store, "default", name, None)
        .await?
        .ok_or_else(|| {
            Failure::input(format!("there is no file and no stored pipeline {name:?}"))
                .hint("run its file once: `etl run FILE` remembers it under its name")
        })
}

fn check_parameters(
    schema: Option<&Map<String, Value>>,
    given: &[(String, String)],
) -> Result<Map<String, Value>, Failure> {
    let mut parameters = Map::new();
    for (key, text) in given {
        parameters.insert(key.clone(), plan::parse_parameter(schema, key, text));
    }
    match plan::parameters(schema, parameters.clone()) {
        Ok(_) => Ok(parameters),
        Err(faults) => {
            for fault in &faults {
                let name = fault.pointer.trim_start_matches('/');
                let name = if name.is_empty() {
                    String::new()
                } else {
                    format!(" {name}")
                };
                eprintln!("parameter{name}: {}", fault.message);
                if let Some(hint) = &fault.hint {
                    eprintln!("  hint: {hint}");
                }
            }
            Err(Failure::input("the parameters don't fit the pipeline")
                .hint("give them as `-p key=value`"))
        }
    }
}

/// Relative paths in the pipeline are read against its file's folder, also when the job goes on later from elsewhere.
fn context(file: Option<&Path>) -> Result<Map<String, Value>, Failure> {
    let folder = match file {
        Some(file) => file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
        None => Path::new("."),
    };
    let folder = folder.canonicalize().map_err(|error| {
        Failure::input("the pipeline's folder can't be resolved").because(error)
    })?;
    let text = folder
        .to_str()
        .ok_or_else(|| Failure::input("the path of the pipeline's folder is not UTF-8"))?;
    Ok(Map::from_iter([("base_dir".to_owned(), Value::from(text))]))
}

/// Jobs that an earlier process left are not touched by a run, but they are not hidden either.
async fn say_what_waits(store: &dyn Store) -> Result<(), Failure> {
    let open = [JobStatus::Pending, JobStatus::Queued, JobStatus::Running].to_vec();
    let filter = JobFilter {
        status: open,
        ..JobFilter::default()
    };
    let jobs = Journal::jobs(store, &filter, &PageRequest::first(10)).await?;
    if let Some(first) = jobs.items.first() {
        let more = if jobs.next_cursor.is_some() {
            "more than "
        } else {
            ""
        };
        eprintln!(
            "note: {more}{} earlier job(s) did not reach their end; go on with one by `etl retry {}`, see all by `etl jobs`",
            jobs.items.len(),
            first.id
        );
    }
    Ok(())
}
