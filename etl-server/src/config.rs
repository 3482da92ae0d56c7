//! Configuration: flags, then `ETL_…` in the environment, then `etl.toml` in the working folder, then defaults.
//!
//! A value may hold a password, so that no message repeats one: messages name keys and schemes.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use etl_core::model::nearest;
use etl_redis::{Redis, RedisOptions};
use figment::error::Kind;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::args::{LogFormat, SettingArgs};
use crate::failure::Failure;
use crate::storage::Place;

const FILE: &str = "etl.toml";

/// The keys of the configuration. Unknown ones are an error, so that a typing mistake does not pass for a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// `sqlite://PATH` or `postgres://…`.
    pub(crate) database_url: String,
    /// `store:`, the store itself is the queue; or `amqp://…`.
    pub(crate) queue_url: String,
    /// `memory:`, `postgres:` (the default with Postgres) or `redis://…`.
    pub(crate) events_url: Option<String>,
    /// `file://PATH` or `s3://BUCKET/PREFIX`.
    pub(crate) storage_url: String,
    /// Where a deployment listens.
    pub(crate) bind: String,
    /// Where it answers `/metrics`; if nowhere else, at `bind`, as long as that is this machine's own.
    pub(crate) metrics_bind: Option<String>,
    /// The keys that open stored credentials.
    pub(crate) master_key_file: PathBuf,
    /// Where traces go.
    otlp_endpoint: Option<String>,
    /// How the program's own log is written; by default for people on a terminal, else as JSON.
    pub(crate) log_format: Option<LogFormat>,
    /// Only jobs of pipelines that have one of these tags are taken by a worker; none for any.
    #[serde(deserialize_with = "tags")]
    pub(crate) tags: Vec<String>,
    /// Days for which log lines are kept.
    pub(crate) log_days: u32,
    /// Days for which jobs are kept after their end, with their artifacts; 0 for ever.
    pub(crate) job_days: u32,
    /// Whether the logs of jobs are archived in the artifact storage after their end.
    pub(crate) log_archive: bool,
    /// How many jobs a worker runs at once.
    pub(crate) max_jobs: NonZeroU16,
    /// How many steps a worker runs at once, over all jobs.
    pub(crate) max_steps: Option<NonZeroU16>,
    /// How long a worker that is told to stop lets jobs end before it gives them back, in seconds.
    pub(crate) drain_seconds: u64,
    /// How many requests a minute somebody who has signed in may make; 0 for any number.
    pub(crate) rate_limit: u32,
    /// The networks of proxies whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "networks")]
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// The origins of pages, beside the server's own, that may open WebSockets: `https://HOST`.
    #[serde(deserialize_with = "origins")]
    pub(crate) allowed_origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: "sqlite://.etl/etl.db".into(),
            queue_url: "store:".into(),
            events_url: None,
            storage_url: "file://.etl/data".into(),
            bind: "127.0.0.1:8000".into(),
            metrics_bind: None,
            master_key_file: ".etl/master.key".into(),
            otlp_endpoint: None,
            log_format: None,
            tags: Vec::new(),
            log_days: 90,
            job_days: 0,
            log_archive: false,
            max_jobs: const { NonZeroU16::new(32).unwrap() },
            max_steps: None,
            drain_seconds: 30,
            rate_limit: 30_000,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}

const KEYS: [&str; 19] = [
    "database_url",
    "queue_url",
    "events_url",
    "storage_url",
    "bind",
    "metrics_bind",
    "master_key_file",
    "otlp_endpoint",
    "log_format",
    "tags",
    "log_days",
    "job_days",
    "log_archive",
    "max_jobs",
    "max_steps",
    "drain_seconds",
    "rate_limit",
    "trusted_proxies",
    "allowed_origins",
];

/// Those of them that are numbers. A text of digits is a text under any other key.
const NUMBERS: [&str; 6] = [
    "log_days",
    "job_days",
    "max_jobs",
    "max_steps",
    "drain_seconds",
    "rate_limit",
];

/// A key's value in the environment. A fault of it is told by the variable's name.
#[derive(Debug)]
struct Variable {
    name: String,
    key: &'static str,
    value: String,
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let text = self.value.trim();
        let read = match self.key {
            "log_archive" => text.parse::<bool>().ok().map(Value::from),
            key if NUMBERS.contains(&key) => text.parse::<u64>().ok().map(Value::from),
            _ => None,
        };
        let value = read.unwrap_or_else(|| self.value.as_str().into());
        Ok(Profile::Default.collect(Dict::from([(self.key.into(), value)])))
    }
}

/// Tags as a list, or as a text with commas between them, which is what an environment can say.
fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list, or a text with commas between")]
    enum Tags {
        List(Vec<String>),
        Text(String),
    }
    let tags = match Tags::deserialize(deserializer)? {
        Tags::List(tags) => tags,
        Tags::Text(text) => text.split(',').map(str::to_owned).collect(),
    };
    let trimmed = tags.iter().map(|tag| tag.trim());
    Ok(trimmed
        .filter(|tag| !tag.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Networks, and addresses as networks of one, in the forms that [`tags`] reads.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = tags(deserializer)?;
    let network = |text: String| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address.or_else(|_| text.parse()).map_err(|_| {
            D::Error::custom("a network is an address or looks like 10.0.0.0/8 or fd00::/8")
        })
    };
    texts.into_iter().map(network).collect()
}

/// Origins as browsers write them, in the forms that [`tags`] reads.
fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = tags(deserializer)?;
    let is_origin = |text: &String| {
        let authority = ["http://", "https://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        authority.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '*', '@']))
    };
    if texts.iter().all(is_origin) {
        Ok(texts)
    } else {
        Err(D::Error::custom(
            "an origin looks like https://HOST or https://HOST:PORT, without a path",
        ))
    }
}

impl Config {
    /// Reads the configuration, and refuses what this program can't do instead of passing over it.
    pub(crate) fn load(flags: &SettingArgs) -> Result<Self, Failure> {
        let file = match std::fs::read_to_string(FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(Failure::input(format!("{FILE} can't be read")).because(error));
            }
        };
        let mut figment =
            Figment::from(Serialized::defaults(Self::default())).merge(Toml::string(&file));
        for key in KEYS {
            let name = format!("ETL_{}", key.to_uppercase());
            match std::env::var(&name) {
                Ok(value) if !value.is_empty() => {
                    figment = figment.merge(Variable { name, key, value });
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(Failure::input(format!("{name} is not UTF-8")));
                }
                Ok(_) | Err(std::env::VarError::NotPresent) => {}
            }
        }
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
        let config: Self = figment.extract().map_err(|error| explain(&error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Failure> {
        self.database()?;
        if Place::of(&self.storage_url).is_none() {
            return Err(unsupported(
                "storage_url",
                &self.storage_url,
                "file://PATH or s3://BUCKET/PREFIX",
            ));
        }
        self.queue()?;
        self.events()?;
        match &self.otlp_endpoint {
            Some(_) => Err(Failure::input(
                "otlp_endpoint is set, but this version of the program sends no traces",
            )
            .hint("leave otlp_endpoint out")),
            None => Ok(()),
        }
    }

    /// How long jobs are kept after their end, if not for ever.
    pub(crate) fn keep_jobs(&self) -> Option<Duration> {
        (self.job_days > 0).then(|| Duration::from_hours(24).saturating_mul(self.job_days))
    }

    /// Where jobs are remembered.
    pub(crate) fn database(&self) -> Result<Database, Failure> {
        let url = &self.database_url;
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Database::Postgres(url.clone()));
        }
        path_of(url, "sqlite")
            .map(Database::Sqlite)
            .ok_or_else(|| unsupported("database_url", url, "sqlite://PATH or postgres://…"))
    }

    /// What hints at jobs.
    pub(crate) fn queue(&self) -> Result<QueueKind, Failure> {
        let url = &self.queue_url;
        match url.split_once(':') {
            Some(("store", "")) => Ok(QueueKind::Store),
            Some(("amqp" | "amqps", _)) => Ok(QueueKind::Amqp(url.clone())),
            _ => Err(unsupported("queue_url", url, "store: or amqp://…")),
        }
    }

    /// What tells watchers.
    pub(crate) fn events(&self) -> Result<EventsKind, Failure> {
        let is_postgres = matches!(self.database()?, Database::Postgres(_));
        let Some(url) = &self.events_url else {
            return Ok(if is_postgres {
                EventsKind::Postgres
            } else {
                EventsKind::Memory
            });
        };
        match url.split_once(':') {
            Some(("memory", "")) => Ok(EventsKind::Memory),
            Some(("postgres", "")) if is_postgres => Ok(EventsKind::Postgres),
            Some(("postgres", "")) => Err(Failure::input(
                "events_url is postgres:, but database_url names no Postgres",
            )
            .hint("leave events_url out")),
            // Tried here, so that a mistake is told before anything is done.
            Some(("redis" | "rediss", _)) => match Redis::open(url, &RedisOptions::default()) {
                Ok(_) => Ok(EventsKind::Redis(url.clone())),
                Err(error) => Err(Failure::input("events_url can't be used")
                    .because(error)
                    .hint("it looks like redis://:password@host:6379/0, rediss:// for TLS")),
            },
            _ => Err(unsupported(
                "events_url",
                url,
                "memory:, postgres: or redis://…",
            )),
        }
    }
}

/// Where jobs are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

/// What hints at jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QueueKind {
    Store,
    Amqp(String),
}

/// What tells watchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventsKind {
    Memory,
    Postgres,
    Redis(String),
}

/// The path of `scheme://PATH` or `scheme:PATH`; relative paths are against the working folder.
fn path_of(url: &str, scheme: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix(scheme)?.strip_prefix(':')?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

fn unsupported(key: &str, value: &str, wanted: &str) -> Failure {
    let is_scheme = |word: &str| {
        !wanted.contains(&format!("{word}:"))
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let message = match value.split_once(':') {
        Some((scheme, _)) if is_scheme(scheme) => {
            format!("{key}: \"{scheme}:\" is not supported by this version of the program")
        }
        _ => format!("{key} is not of the form {wanted}"),
    };
    Failure::input(message).hint(format!("use {wanted}"))
}

/// A figment error in our words; those of the TOML parser quote the line, which may hold a password.
fn explain(error: &figment::Error) -> Failure {
    let key = error.path.join(".");
    let name = error.metadata.as_ref().map(|metadata| &*metadata.name);
    let variable = name.filter(|name| name.starts_with("ETL_"));
    let place = variable.map_or_else(|| format!("{key} in {FILE}"), str::to_owned);
    match &error.kind {
        Kind::UnknownField(name, known) => {
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            Failure::input(format!("unknown key {name:?} in {FILE}")).hint(hint)
        }
        Kind::UnknownVariant(_, known) => {
            Failure::input(format!("{place} is not one of {}", known.join(", ")))
        }
        Kind::InvalidType(_, wanted) | Kind::InvalidValue(_, wanted) => {
            Failure::input(format!("{place} is not {}", in_words(wanted)))
        }
        Kind::Message(message) if variable.is_none() => {
            let is_no_quote = |line: &&str| {
                let line = line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit());
                !line.starts_with('|')
            };
            let said: Vec<&str> = message.lines().filter(is_no_quote).collect();
            Failure::input(format!("{FILE} can't be read: {}", said.join(": ")))
        }
        _ => Failure::input(format!("{place} can't be used")),
    }
}

/// What a value has to be, if not in the words of Rust.
fn in_words(wanted: &str) -> &str {
    match wanted {
        "a nonzero u16" => "a whole number from 1 to 65535",
        "u32" | "u64" => "a whole number",
        other => other,
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
}
