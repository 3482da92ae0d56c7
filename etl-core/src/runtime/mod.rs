//! The doing: the only layer that spawns, sleeps or retries I/O. File order is the life of a job: `intake`, `dispatcher`,
//! `worker`, `driver`, `launcher`, `commit`, `announcer`, `keeper`, `reaper`, `finisher`. What makes jobs beside people and
//! programs is in `scheduler`, `backfill` and `finisher`; what ends with time is in `retention`.
//!
//! Services are small and have a `tick()`; `service` is the one place that runs them in a loop.

mod announcer;
mod attempts;
mod backfill;
mod clock;
mod commit;
mod dispatcher;
mod driver;
mod finisher;
mod intake;
mod keeper;
mod launcher;
mod lines;
mod observed;
mod plans;
mod reaper;
mod recorder;
mod redact;
mod retention;
mod scheduler;
pub(crate) mod service;
mod services;
mod settings;
mod slots;
mod worker;

pub use backfill::{Backfill, BackfillError, Backfilled};
pub use clock::SystemClock;
pub use dispatcher::Dispatcher;
pub use finisher::{Finisher, MAX_CHAIN, MAX_FOLLOWERS};
pub use intake::{Intake, IntakeError, Trigger};
pub use reaper::Reaper;
pub use retention::Retention;
pub use scheduler::{Round, Scheduler};
pub use service::{Load, Runtime};
pub use settings::{Backends, Scope, Settings};
pub use worker::{Ended, Worker};

pub(crate) use services::Services;
