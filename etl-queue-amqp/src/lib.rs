//! The queue on RabbitMQ: hints that work exists, over AMQP 0-9-1.
//!
//! The store is the truth and the queue only says that there is something to look for, so whatever the broker loses, doubles
//! or reorders costs time and nothing else. What it confirms it has on disk, in quorum queues.
//!
//! - [`AmqpQueue`] publishes by one connection and takes by another: a broker that is short of memory stops those that
//!   publish, and workers have to go on taking.
//! - Priorities are bands ([`Band`]): a quorum queue has none of its own. A worker takes from a higher band first; within a
//!   band hints come in the order of publication, whatever their priorities.
//! - A worker takes what it asks for and holds nothing else: no hint waits in a busy worker while another is idle.
//! - Nothing reconnects but what is in `connection` and `consume`; the client's own recovery is off.

mod connection;
mod consume;
mod error;
mod message;
mod publish;
mod queue;
mod topology;

pub use queue::{AmqpOptions, AmqpQueue};
pub use topology::Band;
