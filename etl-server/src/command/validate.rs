//! `etl validate`: every fault of every file.

use serde_json::json;

use crate::args::ValidateArgs;
use crate::failure::Exit;
use crate::view::print_json;
use crate::{document, embedded};

pub(crate) fn execute(args: &ValidateArgs) -> Exit {
    let registry = embedded::registry();
    let mut faults = Vec::new();
    for file in &args.files {
        match document::read(file, &registry) {
            Ok(document) if !args.json => {
                let steps = document.pipeline.steps.len();
                println!(
                    "{}: valid, pipeline {:?} with {steps} step{}",
                    file.display(),
                    document.pipeline.name,
                    plural(steps)
                );
            }
            Ok(_) => {}
            Err(found) => faults.extend(found),
        }
    }
    if args.json {
        print_json(&json!({ "valid": faults.is_empty(), "errors": faults }));
    } else {
        for fault in &faults {
            fault.print();
        }
        if !faults.is_empty() {
            eprintln!("{} fault{}", faults.len(), plural(faults.len()));
        }
    }
    if faults.is_empty() {
        Exit::Success
    } else {
        Exit::BadInput
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
