//! Where settings come from, and that a setting is never passed over in silence.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use program::bucket::Bucket;
use program::server::Server;
use program::{Finished, Program};

fn program() -> (Program, String) {
    let program = Program::new();
    let file = program
        .pipeline("name: p\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n");
    (program, file)
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default() {
    let (program, file) = program();
    program.run(&["run", &file]).expect(0);
    assert!(program.path(".etl/etl.db").exists() && program.path(".etl/data").exists());
    program.file(
        "etl.toml",
        "database_url = \"sqlite://file.db\"\nstorage_url = \"file://file-data\"\n",
    );
    program.run(&["run", &file]).expect(0);
    assert!(program.path("file.db").exists() && program.path("file-data").exists());
    let environment = [
        ("ETL_DATABASE_URL", "sqlite:env.db"),
        ("ETL_STORAGE_URL", "file:env-data"),
    ];
    program.run_with(&["run", &file], &environment).expect(0);
    assert!(program.path("env.db").exists() && program.path("env-data").exists());
    let flags = [
        "run",
        &file,
        "--database-url",
        "sqlite://flag.db",
        "--storage-url",
        "file://flag-data",
    ];
    let unused = [
        ("ETL_DATABASE_URL", "sqlite://unused.db"),
        ("ETL_STORAGE_URL", "file://unused-data"),
    ];
    program.run_with(&flags, &unused).expect(0);
    assert!(program.path("flag.db").exists() && program.path("flag-data").exists());
    assert!(!program.path("unused.db").exists() && !program.path("unused-data").exists());
    // An empty variable is one that is not set.
    program
        .run_with(
            &["jobs"],
            &[("ETL_DATABASE_URL", ""), ("ETL_LOG_FORMAT", "")],
        )
        .expect(0);
}

#[test]
fn the_defaults_may_be_written_out() {
    let (program, file) = program();
    program.file(
        "etl.toml",
        "database_url = \"sqlite://.etl/etl.db\"\nqueue_url = \"store:\"\nevents_url = \"memory:\"\nstorage_url = \"file://.etl/data\"\nbind = \"127.0.0.1:8000\"\nmaster_key_file = \".etl/master.key\"\nlog_format = \"json\"\n",
    );
    program.run(&["run", &file]).expect(0);
    let environment = [
        ("ETL_QUEUE_URL", "store:"),
        ("ETL_EVENTS_URL", "memory:"),
        ("ETL_BIND", "0.0.0.0:80"),
        ("ETL_LOG_FORMAT", "pretty"),
    ];
    program.run_with(&["run", &file], &environment).expect(0);
}

#[test]
fn what_can_not_be_used_is_an_error_that_names_the_key_and_no_value() {
    let (program, file) = program();
    let refused = |toml: &str, environment: &[(&str, &str)]| -> Finished {
        program.file("etl.toml", toml);
        let refused = program.run_with(&["run", &file], environment).expect(2);
        assert!(!refused.stderr.contains("hunter2"), "{refused:?}");
        refused
    };
    for (toml, said) in [
        (
            "databse_url = \"x\"",
            "unknown key \"databse_url\" in etl.toml",
        ),
        ("databse_url = \"x\"", "did you mean \"database_url\"?"),
        ("zzz = 1", "known keys: database_url, queue_url"),
        ("[database]\nurl = \"x\"", "unknown key \"database\""),
        (
            "database_url = 5",
            "database_url in etl.toml is not a string",
        ),
        (
            "database_url = \"postgres://me:hunter2@host/db\"",
            "database_url names a deployment's store",
        ),
        (
            "database_url = \"hunter2\"",
            "database_url is not of the form sqlite://PATH",
        ),
        (
            "database_url = \"sqlite://\"",
            "database_url is not of the form sqlite://PATH",
        ),
        (
            "database_url = \"postgres://me:hunter2@host",
            "etl.toml can't be read: TOML parse error at line 1",
        ),
        (
            "storage_url = \"s3://key:hunter2@bucket\"",
            "storage_url is not of the form file://PATH or s3://BUCKET/PREFIX",
        ),
        (
            "queue_url = \"kafka://me:hunter2@host\"",
            "queue_url: \"kafka:\" is not supported",
        ),
        (
            "events_url = \"nats://:hunter2@host\"",
            "events_url: \"nats:\" is not supported",
        ),
        (
            "events_url = \"redis://:hunter2@host:port\"",
            "events_url can't be used",
        ),
        (
            "events_url = \"rediss://:hunter2@host/#insecure\"",
            "the address can't be read",
        ),
        (
            "events_url = \"redis://:hunter2@host/0?protocol=hunter2\"",
            "a parameter that is not known",
        ),
        (
            "otlp_endpoint = \"http://host?token=hunter2\"",
            "sends no traces",
        ),
        (
            "log_format = \"xml\"",
            "log_format in etl.toml is not one of pretty, json",
        ),
        (
            "max_jobs = 0",
            "max_jobs in etl.toml is not a whole number from 1 to 65535",
        ),
        ("tags = 7", "a list, or a text"),
        ("trusted_proxies = \"10.0.0.0/99\"", "looks like 10.0.0.0/8"),
    ] {
        let refused = refused(toml, &[]);
        assert!(
            refused.stderr.contains(said),
            "{toml}: {said} in {refused:?}"
        );
    }
    for (variable, value, said) in [
        (
            "ETL_QUEUE_URL",
            "kafka://me:hunter2@host",
            "queue_url: \"kafka:\" is not supported",
        ),
        (
            "ETL_DATABASE_URL",
            "mysql://me:hunter2@host",
            "database_url: \"mysql:\" is not supported",
        ),
        ("ETL_LOG_FORMAT", "hunter2", "ETL_LOG_FORMAT is not one of"),
        (
            "ETL_MAX_JOBS",
            "hunter2",
            "ETL_MAX_JOBS is not a whole number from 1 to 65535",
        ),
        (
            "ETL_MAX_STEPS",
            "0",
            "ETL_MAX_STEPS is not a whole number from 1 to 65535",
        ),
        ("ETL_LOG_DAYS", "-1", "ETL_LOG_DAYS is not a whole number"),
    ] {
        let refused = refused("", &[(variable, value)]);
        assert!(refused.stderr.contains(said), "{variable}: {refused:?}");
    }
    assert!(!program.path(".etl").exists());
}

/// A tag of digits is a text: a worker takes the jobs of pipelines that have just this one.
#[test]
fn a_variable_is_a_number_only_where_its_key_is_one() {
    let program = Program::new();
    for tag in ["7", "007"] {
        let file = program.pipeline(&format!(
            "name: p{tag}\ntags: ['{tag}']\nsteps: [{{ name: a, connector_type: sleep, config: {{ seconds: 0 }} }}]\n"
        ));
        program.run(&["submit", &file]).expect(0);
    }
    let environment = [("ETL_TAGS", "007"), ("ETL_MAX_JOBS", " 1")];
    let _server = Server::start(&program, &[], &environment);
    let status = |pipeline: &str| {
        let jobs = program.run(&["jobs", "--pipeline", pipeline, "--json"]);
        jobs.json()["items"][0]["status"].clone()
    };
    program::wait_until("the job with the tag ran", || status("p007") == "success");
    assert_ne!(status("p7"), "success");
}

#[test]
fn artifacts_go_to_a_bucket_and_come_back() {
    let program = Program::new();
    program.file("in.csv", "id,name\n1,a\n2,b\n");
    let file = program.pipeline(
        "name: bucket
steps:
  - { name: copied, connector_type: copy, config: { source: { type: csv, url: in.csv }, sink: { type: parquet, url: \"artifact://out.parquet\" } } }
  - { name: read, connector_type: sql, dependencies: [copied], config: { inputs: { r: \"{{ steps.copied.artifacts['out.parquet'] }}\" }, query: SELECT count(*) AS n FROM r } }
",
    );
    let bucket = Bucket::new();
    let environment = bucket.environment();
    let run = program
        .run_with(&["run", &file, "--json"], &environment)
        .expect(0)
        .json();
    assert!(
        run["steps"][0]["artifacts"]["out.parquet"]
            .as_str()
            .unwrap()
            .starts_with("s3://"),
        "{run}"
    );
    assert_eq!(run["steps"][1]["output"]["rows"][0]["n"], 2, "{run}");

    let plain: Vec<_> = environment
        .into_iter()
        .filter(|(name, _)| *name != "AWS_ALLOW_HTTP")
        .collect();
    let refused = program.run_with(&["run", &file], &plain).expect(2);
    assert!(refused.stderr.contains("AWS_ALLOW_HTTP"), "{refused:?}");
}
