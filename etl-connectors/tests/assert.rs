//! `assert`: what passes, what fails, and what a failure says.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod testing;

use std::time::{Duration, Instant};

use etl_core::model::{ErrorClass, StepError};
use serde_json::{Value, json};
use testing::Bench;

const FLIGHTS: &str = "\
carrier,flight,origin,delay,day
UA,1545,EWR,2,2013-01-01
AA,1141,JFK,-4,2013-01-01
B6,725,JFK,,2013-01-02
UA,1545,LGA,11,2013-01-03
";

async fn check(bench: &Bench, input: Value, checks: Value) -> testing::Outcome {
    bench
        .run("assert", json!({ "input": input, "checks": checks }))
        .await
}

fn flights() -> Bench {
    let bench = Bench::new();
    bench.write("flights.csv", FLIGHTS);
    bench
}

async fn failure(bench: &Bench, checks: Value) -> StepError {
    check(bench, json!("flights.csv"), checks)
        .await
        .result
        .expect_err("the checks should fail")
}

#[tokio::test]
async fn checks_that_hold_are_listed_with_what_they_counted() {
    let bench = flights();
    let outcome = check(
        &bench,
        json!({"type": "csv", "url": "flights.csv"}),
        json!({
            "row_count": {"min": 1, "max": 4},
            "not_null": ["carrier", "origin"],
            "unique": ["flight", "day"],
            "accepted_values": [
                {"column": "origin", "values": ["EWR", "JFK", "LGA"]},
                {"column": "delay", "values": [2, -4, 11.0]},
                {"column": "day", "values": ["2013-01-01", "2013-01-02", "2013-01-03"]},
            ],
            "query": [
                {"name": "no delay is a day long", "sql": "SELECT * FROM input WHERE delay > 1440"},
                {"name": "carriers have two letters", "sql": "SELECT carrier FROM input WHERE length(carrier) <> 2"},
            ],
        }),
    )
    .await;
    let report = outcome.report();
    assert_eq!(report.rows_processed, 4);
    assert_eq!(report.output["row_count"], 4);
    let checks = report.output["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 9);
    assert_eq!(checks[0], json!({"check": "row_count"}));
    assert_eq!(
        checks[1],
        json!({"check": "not_null", "columns": ["carrier"], "rows_failed": 0})
    );
    assert_eq!(
        checks[8],
        json!({"check": "query", "name": "carriers have two letters", "rows_failed": 0})
    );
    assert_eq!(outcome.progress.last(), Some(&(Some(100), 4)));
}

#[tokio::test]
async fn every_check_that_fails_is_told_with_its_rows() {
    let error = failure(
        &flights(),
        json!({
            "row_count": {"min": 10},
            "not_null": ["carrier", "delay"],
            "unique": ["flight"],
            "accepted_values": {"column": "origin", "values": ["EWR", "LGA"]},
            "query": {"name": "no flight is late", "sql": "SELECT flight, delay FROM input WHERE delay > 10"},
        }),
    )
    .await;
    assert_eq!(error.class, ErrorClass::Permanent);
    assert_eq!(
        error.message,
        "5 of 6 checks failed; the input has 4 rows\n\
         row_count: there are 4, and at least 10 are wanted\n\
         not_null delay: no value in 1 row\n  \
         {\"delay\": null, \"carrier\": \"B6\", \"day\": \"2013-01-02\", \"flight\": 725, \"origin\": \"JFK\"}\n\
         unique flight: 1 value comes more than once, in 2 rows\n  \
         {\"flight\": 1545, \"times\": 2}\n\
         accepted_values origin: another value than EWR, LGA in 2 rows\n  \
         {\"origin\": \"JFK\", \"carrier\": \"AA\", \"day\": \"2013-01-01\", \"delay\": -4, \"flight\": 1141}\n  \
         {\"origin\": \"JFK\", \"carrier\": \"B6\", \"day\": \"2013-01-02\", \"delay\": null, \"flight\": 725}\n\
         query \"no flight is late\": 1 row where there should be none\n  \
         {\"delay\": 11, \"flight\": 1545}"
    );
}

#[tokio::test]
async fn a_count_of_rows_may_be_least_most_or_exact() {
    let bench = flights();
    for (wanted, says) in [
        (json!({"equals": 4}), None),
        (json!({"min": 4, "max": 4}), None),
        (
            json!({"equals": 5}),
            Some("there are 4, and exactly 5 are wanted"),
        ),
        (
            json!({"max": 3}),
            Some("there are 4, and at most 3 are wanted"),
        ),
    ] {
        let outcome = check(&bench, json!("flights.csv"), json!({"row_count": wanted})).await;
        match says {
            None => assert_eq!(outcome.report().rows_processed, 4),
            Some(says) => assert!(outcome.error().message.contains(says), "{wanted}"),
        }
    }
}

#[tokio::test]
async fn an_input_without_rows_holds_every_check_but_the_count() {
    let bench = Bench::new();
    bench.write("empty.csv", "a,b\n");
    let checks = json!({
        "row_count": {"equals": 0}, "not_null": ["a"], "unique": ["a", "b"],
        "accepted_values": {"column": "b", "values": ["x"]},
    });
    let outcome = check(&bench, json!("empty.csv"), checks).await;
    assert_eq!(outcome.report().output["row_count"], 0);
    let outcome = check(&bench, json!("empty.csv"), json!({"row_count": {"min": 1}})).await;
    assert!(outcome.error().message.contains("there are 0"));
}

#[tokio::test]
async fn rows_without_a_value_are_equal_to_no_other_and_are_accepted() {
    let bench = Bench::new();
    bench.write("t.csv", "a,b\n1,\n1,\n,x\n,x\n");
    let checks = json!({
        "unique": ["a", "b"],
        "accepted_values": [{"column": "a", "values": [1]}, {"column": "b", "values": ["x"]}],
    });
    check(&bench, json!("t.csv"), checks).await.report();
    bench.write("t.csv", "a,b\n1,x\n1,x\n,x\n,x\n2,x\n2,x\n2,x\n");
    let error = check(&bench, json!("t.csv"), json!({"unique": ["a", "b"]})).await;
    let message = &error.error().message;
    assert!(
        message.contains("unique a, b: 2 combinations come more than once, in 5 rows"),
        "{message}"
    );
}

#[tokio::test]
async fn an_unknown_column_is_named_with_the_one_that_is_meant() {
    let error = failure(
        &flights(),
        json!({"not_null": ["carier", "carrier"], "accepted_values": {"column": "xyz", "values": [1]}}),
    )
    .await;
    assert_eq!(
        error.message,
        "the input has no column \"carier\"; did you mean \"carrier\"?\n\
         the input has no column \"xyz\"\n\
         its columns are carrier, flight, origin, delay, day"
    );
    assert_eq!(error.class, ErrorClass::Permanent);
}

#[tokio::test]
async fn columns_of_any_name_can_be_checked() {
    let bench = Bench::new();
    let name = r#"a "b'; DROP TABLE input; --.c"#;
    bench.write(
        "t.csv",
        format!(
            "\"{}\",times,ORIGIN\n1,1,x\n1,1,x\n,2,y\n",
            name.replace('"', "\"\"")
        ),
    );
    let error = check(
        &bench,
        json!("t.csv"),
        json!({"not_null": [name, "ORIGIN"], "unique": [name, "times"],
               "accepted_values": {"column": "ORIGIN", "values": ["x"]}}),
    )
    .await;
    let message = &error.error().message;
    assert!(message.starts_with("3 of 4 checks failed"), "{message}");
    assert!(message.contains("\"times_\": 2}"), "{message}");
}

#[tokio::test]
async fn an_accepted_value_that_the_column_can_not_hold_is_a_fault() {
    for (column, value) in [
        ("flight", json!("EWR")),
        ("flight", json!(1.5)),
        ("day", json!("soon")),
    ] {
        let checks = json!({"accepted_values": {"column": column, "values": [value]}});
        let error = failure(&flights(), checks).await;
        assert!(
            error.message.contains("can't be a value of column"),
            "{column}: {error}"
        );
    }
}

#[tokio::test]
async fn a_query_that_can_not_run_says_which_check_it_is() {
    let checks = json!({"query": {"name": "late", "sql": "SELECT * FROM input WHERE dely > 0"}});
    let error = failure(&flights(), checks).await;
    assert!(error.message.starts_with("check \"late\": "), "{error}");
    assert!(error.message.contains("did you mean \"delay\"?"), "{error}");
    let checks = json!({"query": {"name": "gone", "sql": "DROP TABLE input"}});
    let error = failure(&flights(), checks).await;
    assert!(error.message.contains("this is DROP"), "{error}");
}

#[tokio::test]
async fn what_a_failure_shows_is_bounded() {
    let bench = Bench::new();
    let mut table = String::from("n,text\n");
    for n in 0..100 {
        table.push_str(&format!("{n},{}\n", "ä".repeat(5_000)));
    }
    bench.write("t.csv", table);
    let error = check(
        &bench,
        json!("t.csv"),
        json!({"query": (0..20).map(|n| json!({"name": format!("q{n}"), "sql": "SELECT * FROM input"}))
            .collect::<Vec<_>>()}),
    )
    .await;
    let message = &error.error().message;
    assert!(
        message.contains("100 rows where there should be none"),
        "{message}"
    );
    assert!(message.len() < 64 * 1024, "{}", message.len());
    assert!(message.contains("… and "), "{message}");
    let longest = message.lines().map(str::len).max().unwrap();
    assert!(longest < 2_100, "{longest}");
    assert_eq!(
        message
            .lines()
            .filter(|line| line.starts_with("  {\"n\": "))
            .count()
            % 5,
        0
    );
}

#[tokio::test]
async fn bad_records_of_the_input_are_set_aside_once() {
    let bench = Bench::new();
    bench.write("t.csv", "a,b\n1,x\nno,y\n3,z\n");
    let outcome = check(
        &bench,
        json!({"type": "csv", "url": "t.csv", "schema": {"a": "int64"},
               "on_bad_record": "quarantine", "max_quarantined": 1}),
        json!({"row_count": {"equals": 2}, "unique": ["a"],
               "query": {"name": "positive", "sql": "SELECT * FROM input WHERE a < 0"}}),
    )
    .await;
    assert_eq!(outcome.report().output["rows_quarantined"], 1);
    assert_eq!(outcome.artifacts.len(), 1);
}

#[tokio::test]
async fn a_document_that_checks_nothing_or_contradicts_itself_is_refused() {
    let connector = etl_connectors::builtin()
        .connector("assert")
        .unwrap()
        .clone();
    let faults = |checks: Value| {
        let config = json!({"input": "x.csv", "checks": checks});
        connector.check(&config)
    };
    assert_eq!(faults(json!({}))[0].0, "/checks");
    assert_eq!(faults(json!({"not_null": []}))[0].0, "/checks");
    for row_count in [
        json!({}),
        json!({"min": 2, "max": 1}),
        json!({"equals": 1, "min": 1}),
    ] {
        assert_eq!(
            faults(json!({"row_count": row_count}))[0].0,
            "/checks/row_count"
        );
    }
    assert_eq!(
        faults(json!({"query": [{"name": "a", "sql": "SELECT 1"}, {"name": "b", "sql": " "}]}))[0]
            .0,
        "/checks/query/1/sql"
    );
    assert!(faults(json!({"not_null": ["a"]})).is_empty());
    let outcome = flights()
        .run("assert", json!({"input": "flights.csv", "checks": {}}))
        .await;
    assert!(
        outcome
            .error()
            .message
            .contains("there is nothing to check")
    );
}

#[tokio::test]
async fn a_misspelt_key_of_a_check_is_named() {
    for checks in [
        json!({"not_nul": ["a"]}),
        json!({"accepted_values": {"colum": "a", "values": [1]}}),
        json!({"query": [{"name": "x", "sq": "SELECT 1"}]}),
        json!({"row_count": {"least": 1}}),
    ] {
        let error = failure(&flights(), checks.clone()).await;
        assert!(error.message.contains("unknown field"), "{checks}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_takes_too_long_stops_within_a_second() {
    let bench = Bench::new();
    bench.write("t.csv", format!("a\n{}", "1\n".repeat(20_000)));
    let asked = bench.cancel_in_its_midst();
    let sql = "SELECT count(*) FROM input a, input b, input c HAVING count(*) = 0";
    let checks = json!({"query": {"name": "endless", "sql": sql}});
    let outcome = check(&bench, json!("t.csv"), checks).await;
    let ended = Instant::now();
    assert_eq!(outcome.error().class, ErrorClass::Transient);
    assert!(ended - asked.await.unwrap() < Duration::from_secs(1));
}
