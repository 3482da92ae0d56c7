//! Configuration: flags, then `ETL_…` in the environment, then `etl.toml`, then defaults.

use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::args::{LogFormat, SettingArgs};
use crate::failure::Failure;

/// The keys of the configuration. Unknown ones are an error, so that a typing mistake does not pass for a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// `sqlite://PATH`.
    pub(crate) database_url: String,
    /// `file://PATH`.
    pub(crate) storage_url: String,
    /// How the program's own log is written; by default for people on a terminal, else as JSON.
    pub(crate) log_format: Option<LogFormat>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: "sqlite://.etl/etl.db".into(),
            storage_url: "file://.etl/data".into(),
            log_format: None,
        }
    }
}

const KEYS: [&str; 3] = ["database_url", "storage_url", "log_format"];

impl Config {
    pub(crate) fn load(flags: &SettingArgs) -> Result<Self, Failure> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()))
            .merge(Toml::file("etl.toml"))
            .merge(Env::prefixed("ETL_").only(&KEYS));
        for (key, value) in [
            ("database_url", &flags.database_url),
            ("storage_url", &flags.storage_url),
        ] {
            if let Some(value) = value {
                figment = figment.merge((key, value));
            }
        }
        if let Some(format) = flags.log_format {
            figment = figment.merge(("log_format", format));
        }
        figment.extract().map_err(|error| {
            Failure::input("the configuration can't be used")
                .because(error)
                .hint("the keys are listed in `etl --help`")
        })
    }

    /// The database's file.
    pub(crate) fn database_path(&self) -> Result<PathBuf, Failure> {
        path_of(&self.database_url, "sqlite").ok_or_else(|| {
            Failure::input(format!(
                "database_url {:?} is not of the form sqlite://PATH",
                redacted(&self.database_url)
            ))
        })
    }

    /// The artifacts' folder.
    pub(crate) fn storage_path(&self) -> Result<PathBuf, Failure> {
        path_of(&self.storage_url, "file").ok_or_else(|| {
            Failure::input(format!(
                "storage_url {:?} is not of the form file://PATH",
                redacted(&self.storage_url)
            ))
        })
    }
}

/// The path of `scheme://PATH` or `scheme:PATH`; relative paths are against the working folder.
fn path_of(url: &str, scheme: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix(scheme)?.strip_prefix(':')?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// A URL without what stands before its `@`: that may be a password.
fn redacted(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_url_give_its_path() {
        assert_eq!(
            path_of("sqlite://.etl/etl.db", "sqlite"),
            Some(".etl/etl.db".into())
        );
        assert_eq!(
            path_of("sqlite:///var/etl.db", "sqlite"),
            Some("/var/etl.db".into())
        );
        assert_eq!(path_of("sqlite:etl.db", "sqlite"), Some("etl.db".into()));
        assert_eq!(path_of("postgres://host/db", "sqlite"), None);
        assert_eq!(path_of("sqlite://", "sqlite"), None);
    }

    #[test]
    fn a_password_is_not_repeated() {
        assert_eq!(
            redacted("postgres://me:secret@host/db"),
            "postgres://…@host/db"
        );
    }
}
