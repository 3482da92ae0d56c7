//! `etl artifacts`: what the steps of a job left, and URLs to read it by.

use std::fmt::Write as _;

use etl_core::artifact::{ArtifactStorage, PresignError};
use etl_core::contract::Clock;
use etl_core::model::{ArtifactName, JobId, Timestamp};
use etl_core::runtime::SystemClock;
use serde::Serialize;
use serde_json::json;

use super::{job_of, steps_of};
use crate::args::ArtifactsArgs;
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{print, print_json, say, table};

/// One artifact, as the program's answer has it.
#[derive(Serialize)]
struct Listed {
    step: String,
    item_index: Option<u32>,
    name: ArtifactName,
    uri: String,
    /// Only if URLs were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File>>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// A file of an artifact. No `Debug`: its URL is for standard output alone.
#[derive(Serialize)]
struct File {
    /// Below the artifact; empty for the artifact itself.
    path: String,
    url: String,
    expires_at: Timestamp,
}

pub(crate) async fn execute(config: &Config, args: &ArtifactsArgs) -> Result<Exit, Failure> {
    let mut items = items_of(config, args.id).await?;
    if args.url {
        let storage = deployment::artifacts(config)?;
        for item in &mut items {
            match files_of(&storage, &item.uri, args).await {
                Ok(files) => item.files = Some(files),
                // What was removed since hides nothing of the rest.
                Err(error @ (PresignError::Gone { .. } | PresignError::TooMany { .. })) => {
                    let problem = error.to_string();
                    say(&format!("warning: {problem}"));
                    item.problem = Some(problem);
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }
    if args.json {
        print_json(&json!({ "items": items, "next_cursor": null }))?;
    } else {
        print(&text(&items, args.url))?;
    }
    Ok(Exit::Success)
}

async fn items_of(config: &Config, id: JobId) -> Result<Vec<Listed>, Failure> {
    let open = deployment::look(config).await?;
    let store = &**open.store();
    job_of(store, id).await?;
    let steps = steps_of(store, id).await?;
    open.close().await;
    let items = steps.into_iter().flat_map(|step| {
        let (name, item_index) = (step.name.to_string(), step.item_index);
        step.artifacts.into_iter().map(move |artifact| Listed {
            step: name.clone(),
            item_index,
            name: artifact.name,
            uri: artifact.uri,
            files: None,
            problem: None,
        })
    });
    Ok(items.collect())
}

async fn files_of(
    storage: &ArtifactStorage,
    uri: &str,
    args: &ArtifactsArgs,
) -> Result<Vec<File>, PresignError> {
    // From before they were signed: they live as long as this says, or a little longer.
    let expires_at = SystemClock.now() + args.expires.as_duration();
    let urls = storage.presign(uri, args.expires).await;
    let files = urls?.into_iter().map(|(path, url)| File {
        path,
        url: url.expose().to_owned(),
        expires_at,
    });
    Ok(files.collect())
}

fn refused(error: PresignError) -> Failure {
    let (exit, hint) = match &error {
        PresignError::Unsupported => (
            Exit::BadInput,
            "without `--url` the list says where the artifacts are",
        ),
        PresignError::Storage(_) => (
            Exit::Unreachable,
            "see AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        _ => (
            Exit::BadInput,
            "`etl artifacts ID` without `--url` says where the job left them",
        ),
    };
    let failure = Failure::new(exit, error.to_string()).hint(hint);
    match error {
        PresignError::Storage(source) => failure.because(source),
        _ => failure,
    }
}

/// A table; or, with URLs, a line for each file with the URL at its end, which no table could hold.
fn text(items: &[Listed], are_urls: bool) -> String {
    let step = |item: &Listed| match item.item_index {
        Some(index) => format!("{}[{index}]", item.step),
        None => item.step.clone(),
    };
    if !are_urls {
        let mut table = table(["step", "artifact", "where"]);
        for item in items {
            table.add_row([step(item), item.name.to_string(), item.uri.clone()]);
        }
        return format!("{table}\n");
    }
    let mut text = String::new();
    for item in items {
        for file in item.files.iter().flatten() {
            let slash = if file.path.is_empty() { "" } else { "/" };
            let (step, name) = (step(item), &item.name);
            let _ = writeln!(text, "{step}\t{name}{slash}{}\t{}", file.path, file.url);
        }
    }
    text
}
