//! The pipelines that the guides show are pipelines.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::fs;
use std::path::Path;

use program::Program;

/// The blocks of a page that are marked as whole pipelines, each with the line that it begins in.
fn pipelines(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(page.lines()) {
        match &mut open {
            None if line.trim() == "```yaml pipeline" => open = Some((number + 1, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => found.extend(open.take()),
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    found
}

#[test]
fn every_pipeline_of_the_guides_is_valid() {
    let program = Program::new();
    let guides = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides");
    let mut seen = 0;
    for page in fs::read_dir(&guides).unwrap() {
        let page = page.unwrap().path();
        for (line, pipeline) in pipelines(&fs::read_to_string(&page).unwrap()) {
            let file = program.pipeline(&pipeline);
            let finished = program.run(&["validate", &file]);
            assert_eq!(
                finished.status,
                0,
                "{}:{line}: {finished:?}",
                page.display()
            );
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} pipelines were found");
}
