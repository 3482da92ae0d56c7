//! What goes wrong with Redis, in words that hold no secret.

use std::time::Duration;

use etl_core::model::BoxError;

/// Why something could not be done with Redis. Neither it nor its causes hold the address or what was sent.
#[derive(Debug, thiserror::Error)]
#[error("redis, {op}: {kind}")]
pub struct RedisError {
    /// What was tried.
    pub op: &'static str,
    /// What the caller can do.
    pub kind: RedisErrorKind,
    /// What caused it.
    #[source]
    pub source: Option<BoxError>,
}

/// What the caller can do about a [`RedisError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisErrorKind {
    /// It can't be reached: go on without it. Later calls try again.
    #[error("it can't be reached")]
    Unavailable,
    /// It answered, and refused: a password, a permission, a key of another kind. Somebody has to mend it.
    #[error("it refused")]
    Refused,
    /// The address, a name or a value can't be used.
    #[error("what was given can't be used")]
    Invalid,
}

/// What went wrong, before it is known what was tried.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the address can't be read: it has to be like rediss://user:password@host:6379/0")]
    Address,
    #[error("the address has a parameter that is not known; known is prefix")]
    Parameter,
    #[error("the prefix has to have at most 64 letters, digits or : . _ -")]
    Prefix,
    #[error("the certificates of authorities can't be read")]
    Authorities,
    #[error("{0}")]
    Value(&'static str),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The server's own text is left out: some servers repeat what they were sent, passwords too.
    #[error("the server answered {0}")]
    Server(String),
    /// It is a replica now, or not up yet: after a failover another connection finds the one that takes writes.
    #[error("the server answered {0}: it can't serve now")]
    NotServing(String),
}

/// The codes of servers that can't serve now.
const NOT_SERVING: [&str; 4] = ["READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN"];

impl Fault {
    pub(crate) fn of(self, op: &'static str) -> RedisError {
        let kind = match self {
            Self::Address | Self::Parameter | Self::Prefix | Self::Authorities | Self::Value(_) => {
                RedisErrorKind::Invalid
            }
            Self::Server(_) => RedisErrorKind::Refused,
            Self::Timeout(_) | Self::Connection(_) | Self::NotServing(_) => {
                RedisErrorKind::Unavailable
            }
        };
        RedisError {
            op,
            kind,
            source: Some(Box::new(self)),
        }
    }

    /// Whether the connection that it came of may still be used.
    pub(crate) fn leaves_the_connection(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Value(_))
    }
}

impl From<redis::RedisError> for Fault {
    fn from(error: redis::RedisError) -> Self {
        if error.is_io_error() {
            return Self::Connection(error.to_string());
        }
        // Before version 7 a server that refuses a script's write says so in the text alone.
        let in_script = error.detail().and_then(|text| {
            let said = |code: &&str| text.contains(&format!("-{code} "));
            NOT_SERVING.into_iter().find(said)
        });
        match error.code() {
            _ if in_script.is_some() => Self::NotServing(in_script.unwrap_or_default().to_owned()),
            Some(code) if NOT_SERVING.contains(&code) => Self::NotServing(code.to_owned()),
            Some(code) if is_code(code) => Self::Server(code.to_owned()),
            Some(_) => Self::Server("an error".to_owned()),
            None if error.is_unrecoverable_error() => Self::Connection(error.category().to_owned()),
            None => Self::Server(error.category().to_owned()),
        }
    }
}

/// Error codes are words like `WRONGPASS`; anything else may be something that was sent.
fn is_code(word: &str) -> bool {
    word.len() <= 24 && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// An error with its causes, in a line.
pub(crate) struct Causes<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an answer of the server.
    fn fault(answer: &str) -> Fault {
        let answer = format!("-{answer}\r\n");
        match redis::parse_redis_value(answer.as_bytes()) {
            Ok(redis::Value::ServerError(error)) => redis::RedisError::from(error).into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_that_can_not_serve_now_is_known_in_a_script_too() {
        for answer in [
            "READONLY You can't write against a read only replica.",
            "ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -READONLY You can't write against a \
             read only replica.",
        ] {
            let fault = fault(answer);
            assert!(
                matches!(&fault, Fault::NotServing(code) if code == "READONLY"),
                "{fault:?}"
            );
        }
        let fault = fault("ERR value is not an integer or out of range");
        assert!(matches!(fault, Fault::Server(_)), "{fault:?}");
    }
}
