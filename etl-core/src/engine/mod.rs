//! The engine: one pure machine for each job. It knows no trait, no clock, no task and no I/O; whatever happens comes in as
//! an [`Input`], whatever should happen goes out as an [`Effect`].
//!
//! The laws, each with a property test:
//! - an [`Effect::Start`] comes only after the commit that made its attempt `running` was applied;
//! - at most one commit is under way at a time, so that commits of a job are applied in the order of their decisions;
//! - after a lost lease only [`Effect::Stop`] and [`Effect::Close`] follow;
//! - the same inputs give the same effects.

mod attempt;
mod backoff;
mod effect;
mod ending;
mod fanout;
mod input;
mod machine;
mod pace;
mod recover;
mod retry;

#[cfg(test)]
mod tests;

pub use effect::Effect;
pub use input::Input;
pub use machine::JobMachine;
pub use recover::give_up;

/// How many attempts of a step execution may be lost with their worker before it counts as what kills workers.
pub const MAX_RECOVERIES: u32 = 3;
