//! `etl apply`: makes the stored pipelines and schedules equal to a folder of pipeline files.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etl_core::contract::Store;
use etl_core::contract::store::{PipelineFilter, PutPipeline, StoredPipeline};
use etl_core::document::Document;
use etl_core::model::{By, PageRequest, Timestamp};
use etl_core::schedule::next_fire;
use serde::Serialize;
use serde_json::json;

use crate::args::ApplyArgs;
use crate::config::Config;
use crate::deployment;
use crate::document::{self, InputFault};
use crate::failure::{Exit, Failure};
use crate::view::{count, print, print_json};

/// The pipelines of a folder by namespace and name, each with its file.
type Wanted = BTreeMap<(String, String), (PathBuf, Document)>;

/// What is done about a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Created,
    Changed,
    Unchanged,
    Removed,
    /// It is stored, has no file, and nobody asked for its end.
    Kept,
}

#[derive(Debug, Serialize)]
struct Change {
    action: Action,
    namespace: String,
    name: String,
    version: u64,
    file: Option<String>,
    /// When its schedule fires next.
    next_fire_at: Option<Timestamp>,
}

pub(crate) async fn execute(config: &Config, args: &ApplyArgs) -> Result<Exit, Failure> {
    let wanted = read_folder(&args.folder)?;
    let changes = if args.dry_run {
        let mut stored = BTreeMap::new();
        if let Some(store) = deployment::look_if_there(config).await? {
            stored = all_stored(&**store.store()).await?;
            say_what_is_missing(&**store.store(), &wanted).await;
            store.close().await;
        }
        plan(&wanted, &stored, args.prune)
    } else {
        let store = deployment::manage_or_make(config).await?;
        say_what_is_missing(&**store.store(), &wanted).await;
        let applied = apply(&**store.store(), &wanted, args.prune).await;
        store.close().await;
        applied?
    };
    if args.json {
        print_json(&json!({ "dry_run": args.dry_run, "changes": changes }))?;
    } else {
        print(&told(&changes, args))?;
    }
    Ok(Exit::Success)
}

/// Reads every pipeline file of a folder and of those below it.
fn read_folder(folder: &Path) -> Result<Wanted, Failure> {
    let registry = deployment::registry();
    let mut wanted = Wanted::new();
    let mut faults = Vec::new();
    for file in pipeline_files(folder)? {
        match document::read_below(folder, &file, &registry) {
            Err(found) => faults.extend(found),
            Ok(document) => {
                let pipeline = &document.pipeline;
                let key = (pipeline.namespace.clone(), pipeline.name.clone());
                if let Some((other, _)) = wanted.get(&key) {
                    faults.push(InputFault::of_file(
                        &file,
                        format!("pipeline {:?} is in {} too", key.1, other.display()),
                        Some("a name stands for one pipeline of a namespace".into()),
                    ));
                } else {
                    wanted.insert(key, (file, document));
                }
            }
        }
    }
    if faults.is_empty() {
        Ok(wanted)
    } else {
        Err(Failure::folder(faults))
    }
}

/// The YAML and JSON files of a folder and of those below it, by path. What begins with a dot is left out.
fn pipeline_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let unreadable = |error: std::io::Error| {
            Failure::input(format!("the folder {} can't be read", folder.display())).because(error)
        };
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let path = entry.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            // A link to a folder is not followed: it may lead round.
            if entry.file_type().map_err(unreadable)?.is_dir() {
                open.push(path);
            } else if matches!(extension, Some("yaml" | "yml" | "json")) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

async fn all_stored(
    store: &dyn Store,
) -> Result<BTreeMap<(String, String), StoredPipeline>, Failure> {
    let mut page = PageRequest::first(500);
    let mut stored = BTreeMap::new();
    loop {
        let answer = store.pipelines(&PipelineFilter::default(), &page).await?;
        for pipeline in answer.items {
            let document = &pipeline.document;
            let key = (document.namespace.clone(), document.name.clone());
            stored.insert(key, pipeline);
        }
        match answer.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return Ok(stored),
        }
    }
}

/// What has to be done.
fn plan(
    wanted: &Wanted,
    stored: &BTreeMap<(String, String), StoredPipeline>,
    prune: bool,
) -> Vec<Change> {
    let now = chrono::Utc::now().into();
    let mut changes = Vec::new();
    for (key, (file, document)) in wanted {
        let current = stored.get(key);
        let version = current.map_or(0, |current| current.reference.version);
        let action = match current {
            None => Action::Created,
            Some(current) if *current.document == document.pipeline => Action::Unchanged,
            Some(_) => Action::Changed,
        };
        changes.push(Change {
            action,
            namespace: key.0.clone(),
            name: key.1.clone(),
            version: version + u64::from(action != Action::Unchanged),
            file: Some(file.display().to_string()),
            next_fire_at: next_fire(&document.pipeline, now),
        });
    }
    let known: HashSet<_> = wanted.keys().collect();
    for (key, current) in stored.iter().filter(|(key, _)| !known.contains(key)) {
        changes.push(Change {
            action: if prune { Action::Removed } else { Action::Kept },
            namespace: key.0.clone(),
            name: key.1.clone(),
            version: current.reference.version,
            file: None,
            next_fire_at: next_fire(&current.document, now).filter(|_| !prune),
        });
    }
    changes
}

/// Warns of credentials that the pipelines' steps would not get.
async fn say_what_is_missing(store: &dyn Store, wanted: &Wanted) {
    for (file, document) in wanted.values() {
        let source = Some((file.as_path(), document));
        super::wanted::say_what_is_missing(store, &document.pipeline, source).await;
    }
}

/// Does what has to be done, each pipeline by itself: what an interrupt leaves undone, the next time does.
async fn apply(store: &dyn Store, wanted: &Wanted, prune: bool) -> Result<Vec<Change>, Failure> {
    let mut changes = plan(wanted, &all_stored(store).await?, prune);
    for change in &mut changes {
        let key = (change.namespace.clone(), change.name.clone());
        match (change.action, wanted.get(&key)) {
            (Action::Created | Action::Changed, Some((_, document))) => {
                let put = PutPipeline {
                    document: Arc::new(document.pipeline.clone()),
                    expected_version: None,
                    by: By("cli".into()),
                };
                let reference = store.put_pipeline(put).await?;
                change.version = reference.version;
                let schedule = store.schedule(reference.id).await?;
                change.next_fire_at = schedule.and_then(|schedule| schedule.next_fire_at);
            }
            (Action::Removed, _) => {
                store.remove_pipeline(&key.0, &key.1).await?;
            }
            _ => {}
        }
    }
    Ok(changes)
}

fn told(changes: &[Change], args: &ApplyArgs) -> String {
    let mut text = String::new();
    for change in changes {
        let name = if change.namespace == "default" {
            change.name.clone()
        } else {
            format!("{}/{}", change.namespace, change.name)
        };
        let word = match change.action {
            Action::Created => "create",
            Action::Changed => "change",
            Action::Unchanged => "same",
            Action::Removed => "remove",
            Action::Kept => "keep",
        };
        text.push_str(&format!("{word:8}{name} (version {})", change.version));
        if let Some(file) = &change.file {
            text.push_str(&format!("  {file}"));
        }
        if let Some(next) = change.next_fire_at {
            text.push_str(&format!("  next fire {next}"));
        }
        if change.action == Action::Kept {
            text.push_str("  has no file; --prune removes it");
        }
        text.push('\n');
    }
    let done = changes.iter().filter(|change| {
        matches!(
            change.action,
            Action::Created | Action::Changed | Action::Removed
        )
    });
    let done = count(done.count(), "change");
    text.push_str(&if args.dry_run {
        format!("{done} to make; nothing was done\n")
    } else {
        format!("{done} made\n")
    });
    text
}
