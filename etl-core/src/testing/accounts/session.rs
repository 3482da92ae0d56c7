//! Sessions: that one token at a time is good, and that a token which two have ends its session.

use std::time::Duration;

use uuid::Uuid;

use super::{AccountsFixture, Scene, hash};
use crate::contract::StoreErrorKind;
use crate::contract::store::{
    EndSessions, ForgetEnded, OpenSession, RemoveUser, RevokeSession, RotateToken, TokenRotation,
    UpdateUser, UserWrite,
};
use crate::model::{Role, Session, SessionId, SessionState, TokenHash, UserEdit, UserId};

const DAY: Duration = Duration::from_hours(24);

impl Scene {
    async fn open(&self, user: UserId, token: TokenHash) -> Option<Session> {
        let found = self.store.user(user).await.unwrap();
        let epoch = found.map_or(1, |user| user.epoch);
        self.open_in(user, epoch, token).await
    }

    async fn open_in(&self, user: UserId, epoch: u64, token: TokenHash) -> Option<Session> {
        let open = OpenSession {
            id: SessionId(Uuid::now_v7()),
            user,
            epoch,
            token,
            client: "firefox".into(),
        };
        self.store.open_session(open).await.unwrap()
    }

    async fn rotate(&self, old: u64, new: u64, client: &str) -> TokenRotation {
        self.store
            .rotate_token(rotation(old, new, client))
            .await
            .unwrap()
    }

    /// A user with a session whose token is 1.
    async fn signed_in(&self) -> (UserId, SessionId) {
        let user = self.a_user("ana@example.org", Role::Admin).await.id;
        (user, self.open(user, hash(1)).await.unwrap().id)
    }

    async fn session(&self, user: UserId) -> Session {
        let mut sessions = self.store.sessions(user).await.unwrap();
        assert_eq!(sessions.len(), 1);
        sessions.remove(0)
    }

    async fn state(&self, user: UserId) -> SessionState {
        let now = crate::contract::Clock::now(&*self.clock);
        self.session(user).await.state(now)
    }
}

fn rotation(old: u64, new: u64, client: &str) -> RotateToken {
    RotateToken {
        old: hash(old),
        new: hash(new),
        client: client.into(),
    }
}

pub(super) async fn a_token_is_exchanged_for_the_next(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let (user, session) = scene.signed_in().await;
    let begun = scene.session(user).await;
    assert_eq!(begun.expires_at, begun.created_at + 7 * DAY);
    assert_eq!(begun.idle_at, begun.created_at + DAY);
    scene.pass(Duration::from_hours(1));
    assert_eq!(
        scene.rotate(1, 2, "firefox").await,
        TokenRotation::Rotated {
            user,
            epoch: 1,
            session
        }
    );
    let used = scene.session(user).await;
    assert_eq!(
        used.last_used_at,
        begun.created_at + Duration::from_hours(1)
    );
    assert_eq!(used.idle_at, used.last_used_at + DAY);
    assert_eq!(used.expires_at, begun.expires_at);
    assert_eq!(
        scene.rotate(2, 3, "firefox").await,
        TokenRotation::Rotated {
            user,
            epoch: 1,
            session
        }
    );
    assert_eq!(scene.rotate(9, 10, "firefox").await, TokenRotation::Unknown);
    // The next one has to be new.
    let refused = scene.store.rotate_token(rotation(3, 3, "firefox")).await;
    assert_eq!(refused.unwrap_err().kind, StoreErrorKind::Illegal);
    assert_eq!(
        scene.rotate(3, 4, "firefox").await,
        TokenRotation::Rotated {
            user,
            epoch: 1,
            session
        }
    );
}

pub(super) async fn a_lost_answer_can_be_asked_for_again_within_ten_seconds(
    fixture: &dyn AccountsFixture,
) {
    let scene = Scene::on(fixture).await;
    let (user, session) = scene.signed_in().await;
    scene.rotate(1, 2, "firefox").await;
    scene.pass(Duration::from_millis(9_999));
    assert_eq!(
        scene.rotate(1, 2, "firefox").await,
        TokenRotation::Repeated {
            user,
            epoch: 1,
            session
        }
    );
    assert_eq!(scene.state(user).await, SessionState::Live);
    scene.pass(Duration::from_millis(1));
    assert_eq!(
        scene.rotate(1, 2, "firefox").await,
        TokenRotation::Reused { user, session }
    );
    assert_eq!(
        scene.rotate(2, 3, "firefox").await,
        TokenRotation::Revoked { user }
    );
}

pub(super) async fn a_token_that_two_have_ends_its_session(fixture: &dyn AccountsFixture) {
    // Another successor, another client, or a successor that was used: somebody else has the token.
    for (new, client, is_used) in [
        (3, "firefox", false),
        (2, "curl", false),
        (2, "firefox", true),
    ] {
        let scene = Scene::on(fixture).await;
        let (user, session) = scene.signed_in().await;
        let other = scene.open(user, hash(50)).await.unwrap();
        scene.rotate(1, 2, "firefox").await;
        if is_used {
            scene.rotate(2, 4, "firefox").await;
        }
        let reused = TokenRotation::Reused { user, session };
        assert_eq!(scene.rotate(1, new, client).await, reused);
        for token in [1, 2, 3, 4] {
            let after = scene.rotate(token, 60 + token, "firefox").await;
            let is_over = matches!(
                after,
                TokenRotation::Revoked { .. } | TokenRotation::Unknown
            );
            assert!(is_over, "{token}: {after:?}");
        }
        // The user's other sessions go on.
        let on = TokenRotation::Rotated {
            user,
            epoch: 1,
            session: other.id,
        };
        assert_eq!(scene.rotate(50, 51, "firefox").await, on);
    }
}

pub(super) async fn a_session_ends_when_it_is_not_used_and_after_its_time(
    fixture: &dyn AccountsFixture,
) {
    let scene = Scene::on(fixture).await;
    let (user, session) = scene.signed_in().await;
    scene.pass(DAY);
    assert_eq!(
        scene.rotate(1, 2, "firefox").await,
        TokenRotation::Expired { user }
    );
    assert_eq!(scene.state(user).await, SessionState::Expired);
    let forget = ForgetEnded {
        sessions_after: Duration::ZERO,
    };
    assert_eq!(scene.store.forget_ended(forget).await.unwrap(), 1);
    assert_eq!(scene.rotate(1, 2, "firefox").await, TokenRotation::Unknown);

    let second = scene.open(user, hash(100)).await.unwrap();
    assert_ne!(second.id, session);
    for day in 0..7 {
        scene.pass(Duration::from_secs(86_399));
        let used = scene.rotate(100 + day, 101 + day, "firefox").await;
        assert!(
            matches!(used, TokenRotation::Rotated { .. }),
            "{day}: {used:?}"
        );
    }
    scene.pass(Duration::from_secs(7));
    assert_eq!(
        scene.rotate(107, 108, "firefox").await,
        TokenRotation::Expired { user }
    );
}

pub(super) async fn a_session_is_ended_by_its_user_alone(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let (user, session) = scene.signed_in().await;
    let rui = scene.a_user("rui@example.org", Role::Viewer).await.id;
    let revoke = async |user| {
        let revoke = RevokeSession { user, session };
        scene.store.revoke_session(revoke).await.unwrap()
    };
    assert!(!revoke(rui).await);
    assert_eq!(scene.state(user).await, SessionState::Live);
    assert!(revoke(user).await);
    assert!(!revoke(user).await);
    assert_eq!(
        scene.rotate(1, 2, "firefox").await,
        TokenRotation::Revoked { user }
    );
}

pub(super) async fn what_raises_the_epoch_ends_all_sessions(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let (user, _) = scene.signed_in().await;
    scene.open(user, hash(10)).await.unwrap();
    let rui = scene.a_user("rui@example.org", Role::Admin).await.id;
    scene.open(rui, hash(20)).await.unwrap();
    let end = EndSessions { user };
    assert!(scene.store.end_sessions(end).await.unwrap());
    assert_eq!(scene.user(user).await.epoch, 2);
    for token in [1, 10] {
        let after = scene.rotate(token, 90 + token, "firefox").await;
        assert_eq!(after, TokenRotation::Revoked { user });
    }
    let after = scene.rotate(20, 21, "firefox").await;
    assert!(matches!(after, TokenRotation::Rotated { .. }));
    let nobody = EndSessions {
        user: UserId(Uuid::now_v7()),
    };
    assert!(!scene.store.end_sessions(nobody).await.unwrap());

    scene.open(user, hash(11)).await.unwrap();
    let inactive = UpdateUser {
        id: user,
        expected_version: None,
        edit: UserEdit {
            is_active: Some(false),
            ..UserEdit::default()
        },
    };
    let edited = scene.store.update_user(inactive).await.unwrap();
    assert!(matches!(edited, UserWrite::Written(after) if after.epoch == 3));
    assert_eq!(
        scene.rotate(11, 12, "firefox").await,
        TokenRotation::Revoked { user }
    );
    // Who is inactive begins none, and neither does who showed something that counts no more.
    assert_eq!(scene.open(user, hash(13)).await, None);
    assert_eq!(scene.open(UserId(Uuid::now_v7()), hash(14)).await, None);
    assert_eq!(scene.open_in(rui, 2, hash(15)).await, None);
    assert!(scene.open_in(rui, 1, hash(15)).await.is_some());
    let end = EndSessions { user: rui };
    assert!(scene.store.end_sessions(end).await.unwrap());
    assert_eq!(scene.open_in(rui, 1, hash(16)).await, None);
    assert!(scene.open_in(rui, 2, hash(16)).await.is_some());
    let after = scene.rotate(16, 17, "firefox").await;
    assert!(matches!(after, TokenRotation::Rotated { epoch: 2, .. }));
}

pub(super) async fn sessions_go_with_their_user(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let (user, _) = scene.signed_in().await;
    scene.rotate(1, 2, "firefox").await;
    scene.a_user("rui@example.org", Role::Admin).await;
    let remove = RemoveUser {
        id: user,
        expected_version: None,
    };
    scene.store.remove_user(remove).await.unwrap();
    assert_eq!(scene.store.sessions(user).await.unwrap(), []);
    assert_eq!(scene.rotate(2, 3, "firefox").await, TokenRotation::Unknown);
}

pub(super) async fn racing_exchanges_of_a_token_never_leave_two_branches(
    fixture: &dyn AccountsFixture,
) {
    let scene = Scene::on(fixture).await;
    let (user, session) = scene.signed_in().await;
    let racers = scene.racers as u64;
    let mut race = tokio::task::JoinSet::new();
    for racer in 0..racers {
        let store = scene.store.clone();
        race.spawn(async move {
            let rotate = rotation(1, 1_000 + racer, "firefox");
            store.rotate_token(rotate).await.unwrap()
        });
    }
    let outcomes = race.join_all().await;
    let count = |of: TokenRotation| outcomes.iter().filter(|outcome| **outcome == of).count();
    assert_eq!(
        count(TokenRotation::Rotated {
            user,
            epoch: 1,
            session
        }),
        1
    );
    assert_eq!(count(TokenRotation::Reused { user, session }), 1);
    assert_eq!(count(TokenRotation::Revoked { user }), scene.racers - 2);
    for racer in 0..racers {
        let after = scene.rotate(1_000 + racer, 5_000 + racer, "firefox").await;
        let is_over = matches!(
            after,
            TokenRotation::Revoked { .. } | TokenRotation::Unknown
        );
        assert!(is_over, "{after:?}");
    }

    // Those who ask for the same exchange all have the same answer.
    scene.open(user, hash(2)).await.unwrap();
    let mut race = tokio::task::JoinSet::new();
    for _ in 0..racers {
        let store = scene.store.clone();
        race.spawn(async move { store.rotate_token(rotation(2, 3, "firefox")).await.unwrap() });
    }
    let outcomes = race.join_all().await;
    let rotated = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, TokenRotation::Rotated { .. }));
    assert_eq!(rotated.count(), 1);
    let repeated = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, TokenRotation::Repeated { .. }));
    assert_eq!(repeated.count(), scene.racers - 1);
    let after = scene.rotate(3, 4, "firefox").await;
    assert!(matches!(after, TokenRotation::Rotated { .. }));
}
