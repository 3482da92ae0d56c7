//! `command`: runs a program. The program may speak the step protocol on its standard output.

mod artifact;
mod credential;
mod lines;
mod process;
mod protocol;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use credential::CommandCredential;
use etl_core::contract::{Connector, StepContext};
use etl_core::model::{EffectClass, Report, StepError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Runs a program.
#[derive(Debug, Clone, Copy)]
pub struct Command;

/// The configuration of a `command` step.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({ "argv": ["python3", "extract.py", "--month", "{{ params.month }}"], "protocol": "jsonl" }))]
pub struct CommandConfig {
    /// The program and its arguments. No shell reads them: `*`, `|` and `$X` are plain characters unless the program is one.
    #[schemars(length(min = 1))]
    pub argv: Vec<String>,
    /// The folder that it runs in; relative ones are against the pipeline file's. Default: the pipeline file's folder.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Environment variables. Of this process's own it gets `PATH`, `HOME`, `USER`, `LANG`, `LC_ALL`, `TZ` and `TMPDIR` only.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What it reads on standard input. Without it: nothing, or with `jsonl` the task as one JSON document.
    #[serde(default)]
    pub stdin: Option<String>,
    /// How its standard output is read.
    #[serde(default)]
    pub protocol: Protocol,
}

/// How the standard output of a program is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Each line is a log line, the last 64 KiB become `output.stdout`, and the exit status decides.
    #[default]
    Text,
    /// The step protocol: a JSON object a line, the last one a result. Any other line is a log line.
    Jsonl,
}

impl Connector for Command {
    const NAME: &'static str = "command";
    type Config = CommandConfig;
    type Credential = CommandCredential;

    fn description(&self) -> &'static str {
        "Runs a program, without a shell"
    }

    fn effects(&self, _: &CommandConfig) -> EffectClass {
        EffectClass::Idempotent
    }

    fn check(&self, config: &CommandConfig) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        if config.argv.first().is_some_and(String::is_empty) {
            faults.push(("/argv/0".into(), "the program's name is empty".into()));
        }
        for name in config
            .env
            .keys()
            .filter(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            faults.push((
                format!("/env/{name}"),
                "this is not the name of an environment variable".into(),
            ));
        }
        faults
    }

    async fn run(
        &self,
        config: CommandConfig,
        credential: Option<CommandCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        process::run(config, credential, ctx).await
    }
}
