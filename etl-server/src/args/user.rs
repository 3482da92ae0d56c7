//! The command line of users.

use clap::Subcommand;
use etl_core::model::Role;

#[derive(Debug, clap::Args)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    pub(crate) action: UserAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserAction {
    /// Make a user who may sign in to the API
    ///
    /// The password is asked for on a terminal, and else read from the first line of standard input; it has at least 12
    /// characters and is none that everybody takes. With `--json`: {"id", "email", "role"}.
    #[command(after_help = "Examples:
  etl user create ana@example.org --role admin
  pass show etl | etl user create ci@example.org --role operator")]
    Create(CreateArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The address by which they sign in
    pub(crate) email: String,
    /// What they may do: admin, operator or viewer
    #[arg(long)]
    pub(crate) role: Role,
    /// Print who was made as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
