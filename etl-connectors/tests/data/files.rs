//! Where sinks write, and what is there afterwards.

use etl_core::model::ErrorClass;
use serde_json::{Value, json};

use crate::testing::{Bench, Outcome, copy, exists, rows};

async fn write(bench: &Bench, content: &str, url: &str, mode: &str) -> Outcome {
    bench.write("in/x.csv", content);
    let from = json!({"type": "csv", "url": "in/x.csv"});
    copy(
        bench,
        from,
        json!({"type": "csv", "url": url, "mode": mode}),
    )
    .await
}

fn files(outcome: &Outcome) -> Vec<String> {
    outcome.report().output["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn replace_makes_the_target_exactly_this_output() {
    let bench = Bench::new();
    for content in ["a\n1\n2\n", "a\n3\n"] {
        let outcome = write(&bench, content, "deep/er/out.csv", "replace").await;
        assert_eq!(
            files(&outcome),
            [bench.path("deep/er/out.csv").to_str().unwrap()]
        );
        assert_eq!(bench.read("deep/er/out.csv"), content);
        assert_eq!(
            outcome.report().output["rows_loaded"],
            content.lines().count() - 1
        );
        assert_eq!(outcome.report().output["bytes_written"], content.len());
    }
    assert_eq!(bench.list("deep/er"), ["out.csv"]);

    for content in ["a\n1\n", "a\n2\n"] {
        let outcome = write(&bench, content, "folder/", "replace").await;
        assert_eq!(
            files(&outcome),
            [bench.path("folder/part-0.csv").to_str().unwrap()]
        );
        assert_eq!(bench.list("folder"), ["part-0.csv"]);
        assert_eq!(bench.read("folder/part-0.csv"), content);
    }
    assert_eq!(bench.list("."), ["deep", "folder", "in"]);
}

#[tokio::test]
async fn append_adds_files_of_its_own_and_a_repeated_attempt_replaces_them() {
    let mut bench = Bench::new();
    bench.write("out.csv", "a\n0\n");
    for url in ["out.csv", "folder/"] {
        for (step, attempt, content) in [(0, 1, "a\n1\n"), (0, 2, "a\n2\n"), (1, 1, "a\n3\n")] {
            (bench.step, bench.attempt) = (step, attempt);
            let outcome = write(&bench, content, url, "append").await;
            let written = files(&outcome);
            assert_eq!(written.len(), 1);
            assert_eq!(std::fs::read_to_string(&written[0]).unwrap(), content);
        }
    }
    let all = |url: &str| json!({"type": "csv", "url": url});
    let numbers = |rows: Vec<Value>| {
        let mut numbers: Vec<_> = rows.iter().map(|row| row["a"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(rows(&bench, all("out*.csv")).await), [0, 2, 3]);
    assert_eq!(numbers(rows(&bench, all("folder")).await), [2, 3]);
}

#[tokio::test]
async fn error_asks_that_nothing_is_there() {
    let bench = Bench::new();
    for url in ["out.csv", "folder/"] {
        write(&bench, "a\n1\n", url, "error").await.report();
        let outcome = write(&bench, "a\n2\n", url, "error").await;
        let error = outcome.error();
        assert_eq!(error.class, ErrorClass::Permanent);
        assert!(error.message.contains("`mode: error`"), "{error}");
    }
    assert_eq!(bench.read("out.csv"), "a\n1\n");
    assert_eq!(bench.read("folder/part-0.csv"), "a\n1\n");
    assert_eq!(bench.list("."), ["folder", "in", "out.csv"]);
}

#[tokio::test]
async fn a_failure_in_the_middle_leaves_the_target_whole_and_no_rubbish() {
    let bench = Bench::new();
    let good = "a\n1\n";
    let mut bad = "a\n".to_owned() + &"1\n".repeat(200_000);
    bad.push_str("x\n");
    for url in ["out.csv", "out.csv.gz", "folder/"] {
        for mode in ["replace", "append", "error"] {
            if mode != "error" {
                write(&bench, good, url, "replace").await.report();
            } else if url == "folder/" {
                std::fs::remove_dir_all(bench.path(url)).unwrap();
            } else {
                std::fs::remove_file(bench.path(url)).unwrap();
            }
            let before = everything(&bench);
            let outcome = write(&bench, &bad, url, mode).await;
            assert!(
                outcome.error().message.contains("int64"),
                "{}",
                outcome.error()
            );
            assert_eq!(everything(&bench), before, "{url} {mode}");
        }
    }
}

/// All files but those in `in`, with what is in them.
fn everything(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for name in bench.list(".") {
        let path = bench.path(&name);
        if name == "in" {
        } else if path.is_dir() {
            for below in bench.list(&name) {
                let content = std::fs::read(path.join(&below)).unwrap();
                found.push((format!("{name}/{below}"), content));
            }
        } else {
            found.push((name, std::fs::read(path).unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn what_a_killed_attempt_left_is_cleared_and_a_later_one_s_is_not() {
    let mut bench = Bench::new();
    let key = format!("{}-0", uuid::Uuid::nil());
    bench.write(&format!(".out.csv.{key}.1.tmp"), "half");
    bench.write(&format!(".out.csv.{key}.3.tmp"), "another's");
    bench.write(&format!(".folder.{key}.1.tmp/part-0.csv"), "half");
    // Moved out of the way and not replaced yet.
    bench.write(&format!(".folder.{key}.1.old.tmp/part-0.csv"), "a\n0\n");
    bench.attempt = 2;
    write(&bench, "a\n1\n", "out.csv", "replace").await.report();
    assert_eq!(
        bench.list("."),
        [
            format!(".folder.{key}.1.old.tmp"),
            format!(".folder.{key}.1.tmp"),
            format!(".out.csv.{key}.3.tmp"),
            "in".into(),
            "out.csv".into(),
        ]
    );
    let outcome = write(&bench, "a\nx\n", "none/../../folder/", "replace").await;
    assert!(outcome.error().message.contains("`..`"));
    bench.write("in/bad.csv", "a\n1,2\n");
    let from = json!({"type": "csv", "url": "in/bad.csv"});
    let outcome = copy(&bench, from, json!({"type": "csv", "url": "folder/"})).await;
    assert!(outcome.result.is_err());
    assert_eq!(
        bench.read("folder/part-0.csv"),
        "a\n0\n",
        "the old folder is back"
    );
    assert_eq!(
        bench.list("."),
        [
            format!(".out.csv.{key}.3.tmp"),
            "folder".into(),
            "in".into(),
            "out.csv".into()
        ]
    );
}

#[tokio::test]
async fn a_folder_with_other_files_is_not_replaced() {
    let bench = Bench::new();
    bench.write("folder/notes.txt", "mine");
    let outcome = write(&bench, "a\n1\n", "folder", "replace").await;
    let error = outcome.error();
    assert_eq!(error.class, ErrorClass::Permanent);
    assert!(error.message.contains("notes.txt"), "{error}");
    assert_eq!(bench.list("folder"), ["notes.txt"]);
}

#[tokio::test]
async fn an_existing_folder_gets_the_files_and_a_file_in_the_way_of_one_goes() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("folder")).unwrap();
    write(&bench, "a\n1\n", "folder", "replace").await.report();
    assert_eq!(bench.list("folder"), ["part-0.csv"]);
    bench.write("file", "old");
    write(&bench, "a\n1\n", "file/", "replace").await.report();
    assert_eq!(bench.list("file"), ["part-0.csv"]);
    assert_eq!(bench.list("."), ["file", "folder", "in"]);
    let outcome = write(&bench, "a\n1\n", "in/x.csv/out.csv", "replace").await;
    let error = outcome.error();
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
    assert!(error.message.contains("in/x.csv"), "{error}");
}

#[tokio::test]
async fn a_link_is_replaced_and_what_it_leads_to_stays() {
    let bench = Bench::new();
    bench.write("other/file.csv", "mine");
    bench.write("other/folder/part-0.csv", "mine");
    std::os::unix::fs::symlink(bench.path("other/file.csv"), bench.path("file.csv")).unwrap();
    std::os::unix::fs::symlink(bench.path("other/folder"), bench.path("folder")).unwrap();
    write(&bench, "a\n1\n", "file.csv", "replace")
        .await
        .report();
    write(&bench, "a\n1\n", "folder", "replace").await.report();
    assert_eq!(bench.read("file.csv"), "a\n1\n");
    assert_eq!(bench.read("folder/part-0.csv"), "a\n1\n");
    assert_eq!(bench.read("other/file.csv"), "mine");
    assert_eq!(bench.read("other/folder/part-0.csv"), "mine");
}

#[tokio::test]
async fn names_at_the_limit_of_the_file_system_are_written() {
    let bench = Bench::new();
    let name = format!("{}.csv", "é".repeat(125));
    write(&bench, "a\n1\n", &name, "replace").await.report();
    assert_eq!(bench.read(&name), "a\n1\n");
    let outcome = write(&bench, "a\n1\n", &"x".repeat(256), "replace").await;
    let error = outcome.error();
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
    assert!(error.message.contains("too long"), "{error}");
}

#[tokio::test]
async fn a_url_is_a_path_a_file_url_or_an_artifact() {
    let bench = Bench::new();
    let base = bench.folder.path().to_str().unwrap();
    for (url, name) in [
        ("a b.csv".to_owned(), "a b.csv"),
        (format!("{base}/abs.csv"), "abs.csv"),
        (format!("file://{base}/c%20d%25.csv"), "c d%.csv"),
        (format!("file:{base}/e%C3%A9.csv"), "eé.csv"),
        ("file:f.csv".to_owned(), "f.csv"),
        ("100%.csv".to_owned(), "100%.csv"),
    ] {
        let outcome = write(&bench, "a\n1\n", &url, "replace").await;
        assert_eq!(files(&outcome), [format!("{base}/{name}")]);
        let found = rows(&bench, json!({"type": "csv", "url": url})).await;
        assert_eq!(found, [json!({"a": 1})], "{url}");
    }
}

#[tokio::test]
async fn artifacts_are_declared_under_their_names_and_read_by_their_uris() {
    for (bench, odd) in [
        (Bench::new(), "a b%[x].csv.gz"),
        (Bench::in_memory(), "a b.csv.gz"),
    ] {
        for name in ["out.csv", "deep/er/out.csv", odd, "folder/"] {
            let outcome = write(&bench, "a\n1\n", &format!("artifact://{name}"), "replace").await;
            let uri = outcome.artifact(name.trim_end_matches('/'));
            let written = files(&outcome);
            assert!(written[0].starts_with(&uri), "{written:?}");
            for url in [&uri, &written[0]] {
                let found = rows(&bench, json!({"type": "csv", "url": url})).await;
                assert_eq!(found, [json!({"a": 1})], "{url}");
            }
        }
        let outcome = write(&bench, "a\n1\n", "artifact://out.csv", "append").await;
        assert_eq!(files(&outcome), [outcome.artifact("out.csv")]);
    }
}

#[tokio::test]
async fn a_compressed_artifact_in_a_folder_is_read_as_such() {
    for bench in [Bench::new(), Bench::in_memory()] {
        let from = json!({"type": "csv", "url": "in/x.csv"});
        bench.write("in/x.csv", "a\n1\n");
        let sink = json!({"type": "csv", "url": "artifact://folder/", "compression": "gzip"});
        let outcome = copy(&bench, from, sink).await;
        let uri = outcome.artifact("folder");
        for url in [uri.clone(), format!("{uri}/*"), format!("{uri}/part-*.gz")] {
            let found = rows(&bench, json!({"type": "csv", "url": url})).await;
            assert_eq!(found, [json!({"a": 1})], "{url}");
        }
    }
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder_of_artifacts() {
    let bench = Bench::new();
    bench.write("secret.csv", "a\n1\n");
    for name in [
        "../x.csv",
        "a/../../x.csv",
        "/x.csv",
        "..",
        ".",
        "",
        "a//b",
        "a\\..\\b",
        "a/./b",
        "x\0y",
        "x\ny",
        "..%2fx/../y",
    ] {
        for url in [format!("artifact://{name}"), format!("artifact:{name}")] {
            let outcome = write(&bench, "a\n2\n", &url, "replace").await;
            let is_scheme_slash = url == "artifact:/x.csv";
            let error = outcome.error();
            assert_eq!(error.class, ErrorClass::Permanent, "{url:?}");
            assert!(
                error.message.contains("artifact name") || is_scheme_slash,
                "{url:?}: {error}"
            );
        }
    }
    // An encoded name is that name, and stays below.
    let outcome = write(&bench, "a\n2\n", "artifact://%2e%2e", "replace").await;
    assert!(outcome.artifact("%2e%2e").ends_with("/%2e%2e"));
    assert_eq!(bench.list("."), ["in", "secret.csv"]);
}

#[tokio::test]
async fn no_link_leads_out_of_the_folder_of_artifacts() {
    let bench = Bench::new();
    bench.write("secret/x.csv", "a\n1\n");
    let outcome = write(&bench, "a\n2\n", "artifact://ok.csv", "replace").await;
    let uri = outcome.artifact("ok.csv");
    let area = uri
        .strip_prefix("file://")
        .unwrap()
        .strip_suffix("/ok.csv")
        .unwrap();
    std::os::unix::fs::symlink(bench.path("secret"), format!("{area}/link")).unwrap();
    std::os::unix::fs::symlink(bench.path("secret/x.csv"), format!("{area}/link.csv")).unwrap();
    for name in ["link/y.csv", "link/", "link.csv"] {
        let outcome = write(&bench, "a\n2\n", &format!("artifact://{name}"), "replace").await;
        assert!(
            outcome.error().message.contains("symbolic link"),
            "{}",
            outcome.error()
        );
    }
    for name in ["link/x.csv", "link", "link.csv", "link*", "link/*"] {
        let from = json!({"type": "csv", "url": format!("file://{area}/{name}")});
        let outcome = copy(&bench, from, json!({"type": "csv", "url": "out.csv"})).await;
        assert!(
            outcome.error().message.contains("symbolic link"),
            "{name}: {}",
            outcome.error()
        );
    }
    assert_eq!(bench.list("secret"), ["x.csv"]);
    assert_eq!(bench.read("secret/x.csv"), "a\n1\n");
}

#[tokio::test]
async fn a_relative_path_is_refused_where_no_file_gives_it_a_folder() {
    let mut bench = Bench::new();
    bench.base_dir = false;
    let base = bench.folder.path().to_str().unwrap().to_owned();
    bench.write("x.csv", "a\n1\n");
    let absolute = format!("{base}/x.csv");
    for (from, to) in [("x.csv", "artifact://y.csv"), (&*absolute, "y.csv")] {
        let from = json!({"type": "csv", "url": from});
        let outcome = copy(&bench, from, json!({"type": "csv", "url": to})).await;
        assert!(
            outcome.error().message.contains("relative"),
            "{}",
            outcome.error()
        );
    }
    assert_eq!(bench.list("."), ["x.csv"]);
}

#[tokio::test]
async fn links_in_a_folder_that_lead_back_are_not_followed_for_ever() {
    let bench = Bench::new();
    bench.write("in/deep/x.csv", "a\n1\n");
    bench.write("elsewhere/y.csv", "a\n2\n");
    std::os::unix::fs::symlink(bench.path("in"), bench.path("in/deep/back")).unwrap();
    std::os::unix::fs::symlink(bench.path("elsewhere"), bench.path("in/more")).unwrap();
    let found = rows(&bench, json!({"type": "csv", "url": "in"})).await;
    assert_eq!(found, [json!({"a": 1}), json!({"a": 2})]);
}

#[tokio::test]
async fn folders_with_the_characters_of_patterns_are_found_by_their_names() {
    let bench = Bench::new();
    bench.write("a[1]*/x.csv", "a\n1\n");
    bench.write("a1/x.csv", "a\n2\n");
    for (url, expected) in [("a[1]*/*.csv", 1), ("a[1]*/x.csv", 1), ("a[1]/*.csv", 2)] {
        let found = rows(&bench, json!({"type": "csv", "url": url})).await;
        assert_eq!(found, [json!({"a": expected})], "{url}");
    }
    use std::os::unix::ffi::OsStrExt as _;
    let odd = std::ffi::OsStr::from_bytes(b"in/\xff.csv");
    std::fs::create_dir(bench.path("in")).unwrap();
    std::fs::write(bench.folder.path().join(odd), "a\n3\n").unwrap();
    bench.write("in/y.csv", "a\n4\n");
    let found = rows(&bench, json!({"type": "csv", "url": "in/y*.csv"})).await;
    assert_eq!(found, [json!({"a": 4})]);
    assert!(exists(&bench.folder.path().join(odd)));
}
