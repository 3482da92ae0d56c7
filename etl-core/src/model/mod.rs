//! The data of the product and its pure rules: pipelines, jobs, steps, events, and which state may follow which.
//! Nothing here waits, reads a clock or does I/O.

mod account;
mod audit;
mod change;
mod error_class;
mod event;
mod fault;
mod figures;
mod ids;
mod job;
mod letter;
mod log_event;
mod page;
mod pipeline;
mod schedule;
pub(crate) mod spread;
mod status;
mod step;
mod step_error;
mod task;
mod time;
mod transition;

pub use account::{
    ApiKey, Mfa, MfaChange, OneTimeToken, Purpose, Role, Rotation, Session, SessionState,
    TokenHash, User, UserEdit, email_key, login_delay,
};
pub use audit::{Actor, AuditEntry, AuditFilter, AuditRecord, Seal, SealedRecord};
pub use change::{Change, Commit, DeadLetter, HookRow, HookTarget, LeaseRef, StepPatch, Verdict};
pub use error_class::ErrorClass;
pub use event::{Event, EventKind, LogLevel, LogLine};
pub use fault::{Fault, nearest};
pub use figures::{Durations, HourFigures, JobFigures, StepFigures};
pub use ids::{
    ApiKeyId, CredentialId, Fence, JobId, PipelineId, SessionId, StepKey, UserId, WorkerId,
};
pub use job::{
    By, Hint, JobFilter, JobRecord, JobSnapshot, NewJob, PipelineRef, StepRecord, StepSnapshot,
    TakenOver,
};
pub use letter::{LetterFilter, LetterRecord, LetterStatus};
pub use log_event::LogEvent;
pub use page::{Cursor, Page, PageRequest};
pub use pipeline::{
    Calendar, CalendarRule, Catchup, Concurrency, ExecutorKind, ForEach, Hook, Hooks, OnLimit,
    Pipeline, Resources, RetryPolicy, Step, When,
};
pub use schedule::{FireRecord, NextFire, Schedule};
pub use status::{JobStatus, SkipReason, StepStatus, TriggerRule, TriggerType};
pub use step::{Artifact, ArtifactName};
pub use step_error::{BoxError, StepError};
pub use task::{AttemptKey, Balance, BaseDir, EffectClass, Place, Report, StepEvent, StepTask};
pub use time::Timestamp;
pub use transition::{JOB_TRANSITIONS, STEP_TRANSITIONS, Writer, job_transition, step_transition};

/// The most JSON that a step's `output` or a job's `parameters` may hold, in bytes. More belongs in an artifact.
pub const MAX_JSON_BYTES: usize = 256 * 1024;
/// The largest pipeline document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// The most steps a pipeline may have.
pub const MAX_STEPS: usize = 100_000;
/// The most items one `for_each` may fan out to.
pub const MAX_ITEMS: usize = 100_000;
