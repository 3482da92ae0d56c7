//! What a step's arguments come from, with their types.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::step::{Needs, StepHandle, Wired};

/// Where a value of type `T` comes from when a job runs: the output of a step, or a parameter of the job.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not give `{T}`",
    note = "the type that a step returns and the type that the next one takes have to be equal, and a step that takes inputs itself has to be given them first by `.after(…)`"
)]
pub trait Source<T> {
    /// The template that gives it.
    fn template(&self) -> String;

    /// The step that has to be settled first, by name.
    fn step(&self) -> Option<Arc<str>>;
}

/// A parameter of a flow's jobs: see [`Flow::parameter`](super::Flow::parameter).
#[derive(Debug, Clone)]
pub struct Parameter<T> {
    name: Arc<str>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Parameter<T> {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            kind: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Source<T> for Parameter<T> {
    fn template(&self) -> String {
        format!("{{{{ params['{}'] }}}}", self.name)
    }

    fn step(&self) -> Option<Arc<str>> {
        None
    }
}

/// A step whose own inputs are settled, so that others may follow it: it takes none, or they were given.
pub trait Settled {}
impl Settled for Wired {}
impl Settled for Needs<()> {}

impl<T: DeserializeOwned, S: Settled> Source<T> for StepHandle<T, S> {
    fn template(&self) -> String {
        format!("{{{{ steps['{}'].output }}}}", self.name())
    }

    fn step(&self) -> Option<Arc<str>> {
        Some(self.name().into())
    }
}

/// Sources whose values, in order, are `Args`: `&a`, or a tuple `(&a, &b)` of up to eight.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not give the arguments `{Args}`",
    note = "as many as the function takes, in order: `&a`, or a tuple `(&a, &b)` of up to eight"
)]
pub trait Inputs<Args> {
    /// For each the template that gives it, and the step that has to be settled first.
    fn sources(&self) -> Vec<(String, Option<Arc<str>>)>;
}

macro_rules! inputs_of {
    ($($arg:ident $source:ident $at:tt),+) => {
        impl<$($arg, $source: Source<$arg>),+> Inputs<($($arg,)+)> for ($(&$source,)+) {
            fn sources(&self) -> Vec<(String, Option<Arc<str>>)> {
                vec![$((self.$at.template(), self.$at.step())),+]
            }
        }
    };
}

inputs_of!(A S 0);
inputs_of!(A S 0, B T 1);
inputs_of!(A S 0, B T 1, C U 2);
inputs_of!(A S 0, B T 1, C U 2, D V 3);
inputs_of!(A S 0, B T 1, C U 2, D V 3, E W 4);
inputs_of!(A S 0, B T 1, C U 2, D V 3, E W 4, F X 5);
inputs_of!(A S 0, B T 1, C U 2, D V 3, E W 4, F X 5, G Y 6);
inputs_of!(A S 0, B T 1, C U 2, D V 3, E W 4, F X 5, G Y 6, H Z 7);

impl<A, S: Source<A>> Inputs<(A,)> for &S {
    fn sources(&self) -> Vec<(String, Option<Arc<str>>)> {
        vec![((*self).template(), (*self).step())]
    }
}
