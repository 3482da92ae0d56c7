//! How a command ends: its exit status, and what it says when it could not do what was asked.

use std::error::Error;
use std::process::ExitCode;

use etl_core::contract::{StoreError, StoreErrorKind};
use etl_core::model::JobStatus;
use etl_core::runtime::IntakeError;
use etl_core::sdk::EtlError;

/// The exit statuses of the program: a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It went well.
    Success = 0,
    /// The job failed.
    JobFailed = 1,
    /// The input is wrong.
    BadInput = 2,
    /// A needed system can't be reached.
    Unreachable = 3,
    /// It was cancelled.
    Cancelled = 130,
}

impl Exit {
    /// The status that tells how a job ended.
    pub(crate) fn of_job(status: JobStatus) -> Self {
        match status {
            JobStatus::Success => Self::Success,
            JobStatus::Cancelled => Self::Cancelled,
            _ => Self::JobFailed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(Exit::BadInput, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says on standard error what was wrong and what to do.
    pub(crate) fn report(&self) {
        if self.message.is_empty() {
            return;
        }
        eprintln!("error: {}", self.message);
        let mut cause = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = cause {
            eprintln!("  because: {error}");
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            eprintln!("  hint: {hint}");
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (exit, hint) = match error.kind {
            StoreErrorKind::InUse => (
                Exit::Unreachable,
                Some("wait for the other `etl` to end, or give this one its own `--database-url`"),
            ),
            StoreErrorKind::Corrupt => (
                Exit::Unreachable,
                Some("restore the file from a backup, or move it aside to begin anew"),
            ),
            StoreErrorKind::NotFound => (Exit::BadInput, None),
            _ => (
                Exit::Unreachable,
                Some("see that the disk has room and the folder can be written to"),
            ),
        };
        let failure = Self::new(exit, error.to_string());
        let failure = match error.source {
            Some(source) => failure.because(source),
            None => failure,
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<EtlError> for Failure {
    fn from(error: EtlError) -> Self {
        match error {
            EtlError::Store(error) | EtlError::Refused(IntakeError::Store(error)) => error.into(),
            other => Self::input(other.to_string()),
        }
    }
}
