//! Two processes on one database: users, and what they sign in with.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

use etl_core::contract::store::{
    Accounts as _, AdmitLogin, CreateUser, LoginGate, OpenSession, Others, RotateToken,
    TokenRotation, UpdateUser, UserCreated, UserWrite,
};
use etl_core::model::{Role, SessionId, TokenHash, UserEdit, UserId};
use etl_store_postgres::{Options, PostgresStore};
use uuid::Uuid;

use place::Place;

const ROUNDS: usize = 20;

async fn two(place: &Place) -> [PostgresStore; 2] {
    let options = || Options {
        schema: Some(place.schema().into()),
        clock: None,
        log_days: None,
    };
    let one = PostgresStore::open(place.url(), options()).await.unwrap();
    let other = PostgresStore::open_shared(place.url(), options()).await;
    [one, other.unwrap()]
}

fn a_user(email: String, others: Others) -> CreateUser {
    CreateUser {
        id: UserId(Uuid::now_v7()),
        email,
        password_hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(),
        role: Role::Admin,
        others,
    }
}

async fn made(store: &PostgresStore, email: String) -> UserId {
    let create = a_user(email, Others::Allowed);
    let id = create.id;
    let made = store.create_user(create).await.unwrap();
    assert!(matches!(made, UserCreated::Created(_)));
    id
}

async fn close(stores: [PostgresStore; 2]) {
    for store in stores {
        store.close().await;
    }
}

#[tokio::test]
async fn of_two_first_users_one_is_the_first() {
    for _ in 0..ROUNDS {
        let place = Place::new();
        let stores = two(&place).await;
        let [one, other] = &stores;
        let first = |name: &str| a_user(format!("{name}@example.org"), Others::Refused);
        let (a, b) = tokio::join!(
            one.create_user(first("ana")),
            other.create_user(first("rui"))
        );
        let outcomes = [a.unwrap(), b.unwrap()];
        let made = outcomes
            .iter()
            .filter(|of| matches!(of, UserCreated::Created(_)));
        assert_eq!(made.count(), 1, "{outcomes:?}");
        assert!(outcomes.contains(&UserCreated::NotFirst));
        close(stores).await;
    }
}

#[tokio::test]
async fn the_last_admin_stays_and_an_address_is_one_users() {
    let place = Place::new();
    let stores = two(&place).await;
    let [one, other] = &stores;
    let mut admin = made(one, "ana@example.org".into()).await;
    for round in 0..ROUNDS {
        let second = made(other, format!("rui{round}@example.org")).await;
        let demote = |id| UpdateUser {
            id,
            expected_version: None,
            edit: UserEdit {
                role: Some(Role::Viewer),
                ..UserEdit::default()
            },
        };
        let (a, b) = tokio::join!(
            one.update_user(demote(admin)),
            other.update_user(demote(second))
        );
        let outcomes = [a.unwrap(), b.unwrap()];
        assert!(outcomes.contains(&UserWrite::LastAdmin), "{outcomes:?}");
        if outcomes[1] == UserWrite::LastAdmin {
            admin = second;
        }
        let same = || a_user(format!("same{round}@example.org"), Others::Allowed);
        let (a, b) = tokio::join!(one.create_user(same()), other.create_user(same()));
        let outcomes = [a.unwrap(), b.unwrap()];
        assert!(outcomes.contains(&UserCreated::EmailTaken), "{outcomes:?}");
        for made in outcomes {
            if let UserCreated::Created(user) = made {
                one.update_user(demote(user.id)).await.unwrap();
            }
        }
    }
    close(stores).await;
}

#[tokio::test]
async fn guesses_and_exchanges_at_two_places_are_counted_together() {
    let place = Place::new();
    let stores = two(&place).await;
    let [one, other] = &stores;
    for round in 0..ROUNDS {
        let user = made(one, format!("ana{round}@example.org")).await;
        let guess = || AdmitLogin { user };
        let guesses = tokio::join!(
            one.admit_login(guess()),
            other.admit_login(guess()),
            one.admit_login(guess()),
            other.admit_login(guess()),
            one.admit_login(guess()),
            other.admit_login(guess()),
        );
        let gates = [
            guesses.0, guesses.1, guesses.2, guesses.3, guesses.4, guesses.5,
        ];
        let open = gates
            .iter()
            .filter(|gate| matches!(gate, Ok(LoginGate::Open)));
        assert_eq!(open.count(), 5, "{gates:?}");

        let hash = |of: u8| {
            let mut bytes = [of; 32];
            bytes[0] = u8::try_from(round).unwrap();
            TokenHash(bytes)
        };
        let open = OpenSession {
            id: SessionId(Uuid::now_v7()),
            user,
            epoch: 1,
            token: hash(1),
            client: "firefox".into(),
        };
        one.open_session(open).await.unwrap().unwrap();
        let rotate = |new| RotateToken {
            old: hash(1),
            new: hash(new),
            client: "firefox".into(),
        };
        let (a, b) = tokio::join!(one.rotate_token(rotate(2)), other.rotate_token(rotate(3)));
        let outcomes = [a.unwrap(), b.unwrap()];
        let is = |of: fn(&TokenRotation) -> bool| outcomes.iter().filter(|one| of(one)).count();
        assert_eq!(is(|of| matches!(of, TokenRotation::Rotated { .. })), 1);
        assert_eq!(is(|of| matches!(of, TokenRotation::Reused { .. })), 1);
    }
    close(stores).await;
}
