//! `etl validate`: every fault of every file.

use serde_json::json;

use crate::args::ValidateArgs;
use crate::failure::{Exit, Failure};
use crate::view::{count, print, print_json, say};
use crate::{deployment, document};

pub(crate) fn execute(args: &ValidateArgs) -> Result<Exit, Failure> {
    let registry = deployment::registry();
    let mut faults = Vec::new();
    for file in &args.files {
        match document::read(file, &registry) {
            Ok(document) if !args.json => {
                let pipeline = document.pipeline;
                print(&format!(
                    "{}: valid, pipeline {:?} with {}\n",
                    file.display(),
                    pipeline.name,
                    count(pipeline.steps.len(), "step")
                ))?;
            }
            Ok(_) => {}
            Err(found) => {
                for fault in &found {
                    say(&fault.to_string());
                }
                faults.extend(found);
            }
        }
    }
    if args.json {
        print_json(&json!({ "valid": faults.is_empty(), "errors": faults }))?;
    }
    if faults.is_empty() {
        return Ok(Exit::Success);
    }
    say(&format!(
        "{} in {}",
        count(faults.len(), "fault"),
        count(args.files.len(), "file")
    ));
    Ok(Exit::BadInput)
}
