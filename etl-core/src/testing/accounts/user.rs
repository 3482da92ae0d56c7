//! Users: that they are found as they were made, that no edit undoes another, and that somebody can always administer.

use std::time::Duration;

use uuid::Uuid;

use super::{AccountsFixture, Scene, a_user};
use crate::contract::StoreErrorKind;
use crate::contract::store::{CreateUser, Others, RemoveUser, UpdateUser, UserCreated, UserWrite};
use crate::model::{Cursor, Mfa, PageRequest, Role, User, UserEdit, UserId};

impl Scene {
    async fn edit(&self, user: UserId, version: Option<u64>, edit: UserEdit) -> UserWrite {
        let update = UpdateUser {
            id: user,
            expected_version: version,
            edit,
        };
        self.store.update_user(update).await.unwrap()
    }

    async fn remove(&self, user: UserId, version: Option<u64>) -> UserWrite {
        let remove = RemoveUser {
            id: user,
            expected_version: version,
        };
        self.store.remove_user(remove).await.unwrap()
    }
}

fn email(email: &str) -> UserEdit {
    UserEdit {
        email: Some(email.into()),
        ..UserEdit::default()
    }
}

fn role(role: Role) -> UserEdit {
    UserEdit {
        role: Some(role),
        ..UserEdit::default()
    }
}

fn active(is_active: bool) -> UserEdit {
    UserEdit {
        is_active: Some(is_active),
        ..UserEdit::default()
    }
}

pub(super) async fn a_user_comes_back_as_made(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let create = a_user("Ana@Example.org", Role::Operator);
    let made = scene.store.create_user(create.clone()).await.unwrap();
    let now = crate::contract::Clock::now(&*scene.clock);
    let expected = User {
        id: create.id,
        email: "Ana@Example.org".into(),
        password_hash: create.password_hash.clone(),
        role: Role::Operator,
        is_active: true,
        version: 1,
        epoch: 1,
        failed_logins: 0,
        locked_until: None,
        last_login_at: None,
        mfa: Mfa::default(),
        created_at: now,
        updated_at: now,
    };
    assert_eq!(made, UserCreated::Created(expected.clone().into()));
    assert_eq!(scene.user(create.id).await, expected);
    let found = scene.store.user_by_email("aNA@exAMPLE.org").await.unwrap();
    assert_eq!(found, Some(expected));
    assert_eq!(
        scene.store.user(UserId(Uuid::now_v7())).await.unwrap(),
        None
    );
    assert_eq!(scene.store.user_by_email("ana").await.unwrap(), None);
    assert!(!format!("{:?}", scene.user(create.id).await).contains("argon2"));
}

pub(super) async fn an_address_is_one_users_whatever_its_capitals(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await;
    let rui = scene.a_user("rui@example.org", Role::Viewer).await;
    let taken = scene
        .store
        .create_user(a_user("ANA@example.org", Role::Viewer));
    assert_eq!(taken.await.unwrap(), UserCreated::EmailTaken);
    let edit = scene.edit(rui.id, None, email("Ana@example.org")).await;
    assert_eq!(edit, UserWrite::EmailTaken);
    assert_eq!(scene.user(rui.id).await, rui);
    // One's own may be written another way, and one that was given up is free.
    for address in ["ANA@example.org", "eva@example.org"] {
        let edit = scene.edit(ana.id, None, email(address)).await;
        assert!(matches!(edit, UserWrite::Written(user) if user.email == address));
    }
    scene.a_user("ana@example.org", Role::Viewer).await;
    let same_id = CreateUser {
        id: ana.id,
        ..a_user("other@example.org", Role::Viewer)
    };
    let refused = scene.store.create_user(same_id).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Illegal);
}

pub(super) async fn the_first_user_is_the_first_of_all(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..scene.racers {
        let store = scene.store.clone();
        racers.spawn(async move {
            let create = CreateUser {
                others: Others::Refused,
                ..a_user(&format!("{racer}@example.org"), Role::Admin)
            };
            store.create_user(create).await.unwrap()
        });
    }
    let outcomes = racers.join_all().await;
    let created = |outcome: &&UserCreated| matches!(outcome, UserCreated::Created(_));
    assert_eq!(outcomes.iter().filter(created).count(), 1);
    let refused = outcomes
        .iter()
        .filter(|outcome| **outcome == UserCreated::NotFirst);
    assert_eq!(refused.count(), scene.racers - 1);
    let users = scene.store.users(&PageRequest::first(10)).await.unwrap();
    assert_eq!(users.items.len(), 1);
}

pub(super) async fn an_edit_by_an_old_version_changes_nothing(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    scene.a_user("root@example.org", Role::Admin).await;
    let ana = scene.a_user("ana@example.org", Role::Viewer).await;
    scene.pass(Duration::from_secs(1));
    let written = scene.edit(ana.id, Some(1), email("eva@example.org")).await;
    let after = User {
        email: "eva@example.org".into(),
        version: 2,
        updated_at: ana.updated_at + Duration::from_secs(1),
        ..ana.clone()
    };
    assert_eq!(written, UserWrite::Written(after.clone().into()));
    let stale = UserWrite::Stale { version: 2 };
    assert_eq!(scene.edit(ana.id, Some(1), role(Role::Admin)).await, stale);
    assert_eq!(scene.remove(ana.id, Some(1)).await, stale);
    assert_eq!(scene.user(ana.id).await, after);
    let nobody = UserId(Uuid::now_v7());
    let edit = scene.edit(nobody, None, UserEdit::default()).await;
    assert_eq!(edit, UserWrite::Unknown);
    assert_eq!(
        scene.remove(ana.id, Some(2)).await,
        UserWrite::Written(after.into())
    );
    assert_eq!(scene.remove(ana.id, None).await, UserWrite::Unknown);
    let gone = scene.store.user_by_email("eva@example.org").await.unwrap();
    assert_eq!(gone, None);
}

pub(super) async fn what_was_handed_out_stops_counting_with_password_role_and_activity(
    fixture: &dyn AccountsFixture,
) {
    let scene = Scene::on(fixture).await;
    scene.a_user("root@example.org", Role::Admin).await;
    let ana = scene.a_user("ana@example.org", Role::Viewer).await;
    let password = UserEdit {
        password_hash: Some("$argon2id$other".into()),
        ..UserEdit::default()
    };
    let steps = [
        (email("eva@example.org"), 1),
        (password.clone(), 2),
        (password, 2),
        (role(Role::Operator), 3),
        (active(false), 4),
        (active(true), 5),
    ];
    for (edit, epoch) in steps {
        let edited = scene.edit(ana.id, None, edit.clone()).await;
        let UserWrite::Written(after) = edited else {
            panic!("{edited:?}");
        };
        assert_eq!(after.epoch, epoch, "{edit:?}");
        assert_eq!(scene.user(ana.id).await, *after);
    }
}

pub(super) async fn the_last_active_admin_stays(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await;
    scene.a_user("rui@example.org", Role::Operator).await;
    let refused = UserWrite::LastAdmin;
    assert_eq!(scene.edit(ana.id, None, role(Role::Viewer)).await, refused);
    assert_eq!(scene.edit(ana.id, None, active(false)).await, refused);
    assert_eq!(scene.remove(ana.id, None).await, refused);
    assert_eq!(scene.user(ana.id).await, ana);
    // Others that are inactive don't count.
    let eva = scene.a_user("eva@example.org", Role::Admin).await;
    assert!(matches!(
        scene.edit(eva.id, None, active(false)).await,
        UserWrite::Written(_)
    ));
    assert_eq!(scene.remove(ana.id, None).await, refused);
    assert!(matches!(
        scene.edit(eva.id, None, active(true)).await,
        UserWrite::Written(_)
    ));
    assert!(matches!(
        scene.remove(ana.id, None).await,
        UserWrite::Written(_)
    ));
    assert_eq!(scene.edit(eva.id, None, role(Role::Viewer)).await, refused);
}

pub(super) async fn racing_admins_never_all_go(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let mut admins = Vec::new();
    for admin in 0..scene.racers.min(24) {
        let email = format!("{admin}@example.org");
        admins.push(scene.a_user(&email, Role::Admin).await.id);
    }
    let mut racers = tokio::task::JoinSet::new();
    for (racer, id) in admins.iter().copied().enumerate() {
        let store = scene.store.clone();
        racers.spawn(async move {
            let edit = if racer % 3 == 1 {
                role(Role::Viewer)
            } else {
                active(false)
            };
            if racer % 3 == 0 {
                let remove = RemoveUser {
                    id,
                    expected_version: None,
                };
                return store.remove_user(remove).await.unwrap();
            }
            let update = UpdateUser {
                id,
                expected_version: None,
                edit,
            };
            store.update_user(update).await.unwrap()
        });
    }
    let outcomes = racers.join_all().await;
    let refused = outcomes
        .iter()
        .filter(|outcome| **outcome == UserWrite::LastAdmin);
    assert_eq!(refused.count(), 1, "{outcomes:?}");
    let users = scene.store.users(&PageRequest::first(500)).await.unwrap();
    let left = users.items.iter().filter(|user| user.is_active_admin());
    assert_eq!(left.count(), 1);
}

pub(super) async fn users_are_listed_by_age_in_pages(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let mut expected = Vec::new();
    for number in 0..5 {
        // The millisecond of an id is not the store's to choose.
        let create = CreateUser {
            id: UserId(Uuid::from_u128(number + 1)),
            ..a_user(&format!("{}@example.org", 9 - number), Role::Viewer)
        };
        expected.push(create.id);
        scene.store.create_user(create).await.unwrap();
    }
    for limit in [1, 2, 5, 500] {
        let mut page = PageRequest::first(limit);
        let mut ids = Vec::new();
        loop {
            let answer = scene.store.users(&page).await.unwrap();
            assert!(answer.items.len() <= limit);
            ids.extend(answer.items.iter().map(|user| user.id));
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => break,
            }
        }
        assert_eq!(ids, expected, "{limit}");
    }
    let strange = PageRequest {
        limit: 10,
        cursor: Some(Cursor("strange".into())),
    };
    let refused = scene.store.users(&strange).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::NotFound);
}
