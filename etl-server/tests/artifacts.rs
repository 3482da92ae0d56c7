//! What jobs leave: lists of it, and URLs by which others read it.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use program::bucket::{Bucket, get};
use program::{Finished, Program, wait_until};
use serde_json::Value;

const LEAVES: &str = "name: leaves
steps:
  - { name: file, connector_type: copy, config: { source: { type: csv, url: in.csv }, sink: { type: csv, url: \"artifact://out é.csv\" } } }
  - { name: folder, connector_type: copy, config: { source: { type: csv, url: in.csv }, sink: { type: parquet, url: artifact://by, partition_by: [name] } } }
";

fn left(program: &Program, environment: &[(&str, &str)]) -> String {
    program.file("in.csv", "id,name\n1,a\n2,b\n");
    let file = program.pipeline(LEAVES);
    let run = program.run_with(&["run", &file, "--json"], environment);
    run.expect(0).json()["job_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_presigned_url_reads_one_file_for_a_time_without_credentials() {
    let (program, bucket) = (Program::new(), Bucket::new());
    let environment = bucket.environment();
    let id = left(&program, &environment);
    let ask = |more: &[&str]| -> Finished {
        let arguments: Vec<&str> = ["artifacts", &id].iter().chain(more).copied().collect();
        program.run_with(&arguments, &environment)
    };
    let list = ask(&["--url", "--json"]).expect(0).json();
    let items = list["items"].as_array().unwrap();
    let files = |item: &Value| item["files"].as_array().unwrap().clone();
    assert_eq!(items.len(), 2, "{list}");
    assert_eq!(items[0]["name"], "out é.csv");
    let by: Vec<_> = files(&items[1]).iter().map(|f| f["path"].clone()).collect();
    assert_eq!(by.len(), 2, "{list}");
    assert!(by[0].as_str().unwrap().starts_with("name=a/"), "{list}");

    let file = &files(&items[0])[0];
    let url = file["url"].as_str().unwrap();
    assert_eq!(file["path"], "");
    assert_eq!(get(url), (200, b"id,name\n1,a\n2,b\n".to_vec()));
    for file in files(&items[1]) {
        let (status, body) = get(file["url"].as_str().unwrap());
        assert_eq!((status, &body[..4]), (200, &b"PAR1"[..]), "{file}");
    }

    // Another file under the same signature, another signature, a longer life, and none at all.
    let (bare, _) = url.split_once('?').unwrap();
    let tampered = [
        url.replace("out", "0ut"),
        url.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"),
        bare.to_owned(),
    ];
    for url in tampered {
        assert_eq!(get(&url).0, 403, "{url}");
    }

    let short = ask(&["--url", "--expires", "1"]).expect(0);
    let url = short.stdout.lines().next().unwrap();
    let url = url.rsplit_once('\t').unwrap().1;
    wait_until("expired", || get(url).0 == 403);

    for seconds in ["0", "604801", "-1", "soon"] {
        let refused = ask(&["--url", &format!("--expires={seconds}")]).expect(2);
        assert!(refused.stderr.contains("from 1 to 604800"), "{refused:?}");
    }
}

#[test]
fn an_artifact_that_is_gone_hides_no_other() {
    let (program, bucket) = (Program::new(), Bucket::new());
    let environment = bucket.environment();
    let id = left(&program, &environment);
    let list = program.run_with(&["artifacts", &id, "--json"], &environment);
    let list = list.expect(0).json();
    bucket.remove(list["items"][0]["uri"].as_str().unwrap());

    let list = program.run_with(&["artifacts", &id, "--url", "--json"], &environment);
    let list = list.expect(0).json();
    let (gone, there) = (&list["items"][0], &list["items"][1]);
    assert!(gone.get("files").is_none(), "{list}");
    let problem = gone["problem"].as_str().unwrap();
    assert!(problem.contains("not there any more"), "{list}");
    assert_eq!(there["files"].as_array().unwrap().len(), 2, "{list}");
}

/// A URL is as good as a password for as long as it lives.
#[test]
fn a_presigned_url_is_said_to_the_one_who_asked_and_to_no_log() {
    let (program, bucket) = (Program::new(), Bucket::new());
    let environment = bucket.environment();
    let id = left(&program, &environment);
    let verbose: Vec<_> = environment
        .into_iter()
        .chain([("ETL_LOG", "trace")])
        .collect();
    let said = program.run_with(&["artifacts", &id, "--url"], &verbose);
    let said = said.expect(0);
    assert!(said.stdout.contains("X-Amz-Signature="), "{}", said.stdout);
    assert!(!said.stderr.contains("X-Amz-Signature"), "{}", said.stderr);
}

#[test]
fn a_folder_lists_its_artifacts_and_has_no_urls() {
    let program = Program::new();
    let id = left(&program, &[]);
    let list = program.run(&["artifacts", &id, "--json"]).expect(0).json();
    let uri = list["items"][0]["uri"].as_str().unwrap();
    assert!(uri.starts_with("file://"), "{list}");
    assert!(list["items"][0].get("files").is_none(), "{list}");
    let text = program.run(&["artifacts", &id]).expect(0).stdout;
    assert!(text.contains("out é.csv") && text.contains(uri), "{text}");

    let refused = program.run(&["artifacts", &id, "--url"]).expect(2);
    assert!(
        refused.stderr.contains("only an S3 storage can"),
        "{refused:?}"
    );
    let unknown = uuid::Uuid::nil().to_string();
    program.run(&["artifacts", &unknown]).expect(2);
}
