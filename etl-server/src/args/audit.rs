//! The command line of the audit log.

use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) action: AuditAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditAction {
    /// Find out whether somebody changed the audit log
    ///
    /// Rows are chained by a key that is derived of the key file, and what the chain comes to is noted in the artifact storage
    /// each minute. Whatever was changed, removed or put in between is found, and so is an end that was cut off, if it was
    /// noted. Rows of the last seconds have no place in the chain yet. Exit status: 1 if something was found.
    ///
    /// With `--json`: {"rows", "checkpoints", "unsealed", "faults"}, the last a list of texts.
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Print what was found as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
