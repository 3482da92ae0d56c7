//! The README's first command, with the right numbers: they are computed here from the files, in another way.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use program::Program;
use sqlx::{Connection, Row};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .into()
}

/// The records of a file without quotes, as maps.
fn records(name: &str) -> Vec<HashMap<String, String>> {
    let path = root().join("examples/data/nycflights13").join(name);
    let mut text = String::new();
    let mut file = std::fs::File::open(path).unwrap();
    if Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "gz")
    {
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
    } else {
        file.read_to_string(&mut text).unwrap();
    }
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let record = |line: &str| {
        head.iter()
            .zip(line.split(','))
            .map(|(k, v)| ((*k).to_owned(), v.to_owned()))
            .collect()
    };
    lines.map(record).collect()
}

#[tokio::test]
async fn the_example_pipeline_gives_the_right_numbers() {
    let program = Program::new();
    let out = program.folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let at = |scheme: &str, name: &str| format!("{scheme}://{}", program.path(name).display());
    // From the top of the project, as the README has it.
    let run = program.run_in(
        &root(),
        &[
            "run",
            "examples/pipelines/flights.yaml",
            "-p",
            &format!("out={}", out.display()),
            "--database-url",
            &at("sqlite", "etl.db"),
            "--storage-url",
            &at("file", "data"),
            "--json",
        ],
    );
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.json()["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["status"] == "success")
    );

    let flights = records("flights.csv.gz");
    let seats: HashMap<String, i64> = records("planes.csv")
        .into_iter()
        .map(|plane| (plane["tailnum"].clone(), plane["seats"].parse().unwrap()))
        .collect();
    let weather: std::collections::HashSet<(String, String)> = records("weather.csv.gz")
        .into_iter()
        .map(|hour| (hour["origin"].clone(), hour["time_hour"].clone()))
        .collect();
    let with_weather = flights
        .iter()
        .filter(|flight| weather.contains(&(flight["origin"].clone(), flight["time_hour"].clone())))
        .count() as i64;
    let cancelled = flights
        .iter()
        .filter(|flight| flight["dep_time"] == "NA")
        .count() as i64;
    let delay: i64 = flights
        .iter()
        .filter_map(|flight| flight["dep_delay"].parse::<i64>().ok())
        .sum();
    let all_seats: i64 = flights
        .iter()
        .filter_map(|flight| seats.get(&flight["tailnum"]))
        .sum();

    let url = format!("sqlite://{}", out.join("flights.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let query = "SELECT count(*), sum(is_cancelled), CAST(sum(dep_delay) AS INTEGER), sum(seats), count(visib), min(scheduled_departure) FROM flights";
    let row = sqlx::query(query).fetch_one(&mut database).await.unwrap();
    let figures: Vec<i64> = (0..5).map(|at| row.get::<i64, _>(at)).collect();
    assert_eq!(
        figures,
        [
            flights.len() as i64,
            cancelled,
            delay,
            all_seats,
            with_weather
        ]
    );
    // 05:15 in New York, in winter.
    assert_eq!(row.get::<String, _>(5), "2013-01-01T10:15:00Z");

    let mut expected: BTreeMap<(String, String), i64> = BTreeMap::new();
    for flight in &flights {
        *expected
            .entry((flight["month"].clone(), flight["carrier"].clone()))
            .or_default() += 1;
    }
    let mut reported = BTreeMap::new();
    for month in 1..=12 {
        for file in std::fs::read_dir(out.join(format!("report/month={month}"))).unwrap() {
            let file = std::fs::File::open(file.unwrap().path()).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file)
                .unwrap()
                .build()
                .unwrap()
            {
                let batch = batch.unwrap();
                let carriers = arrow::compute::cast(
                    batch.column_by_name("carrier").unwrap(),
                    &arrow::datatypes::DataType::Utf8,
                )
                .unwrap();
                let counts = batch
                    .column_by_name("flights")
                    .unwrap()
                    .as_primitive::<Int64Type>();
                for at in 0..batch.num_rows() {
                    assert!(!counts.is_null(at));
                    reported.insert(
                        (
                            month.to_string(),
                            carriers.as_string::<i32>().value(at).to_owned(),
                        ),
                        counts.value(at),
                    );
                }
            }
        }
    }
    assert_eq!(reported, expected);
}
