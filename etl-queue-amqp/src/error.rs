//! What goes wrong with a broker, and what of it the contract's callers are told.

use std::time::Duration;

use etl_core::contract::{QueueError, QueueErrorKind};

/// Why something could not be done. It never holds an address: an address holds a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the address can't be read: it has to be like amqps://user:password@host:5671/vhost")]
    Address,
    #[error(
        "the name {0:?} can't be a queue's: it has to have 1 to 200 bytes and not begin with \"amq.\""
    )]
    Name(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the broker has no queue for it")]
    Unroutable,
    #[error("the broker refused it")]
    Refused,
    #[error("a message of {0} bytes is too large")]
    TooLarge(usize),
    #[error("the delivery is no longer ours")]
    Stale,
    #[error("the queue was deleted")]
    Deleted,
    #[error("the last try to connect failed, and the next one is not due yet")]
    Waiting,
    #[error("it is closed")]
    Closed,
    #[error("the message can't be written")]
    Encode(#[source] serde_json::Error),
    #[error("the broker failed")]
    Broker(#[from] lapin::Error),
}

impl Fault {
    /// What the caller of `op` is told.
    pub(crate) fn of(self, op: &'static str) -> QueueError {
        let kind = match self {
            Self::Closed | Self::Address | Self::Name(_) => QueueErrorKind::Closed,
            _ => QueueErrorKind::Unavailable,
        };
        QueueError {
            op,
            kind,
            source: Some(Box::new(self)),
        }
    }
}
