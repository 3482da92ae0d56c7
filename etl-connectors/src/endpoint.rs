//! What a document may say as a source or a sink: every kind, one line each.

use etl_core::model::{EffectClass, StepError};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::flow::{Sink, Source};

/// Where rows come from: `type` and the keys of that type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SourceConfig {
    /// Arrow IPC files.
    #[cfg(feature = "arrow")]
    Arrow(crate::arrow_ipc::ArrowSourceConfig),
    /// CSV files.
    #[cfg(feature = "csv")]
    Csv(crate::csv::CsvSourceConfig),
    /// NDJSON files.
    #[cfg(feature = "ndjson")]
    Ndjson(crate::ndjson::NdjsonSourceConfig),
    /// Parquet files.
    #[cfg(feature = "parquet")]
    Parquet(crate::parquet::ParquetSourceConfig),
    /// SQLite databases.
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::SqliteSourceConfig),
}

/// Where rows go: `type` and the keys of that type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SinkConfig {
    /// Arrow IPC files.
    #[cfg(feature = "arrow")]
    Arrow(crate::arrow_ipc::ArrowSinkConfig),
    /// CSV files.
    #[cfg(feature = "csv")]
    Csv(crate::csv::CsvSinkConfig),
    /// NDJSON files.
    #[cfg(feature = "ndjson")]
    Ndjson(crate::ndjson::NdjsonSinkConfig),
    /// Parquet files.
    #[cfg(feature = "parquet")]
    Parquet(crate::parquet::ParquetSinkConfig),
    /// SQLite databases.
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::SqliteSinkConfig),
}

/// A fault of a configuration that its schema can't express: (key, message).
pub(crate) type Fault = (&'static str, String);

impl SourceConfig {
    /// What reads it.
    pub(crate) fn source(&self) -> Box<dyn Source> {
        match self {
            #[cfg(feature = "arrow")]
            Self::Arrow(config) => Box::new(crate::arrow_ipc::ArrowSource::new(config.clone())),
            #[cfg(feature = "csv")]
            Self::Csv(config) => Box::new(crate::csv::CsvSource::new(config.clone())),
            #[cfg(feature = "ndjson")]
            Self::Ndjson(config) => Box::new(crate::ndjson::NdjsonSource::new(config.clone())),
            #[cfg(feature = "parquet")]
            Self::Parquet(config) => Box::new(crate::parquet::ParquetSource::new(config.clone())),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(config) => Box::new(crate::sqlite::SqliteSource::new(config.clone())),
        }
    }

    /// What the schema can't say about it.
    fn faults(&self) -> Vec<Fault> {
        match self {
            #[cfg(feature = "csv")]
            Self::Csv(config) => config.faults(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(config) => config.faults(),
            #[allow(
                unreachable_patterns,
                reason = "not every build has kinds without faults of their own"
            )]
            _ => Vec::new(),
        }
    }

    /// The faults with a JSON pointer each, the source itself being at `pointer`.
    pub(crate) fn faults_at(&self, pointer: &str) -> Vec<(String, String)> {
        at(pointer, self.faults())
    }

    /// The URL, if it is of Parquet files.
    pub(crate) fn parquet_url(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "parquet")]
            Self::Parquet(config) => Some(&config.url),
            #[allow(
                unreachable_patterns,
                reason = "Parquet may be the only kind of this build"
            )]
            _ => None,
        }
    }

    /// The source at a URL, by its extension; a name without one is a folder of Parquet files, as sinks write them.
    ///
    /// # Errors
    /// If the extension is of no kind that a URL alone describes.
    pub(crate) fn from_url(url: &str) -> Result<Self, StepError> {
        let name = url.trim_end_matches('/').rsplit('/').next().unwrap_or(url);
        let mut name = name.to_ascii_lowercase();
        for compression in [".gz", ".gzip", ".zst", ".zstd"] {
            if let Some(inner) = name.strip_suffix(compression) {
                name = inner.to_owned();
                break;
            }
        }
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        Ok(match extension {
            #[cfg(feature = "csv")]
            "csv" => Self::Csv(crate::csv::CsvSourceConfig::at(url)),
            #[cfg(feature = "csv")]
            "tsv" => Self::Csv(crate::csv::CsvSourceConfig {
                delimiter: "\t".into(),
                ..crate::csv::CsvSourceConfig::at(url)
            }),
            #[cfg(feature = "ndjson")]
            "ndjson" | "jsonl" => Self::Ndjson(crate::ndjson::NdjsonSourceConfig::at(url)),
            #[cfg(feature = "arrow")]
            "arrow" | "feather" | "ipc" | "arrows" => {
                Self::Arrow(crate::arrow_ipc::ArrowSourceConfig {
                    url: url.into(),
                    compression: crate::Compression::Auto,
                })
            }
            #[cfg(feature = "parquet")]
            "parquet" | "" => {
                Self::Parquet(crate::parquet::ParquetSourceConfig { url: url.into() })
            }
            _ => {
                return Err(StepError::permanent(format!(
                    "the extension of {url:?} does not say what it is; write a source, such as {{type: csv, url: {url:?}}}"
                )));
            }
        })
    }
}

/// An input: a source, or the URL of an artifact or file.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum InputConfig {
    /// The URL of an artifact or file; its extension says what it is.
    Url(String),
    /// A source.
    Source(SourceConfig),
}

// By hand, because serde's own way for untagged enums forgets what was wrong with the variant that was meant.
impl<'de> Deserialize<'de> for InputConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(url) => Ok(Self::Url(url)),
            source => SourceConfig::deserialize(source)
                .map(Self::Source)
                .map_err(serde::de::Error::custom),
        }
    }
}

impl InputConfig {
    /// The source.
    ///
    /// # Errors
    /// If a URL does not say what it is.
    pub(crate) fn config(&self) -> Result<SourceConfig, StepError> {
        match self {
            Self::Url(url) => SourceConfig::from_url(url),
            Self::Source(source) => Ok(source.clone()),
        }
    }

    /// What the schema can't say about it, with a JSON pointer each, the input itself being at `pointer`.
    pub(crate) fn faults(&self, pointer: &str) -> Vec<(String, String)> {
        match self {
            // A template is not rendered yet when a document is checked.
            Self::Url(_) => Vec::new(),
            Self::Source(source) => source.faults_at(pointer),
        }
    }
}

fn at(pointer: &str, faults: Vec<Fault>) -> Vec<(String, String)> {
    faults
        .into_iter()
        .map(|(key, message)| (format!("{pointer}/{key}"), message))
        .collect()
}

impl SinkConfig {
    /// What writes it.
    ///
    /// # Errors
    /// If the configuration has a fault.
    pub(crate) fn sink(&self) -> Result<Box<dyn Sink>, StepError> {
        Ok(match self {
            #[cfg(feature = "arrow")]
            Self::Arrow(config) => Box::new(config.sink()),
            #[cfg(feature = "csv")]
            Self::Csv(config) => Box::new(config.sink()?),
            #[cfg(feature = "ndjson")]
            Self::Ndjson(config) => Box::new(config.sink()),
            #[cfg(feature = "parquet")]
            Self::Parquet(config) => Box::new(config.sink()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(config) => Box::new(crate::sqlite::SqliteSink::new(config.clone())?),
        })
    }

    /// How often its effect may happen.
    pub(crate) fn effects(&self) -> EffectClass {
        match self {
            #[cfg(feature = "arrow")]
            Self::Arrow(_) => EffectClass::Staged,
            #[cfg(feature = "csv")]
            Self::Csv(_) => EffectClass::Staged,
            #[cfg(feature = "ndjson")]
            Self::Ndjson(_) => EffectClass::Staged,
            #[cfg(feature = "parquet")]
            Self::Parquet(_) => EffectClass::Staged,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => EffectClass::Transactional,
        }
    }

    /// What the schema can't say about it, with a JSON pointer each, the sink itself being at `pointer`.
    pub(crate) fn faults_at(&self, pointer: &str) -> Vec<(String, String)> {
        let faults: Vec<Fault> = match self {
            #[cfg(feature = "csv")]
            Self::Csv(config) => config.faults(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(config) => config.faults(),
            #[allow(
                unreachable_patterns,
                reason = "not every build has kinds without faults of their own"
            )]
            _ => Vec::new(),
        };
        at(pointer, faults)
    }
}
