//! What a kill -9 of the program at any moment costs: nothing that succeeded runs again, and no row is there twice.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::collections::BTreeMap;

use program::{Program, Running, lines, wait_until};
use serde_json::{Value, json};

/// Rows of the source. Each is in the sink exactly once at the end.
const ROWS: usize = 20_000;

/// A pipeline whose steps leave a mark each time they run, with a copy into a table in between.
struct Crash {
    program: Program,
    file: String,
}

impl Crash {
    fn new() -> Self {
        let program = Program::new();
        let rows: String = (0..ROWS).map(|row| format!("{row},name {row}\n")).collect();
        program.file("in.csv", format!("id,name\n{rows}"));
        let mark = |name: &str| format!("argv: [sh, -c, \"echo {name} >> marks\"]");
        let file = program.pipeline(&format!(
            "name: crash
steps:
  - {{ name: first, connector_type: command, config: {{ {} }} }}
  - {{ name: aside, connector_type: command, config: {{ {} }} }}
  - name: load
    connector_type: copy
    dependencies: [first]
    config:
      source: {{ type: csv, url: in.csv }}
      sink: {{ type: sqlite, url: \"sqlite:sink.db\", table: rows, mode: append }}
  - {{ name: each, connector_type: command, dependencies: [load], for_each: [x, y, z], config: {{ {} }} }}
  - {{ name: pause, connector_type: sleep, dependencies: [each], config: {{ seconds: 0.05 }} }}
  - {{ name: last, connector_type: command, dependencies: [pause, aside], config: {{ {} }} }}
",
            mark("first"),
            mark("aside"),
            mark("{{ item }}"),
            mark("last"),
        ));
        Self { program, file }
    }

    fn run(&self) -> Running {
        self.program.spawn(&["run", &self.file])
    }

    fn marks(&self) -> BTreeMap<String, usize> {
        let mut marks = BTreeMap::new();
        for mark in lines(&self.program.path("marks")) {
            *marks.entry(mark).or_default() += 1;
        }
        marks
    }

    /// The marks of the steps that succeeded by now: these must not change any more.
    fn settled(&self, id: &str) -> Vec<(String, usize)> {
        let job = self.program.run(&["job", id, "--json"]).expect(0).json();
        let marks = self.marks();
        let succeeded = job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["status"] == "success");
        let names = succeeded.map(|step| match step["item_index"].as_u64() {
            Some(item) => ["x", "y", "z"][item as usize].to_owned(),
            None => step["name"].as_str().unwrap().to_owned(),
        });
        names
            .filter_map(|name| Some((name.clone(), *marks.get(&name)?)))
            .collect()
    }

    /// Goes on with the job to its end, and looks at what came of it all.
    async fn finish(&self, id: &str, settled: &[(String, usize)]) {
        let retried = self.program.run(&["retry", id, "--json"]).expect(0);
        let document = retried.json();
        assert_eq!(
            (&document["job_id"], &document["status"]),
            (&json!(id), &json!("success")),
            "{retried:?}"
        );
        let marks = self.marks();
        for (name, count) in settled {
            assert_eq!(
                marks.get(name),
                Some(count),
                "{name} had succeeded and ran again"
            );
        }
        for name in ["first", "aside", "x", "y", "z", "last"] {
            assert!(marks.contains_key(name), "{name} in {marks:?}");
        }
        let sums = self
            .program
            .query("sink.db", "SELECT count(*), count(DISTINCT id) FROM rows")
            .await;
        assert_eq!(sums, [[ROWS.to_string(), ROWS.to_string()]]);
        let integrity = self
            .program
            .query(".etl/etl.db", "PRAGMA integrity_check")
            .await;
        assert_eq!(integrity, [["ok"]]);
    }
}

#[tokio::test]
async fn a_run_that_is_killed_at_any_of_its_lines_goes_on_and_repeats_nothing() {
    // The moments are the lines that it says: job, then each step as it starts and ends.
    for line in [1, 2, 3, 4, 5, 6, 8, 11, 14, 17] {
        let crash = Crash::new();
        let mut run = crash.run();
        run.wait_for_lines(line);
        run.kill();
        let id = crash.program.last_id();
        let settled = crash.settled(&id);
        crash.finish(&id, &settled).await;
    }
}

#[tokio::test]
async fn a_run_that_is_killed_while_rows_go_into_the_sink_puts_none_there_twice() {
    for size in [1, 100_000, 400_000] {
        let crash = Crash::new();
        let mut run = crash.run();
        let sink =
            ["sink.db", "sink.db-wal", "sink.db-journal"].map(|name| crash.program.path(name));
        wait_until("the sink grows", || {
            let written: u64 = sink
                .iter()
                .filter_map(|file| Some(file.metadata().ok()?.len()))
                .sum();
            written >= size
        });
        run.kill();
        let id = crash.program.last_id();
        let settled = crash.settled(&id);
        crash.finish(&id, &settled).await;
    }
}

#[tokio::test]
async fn a_retry_that_is_killed_is_gone_on_with_by_another_one() {
    for (first, second) in [
        ("load: running", 1),
        ("first: success", 2),
        ("load: success", 3),
        ("aside: running", 5),
    ] {
        let crash = Crash::new();
        let mut run = crash.run();
        run.wait_for_line(first).kill();
        let id = crash.program.last_id();
        let mut settled = crash.settled(&id);
        let mut retry = crash.program.spawn(&["retry", &id]);
        retry.wait_for_lines(second);
        retry.kill();
        for (name, count) in &settled {
            assert_eq!(crash.marks().get(name), Some(count), "{name}");
        }
        settled.extend(crash.settled(&id));
        crash.finish(&id, &settled).await;
    }
}

#[test]
fn the_next_run_says_that_an_older_job_is_there_and_leaves_it_alone() {
    let program = Program::new();
    let file = program.pipeline(
        "name: long\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 600 } }]\n",
    );
    program
        .spawn(&["run", &file])
        .wait_for_line("a: running")
        .kill();
    let before = program.last_job();
    let other = program.pipeline(
        "name: other\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n",
    );
    for arguments in [&["run", &other][..], &["run", &other, "--json"]] {
        let run = program.run(arguments).expect(0);
        let id = before["id"].as_str().unwrap();
        assert!(
            run.stderr.contains("1 earlier job did not reach")
                && run.stderr.contains(&format!("etl retry {id}")),
            "{run:?}"
        );
    }
    let after = program
        .run(&["jobs", "--pipeline", "long", "--json"])
        .json()["items"][0]
        .clone();
    for key in [
        "id",
        "status",
        "worker_id",
        "fence",
        "started_at",
        "completed_at",
    ] {
        assert_eq!(after[key], before[key], "{key}");
    }
}

#[test]
fn a_job_that_was_interrupted_and_then_cancelled_ends_with_the_next_retry() {
    let program = Program::new();
    let file = program.pipeline(
        "name: long\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 600 } }]\n",
    );
    program
        .spawn(&["run", &file])
        .wait_for_line("a: running")
        .kill();
    let id = program.last_id();
    let asked = program.run(&["cancel", &id]).expect(0);
    assert!(
        asked.stdout.contains(&format!("etl retry {id}")),
        "{asked:?}"
    );
    let ended = program.run(&["retry", &id, "--json"]).expect(130).json();
    assert_eq!(ended["status"], json!("cancelled"));
}

#[test]
fn a_job_that_interrupted_ones_leave_no_place_for_is_refused_instead_of_waiting_for_ever() {
    let program = Program::new();
    let go = program.path("go");
    let file = program.pipeline(&format!(
        "name: alone\nconcurrency: {{ limit: 1 }}\nsteps: [{{ name: a, connector_type: command, config: {{ argv: [sh, -c, \"test -e {} || sleep 600\"] }} }}]\n",
        go.display()
    ));
    program
        .spawn(&["run", &file])
        .wait_for_line("a: running")
        .kill();
    let id = program.last_id();
    let refused = program.run(&["run", &file]).expect(2);
    assert!(
        refused.stderr.contains("no more than 1 may run")
            && refused.stderr.contains(&format!("etl retry {id}")),
        "{refused:?}"
    );
    // One of the same name elsewhere has a limit of its own.
    std::fs::write(go, "").unwrap();
    let namesake = std::fs::read_to_string(&file).unwrap() + "namespace: elsewhere\n";
    program
        .run(&["run", &program.file("namesake.yaml", namesake)])
        .expect(0);
    program.run(&["retry", &id]).expect(0);
    program.run(&["run", &file]).expect(0);
}

#[test]
fn a_step_that_kills_its_process_each_time_ends_as_failed() {
    let program = Program::new();
    let file = program.pipeline(
        "name: killer\nsteps: [{ name: a, connector_type: command, config: { argv: [sh, -c, \"kill -9 $(ps -o ppid= -p $$)\"] } }]\n",
    );
    program.run(&["run", &file]).expect(-1);
    let id = program.last_id();
    let mut ends = Vec::new();
    while ends.last() != Some(&1) && ends.len() < 10 {
        ends.push(program.run(&["retry", &id]).status);
    }
    assert_eq!(ends, [-1, -1, -1, 1]);
    let job = program.run(&["job", &id, "--json"]).json();
    assert_eq!(job["status"], json!("failed"));
    assert_ne!(job["error_message"], Value::Null);
}
