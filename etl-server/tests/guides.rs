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

/// The ports on this machine at which the systems of the compose file answer.
fn ports(compose: &str) -> Vec<&str> {
    let lines = compose.lines().map(str::trim);
    let ports = lines.filter_map(|line| line.strip_prefix("ports: [\"127.0.0.1:"));
    ports.filter_map(|rest| rest.split(':').next()).collect()
}

#[test]
fn the_guide_to_deployments_finds_what_the_compose_file_starts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let (guide, compose) = (
        read("docs/guides/deployment.md"),
        read("deploy/compose.yaml"),
    );
    let ports = ports(&compose);
    assert_eq!(ports.len(), 4, "{ports:?}");
    for port in ports {
        assert!(guide.contains(&format!("127.0.0.1:{port}")), "{port}");
    }
    let variables = compose
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split(":?").next());
    for variable in variables {
        assert!(guide.contains(&format!("{variable}=")), "{variable}");
    }
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
