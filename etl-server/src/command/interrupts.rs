//! Ctrl-C and SIGTERM, which mean the same here: end the job, not only the program.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Exit, Failure};

/// The interrupts of this process. One that comes before it is asked for is kept.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// From here on an interrupt no longer ends the program by itself.
    pub(super) fn watch() -> Result<Self, Failure> {
        let watch = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Unreachable, "signals can't be watched").because(error)
            })
        };
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// The store that is being opened, unless an interrupt comes first: bringing its tables up, or finding that nobody answers,
    /// may take long.
    pub(super) async fn unless_interrupted<T>(
        &mut self,
        opening: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            opened = opening => opened,
            () = self.next() => Err(Failure::new(
                Exit::Cancelled,
                "interrupted while the store was being opened; no job was begun",
            )),
        }
    }
}
