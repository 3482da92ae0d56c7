//! Identities: newtypes, so that a job's id can't be passed where a worker's is meant.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

uuid_id! {
    /// One execution of a pipeline. A UUIDv7 (RFC 9562): ids made later sort later.
    JobId
}
uuid_id! {
    /// A stored pipeline, the same over all its versions.
    PipelineId
}
uuid_id! {
    /// A stored credential, the same over all its versions. One that was removed and stored again has another.
    CredentialId
}
uuid_id! {
    /// One start of a worker process. A new one at each start, so that a restarted host is never taken for its past self.
    WorkerId
}

uuid_id! {
    /// A person who may sign in. A UUIDv7: ids made later sort later.
    UserId
}
uuid_id! {
    /// One sign-in of a user: the family of the refresh tokens that follow one another.
    SessionId
}
uuid_id! {
    /// An API key.
    ApiKeyId
}

/// The number of a claim on a job. Each claim of the same job gets a larger one, and a write under an older one is refused.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// A step execution within one job: the step's position in the pipeline version that the job is pinned to, and for one
/// item of a `for_each` the item's position. Positions are stable because a version never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepKey {
    /// Position in `Pipeline::steps`, from 0.
    pub step: u32,
    /// Position in the list that the step's `for_each` gave, from 0; `None` for the step itself.
    pub item: Option<u32>,
}

impl StepKey {
    /// The step itself (not one of its items).
    pub const fn step(step: u32) -> Self {
        Self { step, item: None }
    }

    /// One item of a step's fan-out.
    pub const fn item(step: u32, item: u32) -> Self {
        Self {
            step,
            item: Some(item),
        }
    }
}

impl StepKey {
    /// The id of this execution in a job: RFC 9562, version 5, of the job's id and the step's place, so that whoever
    /// computes it comes to the same.
    pub fn execution_id(self, job: JobId) -> Uuid {
        Uuid::new_v5(&job.0, self.to_string().as_bytes())
    }
}

impl PipelineId {
    /// The id of a step of this pipeline: the same over all versions that have a step of that name.
    pub fn step_id(self, name: &str) -> Uuid {
        Uuid::new_v5(&self.0, name.as_bytes())
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            None => write!(f, "{}", self.step),
            Some(item) => write!(f, "{}[{item}]", self.step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_has_the_same_id_whoever_computes_it() {
        let job = JobId(Uuid::nil());
        assert_eq!(
            StepKey::item(3, 7).execution_id(job),
            Uuid::new_v5(&Uuid::nil(), b"3[7]")
        );
        assert_ne!(
            StepKey::step(3).execution_id(job),
            StepKey::item(3, 0).execution_id(job)
        );
    }
}
