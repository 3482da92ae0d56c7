//! Limits, caches and locks on a real Redis, and what they do without it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::time::{Duration, Instant};

use etl_core::model::{JobStatus, PipelineId, Timestamp, WorkerId};
use etl_redis::{
    JobSummary, LockName, Quota, Redis, RedisErrorKind, RedisOptions, Session, SessionCache,
    TokenHash,
};
use serde_json::json;
use uuid::Uuid;

use server::relay::Relay;
use server::{Private, a_job, eventually, shared};

#[tokio::test]
async fn processes_share_a_limit_and_no_more_than_it_is_allowed() {
    let server = Private::started().await;
    let quota = Quota::new("login", 50, Duration::from_hours(1)).unwrap();
    let mut taking = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (limits, quota) = (server.open().limits(), quota.clone());
        taking.spawn(async move {
            let mut allowed = 0;
            for _ in 0..50 {
                let decision = limits.take("10.0.0.1", &quota).await;
                assert!(decision.is_shared);
                allowed += u32::from(decision.is_allowed);
            }
            allowed
        });
    }
    let allowed: u32 = taking.join_all().await.into_iter().sum();
    assert_eq!(allowed, 50);
    let limits = server.open().limits();
    let refused = limits.take("10.0.0.1", &quota).await;
    assert!(!refused.is_allowed && refused.remaining == 0, "{refused:?}");
    let interval = Duration::from_hours(1) / 50;
    assert!(refused.retry_after > Duration::ZERO && refused.retry_after <= interval);
    // Another subject and another endpoint have their own.
    assert_eq!(limits.take("10.0.0.2", &quota).await.remaining, 49);
    let other = Quota::new("search", 2, Duration::from_mins(1)).unwrap();
    assert_eq!(limits.take("10.0.0.1", &other).await.remaining, 1);
    assert_eq!(limits.take(&"x".repeat(100_000), &other).await.remaining, 1);
    assert!(limits.take(&"x".repeat(100_000), &other).await.is_shared);

    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut ttl = redis::cmd("PTTL");
    ttl.arg("ratelimit:10.0.0.1:login");
    let left: i64 = ttl.query_async(&mut connection).await.unwrap();
    assert!(left > 0 && left <= 3_600_000, "{left}");
}

#[tokio::test]
async fn a_limit_fills_again_by_the_servers_clock() {
    let limits = shared().limits();
    let quota = Quota::new("tick", 2, Duration::from_millis(200)).unwrap();
    let take = async || limits.take("a", &quota).await;
    let (first, second) = (take().await, take().await);
    assert!(first.is_allowed && second.is_allowed);
    let third = take().await;
    eventually("one more is allowed", async || take().await.is_allowed).await;
    assert!(third.is_allowed || third.retry_after <= Duration::from_millis(100));
}

#[tokio::test]
async fn without_redis_each_process_keeps_the_limit_itself_and_later_shares_again() {
    let mut server = Private::new();
    let (limits, other) = (server.open().limits(), server.open().limits());
    let quota = Quota::new("login", 3, Duration::from_hours(1)).unwrap();
    let began = Instant::now();
    for limits in [&limits, &other] {
        let mut allowed = 0;
        for _ in 0..10 {
            let decision = limits.take("a", &quota).await;
            assert!(!decision.is_shared);
            allowed += u32::from(decision.is_allowed);
        }
        assert_eq!(allowed, 3);
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    server.start().await;
    let is_shared = async || limits.take("b", &quota).await.is_shared;
    eventually("the limit is shared", is_shared).await;
    server.kill();
    let is_local = async || !limits.take("c", &quota).await.is_shared;
    eventually("the limit is local again", is_local).await;
}

#[tokio::test]
async fn nobody_waits_for_a_server_that_hangs_once_it_is_noticed() {
    let server = Private::started().await;
    let limits = server.open().limits();
    let quota = Quota::new("login", 1000, Duration::from_hours(1)).unwrap();
    assert!(limits.take("a", &quota).await.is_shared);
    server.freeze();
    assert!(!limits.take("a", &quota).await.is_shared);
    // Long enough for several tries to connect, of which each takes seconds: nobody waits for one. (One long pause is the machine's.)
    let (began, mut waited) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert!(!limits.take("a", &quota).await.is_shared);
        waited += u32::from(asked.elapsed() > Duration::from_millis(500));
        tokio::task::yield_now().await;
    }
    assert!(waited <= 1, "{waited}");
    server.thaw();
    let is_shared = async || limits.take("a", &quota).await.is_shared;
    eventually("the limit is shared", is_shared).await;
}

#[tokio::test]
async fn after_a_failover_the_server_that_takes_writes_is_found() {
    let (first, second) = (Private::started().await, Private::started().await);
    let relay = Relay::to(first.port()).await;
    let limits = Redis::open(&relay.url(), &RedisOptions::default())
        .unwrap()
        .limits();
    let quota = Quota::new("login", 1000, Duration::from_hours(1)).unwrap();
    assert!(limits.take("a", &quota).await.is_shared);
    // The first is a replica now; who is connected to it stays so.
    let client = redis::Client::open(first.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut demote = redis::cmd("REPLICAOF");
    demote.arg("127.0.0.1").arg(second.port());
    demote.query_async::<()>(&mut connection).await.unwrap();
    relay.lead_to(second.port());
    assert!(!limits.take("a", &quota).await.is_shared);
    let is_shared = async || limits.take("a", &quota).await.is_shared;
    eventually("the limit is shared again", is_shared).await;
}

#[tokio::test]
async fn a_key_of_another_kind_refuses_and_the_limit_goes_on_without() {
    let server = Private::started().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut push = redis::cmd("LPUSH");
    push.arg("ratelimit:a:login").arg("x");
    push.query_async::<u64>(&mut connection).await.unwrap();
    let quota = Quota::new("login", 1, Duration::from_hours(1)).unwrap();
    let limits = server.open().limits();
    let decision = limits.take("a", &quota).await;
    assert!(decision.is_allowed && !decision.is_shared, "{decision:?}");
    assert!(!limits.take("a", &quota).await.is_allowed);
    assert!(limits.take("b", &quota).await.is_shared);
}

fn summary(at: i64, progress: u8) -> JobSummary {
    JobSummary {
        status: JobStatus::Running,
        progress: Some(progress),
        current_step: Some("load «é»".into()),
        at: Timestamp::from_micros(at),
    }
}

#[tokio::test]
async fn a_summary_is_kept_for_its_time_and_an_older_one_never_takes_its_place() {
    let (redis, job) = (shared(), a_job());
    let cache = redis.statuses();
    let minute = Duration::from_mins(1);
    assert_eq!(cache.get(job).await, None);
    cache.put(job, &summary(2_000_000, 20), minute).await;
    cache.put(job, &summary(1_000_000, 10), minute).await;
    assert_eq!(cache.get(job).await, Some(summary(2_000_000, 20)));
    cache
        .put(job, &summary(3_000_000, 30), Duration::from_millis(50))
        .await;
    assert_eq!(cache.get(a_job()).await, None);
    eventually("it is forgotten", async || cache.get(job).await.is_none()).await;
    // One that is too long is not kept.
    let long = JobSummary {
        current_step: Some("x".repeat(100_000)),
        ..summary(4_000_000, 40)
    };
    cache.put(job, &long, minute).await;
    assert_eq!(cache.get(job).await, None);
}

async fn put(sessions: &SessionCache, user: Uuid, token: TokenHash, keep: Duration) -> Session {
    let session = Session {
        user_data: json!({ "role": "viewer" }),
        expires_at: 1_900_000_000,
    };
    sessions.put(user, token, &session, keep).await;
    session
}

#[tokio::test]
async fn a_session_is_given_until_it_is_removed_or_over() {
    let sessions = shared().sessions();
    let (user, token, other) = (Uuid::now_v7(), TokenHash([7; 32]), TokenHash([8; 32]));
    let session = put(&sessions, user, token, Duration::from_mins(1)).await;
    put(&sessions, user, other, Duration::from_millis(50)).await;
    assert_eq!(sessions.get(user, token).await, Some(session));
    assert_eq!(sessions.get(Uuid::now_v7(), token).await, None);
    eventually("it is over", async || {
        sessions.get(user, other).await.is_none()
    })
    .await;
    sessions.remove(user, token).await.unwrap();
    assert_eq!(sessions.get(user, token).await, None);
    sessions.remove(user, token).await.unwrap();
}

#[tokio::test]
async fn a_cache_that_is_away_is_a_miss_and_says_so_where_it_matters() {
    let server = Private::new();
    let redis = server.open();
    let (user, token) = (Uuid::now_v7(), TokenHash([7; 32]));
    put(&redis.sessions(), user, token, Duration::from_mins(1)).await;
    assert_eq!(redis.sessions().get(user, token).await, None);
    redis
        .statuses()
        .put(a_job(), &summary(1, 1), Duration::from_mins(1))
        .await;
    assert_eq!(redis.statuses().get(a_job()).await, None);
    let error = redis.sessions().remove(user, token).await.unwrap_err();
    assert_eq!(error.kind, RedisErrorKind::Unavailable);
    let lock = LockName::Credential(Uuid::nil());
    let locks = redis.locks();
    let locked = locks.acquire(lock, WorkerId(Uuid::now_v7()), Duration::from_secs(1));
    assert_eq!(locked.await.unwrap_err().kind, RedisErrorKind::Unavailable);
}

#[tokio::test]
async fn one_holds_a_lock_and_every_holder_has_a_larger_fence() {
    let redis = shared();
    let name = LockName::Pipeline(PipelineId(Uuid::now_v7()));
    let acquire = async |hold| {
        let locks = redis.locks();
        locks
            .acquire(name, WorkerId(Uuid::now_v7()), hold)
            .await
            .unwrap()
    };
    let minute = Duration::from_mins(1);
    let first = acquire(minute).await.expect("nobody has it");
    assert!(acquire(minute).await.is_none());
    assert!(first.renew(Duration::from_millis(50)).await.unwrap());
    let second = std::sync::Mutex::new(None);
    let is_taken = async || {
        let taken = acquire(minute).await;
        let is_taken = taken.is_some();
        *second.lock().unwrap() = taken;
        is_taken
    };
    eventually("it ran out", is_taken).await;
    let second = second.into_inner().unwrap().unwrap();
    assert!(second.fence() > first.fence());
    // Whoever lost it can neither hold nor free it.
    assert!(!first.renew(minute).await.unwrap());
    assert!(!first.release().await.unwrap());
    assert!(acquire(minute).await.is_none());
    assert!(second.release().await.unwrap());
    assert!(acquire(minute).await.is_some());
}

#[tokio::test]
async fn of_many_who_want_a_lock_at_once_one_gets_it() {
    let redis = shared();
    let name = LockName::Credential(Uuid::now_v7());
    let mut taking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let locks = redis.locks();
        taking.spawn(async move {
            let worker = WorkerId(Uuid::now_v7());
            let taken = locks.acquire(name, worker, Duration::from_mins(1)).await;
            u32::from(taken.unwrap().is_some())
        });
    }
    assert_eq!(taking.join_all().await.into_iter().sum::<u32>(), 1);
}

#[tokio::test]
async fn fences_grow_over_a_restart_that_forgets_everything() {
    let mut server = Private::started().await;
    let redis = server.open();
    let (name, hold) = (LockName::Credential(Uuid::nil()), Duration::from_mins(1));
    let worker = WorkerId(Uuid::now_v7());
    let before = redis
        .locks()
        .acquire(name, worker, hold)
        .await
        .unwrap()
        .unwrap();
    server.kill();
    server.start().await;
    let after = std::sync::Mutex::new(None);
    let is_taken = async || {
        let Ok(taken) = redis.locks().acquire(name, worker, hold).await else {
            return false;
        };
        *after.lock().unwrap() = taken;
        true
    };
    eventually("it is taken", is_taken).await;
    let after = after
        .into_inner()
        .unwrap()
        .expect("the server forgot who had it");
    assert!(after.fence() > before.fence());
    assert!(!before.renew(hold).await.unwrap());
}
