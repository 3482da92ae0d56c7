//! What happens now, for whoever watches: every change of a job once and in order, by its log, which is read on from where a watcher
//! is. The bus says when to read; who is told nothing reads every few seconds. Nothing waits for a slow watcher: what it has not read
//! is in the store.

mod hub;
mod job;
mod jobs;
mod message;
mod socket;
mod stream;

pub(crate) use hub::{Live, Place};
pub(crate) use socket::talk;
pub(crate) use stream::stream;
