//! API keys and one-time tokens: that each is good for what it was made for, for its time, and a one-time token once.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{AccountsFixture, Scene, hash};
use crate::contract::store::{
    CreateApiKey, EndSessions, FailToken, ForgetEnded, MAX_TOKEN_DATA, PutToken, RemoveUser,
    RevokeApiKey, TakeToken, UpdateUser,
};
use crate::contract::{Clock, StoreErrorKind};
use crate::model::{ApiKey, ApiKeyId, OneTimeToken, Purpose, Role, TokenHash, UserEdit, UserId};

const MINUTE: Duration = Duration::from_mins(1);

fn a_key(user: UserId, number: u64, ttl: Option<Duration>) -> CreateApiKey {
    CreateApiKey {
        id: ApiKeyId(Uuid::from_u128(u128::from(number) + 1)),
        user,
        name: format!("key {number}"),
        prefix: "etl_ab12".into(),
        hash: hash(number),
        scopes: vec!["pipelines:read".into(), "jobs:read".into()],
        ttl,
    }
}

fn a_token(number: u64, user: Option<UserId>) -> PutToken {
    PutToken {
        hash: hash(number),
        purpose: Purpose::Mfa,
        user,
        data: json!({ "client": "firefox" }),
        ttl: 5 * MINUTE,
        tries: 5,
    }
}

impl Scene {
    async fn key(&self, create: CreateApiKey) -> ApiKey {
        self.store.create_api_key(create).await.unwrap().unwrap()
    }

    async fn used(&self, key: TokenHash) -> Option<ApiKey> {
        let found = self.store.use_api_key(key).await.unwrap();
        found.map(|(key, user)| {
            assert_eq!(key.user_id, user.id);
            key
        })
    }

    async fn token(&self, number: u64) -> Option<OneTimeToken> {
        self.store.token(hash(number), Purpose::Mfa).await.unwrap()
    }

    async fn take(&self, number: u64, purpose: Purpose) -> Option<OneTimeToken> {
        let take = TakeToken {
            hash: hash(number),
            purpose,
        };
        self.store.take_token(take).await.unwrap()
    }

    async fn fail(&self, number: u64, purpose: Purpose) -> Option<u32> {
        let fail = FailToken {
            hash: hash(number),
            purpose,
        };
        self.store.fail_token(fail).await.unwrap()
    }
}

pub(super) async fn a_key_is_found_by_its_hash_with_its_user(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await.id;
    let now = scene.clock.now();
    let key = scene.key(a_key(ana, 1, Some(MINUTE))).await;
    let expected = ApiKey {
        id: ApiKeyId(Uuid::from_u128(2)),
        user_id: ana,
        name: "key 1".into(),
        prefix: "etl_ab12".into(),
        hash: hash(1),
        scopes: vec!["pipelines:read".into(), "jobs:read".into()],
        expires_at: Some(now + MINUTE),
        last_used_at: None,
        created_at: now,
    };
    assert_eq!(key, expected);
    let second = scene.key(a_key(ana, 2, None)).await;
    let keys = scene.store.api_keys(ana).await.unwrap();
    assert_eq!(keys, [second.clone(), expected.clone()]);
    let used = ApiKey {
        last_used_at: Some(now),
        ..expected
    };
    assert_eq!(scene.used(hash(1)).await, Some(used));
    assert_eq!(scene.used(hash(9)).await, None);
    scene.pass(MINUTE);
    assert_eq!(scene.used(hash(1)).await, None);
    assert!(scene.used(hash(2)).await.is_some());

    let same = scene.store.create_api_key(a_key(ana, 2, None)).await;
    assert_eq!(same.unwrap_err().kind, StoreErrorKind::Illegal);
    let nobody = a_key(UserId(Uuid::now_v7()), 3, None);
    assert_eq!(scene.store.create_api_key(nobody).await.unwrap(), None);
}

pub(super) async fn the_use_of_a_key_is_noted_once_a_minute(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await.id;
    scene.key(a_key(ana, 1, None)).await;
    let first = scene.clock.now();
    let noted = async || {
        let used = scene.used(hash(1)).await.unwrap().last_used_at;
        assert_eq!(
            scene.store.api_keys(ana).await.unwrap()[0].last_used_at,
            used
        );
        used.unwrap()
    };
    assert_eq!(noted().await, first);
    scene.pass(Duration::from_millis(59_999));
    assert_eq!(noted().await, first);
    scene.pass(Duration::from_millis(1));
    assert_eq!(noted().await, first + MINUTE);
}

pub(super) async fn a_key_is_revoked_by_its_user_alone(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await.id;
    let rui = scene.a_user("rui@example.org", Role::Admin).await.id;
    let id = scene.key(a_key(ana, 1, None)).await.id;
    scene.key(a_key(ana, 2, None)).await;
    let revoke = async |user| {
        let revoke = RevokeApiKey { user, id };
        scene.store.revoke_api_key(revoke).await.unwrap()
    };
    assert!(!revoke(rui).await);
    assert!(scene.used(hash(1)).await.is_some());
    assert!(revoke(ana).await);
    assert!(!revoke(ana).await);
    assert_eq!(scene.used(hash(1)).await, None);
    // The others go with the user.
    let remove = RemoveUser {
        id: ana,
        expected_version: None,
    };
    scene.store.remove_user(remove).await.unwrap();
    assert_eq!(scene.used(hash(2)).await, None);
}

pub(super) async fn a_one_time_token_is_taken_once(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await.id;
    assert!(scene.store.put_token(a_token(1, Some(ana))).await.unwrap());
    let expected = OneTimeToken {
        hash: hash(1),
        purpose: Purpose::Mfa,
        user_id: Some(ana),
        data: json!({ "client": "firefox" }),
        tries_left: 5,
        expires_at: scene.clock.now() + 5 * MINUTE,
    };
    assert_eq!(scene.token(1).await, Some(expected.clone()));
    assert_eq!(scene.take(1, Purpose::Setup).await, None);
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..scene.racers {
        let store = scene.store.clone();
        racers.spawn(async move {
            let take = TakeToken {
                hash: hash(1),
                purpose: Purpose::Mfa,
            };
            store.take_token(take).await.unwrap()
        });
    }
    let taken: Vec<_> = racers.join_all().await.into_iter().flatten().collect();
    assert_eq!(taken, [expected]);
    assert_eq!(scene.token(1).await, None);
}

pub(super) async fn a_token_ends_with_its_last_try(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    for number in [1, 2] {
        assert!(scene.store.put_token(a_token(number, None)).await.unwrap());
    }
    assert_eq!(scene.fail(1, Purpose::Setup).await, None);
    for left in (0..5).rev() {
        assert_eq!(scene.fail(1, Purpose::Mfa).await, Some(left));
    }
    assert_eq!(scene.fail(1, Purpose::Mfa).await, None);
    assert_eq!(scene.take(1, Purpose::Mfa).await, None);
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..scene.racers {
        let store = scene.store.clone();
        racers.spawn(async move {
            let fail = FailToken {
                hash: hash(2),
                purpose: Purpose::Mfa,
            };
            store.fail_token(fail).await.unwrap()
        });
    }
    let tries = racers.join_all().await.into_iter().flatten().count();
    assert_eq!(tries, scene.racers.min(5));
}

pub(super) async fn an_expired_token_is_as_if_it_were_not_there(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    for number in [1, 2] {
        let put = PutToken {
            ttl: u32::try_from(number).unwrap() * MINUTE,
            ..a_token(number, None)
        };
        assert!(scene.store.put_token(put).await.unwrap());
    }
    scene.pass(MINUTE);
    assert_eq!(scene.token(1).await, None);
    assert_eq!(scene.fail(1, Purpose::Mfa).await, None);
    assert_eq!(scene.take(1, Purpose::Mfa).await, None);
    let forget = ForgetEnded {
        sessions_after: Duration::ZERO,
    };
    assert_eq!(scene.store.forget_ended(forget.clone()).await.unwrap(), 1);
    assert_eq!(scene.store.forget_ended(forget).await.unwrap(), 0);
    assert!(scene.take(2, Purpose::Mfa).await.is_some());
}

pub(super) async fn what_raises_the_epoch_ends_one_time_tokens(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await.id;
    let rui = scene.a_user("rui@example.org", Role::Admin).await.id;
    for (number, user) in [(1, Some(ana)), (2, Some(rui)), (3, None)] {
        assert!(scene.store.put_token(a_token(number, user)).await.unwrap());
    }
    let end = EndSessions { user: ana };
    assert!(scene.store.end_sessions(end).await.unwrap());
    assert_eq!(scene.token(1).await, None);
    let edit = |edit| UpdateUser {
        id: rui,
        expected_version: None,
        edit,
    };
    let moved = UserEdit {
        email: Some("rui@example.com".into()),
        ..UserEdit::default()
    };
    scene.store.update_user(edit(moved)).await.unwrap();
    assert!(scene.token(2).await.is_some());
    let demoted = UserEdit {
        role: Some(Role::Viewer),
        ..UserEdit::default()
    };
    scene.store.update_user(edit(demoted)).await.unwrap();
    assert_eq!(scene.take(2, Purpose::Mfa).await, None);
    // One that is nobody's stays.
    assert!(scene.take(3, Purpose::Mfa).await.is_some());
}

pub(super) async fn a_one_time_token_is_refused_that_can_not_be_kept(
    fixture: &dyn AccountsFixture,
) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await.id;
    scene.a_user("rui@example.org", Role::Admin).await;
    let nobody = a_token(1, Some(UserId(Uuid::now_v7())));
    assert!(!scene.store.put_token(nobody).await.unwrap());
    let with = |text: usize| PutToken {
        data: Value::String("x".repeat(text)),
        ..a_token(1, Some(ana))
    };
    let refused = async |put: PutToken| scene.store.put_token(put).await.unwrap_err().kind;
    assert_eq!(
        refused(with(MAX_TOKEN_DATA - 1)).await,
        StoreErrorKind::Illegal
    );
    assert!(
        scene
            .store
            .put_token(with(MAX_TOKEN_DATA - 2))
            .await
            .unwrap()
    );
    assert_eq!(refused(a_token(1, None)).await, StoreErrorKind::Illegal);
    // It goes with its user.
    let remove = RemoveUser {
        id: ana,
        expected_version: None,
    };
    scene.store.remove_user(remove).await.unwrap();
    assert_eq!(scene.token(1).await, None);
}
