//! SQLite as a source and as a sink.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod testing;

use std::path::Path;
use std::time::{Duration, Instant};

use etl_core::model::ErrorClass;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use testing::{Bench, Outcome, rows};

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(Duration::ZERO)
        .connect()
        .await
        .unwrap()
}

/// Runs statements on a database as another program would.
async fn sql(bench: &Bench, statements: &str) {
    let mut connection = connect(&bench.path("x.db")).await;
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

async fn ask(bench: &Bench, query: &str) -> Vec<SqliteRow> {
    let mut connection = connect(&bench.path("x.db")).await;
    let rows = sqlx::query(AssertSqlSafe(query.to_owned()))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    rows
}

async fn number(bench: &Bench, query: &str) -> i64 {
    ask(bench, query).await[0].get(0)
}

fn table(name: &str) -> Value {
    json!({"type": "sqlite", "url": "sqlite:x.db", "table": name})
}

fn query(query: &str) -> Value {
    json!({"type": "sqlite", "url": "sqlite:x.db", "query": query})
}

async fn copy(bench: &Bench, source: Value, sink: Value) -> Outcome {
    bench
        .run("copy", json!({"source": source, "sink": sink}))
        .await
}

/// Loads a CSV file into table `t`.
async fn load(bench: &Bench, keys: Value) -> Outcome {
    let mut sink = table("t");
    sink.as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    copy(bench, json!({"type": "csv", "url": "t.csv"}), sink).await
}

const TYPES: &str = "s,i,f,d,b,day,at,at_tz,bytes,j
text,1,0.5,1.10,true,2024-02-29,2024-02-29 12:30:00.25,2024-02-29T12:30:00Z,00ff,\"{\"\"a\"\":[1,null]}\"
007,-9223372036854775808,-1e300,-99999999999999.99,false,0001-01-01,1969-12-31 23:59:59.999999,2024-02-29T12:30:00+02:00,00,\"\"\"x\"\"\"
,,,,,,,,,
";

fn typed() -> Value {
    json!({"type": "csv", "url": "types.csv", "schema": {
        "s": "string", "i": "int64", "f": "float64", "d": "decimal(18,2)", "b": "boolean", "day": "date",
        "at": "timestamp", "at_tz": "timestamp_tz", "bytes": "binary", "j": "json",
    }})
}

#[tokio::test]
async fn every_type_comes_back_as_it_was() {
    let bench = Bench::new();
    bench.write("types.csv", TYPES);
    copy(&bench, typed(), table("t")).await.report();
    let expected = rows(&bench, typed()).await;
    assert_eq!(rows(&bench, table("t")).await, expected);
    assert_eq!(rows(&bench, query("SELECT * FROM t")).await, expected);
    // The types too, not only how they look: through a table again nothing changes, and exact numbers stay exact.
    copy(&bench, table("t"), table("u")).await.report();
    let types = "SELECT group_concat(type) FROM pragma_table_info('u')";
    let types: String = ask(&bench, types).await[0].get(0);
    assert_eq!(
        types,
        "TEXT,INTEGER,REAL,DECIMAL_TEXT(18,2),BOOLEAN,DATE,DATETIME,DATETIME,BLOB,JSON_TEXT"
    );
    let config = json!({"inputs": {"u": table("u")}, "query": "SELECT sum(d) AS total FROM u"});
    assert_eq!(
        bench.run("sql", config).await.report().output["rows"],
        json!([{"total": -99_999_999_999_998.89}])
    );
}

#[tokio::test]
async fn what_other_programs_wrote_is_read_by_what_the_values_are() {
    let bench = Bench::new();
    sql(
        &bench,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, price DECIMAL(10,2), flag BOOLEAN, anything, at TIMESTAMP, name VARCHAR(9));
         INSERT INTO t VALUES (1, 1.5, 1, 'x', '2024-01-02 03:04:05', NULL), (2, 2, 0, 3, NULL, 'ä');",
    )
    .await;
    assert_eq!(
        rows(&bench, table("t")).await,
        [
            json!({"id": 1, "price": 1.5, "flag": true, "anything": "x", "at": "2024-01-02T03:04:05", "name": null}),
            json!({"id": 2, "price": 2.0, "flag": false, "anything": "3", "at": null, "name": "ä"}),
        ]
    );
}

#[tokio::test]
async fn a_value_of_another_type_than_its_column_is_a_bad_record() {
    let bench = Bench::new();
    let mut statements = String::from("CREATE TABLE t (n INTEGER); BEGIN;");
    for n in 0..10_001 {
        statements.push_str(&format!("INSERT INTO t VALUES ({n});"));
    }
    sql(
        &bench,
        &format!("{statements} INSERT INTO t VALUES ('many'); COMMIT;"),
    )
    .await;
    let sink = json!({"type": "ndjson", "url": "out.ndjson"});
    let outcome = copy(&bench, table("t"), sink.clone()).await;
    let error = outcome.error();
    assert_eq!(error.class, ErrorClass::Permanent);
    let place = error.place.as_ref().unwrap();
    assert_eq!(
        (place.row, place.column.as_deref()),
        (Some(10_002), Some("n"))
    );
    let mut source = table("t");
    source["on_bad_record"] = json!("quarantine");
    source["max_quarantined"] = json!(1);
    let outcome = copy(&bench, source, sink).await;
    assert_eq!(outcome.report().output["rows_loaded"], 10_001);
    assert_eq!(outcome.report().output["rows_quarantined"], 1);
}

#[tokio::test]
async fn a_source_only_reads() {
    let bench = Bench::new();
    let outcome = copy(&bench, table("t"), json!({"type": "csv", "url": "o.csv"})).await;
    assert_eq!(outcome.error().class, ErrorClass::Permanent);
    assert!(
        outcome.error().message.contains("x.db"),
        "{}",
        outcome.error()
    );
    assert!(!testing::exists(&bench.path("x.db")));
    sql(&bench, "CREATE TABLE t (a); INSERT INTO t VALUES (1)").await;
    let other = bench.path("other.db");
    let other = other.display();
    for statement in [
        "DELETE FROM t".to_owned(),
        "INSERT INTO t VALUES (2) RETURNING a".into(),
        format!("VACUUM INTO '{other}'"),
        format!("SELECT 1; VACUUM INTO '{other}'"),
        format!("ATTACH '{other}' AS o"),
    ] {
        let outcome = copy(
            &bench,
            query(&statement),
            json!({"type": "csv", "url": "o.csv"}),
        )
        .await;
        assert_eq!(outcome.error().class, ErrorClass::Permanent, "{statement}");
    }
    assert_eq!(number(&bench, "SELECT count(*) FROM t").await, 1);
    assert!(!testing::exists(&bench.path("other.db")));
}

#[tokio::test]
async fn a_wrong_name_or_file_is_told() {
    let bench = Bench::new();
    sql(&bench, "CREATE TABLE t (a)").await;
    bench.write(
        "text.db",
        "this is no database, whatever its name says, and it is long enough to tell",
    );
    std::fs::create_dir(bench.path("folder.db")).unwrap();
    let csv = json!({"type": "csv", "url": "o.csv"});
    for (source, says) in [
        (table("u"), "no such table: u"),
        (query("SELECT b FROM t"), "no such column: b"),
        (query("SELECT 1 AS a, 2 AS a"), "two columns named \"a\""),
        (query("SELEC 1"), "syntax error"),
        (
            json!({"type": "sqlite", "url": "sqlite:text.db", "table": "t"}),
            "text.db",
        ),
        (
            json!({"type": "sqlite", "url": "sqlite:folder.db", "table": "t"}),
            "is a folder",
        ),
        (
            json!({"type": "sqlite", "url": "sqlite:a/../../x.db", "table": "t"}),
            "`..`",
        ),
        (
            json!({"type": "sqlite", "url": "postgres://x", "table": "t"}),
            "write `sqlite:PATH`",
        ),
        (
            json!({"type": "sqlite", "url": "sqlite::memory:", "table": "t"}),
            "name a file",
        ),
    ] {
        let outcome = copy(&bench, source.clone(), csv.clone()).await;
        let error = outcome.error();
        assert_eq!(error.class, ErrorClass::Permanent, "{source}: {error}");
        let told = format!("{error}\n{}", error.causes().unwrap_or_default());
        assert!(told.contains(says), "{source}: {told}");
    }
    bench.write("t.csv", "a\n1\n");
    for (url, says) in [
        ("sqlite:text.db", "text.db"),
        ("sqlite:folder.db", "folder.db"),
    ] {
        let sink = json!({"type": "sqlite", "url": url, "table": "t"});
        let outcome = copy(&bench, json!({"type": "csv", "url": "t.csv"}), sink).await;
        let error = outcome.error();
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        assert!(error.message.contains(says), "{error}");
    }
}

#[tokio::test]
async fn append_adds_replace_empties_and_upsert_overwrites() {
    let mut bench = Bench::new();
    bench.write("t.csv", "id,v\n1,a\n2,b\n");
    let upsert = json!({"mode": "upsert", "key": ["id"]});
    assert_eq!(
        load(&bench, upsert.clone()).await.report().rows_processed,
        2
    );
    bench.write("t.csv", "id,v\n2,c\n3,d\n3,e\n");
    bench.step = 1;
    load(&bench, upsert).await.report();
    let all = "SELECT group_concat(id || v, ' ') FROM (SELECT * FROM t ORDER BY id, v)";
    let text = async |bench: &Bench| ask(bench, all).await[0].get::<String, _>(0);
    assert_eq!(text(&bench).await, "1a 2c 3e");
    bench.write("t.csv", "id,v\n4,f\n");
    bench.step = 2;
    load(&bench, json!({})).await.report();
    assert_eq!(text(&bench).await, "1a 2c 3e 4f");
    bench.write("t.csv", "id,v\n9,z\n");
    bench.step = 3;
    load(&bench, json!({"mode": "replace"})).await.report();
    assert_eq!(text(&bench).await, "9z");
    // The key that the first load made is still there.
    let keys = "SELECT count(*) FROM pragma_table_info('t') WHERE pk";
    assert_eq!(number(&bench, keys).await, 1);
    bench.step = 4;
    let outcome = load(&bench, json!({})).await;
    assert_eq!(outcome.error().class, ErrorClass::Permanent);
    assert!(outcome.error().message.contains("breaks a constraint"));
    assert_eq!(text(&bench).await, "9z");
}

#[tokio::test]
async fn an_upsert_needs_a_key_that_the_table_knows_and_rows_have() {
    let bench = Bench::new();
    sql(&bench, "CREATE TABLE t (id INTEGER, v TEXT)").await;
    bench.write("t.csv", "id,v\n1,a\n");
    for (keys, says) in [
        (
            json!({"mode": "upsert", "key": ["id"]}),
            "needs a unique index on exactly",
        ),
        (json!({"mode": "upsert", "key": ["idd"]}), "they have id, v"),
        (json!({"mode": "upsert"}), "needs the columns"),
        (json!({"key": ["id"]}), "only `mode: upsert` takes a key"),
    ] {
        let outcome = load(&bench, keys.clone()).await;
        assert!(
            outcome.error().message.contains(says),
            "{keys}: {}",
            outcome.error()
        );
    }
    sql(&bench, "CREATE UNIQUE INDEX i ON t (id)").await;
    bench.write("t.csv", "id,v\n1,a\n,b\n");
    let outcome = load(&bench, json!({"mode": "upsert", "key": ["id"]})).await;
    assert!(
        outcome
            .error()
            .message
            .contains("no value in a column of `key`")
    );
    assert_eq!(outcome.error().place.as_ref().unwrap().row, Some(2));
    assert_eq!(number(&bench, "SELECT count(*) FROM t").await, 0);
}

#[tokio::test]
async fn replace_makes_the_table_anew_where_it_would_change_the_values() {
    let mut bench = Bench::new();
    bench.write("t.csv", "code\n1\n2\n");
    load(&bench, json!({"mode": "replace"})).await.report();
    bench.write("t.csv", "code\n007\nx\n");
    bench.step = 1;
    load(&bench, json!({"mode": "replace"})).await.report();
    assert_eq!(
        rows(&bench, table("t")).await,
        [json!({"code": "007"}), json!({"code": "x"})]
    );
    sql(&bench, "CREATE INDEX by_code ON t (code)").await;
    bench.step = 2;
    load(&bench, json!({"mode": "replace"})).await.report();
    let indexes = "SELECT count(*) FROM sqlite_schema WHERE name = 'by_code'";
    assert_eq!(number(&bench, indexes).await, 1);
    bench.write("t.csv", "other\n1\n");
    bench.step = 3;
    load(&bench, json!({"mode": "replace"})).await.report();
    assert_eq!(rows(&bench, table("t")).await, [json!({"other": 1})]);
}

#[tokio::test]
async fn names_are_only_ever_names() {
    let bench = Bench::new();
    sql(
        &bench,
        "CREATE TABLE precious (a); INSERT INTO precious VALUES (1)",
    )
    .await;
    let column = r#"x"); DROP TABLE precious; --"#;
    bench.write(
        "t.csv",
        format!("\"{}\",select\n1,2\n", column.replace('"', "\"\"")),
    );
    for name in [
        r#"t"; DROP TABLE precious; --"#,
        "select",
        "a.b",
        "ação 1",
        "'",
        "%",
        "[x]",
    ] {
        let sink = json!({"type": "sqlite", "url": "sqlite:x.db", "table": name, "mode": "upsert", "key": [column]});
        let source = json!({"type": "csv", "url": "t.csv"});
        copy(&bench, source, sink).await.report();
        assert_eq!(
            rows(&bench, table(name)).await,
            [json!({column: 1, "select": 2})]
        );
    }
    assert_eq!(number(&bench, "SELECT count(*) FROM precious").await, 1);
    for name in ["_etl_loads", "_ETL_x", "sqlite_schema", "", "a\nb"] {
        let mut sink = table(name);
        sink["mode"] = json!("replace");
        let outcome = copy(&bench, json!({"type": "csv", "url": "t.csv"}), sink).await;
        assert_eq!(outcome.error().class, ErrorClass::Permanent, "{name:?}");
    }
}

#[tokio::test]
async fn a_column_that_the_table_lacks_is_named() {
    let bench = Bench::new();
    sql(&bench, "CREATE TABLE t (ID INTEGER, note TEXT)").await;
    bench.write("t.csv", "id,v\n1,a\n");
    let outcome = load(&bench, json!({})).await;
    let message = &outcome.error().message;
    assert!(
        message.contains("a column \"v\"") && message.contains("ID, note"),
        "{message}"
    );
    bench.write("t.csv", "id\n1\n");
    load(&bench, json!({})).await.report();
    assert_eq!(
        rows(&bench, table("t")).await,
        [json!({"ID": 1, "note": null})]
    );
}

#[tokio::test]
async fn an_attempt_that_died_after_its_commit_is_not_repeated() {
    for (mode, key) in [
        ("append", json!([])),
        ("replace", json!([])),
        ("upsert", json!(["id"])),
    ] {
        let mut bench = Bench::new();
        bench.write("t.csv", "id,v\n1,a\n2,b\n");
        let keys = json!({"mode": mode, "key": key});
        load(&bench, keys.clone()).await.report();
        // The process is gone before anybody hears of the commit; meanwhile another program goes on with the table.
        sql(&bench, "UPDATE t SET v = 'later' WHERE id = 1").await;
        (bench.attempt, bench.fence) = (2, 2);
        let outcome = load(&bench, keys.clone()).await;
        assert_eq!(outcome.report().rows_processed, 2, "{mode}");
        assert!(
            outcome
                .logs
                .iter()
                .any(|line| line.contains("none is added again"))
        );
        assert_eq!(
            rows(&bench, table("t")).await,
            [json!({"id": 1, "v": "later"}), json!({"id": 2, "v": "b"})],
            "{mode}"
        );
        // Another job is another load.
        bench.step = 7;
        if mode == "append" {
            load(&bench, keys).await.report();
            assert_eq!(number(&bench, "SELECT count(*) FROM t").await, 4);
        }
    }
}

#[tokio::test]
async fn an_attempt_whose_lease_is_lost_adds_nothing() {
    let mut bench = Bench::new();
    bench.write("t.csv", "id\n1\n");
    (bench.attempt, bench.fence) = (2, 5);
    load(&bench, json!({})).await.report();
    (bench.attempt, bench.fence) = (1, 4);
    let outcome = load(&bench, json!({})).await;
    assert!(outcome.error().message.contains("lost its lease"));
    assert_eq!(number(&bench, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test]
async fn an_attempt_that_fails_in_the_middle_leaves_everything_as_it_was() {
    for mode in ["append", "replace"] {
        let mut bench = Bench::new();
        sql(
            &bench,
            "CREATE TABLE t (id INTEGER, v TEXT); INSERT INTO t VALUES (0, 'old')",
        )
        .await;
        let good: String = (1..=30_000).map(|n| format!("{n},value {n}\n")).collect();
        bench.write("t.csv", format!("id,v\n{good}bad,x\n"));
        let outcome = load(&bench, json!({ "mode": mode })).await;
        assert_eq!(outcome.error().class, ErrorClass::Permanent);
        assert_eq!(
            rows(&bench, table("t")).await,
            [json!({"id": 0, "v": "old"})],
            "{mode}"
        );
        bench.write("t.csv", format!("id,v\n{good}"));
        (bench.attempt, bench.fence) = (2, 2);
        load(&bench, json!({ "mode": mode })).await.report();
        let kept = if mode == "append" { 30_001 } else { 30_000 };
        assert_eq!(
            number(&bench, "SELECT count(DISTINCT id) FROM t").await,
            kept
        );
    }
}

#[tokio::test]
async fn a_source_that_fails_leaves_no_new_database() {
    let bench = Bench::new();
    bench.write("t.csv", "a\n1\n");
    let source = json!({"type": "csv", "url": "t.csv", "schema": {"a": "date"}});
    let outcome = copy(&bench, source, table("t")).await;
    assert_eq!(outcome.error().class, ErrorClass::Permanent);
    assert!(!testing::exists(&bench.path("x.db")));
}

#[tokio::test]
async fn rows_become_visible_all_at_once() {
    let bench = Bench::new();
    sql(
        &bench,
        "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (0)",
    )
    .await;
    let many: String = (1..=50_000).map(|n| format!("{n}\n")).collect();
    bench.write("t.csv", format!("id\n{many}"));
    let mut reader = connect(&bench.path("x.db")).await;
    let loading = load(&bench, json!({"mode": "replace"}));
    tokio::pin!(loading);
    let mut seen: std::collections::BTreeSet<i64> = std::collections::BTreeSet::new();
    loop {
        let count = sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut reader);
        tokio::select! {
            outcome = &mut loading => { outcome.report(); break }
            count = count => { seen.insert(count.unwrap()); }
        }
    }
    seen.remove(&50_000);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(number(&bench, "SELECT count(*) FROM t").await, 50_000);
}

#[tokio::test]
async fn a_locked_database_is_waited_for() {
    let bench = Bench::new();
    sql(&bench, "CREATE TABLE t (id INTEGER)").await;
    bench.write("t.csv", "id\n1\n");
    let mut other = connect(&bench.path("x.db")).await;
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let unlock = async {
        bench.logged.notified().await;
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(load(&bench, json!({})), unlock);
    assert_eq!(outcome.report().rows_processed, 1);
    assert!(
        outcome
            .logs
            .iter()
            .any(|line| line.contains("locked by another program"))
    );
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let cancel = async {
        bench.logged.notified().await;
        bench.cancellation.cancel();
        Instant::now()
    };
    let csv = json!({"type": "csv", "url": "o.csv"});
    let (outcome, asked) = tokio::join!(copy(&bench, table("t"), csv), cancel);
    assert_eq!(outcome.error().class, ErrorClass::Transient);
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_statement_that_computes_for_ever_is_stopped_within_a_second() {
    let bench = Bench::new();
    sql(&bench, "CREATE TABLE t (id INTEGER)").await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n";
    let asked = bench.cancel_in_its_midst();
    let csv = json!({"type": "csv", "url": "o.csv"});
    let outcome = copy(&bench, query(endless), csv).await;
    assert_eq!(outcome.error().message, "the attempt was cancelled");
    assert!(asked.await.unwrap().elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_step_may_read_the_database_that_it_writes() {
    let bench = Bench::new();
    sql(
        &bench,
        "CREATE TABLE t (id INTEGER, v TEXT);
         INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
         SELECT i, hex(zeroblob(150)) FROM n;",
    )
    .await;
    let started = Instant::now();
    let outcome = copy(&bench, table("t"), table("u")).await;
    assert_eq!(outcome.report().rows_processed, 40_000);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(number(&bench, "SELECT count(*) FROM u").await, 40_000);
}

#[tokio::test]
async fn a_number_that_sqlite_can_not_hold_is_refused() {
    let bench = Bench::new();
    let config = json!({
        "query": "SELECT arrow_cast(18446744073709551615, 'UInt64') AS n",
        "output": table("t"),
    });
    let outcome = bench.run("sql", config).await;
    assert_eq!(outcome.error().class, ErrorClass::Permanent);
    assert!(
        outcome.error().message.contains("column \"n\""),
        "{}",
        outcome.error()
    );
}
