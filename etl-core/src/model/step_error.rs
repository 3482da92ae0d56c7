//! Why an attempt failed, and what errors of others stand for.

use std::fmt;
use std::io;
use std::num::{ParseFloatError, ParseIntError, TryFromIntError};
use std::str::{ParseBoolError, Utf8Error};
use std::string::FromUtf8Error;
use std::time::Duration;

use super::error_class::ErrorClass;
use super::task::Place;

/// Any error, kept as a cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an attempt failed: its class decides what comes next, its message and place are for people.
#[derive(Debug, thiserror::Error)]
#[error("{message}{}", Located(.place.as_deref()))]
pub struct StepError {
    /// What kind of failure.
    pub class: ErrorClass,
    /// What went wrong and, where it is known, what to do. Never a secret, never the cause's own text.
    pub message: String,
    /// Where in the data.
    pub place: Option<Box<Place>>,
    /// For a throttled failure: how long the other side asked to wait.
    pub retry_after: Option<Duration>,
    /// What caused it.
    #[source]
    pub source: Option<BoxError>,
}

struct Located<'a>(Option<&'a Place>);

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |place| write!(f, " ({place})"))
    }
}

impl StepError {
    /// A failure of this class.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            place: None,
            retry_after: None,
            source: None,
        }
    }

    /// A failure that may pass by itself.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, message)
    }

    /// A failure that the same attempt would meet again.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Permanent, message)
    }

    /// A refused credential.
    pub fn auth(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Auth, message)
    }

    /// The other side asks for patience.
    pub fn throttled(message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self {
            retry_after,
            ..Self::new(ErrorClass::Throttled, message)
        }
    }

    /// A failure that any error stands for. A [`StepError`] is given back as it is. Of others the class is that of a
    /// [`StepError`] among their causes; what says that data or a path is wrong is permanent, because the same attempt would
    /// meet it again; anything else counts as transient and is retried.
    ///
    /// ```
    /// use etl_core::model::{ErrorClass, StepError};
    ///
    /// let broken = "x".parse::<u64>().unwrap_err();
    /// assert_eq!(StepError::from_error(broken).class, ErrorClass::Permanent);
    /// let hung_up = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    /// assert_eq!(StepError::from_error(hung_up).class, ErrorClass::Transient);
    /// ```
    pub fn from_error(error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(own) => *own,
            Err(other) => {
                let error = Self::new(class_of(&*other), other.to_string());
                if other.source().is_some() {
                    error.because(Behind(other))
                } else {
                    error
                }
            }
        }
    }

    /// The same failure with its cause.
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same failure with its place in the data.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }

    /// The causes, the nearest first, a line each; `None` without one.
    pub fn causes(&self) -> Option<String> {
        use std::error::Error as _;
        let mut lines = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            lines.push(cause.to_string());
            next = cause.source();
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// The causes of an error whose own text is told already.
#[derive(Debug)]
struct Behind(BoxError);

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .source()
            .map_or(Ok(()), |cause| fmt::Display::fmt(cause, f))
    }
}

impl std::error::Error for Behind {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()?.source()
    }
}

fn class_of(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ErrorClass {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<StepError>() {
            return own.class;
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return class_of_io(io);
        }
        let is_about_data = error.is::<serde_json::Error>()
            || error.is::<ParseIntError>()
            || error.is::<ParseFloatError>()
            || error.is::<ParseBoolError>()
            || error.is::<TryFromIntError>()
            || error.is::<Utf8Error>()
            || error.is::<FromUtf8Error>()
            || error.is::<chrono::ParseError>()
            || error.is::<uuid::Error>();
        if is_about_data {
            return ErrorClass::Permanent;
        }
        next = error.source();
    }
    ErrorClass::Transient
}

fn class_of_io(error: &io::Error) -> ErrorClass {
    use io::ErrorKind::{
        AlreadyExists, InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound,
        PermissionDenied, Unsupported,
    };
    match error.kind() {
        NotFound | PermissionDenied | AlreadyExists | NotADirectory | IsADirectory
        | InvalidInput | InvalidData | Unsupported => ErrorClass::Permanent,
        _ => ErrorClass::Transient,
    }
}

macro_rules! from_errors {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for StepError {
            /// See [`StepError::from_error`].
            fn from(error: $error) -> Self {
                Self::from_error(error)
            }
        })+
    };
}

// A blanket implementation can't be: `StepError` is an error itself.
from_errors!(
    BoxError,
    io::Error,
    fmt::Error,
    serde_json::Error,
    ParseIntError,
    ParseFloatError,
    ParseBoolError,
    TryFromIntError,
    Utf8Error,
    FromUtf8Error,
    chrono::ParseError,
    uuid::Error,
);

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u64, StepError> {
        Ok(text.parse::<u64>()?)
    }

    #[test]
    fn the_question_mark_turns_errors_of_the_standard_library_into_failures() {
        let error = number("seven").unwrap_err();
        assert_eq!(
            (error.class, error.message.as_str()),
            (ErrorClass::Permanent, "invalid digit found in string")
        );
        assert_eq!(error.causes(), None);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the bank did not answer")]
    struct Bank(#[source] StepError);

    #[test]
    fn a_class_is_found_among_the_causes_and_no_text_is_told_twice() {
        let error = StepError::from_error(Bank(StepError::auth("refused")));
        assert_eq!(
            (error.class, error.message.as_str(), error.causes()),
            (
                ErrorClass::Auth,
                "the bank did not answer",
                Some("refused".into())
            )
        );
        let boxed: BoxError = Box::new(StepError::permanent("as it is"));
        assert_eq!(StepError::from_error(boxed).class, ErrorClass::Permanent);
        assert_eq!(
            StepError::from_error("a mere text").class,
            ErrorClass::Transient
        );
    }
}
