//! `etl audit`: looks after the audit log.

use etl_vault::VaultError;

use crate::args::audit::{AuditAction, AuditArgs, VerifyArgs};
use crate::audit::{self, ChainError, Verified};
use crate::config::Config;
use crate::deployment::{self, OpenStore, unreachable};
use crate::failure::{Exit, Failure};
use crate::view::{count, print, print_json, say};

pub(crate) async fn execute(config: &Config, args: &AuditArgs) -> Result<Exit, Failure> {
    match &args.action {
        AuditAction::Verify(args) => verify(config, args).await,
    }
}

async fn verify(config: &Config, args: &VerifyArgs) -> Result<Exit, Failure> {
    let store = deployment::look(config).await?;
    let verified = walk(config, &store).await;
    store.close().await;
    let verified = verified?;
    let exit = if verified.faults.is_empty() {
        Exit::Success
    } else {
        Exit::JobFailed
    };
    if args.json {
        print_json(&verified)?;
        return Ok(exit);
    }
    for fault in &verified.faults {
        say(fault);
    }
    let rows = usize::try_from(verified.rows).unwrap_or(usize::MAX);
    print(&format!(
        "{} in the chain, {} in the artifact storage, {} not sealed yet: {}\n",
        count(rows, "row"),
        count(verified.checkpoints, "checkpoint"),
        verified.unsealed,
        if verified.faults.is_empty() {
            "nobody changed anything"
        } else {
            "SOMEBODY CHANGED THE AUDIT LOG"
        }
    ))?;
    Ok(exit)
}

async fn walk(config: &Config, store: &OpenStore) -> Result<Verified, Failure> {
    let vault = deployment::vault(config, store)?;
    let storage = deployment::artifacts(config)?;
    Ok(audit::verify(&store.audit(), &vault, &storage).await?)
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Store(error) => error.into(),
            ChainError::Vault(error @ VaultError::NoSharedKey) => {
                Self::input("the audit log has no chain")
                    .because(error)
                    .hint("`etl keys rotate` goes over to a key file")
            }
            ChainError::Vault(error) => error.into(),
            other => unreachable("the audit log can't be verified").because(other),
        }
    }
}
