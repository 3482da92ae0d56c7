//! Watching jobs of real servers: whoever is cut off goes on where they were, and whoever may not watch does not.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::io::{Read, Write};
use std::net::TcpStream as Blocking;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use program::Program;
use program::database::Database;
use program::http::ask;
use program::server::Server;
use serde_json::{Value, json};
use sqlx::Connection;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PASSWORD: &str = "correct horse battery";
const ANA: &str = "ana@example.org";
/// How long nothing may be heard.
const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Makes a user beside the server, and signs in.
fn user(program: &Program, address: &str, email: &str, role: &str, url: &[&str]) -> String {
    let create = "printf '%s' 'correct horse battery' | \"$ETL\" \"$@\"";
    let args = [&["user", "create", email, "--role", role], url].concat();
    program.shell(create, &args).expect(0);
    login(address, email)
}

fn login(address: &str, email: &str) -> String {
    let body = json!({ "email": email, "password": PASSWORD });
    let answer = ask(address, "POST", "/api/v1/auth/login", "", Some(&body));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["access_token"].as_str().unwrap().to_owned()
}

/// A job that says so many lines, a few milliseconds apart.
fn a_job(address: &str, token: &str, name: &str, lines: u32) -> String {
    let script = format!(
        "import time\nfor n in range({lines}):\n    print('line', n, flush=True)\n    time.sleep(0.003)"
    );
    a_script(address, token, name, &script)
}

fn a_script(address: &str, token: &str, name: &str, script: &str) -> String {
    let step = json!({ "name": "say", "connector_type": "command", "config": { "argv": ["python3", "-c", script] } });
    let document = json!({ "name": name, "steps": [step] });
    let made = ask(address, "POST", "/api/v1/pipelines", token, Some(&document));
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().unwrap();
    let path = format!("/api/v1/pipelines/{id}/execute");
    let job = ask(address, "POST", &path, token, None);
    assert_eq!(job.status, 202, "{job:?}");
    job.body["id"].as_str().unwrap().to_owned()
}

fn ticket(address: &str, token: &str) -> String {
    let answer = ask(address, "POST", "/api/v1/ws/ticket", token, None);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["expires_in"], 30);
    answer.body["ticket"].as_str().unwrap().to_owned()
}

async fn open(address: &str, query: &str, head: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let mut request = format!("ws://{address}/api/v1/ws{query}")
        .into_client_request()
        .unwrap();
    for (name, value) in head {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn with_ticket(address: &str, token: &str) -> Socket {
    let ticket = ticket(address, token);
    open(address, &format!("?ticket={ticket}"), &[])
        .await
        .unwrap()
}

async fn say(socket: &mut Socket, message: Value) {
    let message = Message::text(message.to_string());
    socket.send(message).await.unwrap();
}

/// The next message, or the code by which the server ended it.
async fn next(socket: &mut Socket) -> Result<Value, u16> {
    loop {
        match timeout(PATIENCE, socket.next())
            .await
            .expect("nothing is told")
        {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => {
                return Err(frame.map_or(1005, |frame| frame.code.into()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(1006),
        }
    }
}

/// Watches a job to its end over connections that are cut after a few messages, on one server after another.
async fn cut_again_and_again(servers: &[&str], token: &str, job: &str) -> (usize, Vec<Value>) {
    let (mut cuts, mut seen, mut last) = (0_usize, Vec::new(), 0);
    loop {
        // A ticket of one server opens a socket of the other.
        let ticket = ticket(servers[cuts % servers.len()], token);
        let address = servers[(cuts + 1) % servers.len()];
        let mut socket = open(address, &format!("?ticket={ticket}"), &[])
            .await
            .unwrap();
        let channel = format!("job:{job}");
        say(
            &mut socket,
            json!({ "type": "subscribe", "channel": channel, "after_seq": last }),
        )
        .await;
        for _ in 0..=(cuts % 6) {
            let message = next(&mut socket).await.unwrap();
            if message["type"] == "progress" {
                continue;
            }
            last = message["seq"].as_u64().unwrap();
            let is_end = message["type"] == "complete";
            seen.push(message);
            if is_end {
                return (cuts, seen);
            }
        }
        // Without a word.
        drop(socket);
        cuts += 1;
    }
}

fn assert_whole(cuts: usize, seen: &[Value], lines: usize) {
    assert!(cuts >= 100, "{cuts}");
    for (message, seq) in seen.iter().zip(1..) {
        assert_eq!(message["seq"], seq, "{message}");
    }
    let said: Vec<_> = seen
        .iter()
        .filter(|message| message["type"] == "log")
        .map(|message| message["payload"]["message"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<_> = (0..lines).map(|n| format!("line {n}")).collect();
    assert_eq!(said, expected);
    let events: Vec<_> = seen
        .iter()
        .filter(|message| message["type"] == "status")
        .map(|message| message["payload"]["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["job_started", "step_started", "step_completed"]);
    let end = &seen.last().unwrap()["payload"];
    assert_eq!(end["status"], "success");
    assert_eq!(
        (
            &end["summary"]["steps_total"],
            &end["summary"]["steps_success"]
        ),
        (&json!(1), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_is_cut_a_hundred_times_sees_everything_once_in_order() {
    let program = Program::new();
    let server = Server::start(&program, &[], &[]).wait_until_up();
    let address = server.address();
    let token = user(&program, &address, ANA, "admin", &[]);
    let job = a_job(&address, &token, "talk", 600);
    let (cuts, seen) = cut_again_and_again(&[&address], &token, &job).await;
    assert_whole(cuts, &seen, 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_the_same_over_two_servers_of_one_database() {
    let (program, database) = (Program::new(), Database::new().await);
    let (url, key) = (database.url(), program.key_file());
    let environment = [
        ("ETL_DATABASE_URL", url.as_str()),
        ("ETL_MASTER_KEY_FILE", key.as_str()),
    ];
    let one = Server::start(&program, &["api"], &environment).wait_until_up();
    let other = Server::start(&program, &[], &environment).wait_until_up();
    let (one, other) = (&*one.address(), &*other.address());
    let token = user(&program, one, ANA, "admin", &["--database-url", &url]);
    // Whoever watches a pipeline through one server is told of a job that the other runs.
    let job = a_job(one, &token, "talk", 600);
    let (cuts, seen) = cut_again_and_again(&[one, other], &token, &job).await;
    assert_whole(cuts, &seen, 600);

    let mut socket = with_ticket(one, &token).await;
    say(
        &mut socket,
        json!({ "type": "subscribe", "channel": "global" }),
    )
    .await;
    let job = a_job(other, &token, "another", 3);
    let mut states = Vec::new();
    loop {
        let message = next(&mut socket).await.unwrap();
        assert_eq!(message["channel"], "global");
        if message["payload"]["job_id"] == job.as_str() {
            states.push(message["payload"]["status"].as_str().unwrap().to_owned());
            if message["type"] == "complete" {
                break;
            }
        }
    }
    assert_eq!(
        states[states.len() - 2..],
        ["success", "success"],
        "{states:?}"
    );

    // A ticket opens one socket, however many try at once and wherever.
    let query = format!("?ticket={}", ticket(one, &token));
    let tries = (0..20).map(|n| open(if n % 2 == 0 { one } else { other }, &query, &[]));
    let opened = futures_util::future::join_all(tries).await;
    let refused = opened.iter().filter_map(|one| one.as_ref().err());
    assert!(refused.clone().all(|status| *status == 401), "{opened:?}");
    assert_eq!(refused.count(), 19);
    database.drop().await;
}

/// A socket of a client that has little room for what it does not read.
async fn narrow(address: &str, token: &str) -> Socket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let url = format!("ws://{address}/api/v1/ws?ticket={}", ticket(address, token));
    let (socket, _) = tokio_tungstenite::client_async(url, MaybeTlsStream::Plain(stream))
        .await
        .unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_too_slowly_is_cut_off_and_goes_on_where_they_were() {
    let program = Program::new();
    let server = Server::start(&program, &[], &[]).wait_until_up();
    let address = server.address();
    let token = user(&program, &address, ANA, "admin", &[]);
    let script = "for n in range(4000):\n    print(n, 'x' * 3000)";
    let job = a_script(&address, &token, "long", script);
    let path = format!("/api/v1/jobs/{job}");
    program::wait_until("the job's end", || {
        ask(&address, "GET", &path, &token, None).body["status"] == "success"
    });
    let subscribe = |seq: u64| json!({ "type": "subscribe", "channel": format!("job:{job}"), "after_seq": seq });

    let mut slow = narrow(&address, &token).await;
    say(&mut slow, subscribe(0)).await;
    let log = server.log();
    program::wait_until("the end of patience", || {
        program::lines(log)
            .iter()
            .any(|line| line.contains("too slow"))
    });
    let mut seen = Vec::new();
    let reason = loop {
        match timeout(PATIENCE, slow.next()).await.unwrap().unwrap() {
            Ok(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                seen.push(message["seq"].as_u64().unwrap());
            }
            Ok(Message::Close(Some(frame))) => break frame.reason.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let last = *seen.last().unwrap();
    assert!(
        reason.ends_with(&format!("after_seq {last}")),
        "{last}: {reason}"
    );
    assert!(last < 4000, "{last}");

    let mut quick = with_ticket(&address, &token).await;
    say(&mut quick, subscribe(last)).await;
    loop {
        let message = next(&mut quick).await.unwrap();
        seen.push(message["seq"].as_u64().unwrap());
        if message["type"] == "complete" {
            break;
        }
    }
    assert_eq!(seen, (1..=4004).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_comes_first_and_what_is_wrong_is_told() {
    let program = Program::new();
    let server = Server::start(&program, &[], &[]).wait_until_up();
    let address = server.address();
    let token = user(&program, &address, ANA, "admin", &[]);
    let job = a_job(&address, &token, "talk", 3);
    let path = format!("/api/v1/jobs/{job}");
    program::wait_until("the job's end", || {
        ask(&address, "GET", &path, &token, None).body["status"] == "success"
    });
    let bearer = format!("Bearer {token}");
    let mut socket = open(&address, "", &[("authorization", &bearer)])
        .await
        .unwrap();
    let channel = format!("job:{job}");
    say(
        &mut socket,
        json!({ "type": "subscribe", "channel": channel }),
    )
    .await;
    let state = next(&mut socket).await.unwrap();
    assert_eq!(
        (&state["type"], &state["payload"]["status"], &state["seq"]),
        (&json!("status"), &json!("success"), &json!(7))
    );
    let end = next(&mut socket).await.unwrap();
    assert_eq!(
        (&end["type"], &end["payload"]["job_id"]),
        (&json!("complete"), &json!(job))
    );
    say(
        &mut socket,
        json!({ "type": "unsubscribe", "channel": channel }),
    )
    .await;

    // What can't be understood or is not there leaves the connection as it is.
    let nobody = "job:01a21b80-b824-760a-8dcc-93f8d60dd14f";
    for (wrong, told) in [
        (json!({ "type": "subscribe" }), "a message is"),
        (
            json!({ "type": "shout", "channel": "global" }),
            "a message is",
        ),
        (
            json!({ "type": "subscribe", "channel": "global", "as": "root" }),
            "a message is",
        ),
        (
            json!({ "type": "subscribe", "channel": "jobs" }),
            "a channel is",
        ),
        (
            json!({ "type": "subscribe", "channel": "job:1" }),
            "a channel is",
        ),
        (
            json!({ "type": "subscribe", "channel": nobody }),
            "no such thing",
        ),
        (
            json!({ "type": "subscribe", "channel": "global", "after_seq": 3 }),
            "after_seq goes with",
        ),
    ] {
        say(&mut socket, wrong.clone()).await;
        let message = next(&mut socket).await.unwrap();
        assert_eq!(message["type"], "error", "{wrong}");
        let said = message["payload"]["message"].as_str().unwrap();
        assert!(said.contains(told), "{wrong}: {said}");
    }

    // Fifty channels, and no more.
    let mut jobs = Vec::new();
    for n in 0..50 {
        jobs.push(a_job(&address, &token, &format!("p{n}"), 0));
    }
    for job in &jobs {
        let channel = format!("job:{job}");
        say(
            &mut socket,
            json!({ "type": "subscribe", "channel": channel }),
        )
        .await;
    }
    say(
        &mut socket,
        json!({ "type": "subscribe", "channel": "global" }),
    )
    .await;
    loop {
        let message = next(&mut socket).await.unwrap();
        if message["type"] == "error" {
            let said = message["payload"]["message"].as_str().unwrap();
            assert!(said.contains("50 subscriptions"), "{said}");
            assert_eq!(message["channel"], "global");
            break;
        }
    }

    // As much as may be, too much, and no text.
    let mut large = with_ticket(&address, &token).await;
    let message = Message::text("x".repeat(64 * 1024));
    large.send(message).await.unwrap();
    assert_eq!(next(&mut large).await.unwrap()["type"], "error");
    let message = Message::text("x".repeat(64 * 1024 + 1));
    let _ = large.send(message).await;
    assert!(next(&mut large).await.is_err());
    let mut binary = with_ticket(&address, &token).await;
    let _ = binary.send(Message::binary(vec![0; 8])).await;
    assert_eq!(next(&mut binary).await, Err(1003));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_watch_does_not() {
    let program = Program::new();
    let server = Server::start(&program, &[], &[]).wait_until_up();
    let address = server.address();
    let ana = user(&program, &address, ANA, "admin", &[]);
    let bia = user(&program, &address, "bia@example.org", "viewer", &[]);

    assert_eq!(open(&address, "", &[]).await.unwrap_err(), 401);
    let query = format!("?ticket={}", ticket(&address, &bia));
    let evil = [("origin", "http://evil.example")];
    assert_eq!(open(&address, &query, &evil).await.unwrap_err(), 403);
    // The ticket went with the first try.
    assert_eq!(open(&address, &query, &[]).await.unwrap_err(), 401);
    for forged in [
        "",
        "etl_wt_",
        &bia,
        "etl_wt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "%00",
        "'--",
    ] {
        let query = format!("?ticket={forged}");
        assert_eq!(
            open(&address, &query, &[]).await.unwrap_err(),
            401,
            "{forged}"
        );
    }
    let scopes = json!({ "name": "ci", "scopes": ["connectors:read"] });
    let key = ask(&address, "POST", "/api/v1/api-keys", &bia, Some(&scopes));
    let bearer = format!("Bearer {}", key.body["key"].as_str().unwrap());
    let refused = open(&address, "", &[("authorization", &bearer)]).await;
    assert_eq!(refused.unwrap_err(), 403);

    // Whoever may is told that they may no more: the key goes, the session ends, the user is removed.
    let own = [("origin", &*format!("http://{address}"))];
    let query = format!("?ticket={}", ticket(&address, &bia));
    let mut of_session = open(&address, &query, &own).await.unwrap();
    let scopes = json!({ "name": "watch", "scopes": ["jobs:read"] });
    let key = ask(&address, "POST", "/api/v1/api-keys", &bia, Some(&scopes));
    let (id, key) = (key.body["id"].clone(), key.body["key"].clone());
    let mut of_key = with_ticket(&address, key.as_str().unwrap()).await;
    say(
        &mut of_session,
        json!({ "type": "subscribe", "channel": "global" }),
    )
    .await;
    say(
        &mut of_key,
        json!({ "type": "subscribe", "channel": "global" }),
    )
    .await;
    let path = format!("/api/v1/api-keys/{}", id.as_str().unwrap());
    assert_eq!(ask(&address, "DELETE", &path, &bia, None).status, 204);
    assert_eq!(next(&mut of_key).await, Err(4401));
    assert_eq!(
        ask(&address, "POST", "/api/v1/auth/logout", &bia, None).status,
        204
    );
    assert_eq!(next(&mut of_session).await, Err(4401));

    let bia = login(&address, "bia@example.org");
    let mut of_user = with_ticket(&address, &bia).await;
    say(
        &mut of_user,
        json!({ "type": "subscribe", "channel": "global" }),
    )
    .await;
    let users = ask(&address, "GET", "/api/v1/users", &ana, None).body;
    let all = users["items"].as_array().unwrap();
    let of_bia = all.iter().find(|one| one["email"] == "bia@example.org");
    let path = format!("/api/v1/users/{}", of_bia.unwrap()["id"].as_str().unwrap());
    assert_eq!(ask(&address, "DELETE", &path, &ana, None).status, 204);
    let since = std::time::Instant::now();
    assert_eq!(next(&mut of_user).await, Err(4401));
    assert!(since.elapsed() < Duration::from_secs(5));

    // A server that stops says so.
    let mut stays = with_ticket(&address, &ana).await;
    say(
        &mut stays,
        json!({ "type": "subscribe", "channel": "global" }),
    )
    .await;
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(next(&mut stays).await, Err(1001));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_connections_are_one_users_and_the_place_of_one_that_ends_is_free() {
    let program = Program::new();
    let server = Server::start(&program, &[], &[]).wait_until_up();
    let address = server.address();
    let token = user(&program, &address, ANA, "admin", &[]);
    let other = user(&program, &address, "bia@example.org", "viewer", &[]);
    let bearer = format!("Bearer {token}");
    let head = [("authorization", bearer.as_str())];
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(open(&address, "", &head).await.unwrap());
    }
    assert_eq!(open(&address, "", &head).await.unwrap_err(), 503);
    let _of_another = with_ticket(&address, &other).await;
    sockets.pop().unwrap().close(None).await.unwrap();
    let freed = async {
        while open(&address, "", &head).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.expect("no place is free");
}

/// Everything that a stream says until it ends.
fn stream(address: &str, path: &str, token: &str, head: &str) -> String {
    let mut socket = Blocking::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n{head}\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_stream_tells_a_job_to_its_end_and_goes_on_after_the_last_event() {
    let program = Program::new();
    let server = Server::start(&program, &[], &[]).wait_until_up();
    let address = server.address();
    let token = user(&program, &address, ANA, "admin", &[]);
    let job = a_job(&address, &token, "talk", 200);
    let path = format!("/api/v1/jobs/{job}/events?after_seq=0");
    let all = stream(&address, &path, &token, "");
    assert!(all.contains("content-type: text/event-stream"), "{all}");
    let ids = |text: &str| -> Vec<u64> {
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.map(|id| id.parse().unwrap()).collect()
    };
    let seen = ids(&all);
    assert_eq!(seen, (1..=204).collect::<Vec<u64>>());
    assert!(all.contains("event: complete"));
    let rest = stream(&address, &path, &token, "last-event-id: 200\r\n");
    assert_eq!(ids(&rest), [201, 202, 203, 204]);
    // Who has seen the end waits for nothing.
    for last in [204, 205] {
        let head = format!("last-event-id: {last}\r\n");
        let nothing = stream(&address, &path, &token, &head);
        assert!(nothing.starts_with("HTTP/1.1 200"), "{nothing}");
        assert!(ids(&nothing).is_empty(), "{nothing}");
    }
    let nothing = "/api/v1/jobs/01a21b80-b824-760a-8dcc-93f8d60dd14f/events";
    assert!(stream(&address, nothing, &token, "").starts_with("HTTP/1.1 404"));
    assert!(stream(&address, &path, "nobody", "").starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn what_is_in_the_archive_alone_is_told_and_the_end_as_well() {
    let program = Program::new();
    let server = Server::start(&program, &[], &[]).wait_until_up();
    let address = server.address();
    let token = user(&program, &address, ANA, "admin", &[]);
    let job = a_job(&address, &token, "talk", 3);
    let path = format!("/api/v1/jobs/{job}/events?after_seq=0");
    let all = stream(&address, &path, &token, "");
    assert!(all.contains("event: complete"), "{all}");
    let url = format!("sqlite://{}", program.path(".etl/etl.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    for (dropped, lines_left) in [(4, 3), (7, 0)] {
        sqlx::query("DELETE FROM job_logs WHERE seq <= ?")
            .bind(dropped)
            .execute(&mut database)
            .await
            .unwrap();
        let rest = stream(&address, &path, &token, "");
        let told = format!("lines 1 to {dropped} are in the archive alone");
        assert!(rest.contains(&told), "{rest}");
        let ends = rest.matches("event: complete").count();
        assert_eq!(ends, 1, "{rest}");
        assert!(rest.contains("\"steps_success\":1"), "{rest}");
        let ids = rest.matches("\nid: ").count();
        assert_eq!(ids, if lines_left == 0 { 1 } else { lines_left }, "{rest}");
    }
}
