//! Pipelines of many steps that do nothing, and a connector that does it.

use std::collections::{BTreeMap, BTreeSet};

use etl_core::contract::{Connector, NoCredential, StepContext};
use etl_core::model::{Pipeline, Report, Step, StepError};
use serde_json::Value;

/// Does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Noop;

impl Connector for Noop {
    const NAME: &'static str = "noop";
    type Config = BTreeMap<String, Value>;
    type Credential = NoCredential;

    async fn run(
        &self,
        _: Self::Config,
        _: Option<NoCredential>,
        _: StepContext,
    ) -> Result<Report, StepError> {
        Ok(Report::default())
    }
}

/// How a graph looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// No step waits for another.
    Wide,
    /// Each step waits for the one before.
    Deep,
    /// Each step waits for up to three earlier ones, chosen by a generator with a fixed seed.
    Random,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 3] = [Self::Wide, Self::Deep, Self::Random];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Deep => "deep",
            Self::Random => "random",
        }
    }
}

/// A pipeline of `steps` steps that do nothing.
pub fn pipeline(form: Form, steps: usize) -> Pipeline {
    let mut pipeline = Pipeline::new(format!("{}-{steps}", form.name()));
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for at in 0..steps {
        let mut step = Step::new(format!("s{at}"), Noop::NAME);
        let on: BTreeSet<usize> = match form {
            Form::Wide => BTreeSet::new(),
            Form::Deep => at.checked_sub(1).into_iter().collect(),
            Form::Random if at == 0 => BTreeSet::new(),
            Form::Random => (0..3).map(|_| random() as usize % at).collect(),
        };
        step.dependencies = on.into_iter().map(|on| format!("s{on}")).collect();
        pipeline.steps.push(step);
    }
    pipeline
}
