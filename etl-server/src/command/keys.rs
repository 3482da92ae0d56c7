//! `etl keys`: the keys of the vault.

use etl_vault::{OldKeys, Rotation, Vault, VaultError};
use serde_json::json;

use crate::args::vault::{KeysAction, KeysArgs, RotateArgs};
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{count, print, print_json, say};

pub(crate) async fn execute(config: &Config, args: &KeysArgs) -> Result<Exit, Failure> {
    let KeysAction::Rotate(args) = &args.action;
    let store = deployment::look(config).await?;
    let done = match deployment::vault(config, &store) {
        Ok(vault) if args.stage => stage(&vault, args).await,
        Ok(vault) => rotate(&vault, args).await,
        Err(failure) => Err(failure),
    };
    store.close().await;
    done
}

async fn stage(vault: &Vault, args: &RotateArgs) -> Result<Exit, Failure> {
    let next = vault.stage().await?;
    if args.json {
        print_json(&json!({ "staged": next.to_string() }))?;
    } else {
        print(&format!(
            "key {next} is in the key file and not used yet: copy the file to every machine, then `etl keys rotate`\n"
        ))?;
    }
    Ok(Exit::Success)
}

async fn rotate(vault: &Vault, args: &RotateArgs) -> Result<Exit, Failure> {
    let old = if args.drop_old {
        OldKeys::Drop
    } else {
        OldKeys::Keep
    };
    let rotation = vault.rotate(old).await.map_err(broken_off)?;
    let texts =
        |ids: &[etl_vault::KeyId]| -> Vec<String> { ids.iter().map(ToString::to_string).collect() };
    let Rotation {
        key_id,
        is_resumed,
        resealed,
        verified,
        kept_by_others,
        damaged,
        dropped,
        kept,
    } = &rotation;
    let damaged: Vec<String> = damaged
        .iter()
        .map(|of| format!("{}/{}", of.namespace, of.name))
        .collect();
    if args.json {
        print_json(&json!({
            "key_id": key_id.to_string(),
            "resumed": is_resumed,
            "resealed": resealed,
            "verified": verified,
            "second_factors": kept_by_others,
            "kept": texts(kept),
            "dropped": texts(dropped),
            "damaged": damaged,
        }))?;
        return Ok(told(&damaged));
    }
    let mut text = String::new();
    if *is_resumed {
        text.push_str("going on with a rotation that was broken off\n");
    }
    text.push_str(&format!(
        "{} sealed anew; {} opened with key {key_id}\n",
        count(
            usize::try_from(*resealed).unwrap_or(usize::MAX),
            "credential"
        ),
        count(
            usize::try_from(*verified).unwrap_or(usize::MAX),
            "credential"
        ),
    ));
    if *kept_by_others > 0 {
        text.push_str(&format!(
            "{} of users sealed with it too\n",
            count(
                usize::try_from(*kept_by_others).unwrap_or(usize::MAX),
                "second factor"
            ),
        ));
    }
    if !kept.is_empty() {
        text.push_str(&format!(
            "kept for backups: {}; `etl keys rotate --drop-old` drops such keys\n",
            texts(kept).join(", ")
        ));
    }
    if !dropped.is_empty() {
        text.push_str(&format!("dropped: {}\n", texts(dropped).join(", ")));
    }
    print(&text)?;
    Ok(told(&damaged))
}

/// What broke a rotation off, and that the same command goes on, where nothing else has to be done before.
fn broken_off(error: VaultError) -> Failure {
    let goes_on = matches!(
        error,
        VaultError::Contended
            | VaultError::Overtaken
            | VaultError::Store(_)
            | VaultError::Io { .. }
    );
    let failure = Failure::from(error);
    match failure.hint_text() {
        Some(hint) if goes_on => {
            let hint = format!("{hint}; nothing is lost, and the same command goes on");
            failure.hint(hint)
        }
        _ => failure,
    }
}

/// Names the credentials that the rotation had to leave. The status that tells whether there are any.
fn told(damaged: &[String]) -> Exit {
    if damaged.is_empty() {
        return Exit::Success;
    }
    say(&format!(
        "error: these do not open and were left as they are: {}; they were damaged or moved",
        damaged.join(", ")
    ));
    say(
        "  hint: store each credential again by `etl credential set`, or remove it; take a second factor away by DELETE /users/{id}/mfa; until then no old key is dropped",
    );
    Exit::JobFailed
}
