//! The layers of etl-core: a module may use only modules of its own layer or of those before it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// From the bottom. `testing` stands aside and may use all.
const LAYERS: [&[&str]; 7] = [
    &["model"],
    &["graph", "template", "document", "schedule"],
    &["artifact", "contract", "registry"],
    &["plan", "engine"],
    &["memory", "in_process"],
    &["runtime"],
    &["sdk"],
];

/// Modules without time, tasks or I/O: what they do depends on what they are given.
const PURE: [&str; 7] = [
    "model", "graph", "template", "document", "schedule", "plan", "engine",
];
const IMPURE: [&str; 6] = [
    "tokio::",
    "async fn",
    "Instant::now",
    "SystemTime::now",
    "rand::",
    "std::fs",
];

/// The longest file, in lines. One subject each; the tests of a long one stand in a file of their own.
const LONGEST: usize = 600;

/// Checks every source file of the workspace.
pub(crate) fn check() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask is not in a workspace")?;
    let mut faults = Vec::new();
    let core = root.join("etl-core/src");
    for file in sources(&core)? {
        let relative = file.strip_prefix(&core)?.to_string_lossy().into_owned();
        faults.extend(core_faults(&relative, &fs::read_to_string(&file)?));
    }
    for folder in [
        "etl-core",
        "etl-connectors",
        "etl-metrics",
        "etl-queue-amqp",
        "etl-redis",
        "etl-store-postgres",
        "etl-store-sql",
        "etl-store-sqlite",
        "etl-vault",
        "etl-server",
        "examples",
        "benches",
        "xtask",
    ] {
        for file in sources(&root.join(folder))? {
            let lines = fs::read_to_string(&file)?.lines().count();
            let is_test = file
                .components()
                .any(|part| part.as_os_str().to_string_lossy().starts_with("test"));
            if lines > LONGEST && !is_test {
                faults.push(format!(
                    "{}: {lines} lines are more than {LONGEST}",
                    file.strip_prefix(root)?.display()
                ));
            }
        }
    }
    if !faults.is_empty() {
        bail!(
            "{} fault(s) of the house:\n  {}",
            faults.len(),
            faults.join("\n  ")
        );
    }
    Ok(())
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn core_faults(relative: &str, text: &str) -> Vec<String> {
    let module = relative
        .split('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".rs");
    let is_test = relative.split('/').any(|part| part.starts_with("tests"));
    let Some(layer) = layer_of(module).filter(|_| !is_test) else {
        return Vec::new();
    };
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let mut faults = Vec::new();
    for (at, line) in code
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
    {
        for used in used_modules(line) {
            let too_high = layer_of(&used).is_some_and(|other| other > layer);
            if too_high || (module == "engine" && used == "contract") {
                faults.push(format!(
                    "etl-core/src/{relative}:{}: {module} uses {used}",
                    at + 1
                ));
            }
        }
        if PURE.contains(&module)
            && let Some(word) = IMPURE.iter().find(|word| line.contains(**word))
        {
            faults.push(format!(
                "etl-core/src/{relative}:{}: {module} is pure and has {word:?}",
                at + 1
            ));
        }
    }
    faults
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The modules of this crate that a line names.
fn used_modules(line: &str) -> Vec<String> {
    let names = line.split("crate::").skip(1);
    names
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_layer_that_uses_a_higher_one_is_found() {
        assert_eq!(
            core_faults("model/job.rs", "use crate::engine::Input;\n").len(),
            1
        );
        assert_eq!(
            core_faults("engine/machine.rs", "let x: crate::contract::Clock;\n").len(),
            1
        );
        assert_eq!(
            core_faults(
                "plan/check.rs",
                "use std::time::Instant;\nlet now = Instant::now();\n"
            )
            .len(),
            1
        );
        assert!(
            core_faults(
                "runtime/worker.rs",
                "use crate::engine::Input;\nasync fn x() {}\n"
            )
            .is_empty()
        );
        assert!(core_faults("model/job.rs", "// see crate::engine\n").is_empty());
    }
}
