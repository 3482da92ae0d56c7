//! The metrics of `etl serve`, read by a real Prometheus.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use program::Program;
use program::server::Server;
use serde_json::Value;

/// A Prometheus that scrapes one address every second, killed when it is dropped.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(program: &Program, target: &str) -> Self {
        let binary = std::env::var("ETL_TEST_PROMETHEUS").expect(
            "ETL_TEST_PROMETHEUS names the program; `scripts/services up` installs it and `scripts/services env` tells where it is",
        );
        let config = program.file(
            "prometheus.yml",
            format!(
                "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}
scrape_configs:
  - job_name: etl
    static_configs: [ {{ targets: [ \"{target}\" ] }} ]
"
            ),
        );
        let address = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().to_string()
        };
        let child = Command::new(binary)
            .arg(format!("--config.file={config}"))
            .arg(format!("--web.listen-address={address}"))
            .arg(format!(
                "--storage.tsdb.path={}",
                program.path("tsdb").display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        program::wait_until("Prometheus", || TcpStream::connect(&address).is_ok());
        Self { child, address }
    }

    /// The one number that a query gives now; `None` if it gives nothing.
    fn number(&self, query: &str) -> Option<f64> {
        let encoded: String = query
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        let url = format!("http://{}/api/v1/query?query={encoded}", self.address);
        let (status, body) = program::bucket::get(&url);
        // Until it has read its own database.
        if status == 503 {
            return None;
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"], "success", "{query}: {body}");
        let number = body["data"]["result"][0]["value"][1].as_str()?;
        Some(number.parse().unwrap())
    }

    fn wait_for(&self, query: &str, expected: f64) {
        program::wait_until(&format!("{query} = {expected}"), || {
            self.number(query)
                .is_some_and(|number| (number - expected).abs() < 1e-9)
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_prometheus_reads_what_jobs_came_to() {
    let program = Program::new();
    let environment = [("ETL_METRICS_BIND", "127.0.0.1:0")];
    let server = Server::start(&program, &[], &environment).wait_until_up();
    let prometheus = Prometheus::start(&program, &server.metrics_address());
    prometheus.wait_for("up", 1.0);
    prometheus.wait_for("etl_workers_available", 1.0);

    let good = program.pipeline(
        "name: good\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n",
    );
    let bad = program.pipeline(
        "name: bad
steps:
  - { name: shaky, connector_type: fail, config: { message: once, class: transient, times: 1 }, retry: { base_delay_seconds: 0.01 } }
  - { name: never, connector_type: fail, config: { message: no, class: permanent }, dependencies: [shaky] }
",
    );
    let gated = program.pipeline(
        "name: gated
steps:
  - { name: a, connector_type: command, config: { argv: [sh, -c, 'until [ -e go ]; do sleep 0.02; done'] } }
",
    );
    for _ in 0..3 {
        program.run(&["submit", &good, "--wait"]).expect(0);
    }
    program.run(&["submit", &bad, "--wait"]).expect(1);
    program.run(&["submit", &gated]).expect(0);

    prometheus.wait_for("etl_active_jobs", 1.0);
    for (query, expected) in [
        (
            r#"sum(etl_jobs_total{pipeline="good",status="success"})"#,
            3.0,
        ),
        (
            r#"sum(etl_jobs_total{pipeline="bad",status="failed"})"#,
            1.0,
        ),
        ("sum(etl_jobs_total)", 4.0),
        (
            r#"etl_steps_total{connector="sleep",status="success"}"#,
            3.0,
        ),
        (r#"etl_steps_total{connector="fail",status="success"}"#, 1.0),
        (r#"etl_steps_total{connector="fail",status="failed"}"#, 1.0),
        (r#"etl_step_retries_total{connector="fail"}"#, 1.0),
        ("etl_dead_letters_total", 1.0),
        ("etl_lease_lost_total", 0.0),
        ("etl_queue_depth", 0.0),
        (r#"etl_job_duration_seconds_count{pipeline="good"}"#, 3.0),
        (
            r#"etl_job_duration_seconds_bucket{pipeline="good",le="60.0"}"#,
            3.0,
        ),
        (
            r#"etl_step_duration_seconds_bucket{connector="sleep",le="10.0"}"#,
            3.0,
        ),
        (
            r#"sum(etl_jobs_total{status="success"}) / sum(etl_jobs_total)"#,
            0.75,
        ),
        (
            r#"clamp_max(etl_store_operation_seconds_count{operation="commit"}, 1)"#,
            1.0,
        ),
    ] {
        prometheus.wait_for(query, expected);
    }
    std::fs::write(program.path("go"), "").unwrap();
    prometheus.wait_for("etl_active_jobs", 0.0);
    prometheus.wait_for(r#"sum(etl_jobs_total{pipeline="gated"})"#, 1.0);
}

#[test]
fn metrics_are_told_where_the_configuration_says_and_never_to_strangers() {
    let program = Program::new();
    let status = |address: &str| program::bucket::get(&format!("http://{address}/metrics")).0;
    let of_every_address = |address: &str| address.replace("0.0.0.0", "127.0.0.1");
    for (bind, metrics, at_bind) in [
        ("127.0.0.1:0", None, 200),
        ("127.0.0.1:0", Some("127.0.0.1:0"), 404),
        ("0.0.0.0:0", None, 404),
        ("0.0.0.0:0", Some("127.0.0.1:0"), 404),
    ] {
        let mut environment = vec![("ETL_BIND", bind)];
        environment.extend(metrics.map(|metrics| ("ETL_METRICS_BIND", metrics)));
        let server = Server::start(&program, &[], &environment).wait_until_up();
        let address = of_every_address(&server.address());
        assert_eq!(status(&address), at_bind, "{bind} {metrics:?}");
        if metrics.is_some() {
            assert_eq!(status(&server.metrics_address()), 200, "{bind}");
        }
    }
}
