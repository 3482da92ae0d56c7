//! What processes of a deployment share through Redis, and never depend on: events, rate limits, a cache and advisory locks.
//!
//! Nothing here is the truth. Whatever Redis forgets, and while it can't be reached, jobs run on as they would without it:
//!
//! | part | key or channel | without Redis |
//! | --- | --- | --- |
//! | [`RedisEvents`] | `channel:job:{job_id}:logs`, `channel:job:{job_id}:status`, `channel:global:notifications` | watchers are told that they may have missed something, and read the store |
//! | [`RateLimiter`] | `ratelimit:{subject}:{endpoint}` | each process limits what it sees itself |
//! | [`StatusCache`], [`SessionCache`] | `job:{job_id}:status`, `session:{user_id}:{token_hash}` | a miss |
//! | [`Locks`] | `lock:pipeline:{id}`, `lock:credential:{id}` | an error that says so; the store's fences keep what has to be kept |
//!
//! [`Redis::open`] reads the address and connects to nothing yet. Every call has a time limit ([`RedisOptions::time_limit`]), and
//! while Redis is known to be away a call fails at once. No error and no log line has the address, because an address has a
//! password. The server has to be Redis 6 or later, or one that speaks its protocol (RESP3).

mod address;
mod cache;
mod error;
mod events;
mod limit;
mod link;
mod lock;
mod names;
mod server;
mod session;

pub use address::RedisOptions;
pub use cache::{JobSummary, StatusCache};
pub use error::{RedisError, RedisErrorKind};
pub use events::{EventCounts, RedisEvents};
pub use limit::{Decision, Quota, RateLimiter};
pub use lock::{Lock, LockName, Locks};
pub use server::Redis;
pub use session::{Session, SessionCache, TokenHash};
