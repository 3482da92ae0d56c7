//! The states of jobs and steps, and the other small closed vocabularies of the document.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A word that is not one of a closed vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {vocabulary} {word:?}")]
pub struct UnknownWord {
    pub(super) vocabulary: &'static str,
    pub(super) word: String,
}

macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident ($what:literal) { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
        }

        impl $name {
            /// Every word of the vocabulary, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as documents, rows and answers write it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = $crate::model::status::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::model::status::UnknownWord { vocabulary: $what, word: word.into() }),
                }
            }
        }
    };
}

pub(super) use vocabulary;

vocabulary! {
    /// Where a job is. The last four are terminal: they never change again.
    JobStatus ("job status") {
        /// Accepted, not yet confirmed by the queue. Pending jobs are the outbox: there is no second table.
        Pending = "pending",
        /// The queue has confirmed a hint for it.
        Queued = "queued",
        /// A worker holds a lease on it.
        Running = "running",
        /// Every step that had to succeed did.
        Success = "success",
        /// A step failed for good.
        Failed = "failed",
        /// Somebody asked for its end.
        Cancelled = "cancelled",
        /// The job as a whole ran longer than its pipeline allows.
        Timeout = "timeout",
    }
}

impl JobStatus {
    /// Whether nothing may change it any more.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Failed | Self::Cancelled | Self::Timeout
        )
    }
}

vocabulary! {
    /// Where a step, or one item of its fan-out, is.
    StepStatus ("step status") {
        /// Waits for its dependencies or for a free slot.
        Pending = "pending",
        /// An attempt of it is under way.
        Running = "running",
        /// An attempt failed; the next one has a due time.
        Retrying = "retrying",
        /// Done; its output is what its dependants see. Never runs again in this job.
        Success = "success",
        /// Failed for good.
        Failed = "failed",
        /// Its last attempt ran longer than `timeout_seconds`.
        Timeout = "timeout",
        /// Stopped because the job was.
        Cancelled = "cancelled",
        /// Never ran; `SkipReason` says why.
        Skipped = "skipped",
    }
}

impl StepStatus {
    /// Whether nothing may change it any more.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Failed | Self::Timeout | Self::Cancelled | Self::Skipped
        )
    }
}

vocabulary! {
    /// Why a step was skipped. Dependants tell a failure further up from a choice by it.
    SkipReason ("skip reason") {
        /// Its `when` was false.
        Condition = "condition",
        /// A step it needs failed, or was itself skipped for that reason.
        UpstreamFailed = "upstream_failed",
        /// A step it needs was skipped by choice.
        UpstreamSkipped = "upstream_skipped",
        /// Its trigger rule asked for something that did not happen (`one_failed`, and nothing failed).
        TriggerRule = "trigger_rule",
        /// The job ended before its turn came.
        JobEnded = "job_ended",
    }
}

vocabulary! {
    /// What of its dependencies lets a step run. Decided once, when all of them are settled.
    #[derive(Default)]
    TriggerRule ("trigger rule") {
        /// All succeeded.
        #[default]
        AllSuccess = "all_success",
        /// All are settled, whatever became of them.
        AllDone = "all_done",
        /// At least one succeeded.
        OneSuccess = "one_success",
        /// At least one failed.
        OneFailed = "one_failed",
        /// None failed (some may have been skipped).
        NoneFailed = "none_failed",
    }
}

vocabulary! {
    /// What made a job.
    TriggerType ("trigger type") {
        /// A person, by the command line or the UI.
        Manual = "manual",
        /// The pipeline's schedule.
        Scheduled = "scheduled",
        /// A program, by the API or the SDK.
        Api = "api",
        /// An inbound webhook.
        Webhook = "webhook",
        /// Another pipeline's hook.
        Pipeline = "pipeline",
        /// A backfill over a range of the schedule.
        Backfill = "backfill",
    }
}
