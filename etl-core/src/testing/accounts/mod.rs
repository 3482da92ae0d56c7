//! The accounts suite. Each file is about one part of the contract, each function is one law of it.

mod login;
mod session;
mod token;
mod user;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::case::{self, Case};
use super::clock::ManualClock;
use crate::contract::Clock;
use crate::contract::store::{Accounts, CreateUser, Others, UserCreated};
use crate::model::{Role, TokenHash, User, UserId};

/// Makes stores of accounts to try.
#[async_trait]
pub trait AccountsFixture: Send + Sync {
    /// A new and empty store whose time is `clock`, beside any other that this fixture made.
    async fn fresh_accounts(&self, clock: Arc<dyn Clock>) -> Arc<dyn Accounts>;

    /// How many tasks race for it where races are tried.
    fn racers(&self) -> usize {
        100
    }
}

const CASES: &[Case<dyn AccountsFixture>] = crate::__accounts_cases! { (case::case_list) () };

/// The names of all cases.
pub fn cases() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Runs one case; it panics where the store breaks the law.
pub async fn run(name: &str, fixture: &(dyn AccountsFixture + 'static)) {
    case::run(CASES, name, fixture).await;
}

/// One store of accounts on stage.
struct Scene {
    store: Arc<dyn Accounts>,
    clock: Arc<ManualClock>,
    racers: usize,
}

impl Scene {
    async fn on(fixture: &dyn AccountsFixture) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self {
            store: fixture.fresh_accounts(clock.clone()).await,
            clock,
            racers: fixture.racers(),
        }
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn a_user(&self, email: &str, role: Role) -> User {
        match self.store.create_user(a_user(email, role)).await.unwrap() {
            UserCreated::Created(user) => *user,
            refused => panic!("{refused:?}"),
        }
    }

    async fn user(&self, id: UserId) -> User {
        self.store.user(id).await.unwrap().unwrap()
    }
}

fn a_user(email: &str, role: Role) -> CreateUser {
    CreateUser {
        id: UserId(Uuid::now_v7()),
        email: email.into(),
        password_hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(),
        role,
        others: Others::Allowed,
    }
}

/// A hash of its own for each number.
fn hash(number: u64) -> TokenHash {
    let mut bytes = [0xa5; 32];
    for (byte, of_number) in bytes.iter_mut().zip(number.to_be_bytes()) {
        *byte = of_number;
    }
    TokenHash(bytes)
}
