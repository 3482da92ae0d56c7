//! What a step leaves behind for others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file or folder that a step attempt wrote under its own prefix. It becomes the step's when the step succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// The name that the step gave it: a relative path with `/`, without `..`.
    pub name: ArtifactName,
    /// Where it is: a `file:` or `s3:` URL.
    pub uri: String,
}

/// A relative path below a step attempt's folder, such as `raw.parquet` or `report/month=1/part-0.parquet`.
///
/// It is what a user wrote, so it is checked once, here: not empty, at most 1,024 bytes, `/` between parts, no part that
/// is empty, `.` or `..`, no backslash, no NUL or other control character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct ArtifactName(String);

/// Why a text is no artifact name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not an artifact name: {fault}")]
pub struct BadArtifactName {
    name: String,
    fault: &'static str,
}

impl ArtifactName {
    /// Checks `name`.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, BadArtifactName> {
        let name = name.into();
        let fault = if name.is_empty() {
            "it is empty"
        } else if name.len() > 1024 {
            "it is longer than 1,024 bytes"
        } else if name.chars().any(char::is_control) {
            "it has a control character"
        } else if name.contains('\\') {
            "it has a backslash; parts are separated by `/`"
        } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            "a part of it is empty, `.` or `..`; it has to stay below the step's folder"
        } else {
            return Ok(Self(name));
        };
        Err(BadArtifactName { name, fault })
    }

    /// The checked text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ArtifactName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_leave_the_step_folder_is_refused() {
        for bad in [
            "",
            "..",
            "../x",
            "a/../b",
            "/etc/passwd",
            "a//b",
            "a/",
            ".",
            "a\\b",
            "a\0b",
            "a\nb",
            &"x".repeat(1025),
        ] {
            assert!(ArtifactName::new(bad).is_err(), "{bad:?}");
        }
        for good in [
            "raw.parquet",
            "report/month=1/part-0.parquet",
            "..data",
            "a b",
            "ação.csv",
        ] {
            assert_eq!(ArtifactName::new(good).unwrap().as_str(), good);
        }
    }
}
