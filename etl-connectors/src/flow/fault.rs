//! From the errors of libraries to step errors: the one place that decides their class.

use std::io;

use arrow::error::ArrowError;
use etl_core::model::{ErrorClass, StepError};

/// The attempt was told to stop.
pub(crate) fn cancelled() -> StepError {
    StepError::transient("the attempt was cancelled")
}

/// Carries a step error through an API that only knows I/O errors.
pub(crate) fn smuggled(error: StepError) -> io::Error {
    io::Error::other(error)
}

/// A failed read or write. `what` says which, such as `reading /data/x.csv`.
pub(crate) fn io(what: impl Into<String>, error: io::Error) -> StepError {
    if error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<StepError>)
    {
        let inner = error
            .into_inner()
            .map(<dyn std::error::Error + Send + Sync>::downcast::<StepError>);
        return match inner {
            Some(Ok(step)) => *step,
            _ => StepError::permanent(what),
        };
    }
    use io::ErrorKind::{
        AlreadyExists, InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory,
        NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull, UnexpectedEof, Unsupported,
    };
    let (class, hint) = match error.kind() {
        NotFound => (ErrorClass::Permanent, ": it is not there"),
        PermissionDenied => (ErrorClass::Permanent, ": permission denied"),
        IsADirectory => (ErrorClass::Permanent, ": it is a folder"),
        NotADirectory => (
            ErrorClass::Permanent,
            ": a part of the path is not a folder",
        ),
        AlreadyExists => (ErrorClass::Permanent, ": it exists already"),
        ReadOnlyFilesystem => (ErrorClass::Permanent, ": the file system is read-only"),
        UnexpectedEof => (
            ErrorClass::Permanent,
            ": it ends too early; it may be cut off",
        ),
        InvalidFilename => (ErrorClass::Permanent, ": a name in the path is too long"),
        InvalidData | InvalidInput => (ErrorClass::Permanent, ": its content is not valid"),
        Unsupported => (ErrorClass::Permanent, ": not supported here"),
        StorageFull => (ErrorClass::Transient, ": no space left"),
        _ => (ErrorClass::Transient, ""),
    };
    StepError::new(class, format!("{} failed{hint}", what.into())).because(error)
}

/// A failed operation on an object store.
pub(crate) fn object(what: impl Into<String>, error: object_store::Error) -> StepError {
    use object_store::Error::{
        AlreadyExists, InvalidPath, NotFound, NotImplemented, NotSupported, PermissionDenied,
        Unauthenticated,
    };
    let (class, hint) = match &error {
        NotFound { .. } => (ErrorClass::Permanent, ": it is not there"),
        PermissionDenied { .. } => (ErrorClass::Permanent, ": permission denied"),
        Unauthenticated { .. } => (ErrorClass::Auth, ": the store refused the credentials"),
        AlreadyExists { .. } => (ErrorClass::Permanent, ": it exists already"),
        InvalidPath { .. } => (ErrorClass::Permanent, ": the path is not valid"),
        NotSupported { .. } | NotImplemented { .. } => (ErrorClass::Permanent, ": not supported"),
        _ => (ErrorClass::Transient, ""),
    };
    StepError::new(class, format!("{} failed{hint}", what.into())).because(error)
}

/// A failed Arrow operation on data in memory, or on a file in one of Arrow's formats.
pub(crate) fn arrow(what: impl Into<String>, error: ArrowError) -> StepError {
    match error {
        ArrowError::IoError(_, source) => io(what, source),
        ArrowError::ExternalError(source) => external(what, source),
        other => StepError::permanent(format!("{} failed", what.into())).because(other),
    }
}

/// An error that a library carried: ours, one of input and output, or one that it made itself.
pub(crate) fn external(
    what: impl Into<String>,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> StepError {
    match source.downcast::<StepError>() {
        Ok(step) => *step,
        Err(source) => match source.downcast::<io::Error>() {
            Ok(error) => io(what, *error),
            Err(source) => StepError::permanent(format!("{} failed", what.into())).because(source),
        },
    }
}

/// Runs `work` of a library on bytes that we don't trust. Where the library panics over damaged bytes, that is an error of the
/// file like any other.
pub(crate) fn guarded<T>(
    what: impl Into<String>,
    work: impl FnOnce() -> Result<T, StepError>,
) -> Result<T, StepError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(StepError::permanent(format!(
            "{} failed: it is damaged",
            what.into()
        )))
    })
}

/// A thread of ours that panicked: a bug, reported as such.
pub(crate) fn panicked(what: &str, error: tokio::task::JoinError) -> StepError {
    StepError::permanent(format!("{what} ended unexpectedly")).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_transient_and_what_stays_is_permanent() {
        for (kind, class) in [
            (io::ErrorKind::NotFound, ErrorClass::Permanent),
            (io::ErrorKind::PermissionDenied, ErrorClass::Permanent),
            (io::ErrorKind::StorageFull, ErrorClass::Transient),
            (io::ErrorKind::Interrupted, ErrorClass::Transient),
            (io::ErrorKind::TimedOut, ErrorClass::Transient),
        ] {
            assert_eq!(io("reading x", kind.into()).class, class, "{kind:?}");
        }
    }

    #[test]
    fn a_step_error_comes_out_of_an_io_error_as_it_went_in() {
        let error = io("reading x", smuggled(StepError::auth("refused")));
        assert_eq!(
            (error.class, error.message.as_str()),
            (ErrorClass::Auth, "refused")
        );
    }
}
