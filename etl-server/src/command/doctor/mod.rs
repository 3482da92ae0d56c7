//! `etl doctor`: whether everything that the configuration names works, and whether every open row has somebody who moves it.

mod checks;
mod custody;
mod rows;

use serde::Serialize;
use serde_json::json;

use crate::args::DoctorArgs;
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{count, print, print_json, table};
use custody::Custody;

/// What came of a check.
#[derive(Debug, Serialize)]
struct Check {
    /// What was looked at.
    name: &'static str,
    ok: bool,
    /// What was found.
    message: String,
    /// What to do about it.
    hint: Option<String>,
}

impl Check {
    fn fine(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            ok: true,
            message: message.into(),
            hint: None,
        }
    }

    fn wrong(name: &'static str, failure: &Failure) -> Self {
        Self {
            name,
            ok: false,
            message: failure.in_one_line(),
            hint: failure.hint_text().map(str::to_owned),
        }
    }
}

pub(crate) async fn execute(config: &Config, args: &DoctorArgs) -> Result<Exit, Failure> {
    let mut checks = Vec::new();
    let mut found = Vec::new();
    match deployment::look_if_there(config).await {
        Ok(None) => checks.push(Check::fine(
            "store",
            "there is no database yet; the first `etl run` or `etl serve` makes it",
        )),
        Ok(Some(store)) => {
            let looked = async {
                let (check, now) = checks::store(config, &store).await?;
                checks.push(check);
                checks.push(checks::clock(now));
                checks.push(checks::vault(config, &store).await);
                found = rows::open_rows(&**store.store(), now).await?;
                Ok::<_, Failure>(())
            };
            if let Err(failure) = looked.await {
                checks.push(Check::wrong("store", &failure));
            }
            store.close().await;
        }
        Err(failure) => checks.push(Check::wrong("store", &failure)),
    }
    checks.push(checks::queue(config).await);
    checks.push(checks::events(config).await);
    checks.push(checks::storage(config).await);
    report(args, &checks, &found)
}

fn report(args: &DoctorArgs, checks: &[Check], found: &[Custody]) -> Result<Exit, Failure> {
    let works = checks.iter().all(|check| check.ok);
    let stuck = found.iter().filter(|row| row.problem.is_some()).count();
    if args.json {
        let ok = works && stuck == 0;
        print_json(&json!({ "ok": ok, "checks": checks, "rows": found }))?;
    } else {
        print(&told(args, checks, found, stuck))?;
    }
    Ok(match (works, stuck) {
        (false, _) => Exit::Unreachable,
        (true, 0) => Exit::Success,
        (true, _) => Exit::JobFailed,
    })
}

fn told(args: &DoctorArgs, checks: &[Check], found: &[Custody], stuck: usize) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = if check.ok { "ok" } else { "PROBLEM" };
        text += &format!("{:<8} {mark:<8} {}\n", check.name, check.message);
        if let Some(hint) = &check.hint {
            text += &format!("{:<17} hint: {hint}\n", "");
        }
    }
    let sum = if found.is_empty() {
        "nothing is open".to_owned()
    } else if stuck == 0 {
        format!(
            "{}, and each has somebody who moves it",
            count(found.len(), "open row")
        )
    } else {
        format!(
            "{}, and {stuck} of them wait for nobody",
            count(found.len(), "open row")
        )
    };
    let mark = if stuck == 0 { "ok" } else { "PROBLEM" };
    text += &format!("{:<8} {mark:<8} {sum}\n", "rows");
    let shown: Vec<_> = found
        .iter()
        .filter(|row| args.all || row.problem.is_some())
        .collect();
    if !shown.is_empty() {
        let mut table = table(["row", "of", "status", "owner", "deadline", "what moves it"]);
        for row in shown {
            let rule = match (&row.problem, &row.hint) {
                (Some(problem), Some(hint)) => format!("PROBLEM: {problem}; {hint}"),
                (Some(problem), None) => format!("PROBLEM: {problem}"),
                (None, _) => row.rule.to_owned(),
            };
            table.add_row([
                format!("{} {}", row.kind, row.id),
                row.pipeline.clone(),
                row.status.clone(),
                row.owner.clone().unwrap_or_default(),
                row.deadline.map(|at| at.to_string()).unwrap_or_default(),
                rule,
            ]);
        }
        text += &format!("\n{table}\n");
    } else if !found.is_empty() {
        text += "`etl doctor --all` shows each with its owner, its deadline and what moves it\n";
    }
    text
}
