//! `copy`: from any source to any sink, with a query in between or not.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod testing;

use etl_core::model::{Balance, EffectClass, ErrorClass};
use serde_json::{Value, json};
use testing::Bench;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("in.csv", "a,b\n1,x\n2,y\n3,z\n");
    bench
}

fn csv() -> Value {
    json!({"type": "csv", "url": "in.csv"})
}

#[tokio::test]
async fn rows_go_through_a_query_on_their_way() {
    let bench = bench();
    let outcome = bench
        .run(
            "copy",
            json!({"source": csv(), "query": "SELECT b, a * 10 AS a FROM source WHERE a > 1",
                   "sink": {"type": "ndjson", "url": "out.ndjson"}}),
        )
        .await;
    let report = outcome.report();
    assert_eq!(
        bench.read("out.ndjson"),
        "{\"b\":\"y\",\"a\":20}\n{\"b\":\"z\",\"a\":30}\n"
    );
    assert_eq!(
        report.balance,
        Some(Balance {
            rows_read: 3,
            rows_loaded: 2,
            rows_quarantined: 0,
            rows_filtered: 1
        })
    );
    assert_eq!(
        (report.rows_processed, outcome.progress.last().copied()),
        (2, Some((Some(100), 2)))
    );
    assert_eq!(report.output["rows_filtered"], 1);
}

#[tokio::test]
async fn bad_records_that_are_set_aside_are_in_the_balance() {
    let bench = bench();
    bench.write("in.csv", "a,b\n1,x\nno,y\n3,z\n");
    let mut source = csv();
    source["schema"] = json!({"a": "int64"});
    source["on_bad_record"] = json!("quarantine");
    source["max_quarantined"] = json!(1);
    for (query, filtered) in [(None, 0), (Some("SELECT * FROM source WHERE a = 1"), 1)] {
        let sink = json!({"type": "csv", "url": "out.csv"});
        let mut config = json!({"source": source, "sink": sink});
        if let Some(query) = query {
            config["query"] = json!(query);
        }
        let outcome = bench.run("copy", config).await;
        assert_eq!(
            outcome.report().balance,
            Some(Balance {
                rows_read: 3,
                rows_loaded: 2 - filtered,
                rows_quarantined: 1,
                rows_filtered: filtered,
            })
        );
        outcome.artifact("quarantine.ndjson");
    }
}

#[tokio::test]
async fn a_query_that_makes_more_rows_than_it_got_claims_no_balance() {
    let bench = bench();
    let outcome = bench
        .run(
            "copy",
            json!({"source": csv(), "query": "SELECT l.a FROM source l CROSS JOIN source r",
                   "sink": {"type": "csv", "url": "out.csv"}}),
        )
        .await;
    assert_eq!(outcome.report().rows_processed, 9);
    assert_eq!(outcome.report().balance, None);
}

#[tokio::test]
async fn a_failed_copy_leaves_nothing_at_the_target() {
    let bench = bench();
    for query in [
        "SELECT a / (a - 3) AS a FROM source",
        "SELECT c FROM source",
        "DELETE FROM source",
    ] {
        let outcome = bench
            .run(
                "copy",
                json!({"source": csv(), "query": query, "sink": {"type": "csv", "url": "out.csv"}}),
            )
            .await;
        assert_eq!(outcome.error().class, ErrorClass::Permanent, "{query}");
        assert_eq!(bench.list("."), ["in.csv"], "{query}");
    }
}

#[tokio::test]
async fn the_effect_is_that_of_the_sink_and_faults_have_their_place() {
    let connector = etl_connectors::builtin().connector("copy").unwrap().clone();
    let config = json!({"source": csv(), "sink": {"type": "csv", "url": "out.csv"}});
    assert_eq!(connector.effects(&config), Some(EffectClass::Staged));
    let config = json!({
        "source": {"type": "sqlite", "url": "sqlite:x.db"},
        "sink": {"type": "sqlite", "url": "sqlite:y.db", "table": "_etl_x", "key": ["a"]},
    });
    assert_eq!(connector.effects(&config), Some(EffectClass::Transactional));
    let faults = connector.check(&config);
    let pointers: Vec<&str> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/source/table", "/sink/key", "/sink/table"]);
}
