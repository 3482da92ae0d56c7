//! `etl run`: one job from its pipeline to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etl_core::contract::Store;
use etl_core::contract::store::{Catalog, StoredPipeline};
use etl_core::document::Document;
use etl_core::model::{BaseDir, By, TriggerType};
use etl_core::plan;
use etl_core::runtime::Trigger;
use etl_core::sdk::Etl;
use serde_json::{Map, Value, json};

use super::interrupts::Interrupts;
use super::{leftover, until_end, wanted};
use crate::args::RunArgs;
use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::{deployment, document};

pub(crate) async fn execute(config: &Config, args: RunArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::watch()?;
    // A faulty file is told before anything is opened or made.
    let file = named_file(&args.pipeline);
    let document = match &file {
        Some(file) => {
            let document =
                document::read(file, &deployment::registry()).map_err(Failure::pipeline)?;
            check_parameters(document.pipeline.parameters.as_ref(), &args.parameters)?;
            Some(document)
        }
        None if deployment::embedded_path(config)?.exists() => None,
        None => return Err(no_such_pipeline(&args.pipeline)),
    };
    let opening = deployment::embedded(config);
    let store = interrupts.unless_interrupted(opening).await?;
    leftover::say_what_waits(&**store.store()).await?;
    // Not of `retry`, whose job may be old: it must not be forgotten before it is asked for.
    let etl = deployment::own_engine(config, &store, args.parallelism)
        .await?
        .keep_jobs(config.keep_jobs())
        .build();
    let outcome = submit_and_follow(&etl, file.as_deref(), document, &args, &mut interrupts).await;
    until_end::close(config, etl, store, &outcome, &mut interrupts).await;
    outcome
}

async fn submit_and_follow(
    etl: &Etl,
    file: Option<&Path>,
    document: Option<Document>,
    args: &RunArgs,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let pipeline = match &document {
        Some(document) => etl.put(&document.pipeline).await?,
        None => stored(&**etl.store(), &args.pipeline).await?,
    };
    let parameters = check_parameters(pipeline.document.parameters.as_ref(), &args.parameters)?;
    let mut trigger = Trigger::new(TriggerType::Manual, By("cli".into()), parameters);
    trigger.context = context(file)?;
    leftover::refuse_if_full(&**etl.store(), &pipeline).await?;
    let source = file.zip(document.as_ref());
    wanted::say_what_is_missing(&**etl.store(), &pipeline.document, source).await;
    let handle = etl.submit(&pipeline, trigger).await?;
    until_end::to_the_end(etl, handle, &pipeline, interrupts, args.json).await
}

/// The file that the argument means, or none if it is a pipeline's name.
pub(super) fn named_file(argument: &str) -> Option<PathBuf> {
    let path = PathBuf::from(argument);
    let looks_like_one = argument.contains(['/', '\\']) || path.extension().is_some();
    (looks_like_one || path.is_file()).then_some(path)
}

async fn stored(store: &dyn Store, name: &str) -> Result<StoredPipeline, Failure> {
    Catalog::pipeline(store, "default", name, None)
        .await?
        .ok_or_else(|| no_such_pipeline(name))
}

fn no_such_pipeline(name: &str) -> Failure {
    Failure::input(format!("there is no file and no stored pipeline {name:?}"))
        .hint("run its file once: `etl run FILE` remembers it under its name")
}

pub(super) fn check_parameters(
    schema: Option<&Map<String, Value>>,
    given: &[(String, String)],
) -> Result<Map<String, Value>, Failure> {
    let mut parameters = Map::new();
    for (key, text) in given {
        parameters.insert(key.clone(), plan::parse_parameter(schema, key, text));
    }
    plan::parameters(schema, parameters.clone()).map_err(Failure::parameters)?;
    Ok(parameters)
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
    let text = |folder: &Path| {
        let text = folder.to_str().map(Arc::<str>::from);
        text.ok_or_else(|| Failure::input("the path of the pipeline's folder is not UTF-8"))
    };
    // A project's pipelines and data stand side by side: `..` may lead up to where the program was started.
    let root = Path::new(".").canonicalize().ok();
    let root = root.filter(|root| folder.starts_with(root));
    let base = BaseDir {
        folder: text(&folder)?,
        root: text(root.as_deref().unwrap_or(&folder))?,
    };
    Ok(Map::from_iter([("base_dir".to_owned(), json!(base))]))
}
