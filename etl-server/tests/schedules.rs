//! Folders of pipelines that are applied, schedules that are looked at and paused, and stretches that are made up for.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::fs;

use program::Program;
use program::server::Server;
use serde_json::Value;

fn daily(name: &str, more: &str) -> String {
    format!(
        "name: {name}\nschedule: \"0 6 * * *\"\ntimezone: America/Sao_Paulo\n{more}\nsteps:\n  - name: a\n    connector_type: sleep\n    config: {{ seconds: 0 }}\n"
    )
}

/// A program with a folder of pipelines, by file name.
fn with_folder(files: &[(&str, String)]) -> Program {
    let program = Program::new();
    fs::create_dir_all(program.path("pipelines/below")).unwrap();
    fs::create_dir_all(program.path("pipelines/calendars")).unwrap();
    for (name, text) in files {
        program.file(&format!("pipelines/{name}"), text);
    }
    program
}

fn actions(document: &Value) -> Vec<(String, String, u64)> {
    let changes = document["changes"].as_array().unwrap();
    let told = changes.iter().map(|change| {
        let text = |key: &str| change[key].as_str().unwrap().to_owned();
        (
            text("action"),
            text("name"),
            change["version"].as_u64().unwrap(),
        )
    });
    told.collect()
}

fn is(told: &[(String, String, u64)], expected: &[(&str, &str, u64)]) -> bool {
    let told = told.iter().map(|(a, n, v)| (a.as_str(), n.as_str(), *v));
    told.eq(expected.iter().copied())
}

#[test]
fn a_folder_is_applied_and_only_what_has_to_change_does() {
    let program = with_folder(&[
        ("one.yaml", daily("one", "")),
        ("below/two.yml", daily("two", "namespace: team")),
        ("notes.txt", "no pipeline".into()),
        (".hidden.yaml", "neither".into()),
    ]);
    let apply = |more: &[&str]| {
        let arguments = [&["apply", "pipelines", "--json"], more].concat();
        program.run(&arguments).expect(0).json()
    };
    let wanted = apply(&["--dry-run"]);
    assert!(wanted["dry_run"].as_bool().unwrap());
    let created = [("created", "one", 1), ("created", "two", 1)];
    assert!(is(&actions(&wanted), &created), "{wanted}");
    assert!(!program.path(".etl").exists());

    let done = apply(&[]);
    assert!(is(&actions(&done), &created), "{done}");
    assert!(done["changes"][0]["next_fire_at"].is_string());
    let listed = program.run(&["schedules", "--json"]).expect(0).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let same = apply(&[]);
    assert!(is(
        &actions(&same),
        &[("unchanged", "one", 1), ("unchanged", "two", 1)]
    ));

    program.file("pipelines/one.yaml", daily("one", "description: changed"));
    fs::remove_file(program.path("pipelines/below/two.yml")).unwrap();
    let kept = [("changed", "one", 2), ("kept", "two", 1)];
    assert!(is(&actions(&apply(&["--dry-run"])), &kept));
    assert!(is(&actions(&apply(&[])), &kept));
    let pruned = [("unchanged", "one", 2), ("removed", "two", 1)];
    assert!(is(&actions(&apply(&["--prune", "--dry-run"])), &pruned));
    assert!(is(&actions(&apply(&["--prune"])), &pruned));
    let listed = program.run(&["schedules", "--json"]).expect(0).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["name"], "one");

    let told = program.run(&["apply", "pipelines"]).expect(0).stdout;
    assert!(
        told.contains("same    one (version 2)") && told.contains("0 changes made"),
        "{told}"
    );
}

#[test]
fn a_preview_says_when_jobs_of_a_spread_schedule_start() {
    let program = with_folder(&[("spread.yaml", daily("spread", "start_jitter_seconds: 600"))]);
    program.run(&["apply", "pipelines"]).expect(0);
    let shown = program.run(&["schedules", "spread", "--next", "3", "--json"]);
    let shown = shown.expect(0).json();
    assert_eq!(shown["start_jitter_seconds"], 600);
    assert_eq!(shown["next_fire_at"], shown["preview"][0]["fire_at"]);
    assert_eq!(shown["next_start_at"], shown["preview"][0]["start_at"]);
    for planned in shown["preview"].as_array().unwrap() {
        let [fire, start] = ["fire_at", "start_at"].map(|key| {
            let at = planned[key].as_str().unwrap();
            chrono::DateTime::parse_from_rfc3339(at).unwrap()
        });
        let after = (start - fire).num_milliseconds();
        assert!((0..600_000).contains(&after), "{planned}");
    }
    let told = program
        .run(&["schedules", "spread", "--next", "1"])
        .expect(0);
    assert!(
        told.stdout.contains("its job starts at 0"),
        "{}",
        told.stdout
    );
    // An hour is the most there is.
    program.file("long.yaml", daily("long", "start_jitter_seconds: 3601"));
    let refused = program.run(&["validate", "long.yaml"]).expect(2);
    assert!(
        refused
            .stderr
            .contains("long.yaml:4:23: the most is 3600, this is 3601"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_fault_in_one_file_changes_nothing_and_every_fault_is_told() {
    let program = with_folder(&[
        ("good.yaml", daily("good", "")),
        ("bad.yaml", "name: bad\nscheduel: x\nsteps: []\n".into()),
        (
            "worse.yaml",
            daily("worse", "calendar: { name: b33, rule: skip }"),
        ),
        ("twice.yaml", daily("good", "")),
    ]);
    let finished = program.run(&["apply", "pipelines", "--json"]).expect(2);
    let document = finished.json();
    assert_eq!(document["valid"], false);
    let errors = document["errors"].as_array().unwrap();
    let has = |file: &str, part: &str| {
        errors.iter().any(|error| {
            error["file"].as_str().unwrap().ends_with(file)
                && error["message"].as_str().unwrap().contains(part)
        })
    };
    assert!(has("bad.yaml", "unknown key \"scheduel\""), "{document}");
    assert!(has("bad.yaml", "step"), "{document}");
    assert!(
        has("worse.yaml", "there is no business calendar \"b33\""),
        "{document}"
    );
    assert!(has("twice.yaml", "pipeline \"good\" is in"), "{document}");
    assert!(!program.path(".etl/etl.db").exists());
    program.run(&["apply", "nowhere"]).expect(2);
}

#[test]
fn a_preview_says_when_a_schedule_fires_and_why_a_day_is_left_out() {
    let program = with_folder(&[
        ("skip.yaml", daily("skip", "calendar: { name: b3, rule: skip }")),
        ("roll.yaml", daily("roll", "calendar: { name: b3, rule: roll_forward }")),
        (
            "fifth.yaml",
            "name: fifth\ntimezone: America/Sao_Paulo\ncalendar: { name: b3, nth_business_day: 5, at: '06:00' }\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n".into(),
        ),
    ]);
    program.run(&["apply", "pipelines"]).expect(0);
    let preview = |name: &str, next: &str| {
        let shown = program.run(&["schedules", name, "--next", next, "--json"]);
        shown.expect(0).json()["preview"]
            .as_array()
            .unwrap()
            .clone()
    };
    let fires = |preview: &[Value]| {
        let mut fires: Vec<_> = preview
            .iter()
            .filter_map(|day| day["fire_at"].as_str().map(str::to_owned))
            .collect();
        fires.dedup();
        fires
    };
    // Twenty business days are four weeks and more: there are Saturdays in it.
    let skip = preview("skip", "20");
    assert_eq!(fires(&skip).len(), 20);
    let saturday = skip
        .iter()
        .find(|day| day["note"].as_str().unwrap().ends_with("Saturday"));
    let saturday = saturday.unwrap();
    assert_eq!(
        (saturday["fate"].as_str(), saturday["fire_at"].as_str()),
        (Some("skipped"), None)
    );
    assert!(
        fires(&skip)
            .iter()
            .all(|fire| fire.ends_with("T09:00:00.000000Z"))
    );

    let roll = preview("roll", "20");
    assert_eq!(fires(&roll), fires(&skip));
    assert!(roll.iter().any(|day| day["fate"] == "moved"));

    let fifth = preview("fifth", "12");
    assert_eq!(fires(&fifth).len(), 12);

    let text = program
        .run(&["schedules", "skip", "--next", "20"])
        .expect(0)
        .stdout;
    assert!(text.contains("is left out: Saturday"), "{text}");
    assert!(
        text.contains("0 6 * * * by b3 (skip), America/Sao_Paulo, active"),
        "{text}"
    );
    let table = program.run(&["schedules"]).expect(0).stdout;
    assert!(table.contains("business day 5 at 06:00 by b3"), "{table}");
    program.run(&["schedules", "nobody"]).expect(2);
}

#[test]
fn a_schedule_is_paused_and_resumed() {
    let program = with_folder(&[("one.yaml", daily("one", ""))]);
    program.run(&["apply", "pipelines"]).expect(0);
    let paused = program
        .run(&["schedules", "one", "--pause", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&paused["is_paused"], &paused["next_fire_at"]),
        (&true.into(), &Value::Null)
    );
    let table = program.run(&["schedules"]).expect(0).stdout;
    assert!(table.contains("paused"), "{table}");
    let resumed = program
        .run(&["schedules", "one", "--resume", "--json"])
        .expect(0)
        .json();
    assert_eq!(resumed["is_paused"], false);
    assert!(resumed["next_fire_at"].is_string());
}

#[test]
fn a_calendar_of_ones_own_goes_along_with_its_pipelines() {
    let files = [(
        "one.yaml",
        daily("one", "calendar: { name: ours, rule: skip }"),
    )];
    let program = with_folder(&files);
    let missing = program.run(&["apply", "pipelines"]).expect(2);
    assert!(missing.stderr.contains("calendars/ours.txt"), "{missing:?}");

    program.file(
        "pipelines/calendars/ours.txt",
        "2020-01-02 Inventory\n2020-01-32 no\n",
    );
    let faulty = program.run(&["apply", "pipelines"]).expect(2);
    assert!(
        faulty
            .stderr
            .contains("ours.txt:2:1: \"2020-01-32\" is no date"),
        "{faulty:?}"
    );

    program.file("pipelines/calendars/ours.txt", "2020-01-02 Inventory\n");
    program.run(&["validate", "pipelines/one.yaml"]).expect(0);
    program.run(&["apply", "pipelines"]).expect(0);
    let listed = program.run(&["schedules", "--json"]).expect(0).json();
    assert_eq!(listed["items"][0]["calendar"]["holidays"][0], "2020-01-02");
    let jobs = program.run(&[
        "backfill",
        "one",
        "--from",
        "2020-01-01",
        "--to",
        "2020-01-05",
        "--dry-run",
        "--json",
    ]);
    let jobs = jobs.expect(0).json();
    // Without the 2nd and the weekend of the 4th and 5th.
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2);

    // Another day is another version.
    program.file(
        "pipelines/calendars/ours.txt",
        "2020-01-02 Inventory\n2020-01-03 More\n",
    );
    let told = program.run(&["apply", "pipelines"]).expect(0).stdout;
    assert!(told.contains("change  one (version 2)"), "{told}");
}

#[test]
fn a_backfill_makes_a_job_for_every_fire_and_runs_it_once() {
    let program = with_folder(&[("one.yaml", daily("one", ""))]);
    program.run(&["apply", "pipelines"]).expect(0);
    let backfill = |from: &str, to: &str, more: &[&str]| {
        let arguments = ["backfill", "one", "--from", from, "--to", to, "--json"];
        program.run(&[&arguments, more].concat())
    };
    let planned = backfill("2024-02-28", "2024-03-01", &["--dry-run"])
        .expect(0)
        .json();
    assert_eq!(planned["jobs"].as_array().unwrap().len(), 3);
    assert_eq!(
        program.run(&["jobs", "--json"]).json()["items"],
        Value::Array(vec![])
    );

    // Both ends are instants of fires here, and both count.
    let done = backfill(
        "2024-02-28T06:00",
        "2024-03-01T09:00:00Z",
        &["--max-active", "1"],
    );
    let done = done.expect(0).json();
    let jobs = done["jobs"].as_array().unwrap();
    let scheduled: Vec<_> = jobs
        .iter()
        .map(|job| job["scheduled_for"].as_str().unwrap())
        .collect();
    assert_eq!(
        scheduled,
        [
            "2024-02-28T09:00:00.000000Z",
            "2024-02-29T09:00:00.000000Z",
            "2024-03-01T09:00:00.000000Z"
        ]
    );
    assert!(
        jobs.iter()
            .all(|job| job["status"] == "success" && job["is_new"] == true)
    );
    let job = program.last_job();
    assert_eq!(
        (&job["trigger_type"], &job["triggered_by"]),
        (&"backfill".into(), &"cli".into())
    );

    let again = backfill("2024-02-28", "2024-03-02", &[]).expect(0).json();
    let is_new: Vec<_> = again["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["is_new"] == true)
        .collect();
    assert_eq!(is_new, [false, false, false, true]);

    backfill("2024-03-02", "2024-03-01", &[]).expect(2);
    backfill("yesterday", "2024-03-01", &[]).expect(2);
    backfill("2024-02-28", "2024-03-01", &["--max-active", "0"]).expect(2);
    program
        .run(&[
            "backfill",
            "nobody",
            "--from",
            "2024-01-01",
            "--to",
            "2024-01-02",
        ])
        .expect(2);
}

#[test]
fn a_backfill_that_was_killed_goes_on_where_it_was() {
    let gate = "steps:\n  - name: a\n    connector_type: command\n    config:\n      argv: [sh, -c, 'echo {{ job.scheduled_for }} >> ran; while [ ! -e open ]; do sleep 0.05; done']\n";
    let program = Program::new();
    fs::create_dir(program.path("pipelines")).unwrap();
    let folder = program.path("").display().to_string();
    let text = format!("name: gated\nschedule: '@daily'\n{gate}      cwd: {folder}\n");
    program.file("pipelines/gated.yaml", text);
    program.run(&["apply", "pipelines"]).expect(0);
    let arguments = [
        "backfill",
        "gated",
        "--from",
        "2024-01-01",
        "--to",
        "2024-01-06",
        "--max-active",
        "2",
    ];
    let mut running = program.spawn(&arguments);
    let ran = program.path("ran");
    program::wait_until("two jobs run", || program::lines(&ran).len() == 2);
    running.kill();
    assert_eq!(program::lines(&ran).len(), 2, "no more than two at once");

    program.file("open", "");
    let finished = program
        .run(&[&arguments[..], &["--json"]].concat())
        .expect(0);
    let document = finished.json();
    let jobs = document["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 6);
    assert!(
        jobs.iter()
            .all(|job| job["is_new"] == false && job["status"] == "success")
    );
    let all = program.run(&["jobs", "--json"]).expect(0).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 6);
}

#[test]
fn a_detached_backfill_leaves_its_jobs_to_others() {
    let program = with_folder(&[("one.yaml", daily("one", ""))]);
    program.run(&["apply", "pipelines"]).expect(0);
    let arguments = [
        "backfill",
        "one",
        "--from",
        "2024-01-01",
        "--to",
        "2024-01-03",
        "--detach",
    ];
    program.run(&arguments).expect(0);
    let jobs = program.run(&["jobs", "--json"]).expect(0).json();
    let statuses: Vec<_> = jobs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["status"])
        .collect();
    assert_eq!(statuses, ["pending", "pending", "pending"]);
}

/// A server has the file, and whoever manages it works beside.
#[test]
fn a_database_is_managed_beside_its_server() {
    let program = with_folder(&[
        ("one.yaml", daily("one", "")),
        ("two.yaml", daily("two", "")),
    ]);
    program.run(&["migrate"]).expect(0);
    let _server = Server::start(&program, &[], &[]).wait_until_up();

    let applied = program.run(&["apply", "pipelines", "--json"]).expect(0);
    assert!(is(
        &actions(&applied.json()),
        &[("created", "one", 1), ("created", "two", 1)]
    ));
    fs::remove_file(program.path("pipelines/two.yaml")).unwrap();
    let pruned = program.run(&["apply", "pipelines", "--prune", "--json"]);
    assert!(is(
        &actions(&pruned.expect(0).json()),
        &[("unchanged", "one", 1), ("removed", "two", 1)]
    ));
    for (option, is_paused) in [("--pause", true), ("--resume", false)] {
        let schedule = program.run(&["schedules", "one", option, "--json"]);
        assert_eq!(schedule.expect(0).json()["is_paused"], is_paused);
    }
    let secret = program.file("secret.json", r#"{"password":"canary-77"}"#);
    program
        .run(&["credential", "set", "warehouse", "--file", &secret])
        .expect(0);
    program.run(&["keys", "rotate"]).expect(0);
    program
        .run(&["credential", "remove", "warehouse"])
        .expect(0);

    // The server runs what is made here.
    let stretch = ["--from", "2024-01-01", "--to", "2024-01-03"];
    let made = program
        .run(&[&["backfill", "one"][..], &stretch, &["--json"]].concat())
        .expect(0);
    assert_eq!(made.json()["jobs"].as_array().unwrap().len(), 3);
    let succeeded = || {
        let jobs = program.run(&["jobs", "--status", "success", "--json"]);
        jobs.json()["items"].as_array().unwrap().len()
    };
    program::wait_until("the server ran them", || succeeded() == 3);
    let last = program.last_id();
    let again = program.run(&["retry", &last, "--json"]).expect(0).json();
    assert_eq!(again["status"], "success");
    assert_ne!(again["job_id"], last);

    // What runs in this process needs the file for itself.
    let refused = program.run(&["run", "pipelines/one.yaml"]).expect(3);
    assert!(refused.stderr.contains("etl submit"), "{refused:?}");
}

#[test]
fn a_backfill_that_finds_no_place_for_its_jobs_makes_none() {
    let go = "steps: [{ name: a, connector_type: command, config: { argv: [sh, -c, 'sleep {{ params.n }}'] } }]";
    let program = with_folder(&[]);
    let file = program.pipeline(&format!(
        "name: alone\nschedule: '@daily'\nconcurrency: {{ limit: 1 }}\nparameters: {{ properties: {{ n: {{ default: 0 }} }} }}\n{go}\n"
    ));
    program
        .spawn(&["run", &file, "-p", "n=600"])
        .wait_for_line("a: running")
        .kill();
    let interrupted = program.last_id();
    let backfill = [
        "backfill",
        "alone",
        "--from",
        "2024-01-01",
        "--to",
        "2024-01-03",
    ];
    let refused = program.run(&backfill).expect(2);
    assert!(refused.stderr.contains(&interrupted), "{refused:?}");
    assert_eq!(program.last_id(), interrupted, "no job was made");
}
