//! Credentials that steps ask for and would not get. It is said when a pipeline comes in, and stops nothing: they may be stored
//! before a job needs them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use etl_core::contract::Store;
use etl_core::contract::store::CredentialStore;
use etl_core::document::Document;
use etl_core::model::{Fault, Pipeline, Step};

use crate::document::placed;
use crate::view::say;

/// Says of each step whose credential is missing, or is for another connector, at its place in the file if there is one.
pub(super) async fn say_what_is_missing(
    store: &dyn Store,
    pipeline: &Pipeline,
    source: Option<(&Path, &Document)>,
) {
    for fault in faults(store, pipeline).await {
        let told = match source {
            Some((file, document)) => placed(file, document, fault).to_string(),
            None => {
                let hint = fault.hint.map(|hint| format!("\n  hint: {hint}"));
                format!("{}{}", fault.message, hint.unwrap_or_default())
            }
        };
        say(&format!("warning: {told}"));
    }
}

async fn faults(store: &dyn Store, pipeline: &Pipeline) -> Vec<Fault> {
    let namespace = &pipeline.namespace;
    let names = pipeline.steps.iter().filter_map(credential_of);
    // For which connector each is, if it is there.
    let mut known: HashMap<&str, Option<String>> = HashMap::new();
    for name in names.collect::<BTreeSet<_>>() {
        match CredentialStore::credential(store, namespace, name).await {
            Ok(stored) => known.insert(name, stored.map(|stored| stored.connector_type)),
            // Whoever opens it will hear of it.
            Err(_) => return Vec::new(),
        };
    }
    let mut faults = Vec::new();
    for (at, step) in pipeline.steps.iter().enumerate() {
        let Some(name) = credential_of(step) else {
            continue;
        };
        let connector = &step.connector_type;
        let (problem, hint) = match known.get(name) {
            Some(Some(made_for)) if made_for == connector => continue,
            // Storing it anew would take it away from whoever uses it.
            Some(Some(made_for)) => (
                format!(
                    "the credential {namespace}/{name} is for {made_for} steps, and step {:?} is a {connector} step",
                    step.name
                ),
                format!(
                    "store one for {connector} steps under another name, and name that one here"
                ),
            ),
            _ => (
                format!(
                    "there is no credential {namespace}/{name}, without which step {:?} fails",
                    step.name
                ),
                format!("`{}` stores it", command(namespace, name, connector)),
            ),
        };
        let fault = Fault::new(format!("/steps/{at}/credential"), problem);
        faults.push(fault.hint(hint));
    }
    faults
}

/// What stores a credential, for a shell.
fn command(namespace: &str, name: &str, connector: &str) -> String {
    let mut command = format!(
        "etl credential set {} --connector-type {}",
        quoted(name),
        quoted(connector)
    );
    if namespace != "default" {
        command.push_str(&format!(" --namespace {}", quoted(namespace)));
    }
    command
}

/// One word of a shell's command line (POSIX.1-2024, 2.2.2).
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn credential_of(step: &Step) -> Option<&str> {
    step.credential.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hint_says_can_be_typed() {
        assert_eq!(
            command("default", "fund", "command"),
            "etl credential set fund --connector-type command"
        );
        assert_eq!(
            command("a b", "it's; rm -rf $HOME", "command"),
            r"etl credential set 'it'\''s; rm -rf $HOME' --connector-type command --namespace 'a b'"
        );
    }
}
