//! Credentials from the command line to the steps that use them, and keys that change meanwhile.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use program::{Finished, Program};
use serde_json::{Value, json};

const CANARY: &str = "canary-5e1f-9b27";

/// A step that says the hash of its credential, so that a test can tell whether it was the right one.
const HASH: &str = r#"["sh", "-c", "sha256sum < $ETL_CREDENTIAL_FILE | cut -c -16"]"#;

fn secret(at: usize) -> String {
    format!(r#"{{"password":"{CANARY}-{at}"}}"#)
}

fn pipeline(names: &[String]) -> String {
    let steps = names.iter().map(|name| {
        format!(
            "  - {{ name: {name}, connector_type: command, credential: {name}, retry_count: 0, config: {{ argv: {HASH} }} }}\n"
        )
    });
    format!(
        "name: uses\nmax_parallel_steps: 4\nsteps:\n{}",
        steps.collect::<String>()
    )
}

fn names(many: usize) -> Vec<String> {
    (0..many).map(|at| format!("c{at}")).collect()
}

impl Program {
    /// Runs it with this on standard input.
    fn feed(&self, arguments: &[&str], input: &str) -> Finished {
        let file = self.file("input", input);
        let script = format!("exec \"$ETL\" \"$@\" < {file}");
        let finished = self.shell(&script, arguments);
        std::fs::remove_file(file).unwrap();
        finished
    }

    fn set(&self, name: &str, secret: &str) {
        self.feed(&["credential", "set", name], secret).expect(0);
    }

    fn with_credentials(many: usize) -> Self {
        let program = Self::new();
        for at in 0..many {
            program.set(&format!("c{at}"), &secret(at));
        }
        program
    }

    /// Runs a job with a step for each credential; each has to get its own.
    fn assert_all_open(&self, many: usize) {
        let file = self.pipeline(&pipeline(&names(many)));
        let outcome = self.run(&["run", &file, "--json"]).expect(0).json();
        assert_hashes(&outcome, many);
    }

    /// The words before the keys of the key file.
    fn roles(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(".etl/master.key")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split_once(' ').unwrap().0.to_owned())
            .collect()
    }
}

fn assert_hashes(outcome: &Value, many: usize) {
    let steps = outcome["steps"].as_array().unwrap();
    assert_eq!(steps.len(), many);
    let said: Vec<&str> = steps
        .iter()
        .map(|step| step["output"]["stdout"].as_str().unwrap().trim())
        .collect();
    let mut expected = std::process::Command::new("sh");
    expected.args([
        "-c",
        "for s; do printf %s \"$s\" | sha256sum | cut -c -16; done",
        "sh",
    ]);
    let expected = expected
        .args((0..many).map(secret))
        .output()
        .unwrap()
        .stdout;
    let expected = String::from_utf8(expected).unwrap();
    assert_eq!(said, expected.lines().collect::<Vec<_>>());
}

/// Every byte below a folder.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(all_bytes(&path));
        } else {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    bytes
}

#[test]
fn a_credential_is_set_listed_used_and_removed_and_never_seen() {
    let program = Program::new();
    let mut said = String::new();
    let mut note = |finished: Finished| {
        said += &finished.stdout;
        said += &finished.stderr;
        finished
    };
    let set = ["credential", "set", "c0", "--json"];
    let first = note(program.feed(&set, &secret(0)).expect(0)).json();
    assert_eq!(
        (
            &first["namespace"],
            &first["name"],
            &first["version"],
            &first["connector_type"]
        ),
        (
            &json!("default"),
            &json!("c0"),
            &json!(1),
            &json!("command")
        )
    );
    let key = program
        .path(".etl/master.key")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(key & 0o777, 0o600);
    note(
        program
            .run(&[
                "credential",
                "set",
                "c1",
                "--file",
                &program.file("s", secret(1)),
            ])
            .expect(0),
    );
    std::fs::remove_file(program.path("s")).unwrap();
    let second = note(program.feed(&set, &secret(0)).expect(0)).json();
    assert_eq!(
        (&second["version"], &second["id"]),
        (&json!(2), &first["id"])
    );

    let list = note(program.run(&["credential", "list", "--json"]).expect(0)).json();
    let items = list["items"].as_array().unwrap();
    assert_eq!(
        items.iter().map(|item| &item["name"]).collect::<Vec<_>>(),
        ["c0", "c1"]
    );
    assert_eq!(items[0], second);
    assert!(
        note(program.run(&["credential", "list"]).expect(0))
            .stdout
            .contains("default/c1")
    );
    program.assert_all_open(2);

    // A step that says its password, in every way that it has.
    let loud = "cat $ETL_CREDENTIAL_FILE; cat $ETL_CREDENTIAL_FILE >&2; exit 3";
    let loud = format!(
        "name: loud\nsteps:\n  - {{ name: s, connector_type: command, credential: c0, retry_count: 0, config: {{ argv: [sh, -c, '{loud}'] }} }}\n"
    );
    let loud = program.pipeline(&loud);
    note(program.run(&["run", &loud, "--json"]).expect(1));
    note(program.run(&["run", &loud]).expect(1));
    let id = program.last_id();
    let log = note(program.run(&["logs", &id]).expect(0));
    assert!(log.stdout.contains("[redacted]"), "{log:?}");
    note(program.run(&["job", &id, "--json"]).expect(0));

    // Of another namespace there is none, and so it is after it was removed.
    note(
        program
            .run(&["credential", "remove", "c0", "--namespace", "other"])
            .expect(2),
    );
    let removed = note(
        program
            .run(&["credential", "remove", "c0", "--json"])
            .expect(0),
    )
    .json();
    assert_eq!(
        removed,
        json!({ "namespace": "default", "name": "c0", "removed": true })
    );
    let without = note(program.run(&["run", &loud]).expect(1));
    assert!(
        format!("{without:?}").contains("there is no credential"),
        "{without:?}"
    );

    let bytes = all_bytes(program.folder.path());
    let canary = CANARY.as_bytes();
    assert!(
        !bytes.windows(canary.len()).any(|part| part == canary),
        "in a file"
    );
    assert!(!said.contains(CANARY), "{said}");
}

#[test]
fn wrong_input_is_told_without_the_secret() {
    let program = Program::new();
    for (arguments, input, part) in [
        (
            &["credential", "set", "c0"][..],
            CANARY,
            "not one JSON object",
        ),
        (
            &["credential", "set", "c0"],
            "\"canary-5e1f-9b27\"",
            "not one JSON object",
        ),
        (&["credential", "set", "c0"], "{}", "empty object"),
        (
            &["credential", "set", "a b"],
            "{\"a\":1}",
            "not the name of a credential",
        ),
        (
            &["credential", "set", "c0", "--connector-type", "copy"],
            "{\"a\":1}",
            "copy steps take no credential",
        ),
        (
            &["credential", "set", "c0", "--connector-type", "nope"],
            "{\"a\":1}",
            "there is no connector",
        ),
    ] {
        let refused = program.feed(arguments, input).expect(2);
        assert!(refused.stderr.contains(part), "{refused:?}");
        assert!(!format!("{refused:?}").contains(CANARY), "{refused:?}");
        let as_json = program
            .feed(&[arguments, &["--json"]].concat(), input)
            .expect(2)
            .json();
        assert!(!as_json.to_string().contains(CANARY), "{as_json}");
    }
    assert!(!program.path(".etl/master.key").exists());
    program.run(&["credential", "remove", "c0"]).expect(2);
    program.run(&["keys"]).expect(2);
}

#[test]
fn a_wrong_or_missing_key_is_a_refusal_to_start() {
    let program = Program::with_credentials(2);
    let file = program.pipeline(
        "name: p\nsteps:\n  - { name: s, connector_type: sleep, config: { seconds: 0 } }\n",
    );
    program.run(&["run", &file]).expect(0);
    let list = program.run(&["credential", "list", "--json"]).json();
    let key_id = list["items"][0]["key_id"].as_str().unwrap().to_owned();
    let key = program.path(".etl/master.key");
    let away = program.path("away.key");
    std::fs::rename(&key, &away).unwrap();
    let refused = |what: &str, environment: &[(&str, &str)]| {
        for arguments in [&["run", &*file][..], &["serve"], &["keys", "rotate"]] {
            let refused = program.run_with(arguments, environment).expect(2);
            assert!(refused.stderr.contains(&key_id), "{what}: {refused:?}");
            assert!(
                refused.stderr.contains("2 stored credential(s)"),
                "{what}: {refused:?}"
            );
            assert!(refused.stderr.contains("hint: "), "{what}: {refused:?}");
        }
        let refused = program
            .run_with(&["run", &file, "--json"], environment)
            .expect(2)
            .json();
        assert!(
            refused["errors"][0]["message"]
                .to_string()
                .contains(&key_id)
        );
    };
    refused("no key", &[]);
    refused(
        "a passphrase",
        &[("ETL_MASTER_PASSPHRASE", "not the right one")],
    );
    let other = Program::with_credentials(1);
    std::fs::copy(other.path(".etl/master.key"), &key).unwrap();
    refused("another key", &[]);
    let set = program
        .feed(&["credential", "set", "new"], &secret(0))
        .expect(2);
    assert!(set.stderr.contains(&key_id), "{set:?}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = program.run(&["run", &file]).expect(2);
    assert!(exposed.stderr.contains("chmod 600"), "{exposed:?}");
    std::fs::write(&key, "not a key").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let faulty = program.run(&["run", &file]).expect(2);
    assert!(!faulty.stderr.contains("not a key"), "{faulty:?}");
    let doctor = program.run(&["doctor", "--json"]).expect(3).json();
    let checks = doctor["checks"].as_array().unwrap();
    assert!(
        checks
            .iter()
            .any(|check| check["name"] == "vault" && check["ok"] == false)
    );
    // Named elsewhere, the right one opens.
    let elsewhere = [("ETL_MASTER_KEY_FILE", away.to_str().unwrap())];
    program.run_with(&["run", &file], &elsewhere).expect(0);
    std::fs::rename(&away, &key).unwrap();
    program.assert_all_open(2);
    // What has no key any more can be removed, and stored anew.
    std::fs::remove_file(&key).unwrap();
    for name in ["c0", "c1"] {
        program.run(&["credential", "remove", name]).expect(0);
    }
    program.run(&["run", &file]).expect(0);
    program.set("c0", &secret(0));
    program.assert_all_open(1);
}

#[test]
fn a_passphrase_serves_in_place_of_a_file() {
    let program = Program::new();
    let words = [("ETL_MASTER_PASSPHRASE", "correct horse battery")];
    let file = program.file("s", secret(0));
    program
        .run_with(&["credential", "set", "c0", "--file", &file], &words)
        .expect(0);
    assert!(!program.path(".etl/master.key").exists());
    let uses = program.pipeline(&pipeline(&names(1)));
    let outcome = program
        .run_with(&["run", &uses, "--json"], &words)
        .expect(0)
        .json();
    assert_hashes(&outcome, 1);
    program.run(&["run", &uses]).expect(2);
    // To a file.
    let old = [("ETL_MASTER_PASSPHRASE_OLD", "correct horse battery")];
    let moved = program
        .run_with(&["keys", "rotate", "--json"], &old)
        .expect(0)
        .json();
    assert_eq!(
        (&moved["resealed"], &moved["verified"]),
        (&json!(1), &json!(1))
    );
    program.assert_all_open(1);
    let short = program
        .run_with(&["run", &uses], &[("ETL_MASTER_PASSPHRASE", "hunter2")])
        .expect(2);
    assert!(!short.stderr.contains("hunter2"), "{short:?}");
}

#[test]
fn a_rotation_says_what_it_did_and_drops_keys_when_asked() {
    let program = Program::with_credentials(3);
    let staged = program
        .run(&["keys", "rotate", "--stage", "--json"])
        .expect(0)
        .json();
    let first = program.run(&["keys", "rotate", "--json"]).expect(0).json();
    assert_eq!(first["key_id"], staged["staged"]);
    assert_eq!(
        (&first["resealed"], &first["verified"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(
        (&first["resumed"], first["kept"].as_array().unwrap().len()),
        (&json!(false), 1)
    );
    assert_eq!(program.roles(), ["current", "old"]);
    program.assert_all_open(3);
    let second = program.run(&["keys", "rotate", "--drop-old"]).expect(0);
    assert!(second.stdout.contains("dropped: "), "{second:?}");
    assert_eq!(program.roles(), ["current"]);
    program.assert_all_open(3);
}

#[test]
fn a_credential_that_a_step_would_not_get_is_told_when_its_pipeline_comes_in() {
    let program = Program::new();
    std::fs::create_dir(program.path("pipelines")).unwrap();
    let text = pipeline(&names(1));
    let file = program.file("pipelines/uses.yaml", &text);
    let asks = "credential: ";
    let line = text.lines().position(|line| line.contains(asks)).unwrap();
    let column = text.lines().nth(line).unwrap().find(asks).unwrap() + asks.len();
    let (line, column) = (line + 1, column + 1);
    let place = format!("uses.yaml:{line}:{column}");
    let missing = "there is no credential default/c0, without which step \"c0\" fails";
    for command in [
        &["apply", "pipelines"][..],
        &["apply", "pipelines", "--dry-run"],
        &["submit", &file],
    ] {
        let told = program.run(command).expect(0).stderr;
        assert!(told.contains(&place) && told.contains(missing), "{told}");
    }
    let told = program.run(&["submit", "uses"]).expect(0).stderr;
    assert!(told.contains(missing), "{told}");
    let run = program.run(&["run", &file]).expect(1).stderr;
    assert!(run.contains(&place) && run.contains(missing), "{run}");
    program.set("c0", &secret(0));
    for command in [&["apply", "pipelines"][..], &["submit", &file]] {
        let told = program.run(command).expect(0).stderr;
        assert!(!told.contains("credential"), "{told}");
    }
}

#[tokio::test]
async fn a_damaged_credential_is_named_and_the_others_get_the_new_key() {
    let program = Program::with_credentials(3);
    let damage =
        "UPDATE credentials SET encrypted_data = zeroblob(100) WHERE name = 'c1' RETURNING name";
    program.query(".etl/etl.db", damage).await;
    let rotation = program.run(&["keys", "rotate", "--drop-old", "--json"]);
    let rotation = rotation.expect(1);
    assert!(
        rotation.stderr.contains("default/c1") && rotation.stderr.contains("credential set"),
        "{rotation:?}"
    );
    let told = rotation.json();
    assert_eq!(
        (&told["verified"], &told["damaged"]),
        (&json!(2), &json!(["default/c1"]))
    );
    assert_eq!(program.roles(), ["current", "old"]);
    program.set("c1", &secret(1));
    program.run(&["keys", "rotate", "--drop-old"]).expect(0);
    assert_eq!(program.roles(), ["current"]);
    program.assert_all_open(3);
}

#[test]
fn a_rotation_that_can_not_go_on_by_itself_does_not_say_so() {
    let program = Program::with_credentials(1);
    program.file(".etl/master.key", "nonsense");
    let refused = program.run(&["keys", "rotate"]).expect(2);
    assert!(
        refused.stderr.contains("32 raw bytes") && !refused.stderr.contains("goes on"),
        "{refused:?}"
    );
}

/// A deployment runs jobs that use every credential, while rotations are killed at ten moments of their way. No job may fail, and
/// at the end every credential opens with one key.
#[test]
fn a_rotation_killed_at_ten_moments_loses_no_credential_while_jobs_use_them() {
    const MANY: usize = 20;
    const MORE: usize = 40;
    let program = Program::with_credentials(MANY);
    // More of them, so that a rotation takes its time.
    for at in MANY..MANY + MORE {
        program.set(&format!("c{at}"), &secret(at));
    }
    let file = program.pipeline(&pipeline(&names(MANY)));
    let began = std::time::Instant::now();
    program.run(&["keys", "rotate"]).expect(0);
    let whole = began.elapsed();

    let mut server = program.spawn(&["serve", "--database-url", "sqlite://.etl/etl.db"]);
    server.wait_for_line("serving");
    let mut jobs = Vec::new();
    let (mut killed, mut begun) = (0, 0);
    for moment in 1..=10 {
        let submitted = program.run(&["submit", &file]).expect(0);
        jobs.push(submitted.stdout.trim().to_owned());
        let mut rotation = program.spawn(&["keys", "rotate", "--drop-old"]);
        std::thread::sleep(whole * moment / 11);
        rotation.kill();
        killed += 1;
        begun += usize::from(program.roles().iter().any(|role| role == "retiring"));
        // Somebody stores one in between.
        program.set(&format!("c{moment}"), &secret(moment as usize));
    }
    assert_eq!(killed, 10);
    assert!(begun > 0, "no rotation was killed on its way: {whole:?}");
    let submitted = program
        .run(&["submit", &file, "--wait", "--json"])
        .expect(0)
        .json();
    assert_hashes(&submitted, MANY);
    for job in &jobs {
        program::wait_until("the job ends", || {
            let job = program.run(&["job", job, "--json"]).json();
            !["pending", "queued", "running"].contains(&job["status"].as_str().unwrap())
        });
        let job = program.run(&["job", job, "--json"]).json();
        assert_eq!(job["status"], "success", "{job}");
    }
    server.terminate();
    server.finish().expect(0);

    let ended = program
        .run(&["keys", "rotate", "--drop-old", "--json"])
        .expect(0)
        .json();
    assert_eq!(ended["verified"], MANY + MORE);
    assert_eq!(program.roles(), ["current"]);
    let list = program.run(&["credential", "list", "--json"]).json();
    let items = list["items"].as_array().unwrap();
    assert!(
        items.iter().all(|item| item["key_id"] == ended["key_id"]),
        "{list}"
    );
    program.assert_all_open(MANY + MORE);
}
