//! `etl credential`: stores, lists and removes credentials. No secret leaves this program, and none comes by its arguments.

use std::io::{IsTerminal, Read};
use std::path::Path;

use etl_core::contract::store::{CredentialStore, SealedCredential};
use etl_core::model::{By, PageRequest};
use etl_vault::Vault;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::args::vault::{CredentialAction, CredentialArgs, ListArgs, RemoveArgs, SetArgs};
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{print, print_json, say, table};

/// The connector of a credential that says nothing else.
const BY_DEFAULT: &str = "command";
/// More than this is no credential, and is not read to its end.
const LARGEST: u64 = 1024 * 1024;

pub(crate) async fn execute(config: &Config, args: &CredentialArgs) -> Result<Exit, Failure> {
    match &args.action {
        CredentialAction::Set(args) => set(config, args).await,
        CredentialAction::List(args) => list(config, args).await,
        CredentialAction::Remove(args) => remove(config, args).await,
    }
}

async fn set(config: &Config, args: &SetArgs) -> Result<Exit, Failure> {
    // What is wrong with the input is told before anything is opened or made.
    let secret = read(args.file.as_deref())?;
    if let Some(name) = &args.connector_type {
        check_connector(name)?;
    }
    let store = deployment::look_or_make(config).await?;
    let stored = match deployment::vault(config, &store) {
        Ok(vault) => store_secret(&vault, &**store.store(), args, &secret).await,
        Err(failure) => Err(failure),
    };
    store.close().await;
    let stored = stored?;
    if args.json {
        print_json(&document(&stored))?;
    } else {
        print(&format!(
            "credential {}/{} for {} steps is stored: version {}, key {}\n",
            stored.namespace, stored.name, stored.connector_type, stored.version, stored.key_id
        ))?;
    }
    Ok(Exit::Success)
}

async fn store_secret(
    vault: &Vault,
    store: &(impl CredentialStore + ?Sized),
    args: &SetArgs,
    secret: &[u8],
) -> Result<SealedCredential, Failure> {
    let connector_type = match &args.connector_type {
        Some(name) => name.clone(),
        None => store
            .credential(&args.namespace, &args.name)
            .await?
            .map_or_else(|| BY_DEFAULT.to_owned(), |stored| stored.connector_type),
    };
    let by = By("cli".into());
    let stored = vault
        .set(&args.namespace, &args.name, &connector_type, secret, &by)
        .await?;
    Ok(stored)
}

/// That there is such a connector, and that it takes credentials.
fn check_connector(name: &str) -> Result<(), Failure> {
    let registry = deployment::registry();
    let takes: Vec<String> = registry
        .connectors()
        .map(|(_, connector)| connector.info())
        .filter(|info| !info.credential_schema.is_null())
        .map(|info| info.name)
        .collect();
    if takes.iter().any(|takes| takes == name) {
        return Ok(());
    }
    let message = match registry.connector(name) {
        Some(_) => format!("{name} steps take no credential"),
        None => format!("there is no connector {name:?}"),
    };
    Err(Failure::input(message).hint(format!("these take one: {}", takes.join(", "))))
}

/// The secret, from a file or standard input.
fn read(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut secret = Zeroizing::new(Vec::with_capacity(64 * 1024));
    let read = match file {
        Some(file) => {
            std::fs::File::open(file).and_then(|file| file.take(LARGEST).read_to_end(&mut secret))
        }
        None => {
            let input = std::io::stdin();
            if input.is_terminal() {
                return Err(Failure::input(
                    "the secret is read from standard input, and what is typed on a terminal can be seen",
                )
                .hint("etl credential set NAME < secret.json, or --file secret.json"));
            }
            input.lock().take(LARGEST).read_to_end(&mut secret)
        }
    };
    match read {
        Ok(_) => Ok(secret),
        Err(error) => Err(Failure::input("the secret can't be read").because(error)),
    }
}

async fn list(config: &Config, args: &ListArgs) -> Result<Exit, Failure> {
    let mut credentials = Vec::new();
    match deployment::look_if_there(config).await? {
        None => say("note: there is no database yet; `etl credential set NAME` makes it"),
        Some(store) => {
            let mut page = PageRequest::first(500);
            loop {
                let answer = store.store().credentials(&page).await?;
                credentials.extend(answer.items);
                match answer.next_cursor {
                    Some(cursor) => page.cursor = Some(cursor),
                    None => break,
                }
            }
            store.close().await;
        }
    }
    if args.json {
        let items: Vec<Value> = credentials.iter().map(document).collect();
        print_json(&json!({ "items": items, "next_cursor": null }))?;
        return Ok(Exit::Success);
    }
    let mut table = table(["credential", "connector", "version", "key", "changed", "by"]);
    for stored in &credentials {
        table.add_row([
            format!("{}/{}", stored.namespace, stored.name),
            stored.connector_type.clone(),
            stored.version.to_string(),
            stored.key_id.clone(),
            stored.updated_at.to_string(),
            stored.created_by.0.clone(),
        ]);
    }
    print(&format!("{table}\n"))?;
    Ok(Exit::Success)
}

async fn remove(config: &Config, args: &RemoveArgs) -> Result<Exit, Failure> {
    let store = deployment::look(config).await?;
    let removed = store
        .store()
        .remove_credential(&args.namespace, &args.name)
        .await;
    store.close().await;
    if !removed? {
        return Err(Failure::input(format!(
            "there is no credential {}/{}",
            args.namespace, args.name
        ))
        .hint("`etl credential list` shows them"));
    }
    if args.json {
        print_json(&json!({ "namespace": args.namespace, "name": args.name, "removed": true }))?;
    } else {
        print(&format!(
            "credential {}/{} is removed\n",
            args.namespace, args.name
        ))?;
    }
    Ok(Exit::Success)
}

/// What may be known of a credential.
fn document(stored: &SealedCredential) -> Value {
    json!({
        "id": stored.id,
        "namespace": stored.namespace,
        "name": stored.name,
        "connector_type": stored.connector_type,
        "version": stored.version,
        "key_id": stored.key_id,
        "created_by": stored.created_by,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    })
}
