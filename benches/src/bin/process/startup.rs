//! How soon the program answers, and how large it is.

use std::path::Path;

use anyhow::Result;
use etl_benches::{Goal, Report, program};
use serde_json::json;

use crate::measure::run;

const ROUNDS: usize = 21;

/// What `etl --help` may take, in ms.
const HELP: Goal = Goal::AtMost(50.0);

pub(crate) fn measure(folder: &Path, report: &mut Report) -> Result<()> {
    let etl = program("etl")?;
    let size = std::fs::metadata(&etl)?.len() as f64 / f64::from(1 << 20);
    report.add("etl: size of the binary", "MiB", vec![size], None);

    let step = json!({"name": "nothing", "connector_type": "sleep", "config": {"seconds": 0}});
    let document = json!({"name": "startup", "steps": [step]});
    std::fs::write(folder.join("startup.json"), document.to_string())?;
    let commands: [(&[&str], Option<Goal>); 4] = [
        (&["--help"], Some(HELP)),
        (&["--version"], None),
        (&["validate", "startup.json"], None),
        (&["run", "startup.json", "--json"], None),
    ];
    for (args, goal) in commands {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        // Once before, so that the program is in memory and the database is there.
        run(folder, &etl, &args)?;
        let (mut wall, mut rss) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let used = run(folder, &etl, &args)?;
            wall.push(used.wall * 1000.0);
            rss.push(used.rss);
        }
        let name = format!("etl {}", args.join(" "));
        report.add(format!("{name}: time"), "ms", wall, goal);
        report.add(format!("{name}: memory"), "MiB", rss, None);
    }
    Ok(())
}
