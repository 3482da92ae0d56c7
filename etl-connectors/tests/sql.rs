//! `sql`: what a query can reach, what it is told, and how it is stopped.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod testing;

use std::time::{Duration, Instant};

use etl_core::model::{EffectClass, ErrorClass, StepError};
use serde_json::{Value, json};
use testing::Bench;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("flights.csv", "origin,Delay\nEWR,2\nJFK,-4\n");
    bench
}

async fn rows(bench: &Bench, query: &str) -> Value {
    let config = json!({"inputs": {"flights": "flights.csv"}, "query": query});
    bench.run("sql", config).await.report().output["rows"].clone()
}

async fn failure(bench: &Bench, query: &str) -> StepError {
    let config = json!({"inputs": {"flights": "flights.csv"}, "query": query});
    let outcome = bench.run("sql", config).await;
    match outcome.result {
        Ok(report) => panic!("{query}: {:?}", report.output),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_query_without_inputs_computes() {
    let outcome = Bench::new()
        .run("sql", json!({"query": "SELECT 1 AS one"}))
        .await;
    assert_eq!(
        outcome.report().output,
        json!({"row_count": 1, "rows": [{"one": 1}], "rows_quarantined": 0})
    );
    let values = json!({"query": "VALUES (1, 'a'), (2, 'b');"});
    assert_eq!(
        Bench::new()
            .run("sql", values)
            .await
            .report()
            .rows_processed,
        2
    );
}

#[tokio::test]
async fn names_are_found_in_any_case_and_may_be_quoted() {
    let bench = bench();
    assert_eq!(
        rows(&bench, "select ORIGIN, delay from FLIGHTS where DELAY > 0").await,
        json!([{"origin": "EWR", "Delay": 2}])
    );
    assert_eq!(
        rows(&bench, r#"SELECT f."Delay" AS d FROM flights f ORDER BY d"#).await,
        json!([{"d": -4}, {"d": 2}])
    );
}

#[tokio::test]
async fn an_unknown_name_is_told_with_what_there_is() {
    let bench = bench();
    let error = failure(&bench, "SELECT * FROM fligths").await;
    assert_eq!(
        error.message,
        "the query names a table \"fligths\", which is not there; did you mean \"flights\"?\n\
         of tables, which are the step's inputs, there are flights"
    );
    let error = failure(&bench, "SELECT orgin FROM flights").await;
    assert_eq!(
        error.message,
        "the query names a column \"orgin\", which is not there; did you mean \"origin\"?\n\
         of columns there are flights.origin, flights.Delay"
    );
    let error = failure(&bench, "SELECT x.origin FROM flights f").await;
    assert!(error.message.contains("\"x.origin\""), "{error}");
    let error = Bench::new()
        .run("sql", json!({"query": "SELECT * FROM t"}))
        .await;
    assert!(error.error().message.contains("there are none"));
    assert_eq!(error.error().class, ErrorClass::Permanent);
}

#[tokio::test]
async fn what_is_no_query_is_refused_and_named() {
    let bench = bench();
    let file = bench.path("out.csv");
    let file = file.display();
    for (sql, verb) in [
        ("CREATE TABLE t AS SELECT 1".to_owned(), "CREATE"),
        ("CREATE VIEW v AS SELECT 1".into(), "CREATE"),
        ("DROP TABLE flights".into(), "DROP"),
        ("INSERT INTO flights VALUES ('a', 1)".into(), "INSERT"),
        ("UPDATE flights SET origin = 'x'".into(), "UPDATE"),
        ("DELETE FROM flights".into(), "DELETE"),
        ("SET datafusion.execution.batch_size = 1".into(), "SET"),
        ("SHOW ALL".into(), "SHOW"),
        ("EXPLAIN ANALYZE SELECT 1".into(), "EXPLAIN"),
        (format!("COPY flights TO '{file}'"), "COPY"),
        (format!("COPY (SELECT 1) TO '{file}' STORED AS CSV"), "COPY"),
        (
            format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{file}'"),
            "CREATE",
        ),
    ] {
        let error = failure(&bench, &sql).await;
        assert_eq!(error.class, ErrorClass::Permanent, "{sql}");
        assert!(
            error.message.starts_with("only a query may stand here")
                && error.message.contains(&format!("this is {verb}.")),
            "{sql}: {error}"
        );
    }
    for sql in [
        "SELECT origin INTO t FROM flights",
        "WITH x AS (SELECT 1) INSERT INTO flights SELECT 'a', 1",
    ] {
        assert_eq!(
            failure(&bench, sql).await.class,
            ErrorClass::Permanent,
            "{sql}"
        );
    }
    assert!(!testing::exists(&bench.path("out.csv")));
}

#[tokio::test]
async fn one_statement_is_all_that_a_step_runs() {
    let bench = bench();
    let error = failure(&bench, "SELECT 1; DROP TABLE flights").await;
    assert!(error.message.contains("more than one statement"), "{error}");
    for empty in ["", " ; ", "-- nothing"] {
        assert_eq!(failure(&bench, empty).await.message, "the query is empty");
    }
    let error = failure(&bench, "SELEC 1").await;
    assert_eq!(error.message, "the query is not valid SQL");
    assert!(
        error.causes().unwrap().contains("Line: 1"),
        "{:?}",
        error.causes()
    );
}

#[tokio::test]
async fn a_query_reaches_nothing_but_its_inputs() {
    let bench = bench();
    let path = bench.path("flights.csv");
    let path = path.display();
    for sql in [
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM \"{path}\""),
        format!("SELECT * FROM \"file://{path}\""),
        format!("SELECT * FROM read_csv('{path}')"),
        format!("SELECT * FROM read_parquet('{path}')"),
        "SELECT * FROM information_schema.tables".into(),
        "SELECT * FROM other.flights".into(),
    ] {
        let error = failure(&bench, &sql).await;
        assert!(
            error.message.contains("which is not there"),
            "{sql}: {error}"
        );
    }
}

#[tokio::test]
async fn a_deep_query_is_an_error_and_not_a_crash() {
    let bench = Bench::new();
    let sql = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    let outcome = bench.run("sql", json!({ "query": sql })).await;
    assert_eq!(outcome.error().message, "the query is not valid SQL");
}

#[tokio::test]
async fn more_rows_than_an_output_holds_are_refused_with_the_way_out() {
    let bench = Bench::new();
    let config = json!({"query": "SELECT * FROM generate_series(1, 1001)"});
    let outcome = bench.run("sql", config).await;
    assert!(
        outcome
            .error()
            .message
            .contains("give the step an `output`")
    );
    let config = json!({"query": "SELECT * FROM generate_series(1, 1000)"});
    assert_eq!(bench.run("sql", config).await.report().rows_processed, 1000);
}

#[tokio::test]
async fn two_columns_of_one_name_are_refused() {
    let error = failure(
        &bench(),
        "SELECT a.origin, b.origin FROM flights a, flights b",
    )
    .await;
    assert!(
        error.message.contains("two columns named \"origin\""),
        "{error}"
    );
}

#[tokio::test]
async fn the_effect_is_that_of_the_sink() {
    let connector = etl_connectors::builtin().connector("sql").unwrap().clone();
    for (output, effect) in [
        (Value::Null, EffectClass::Idempotent),
        (json!({"type": "csv", "url": "x.csv"}), EffectClass::Staged),
        (
            json!({"type": "sqlite", "url": "sqlite:x.db", "table": "t"}),
            EffectClass::Transactional,
        ),
    ] {
        let config = json!({"query": "SELECT 1", "output": output});
        assert_eq!(connector.effects(&config), Some(effect));
    }
}

/// Runs a query that does not end by itself, and cancels it.
async fn stops(sql: &str) {
    let bench = Bench::new();
    let asked = bench.cancel_in_its_midst();
    let outcome = bench.run("sql", json!({ "query": sql })).await;
    let ended = Instant::now();
    assert_eq!(outcome.error().class, ErrorClass::Transient, "{sql}");
    assert!(
        ended - asked.await.unwrap() < Duration::from_secs(1),
        "{sql}"
    );
}

// Each of these ends only when no thread computes any more, so that a query that goes on unseen is seen by the test's time.

#[tokio::test(flavor = "multi_thread")]
async fn a_join_of_everything_with_everything_is_stopped() {
    let series = "generate_series(1, 100000)";
    stops(&format!("SELECT count(*) AS n FROM {series} a, {series} b")).await;
    stops(&format!(
        "SELECT a.value AS n FROM {series} a, {series} b ORDER BY a.value * b.value LIMIT 5"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_nothing_passes_is_stopped() {
    let series = "generate_series(1, 100000)";
    let sql = "SELECT a.value + b.value AS n FROM";
    stops(&format!(
        "{sql} {series} a JOIN {series} b ON a.value * b.value < 0 - a.value"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recursion_without_end_is_stopped() {
    stops(
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i > 0)
         SELECT count(*) AS c FROM n",
    )
    .await;
}
