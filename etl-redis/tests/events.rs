//! Events between processes, and what watchers are told while Redis is away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::time::{Duration, Instant};

use etl_core::contract::{EventBus, Received, Subscription};
use etl_core::model::{Event, JobId};
use etl_redis::{Redis, RedisOptions};

use server::relay::Relay;
use server::{PATIENCE, Private, a_job, a_prefix, eventually, line, next, notice, url};

/// What is known to be missed by now, at least something. Until a watcher has read that, notices are added to it.
async fn missed(watcher: &mut Box<dyn Subscription>) -> u64 {
    match next(watcher).await {
        Received::Missed(count) => count,
        Received::Event(event) => panic!("{event:?} came first"),
    }
}

async fn event(watcher: &mut Box<dyn Subscription>) -> Event {
    match next(watcher).await {
        Received::Event(event) => event,
        Received::Missed(count) => panic!("{count} were missed"),
    }
}

#[tokio::test]
async fn another_process_hears_what_it_watches_and_other_programs_read_the_channels() {
    let prefix = a_prefix();
    let open = || {
        Redis::open(
            &url(),
            &RedisOptions::default().with_prefix(prefix.as_str()),
        )
        .unwrap()
    };
    let (teller, hearer) = (open().events(), open().events());
    let (job, other) = (a_job(), a_job());
    let mut one = hearer.subscribe(Some(job)).await.unwrap();
    let mut all = hearer.subscribe(None).await.unwrap();
    let mut both = hearer.subscribe(Some(job)).await.unwrap();

    let client = redis::Client::open(url()).unwrap();
    let mut plain = client.get_async_pubsub().await.unwrap();
    let channel = format!("{prefix}channel:job:{job}:logs");
    plain.subscribe(&channel).await.unwrap();

    let told = [
        notice(other, 1),
        notice(job, 2),
        line(job, "a line"),
        notice(job, 3),
    ];
    teller.publish(told.to_vec()).await.unwrap();
    for event in &told {
        assert_eq!(next(&mut all).await, Received::Event(event.clone()));
    }
    for event in &told[1..] {
        assert_eq!(next(&mut one).await, Received::Event(event.clone()));
        assert_eq!(next(&mut both).await, Received::Event(event.clone()));
    }
    let read = async {
        let mut messages = plain.on_message();
        futures_util::StreamExt::next(&mut messages).await
    };
    let message = tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    let payload: Event = serde_json::from_slice(message.get_payload_bytes()).unwrap();
    assert_eq!(payload, told[2]);
    assert_eq!(teller.counts().published, 4);
    assert_eq!((teller.counts().dropped, teller.counts().failures), (0, 0));
}

#[tokio::test]
async fn channels_that_nobody_watches_any_more_are_given_up() {
    let server = Private::started().await;
    let bus = server.open().events();
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let count = async |what: &str| -> u64 {
        let mut command = redis::cmd("PUBSUB");
        command.arg(what);
        if what == "NUMPAT" {
            return command.query_async(&mut connection.clone()).await.unwrap();
        }
        let channels: Vec<String> = command.query_async(&mut connection.clone()).await.unwrap();
        channels.len() as u64
    };
    let job = a_job();
    let first = bus.subscribe(Some(job)).await.unwrap();
    let second = bus.subscribe(Some(job)).await.unwrap();
    let all = bus.subscribe(None).await.unwrap();
    assert_eq!((count("CHANNELS").await, count("NUMPAT").await), (3, 1));
    drop((first, all));
    eventually("the pattern is given up", async || {
        count("NUMPAT").await == 0
    })
    .await;
    assert_eq!(count("CHANNELS").await, 3);
    drop(second);
    eventually("the channels are given up", async || {
        count("CHANNELS").await == 1
    })
    .await;
}

#[tokio::test]
async fn a_restart_is_lived_through_and_watchers_are_told_that_they_missed_something() {
    let mut server = Private::started().await;
    let (teller, hearer) = (server.open().events(), server.open().events());
    let job = a_job();
    let mut watcher = hearer.subscribe(Some(job)).await.unwrap();
    let mut all = hearer.subscribe(None).await.unwrap();
    teller.publish(vec![notice(job, 1)]).await.unwrap();
    assert_eq!(event(&mut watcher).await, notice(job, 1));
    assert_eq!(event(&mut all).await, notice(job, 1));

    server.kill();
    // Told as soon as it is away, and again and again while it is.
    for _ in 0..3 {
        assert!(missed(&mut watcher).await > 0);
    }
    let began = Instant::now();
    teller.publish(vec![notice(job, 2)]).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // Who comes now is not held up either, and hears once Redis is back.
    let mut late = hearer.subscribe(Some(job)).await.unwrap();

    server.start().await;
    let back = Instant::now();
    let is_up = async || teller.counts().is_connected && hearer.counts().is_connected;
    eventually("both are connected again", is_up).await;
    let took = back.elapsed();
    eprintln!("connected again {took:?} after Redis was back");
    assert!(took < Duration::from_secs(5), "{took:?}");
    for watcher in [&mut watcher, &mut all, &mut late] {
        assert!(missed(watcher).await > 0);
    }
    teller.publish(vec![notice(job, 3)]).await.unwrap();
    for watcher in [&mut watcher, &mut all, &mut late] {
        assert_eq!(event(watcher).await, notice(job, 3));
    }
    assert!(hearer.counts().failures > 0);
}

#[tokio::test]
async fn who_comes_while_the_bus_connects_again_hears_too() {
    let server = Private::started().await;
    let relay = Relay::to(server.port()).await;
    let hearer = Redis::open(&relay.url(), &RedisOptions::default())
        .unwrap()
        .events();
    let (teller, early, late) = (server.open().events(), a_job(), a_job());
    let _early = hearer.subscribe(Some(early)).await.unwrap();
    relay.cut();
    eventually("it is noticed", async || !hearer.counts().is_connected).await;
    // The bus subscribes for whoever watches already, and gets no answer yet.
    relay.open_until(early.to_string());
    relay.is_held().await;
    let mut late_watcher = hearer.subscribe(Some(late)).await.unwrap();
    relay.open();
    let hears = async || {
        teller.publish(vec![notice(late, 1)]).await.unwrap();
        let next = tokio::time::timeout(Duration::from_millis(100), late_watcher.next());
        next.await == Ok(Some(Received::Event(notice(late, 1))))
    };
    eventually("it hears", hears).await;
}

#[tokio::test]
async fn a_server_that_hangs_holds_nobody_up_and_is_noticed() {
    let server = Private::started().await;
    let (teller, hearer) = (server.open().events(), server.open().events());
    let job = a_job();
    let mut watcher = hearer.subscribe(Some(job)).await.unwrap();
    server.freeze();
    let mut longest = Duration::ZERO;
    for n in 0..20 {
        let began = Instant::now();
        teller.publish(vec![notice(job, n)]).await.unwrap();
        longest = longest.max(began.elapsed());
    }
    eprintln!("the longest publish took {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    eventually("it is noticed", async || !teller.counts().is_connected).await;
    // By the hearer too, which sends nothing of its own.
    assert!(missed(&mut watcher).await > 0);
    server.thaw();
    let is_up = async || teller.counts().is_connected && hearer.counts().is_connected;
    eventually("both are back", is_up).await;
    assert!(missed(&mut watcher).await > 0);
    // The teller may yet tell of what it could not.
    let arrives = async {
        loop {
            teller.publish(vec![notice(job, 99)]).await.unwrap();
            if next(&mut watcher).await == Received::Event(notice(job, 99)) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, arrives).await.unwrap();
    assert!(teller.counts().dropped > 0, "{:?}", teller.counts());
}

#[tokio::test]
async fn a_flood_while_redis_is_away_stays_bounded_and_is_counted_to_the_last_notice() {
    const COUNT: i64 = 40_000;
    let mut server = Private::new();
    let (teller, job) = (server.open().events(), a_job());
    eventually("it is known to be away", async || {
        teller.counts().failures > 0
    })
    .await;
    let began = Instant::now();
    for part in 0..COUNT / 1000 {
        let events = (part * 1000..(part + 1) * 1000).map(|n| notice(job, n));
        teller.publish(events.collect()).await.unwrap();
    }
    eprintln!("{COUNT} notices were taken in {:?}", began.elapsed());
    let dropped = teller.counts().dropped;
    assert!(dropped >= COUNT as u64 - 16_384 - 1, "{dropped}");
    server.start().await;
    let is_told = async || teller.counts().published + teller.counts().dropped == COUNT as u64;
    eventually("all are told or counted", is_told).await;
}

#[tokio::test]
async fn a_bus_that_is_dropped_ends_its_watchers() {
    let server = Private::started().await;
    let bus = server.open().events();
    let mut watchers = Vec::new();
    for job in [None, Some(a_job())] {
        watchers.push(bus.subscribe(job).await.unwrap());
    }
    drop(bus);
    for watcher in &mut watchers {
        let end = tokio::time::timeout(PATIENCE, watcher.next()).await;
        assert_eq!(end.expect("the end comes"), None);
    }
}

#[tokio::test]
async fn what_is_no_event_is_passed_over_and_told_as_missed() {
    let server = Private::started().await;
    let bus = server.open().events();
    let (job, other) = (a_job(), a_job());
    let mut watcher = bus.subscribe(Some(job)).await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let channel = |job: JobId| format!("channel:job:{job}:status");
    let foreign = serde_json::to_vec(&notice(other, 1)).unwrap();
    for (to, payload) in [
        (channel(job), b"\xff\x00nonsense".to_vec()),
        // Of another job: nobody's.
        (channel(job), foreign),
        (
            "channel:global:notifications".into(),
            b"{\"type\":\"new\"}".to_vec(),
        ),
    ] {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(to).arg(payload);
        publish.query_async::<u64>(&mut connection).await.unwrap();
    }
    bus.publish(vec![notice(job, 2)]).await.unwrap();
    assert_eq!(next(&mut watcher).await, Received::Missed(2));
    bus.publish(vec![notice(job, 3)]).await.unwrap();
    assert_eq!(next(&mut watcher).await, Received::Event(notice(job, 3)));
}
