//! How a command ends: its exit status, and what it says when it could not do what was asked.

use std::error::Error;
use std::process::ExitCode;

use etl_core::contract::{StoreError, StoreErrorKind};
use etl_core::model::{Fault, JobStatus};
use etl_core::runtime::IntakeError;
use etl_core::sdk::EtlError;
use etl_vault::VaultError;
use serde_json::json;

use crate::document::InputFault;
use crate::view::{count, print_json, say};

/// The exit statuses of the program: a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It went well.
    Success = 0,
    /// The job failed, or what was looked at is not as it should be.
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
    faults: Vec<InputFault>,
    is_about_file: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            source: None,
            faults: Vec::new(),
            is_about_file: false,
        }
    }

    /// A pipeline file with these faults.
    pub(crate) fn pipeline(faults: Vec<InputFault>) -> Self {
        Self {
            is_about_file: true,
            ..Self::input(format!("{} in the pipeline", count(faults.len(), "fault")))
                .with_faults(faults)
        }
    }

    /// Parameters with these faults.
    pub(crate) fn parameters(faults: Vec<Fault>) -> Self {
        Self::input("the parameters don't fit the pipeline")
            .hint("give them as `-p key=value`")
            .with_faults(faults.into_iter().map(InputFault::from).collect())
    }

    /// Files of a folder with these faults.
    pub(crate) fn folder(faults: Vec<InputFault>) -> Self {
        Self {
            is_about_file: true,
            ..Self::input(format!(
                "{} in the folder; nothing was changed",
                count(faults.len(), "fault")
            ))
            .with_faults(faults)
        }
    }

    fn with_faults(mut self, faults: Vec<InputFault>) -> Self {
        self.faults = faults;
        self
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

    /// The message with its causes.
    pub(crate) fn in_one_line(&self) -> String {
        let message = std::iter::once(self.message.clone()).chain(self.causes());
        message.collect::<Vec<_>>().join(": ")
    }

    /// What to do.
    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Says on standard error what was wrong and what to do; for a program also as the one document that it waits for.
    pub(crate) fn report(self, json: bool) {
        for fault in &self.faults {
            say(&fault.to_string());
        }
        say(&format!("error: {}", self.message));
        for cause in self.causes() {
            say(&format!("  because: {cause}"));
        }
        if let Some(hint) = &self.hint {
            say(&format!("  hint: {hint}"));
        }
        if json {
            // There is nothing left to do if this is not read.
            let _ = print_json(&self.document());
        }
    }

    /// `{"errors": [{"file", "line", "column", "pointer", "message", "hint"}]}`; of a pipeline file, what `etl validate`
    /// would have said.
    fn document(self) -> serde_json::Value {
        if self.is_about_file {
            return json!({ "valid": false, "errors": self.faults });
        }
        let errors = if self.faults.is_empty() {
            vec![InputFault::general(self.in_one_line(), self.hint)]
        } else {
            self.faults
        };
        json!({ "errors": errors })
    }

    fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut cause = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        causes
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
                Some("restore the database from a backup"),
            ),
            // It says what to do.
            StoreErrorKind::Incompatible => (Exit::Unreachable, None),
            StoreErrorKind::NotFound => (Exit::BadInput, None),
            _ => (
                Exit::Unreachable,
                Some(
                    "see that a database's server is up at this address, and that a file's disk has room and its folder can be written to",
                ),
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

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let (exit, hint) = match error {
            VaultError::Store(error) => return error.into(),
            VaultError::KeyMissing { .. } => (
                Exit::BadInput,
                "name the file that has the key by master_key_file, or set ETL_MASTER_PASSPHRASE; if the key is lost, `etl credential remove` the credentials and store them again",
            ),
            VaultError::NoKey(_) => (
                Exit::BadInput,
                "make one, the same for every machine: `(umask 077; head -c 32 /dev/urandom > FILE)`, and name it by master_key_file; or set ETL_MASTER_PASSPHRASE",
            ),
            VaultError::Exposed { .. } => (Exit::BadInput, "`chmod 600` it"),
            VaultError::KeyFile { .. } => (
                Exit::BadInput,
                "it is 32 raw bytes, or a key in base64 on each line, as `etl keys rotate` writes it",
            ),
            VaultError::Invalid(_) => (
                Exit::BadInput,
                "the secret is one JSON object: echo '{\"password\": \"…\"}' | etl credential set NAME",
            ),
            VaultError::Damaged { .. } => {
                (Exit::Unreachable, "store it again: `etl credential set`")
            }
            VaultError::Contended | VaultError::Overtaken | VaultError::Stale { .. } => {
                (Exit::Unreachable, "try again")
            }
            _ => (
                Exit::Unreachable,
                "see that the file and its folder can be read and written to",
            ),
        };
        let failure = Self::new(exit, error.to_string()).hint(hint);
        match error {
            VaultError::Io { source, .. } => failure.because(source),
            _ => failure,
        }
    }
}

impl From<EtlError> for Failure {
    fn from(error: EtlError) -> Self {
        match error {
            EtlError::Store(error) | EtlError::Refused(IntakeError::Store(error)) => error.into(),
            EtlError::Refused(IntakeError::Parameters(faults)) => Self::parameters(faults),
            other => Self::input(other.to_string()),
        }
    }
}

impl From<IntakeError> for Failure {
    fn from(error: IntakeError) -> Self {
        EtlError::Refused(error).into()
    }
}
