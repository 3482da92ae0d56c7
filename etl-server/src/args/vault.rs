//! The command line of the vault: credentials and keys.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(crate) struct CredentialArgs {
    #[command(subcommand)]
    pub(crate) action: CredentialAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CredentialAction {
    /// Store a credential, or its next value
    ///
    /// The secret is one JSON object, read from standard input or from a file, never from the command line. It is encrypted
    /// before it is stored. The key is that of `master_key_file`, which is made when it is first needed and the store is a
    /// file, or the passphrase ETL_MASTER_PASSPHRASE. Keep a copy of the key elsewhere: without it nothing opens.
    ///
    /// A step asks for it by `credential: NAME`, if it is a step of this connector and of a pipeline of this namespace.
    #[command(after_help = "Examples:
  etl credential set warehouse < warehouse.json
  pass show warehouse | jq -R '{password: .}' | etl credential set warehouse
  etl credential set ops-hook --namespace finance --file hook.json")]
    Set(SetArgs),
    /// List credentials: their names and what is known of them, never what is in them
    ///
    /// With `--json`: {"items": [{"id", "namespace", "name", "connector_type", "version", "key_id", "created_by",
    /// "created_at", "updated_at"}], "next_cursor"}.
    #[command(after_help = "Example:
  etl credential list --json | jq -r '.items[] | .name + \" \" + .key_id'")]
    List(ListArgs),
    /// Remove a credential
    ///
    /// Steps that name it fail from now on. It needs no key, so that one whose key is lost can be removed too.
    #[command(after_help = "Example:
  etl credential remove warehouse")]
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// The name by which steps ask for it
    pub(crate) name: String,
    /// The connector of the steps that may use it [default: that of the stored one, else command]
    #[arg(long, value_name = "TYPE")]
    pub(crate) connector_type: Option<String>,
    /// The namespace of the pipelines that may use it
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// Read the secret from this file and not from standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print what is known of it, without the secret, as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// The credential's name
    pub(crate) name: String,
    /// Its namespace
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) action: KeysAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysAction {
    /// Make a new key and seal every credential with it, while jobs go on
    ///
    /// The new key goes into the key file first, beside the one before, which opens until nothing needs it. Killed at any
    /// moment nothing is lost: the same command goes on. At the end every credential was opened with the new key. The key
    /// before stays in the file, to open backups of the store, unless it is dropped.
    ///
    /// With a passphrase: set ETL_MASTER_PASSPHRASE to the new one and ETL_MASTER_PASSPHRASE_OLD to the one before, for the
    /// workers too, then rotate, then take the old one away. The same moves from a key file to a passphrase, or back.
    ///
    /// A credential that is damaged is named and left, all others are done, and the status is 1.
    ///
    /// With `--json`: {"key_id", "resumed", "resealed", "verified", "second_factors", "kept", "dropped", "damaged"}; with
    /// `--stage`: {"staged"}.
    #[command(after_help = "Examples:
  etl keys rotate
  etl keys rotate --drop-old
  etl keys rotate --stage        then copy the key file to every machine, then: etl keys rotate")]
    Rotate(RotateArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RotateArgs {
    /// Drop the keys that seal nothing any more; backups of the store that were made before can't be opened then
    #[arg(long, conflicts_with = "stage")]
    pub(crate) drop_old: bool,
    /// Only put the next key into the key file, so that the file can be copied to other machines before the key is used
    #[arg(long)]
    pub(crate) stage: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
