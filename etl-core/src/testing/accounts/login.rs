//! Sign-ins: that guesses are counted and made to wait, and that no second factor is taken twice.

use std::time::Duration;

use uuid::Uuid;

use super::{AccountsFixture, Scene, hash};
use crate::contract::Clock;
use crate::contract::store::{AdmitLogin, ChangeMfa, LoginGate, LoginSucceeded};
use crate::model::{MfaChange, Role, UserId, login_delay};

impl Scene {
    async fn admit(&self, user: UserId) -> LoginGate {
        self.store.admit_login(AdmitLogin { user }).await.unwrap()
    }

    async fn succeed(&self, user: UserId) -> bool {
        self.store
            .login_succeeded(LoginSucceeded { user })
            .await
            .unwrap()
    }

    async fn change(&self, user: UserId, change: MfaChange) -> bool {
        self.store
            .change_mfa(ChangeMfa { user, change })
            .await
            .unwrap()
    }
}

pub(super) async fn failed_sign_ins_wait_longer_and_longer(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await.id;
    for failures in 1..=17 {
        assert_eq!(scene.admit(ana).await, LoginGate::Open, "{failures}");
        let wait = login_delay(failures);
        let user = scene.user(ana).await;
        assert_eq!(user.failed_logins, failures);
        if wait.is_zero() {
            assert_eq!(user.locked_until, None);
            continue;
        }
        let until = scene.clock.now() + wait;
        assert_eq!(user.locked_until, Some(until));
        // Until then it is refused, and being refused makes it no longer.
        scene.pass(wait.saturating_sub(Duration::from_millis(1)));
        let locked = LoginGate::Locked {
            until,
            wait: Duration::from_millis(1),
        };
        assert_eq!(scene.admit(ana).await, locked);
        assert_eq!(scene.user(ana).await.failed_logins, failures);
        scene.pass(Duration::from_millis(1));
    }
    let nobody = UserId(Uuid::now_v7());
    assert_eq!(scene.admit(nobody).await, LoginGate::Unknown);
}

pub(super) async fn a_sign_in_that_succeeds_forgets_failures(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await.id;
    for _ in 0..5 {
        assert_eq!(scene.admit(ana).await, LoginGate::Open);
    }
    assert!(matches!(scene.admit(ana).await, LoginGate::Locked { .. }));
    let before = scene.user(ana).await;
    assert!(scene.succeed(ana).await);
    let after = scene.user(ana).await;
    assert_eq!((after.failed_logins, after.locked_until), (0, None));
    assert_eq!(after.last_login_at, Some(scene.clock.now()));
    assert_eq!((after.version, after.epoch), (before.version, before.epoch));
    assert_eq!(scene.admit(ana).await, LoginGate::Open);
    assert!(!scene.succeed(UserId(Uuid::now_v7())).await);
}

pub(super) async fn racing_guesses_are_all_counted(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await.id;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..scene.racers {
        let store = scene.store.clone();
        racers.spawn(async move { store.admit_login(AdmitLogin { user: ana }).await.unwrap() });
    }
    let gates = racers.join_all().await;
    let open = gates.iter().filter(|gate| **gate == LoginGate::Open);
    assert_eq!(open.count(), scene.racers.min(5));
}

pub(super) async fn a_second_factor_counts_once_it_is_confirmed(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let ana = scene.a_user("ana@example.org", Role::Admin).await;
    let id = ana.id;
    let codes: Vec<_> = (0..10).map(hash).collect();
    let confirm = |byte, step| MfaChange::Confirm {
        sealed: vec![0, byte, 0xff],
        step,
        recovery_codes: codes.clone(),
    };
    let enroll = |byte| MfaChange::Enroll {
        sealed: vec![0, byte, 0xff],
    };
    assert!(!scene.change(id, confirm(1, 7)).await);
    assert!(!scene.change(id, MfaChange::Disable).await);
    assert!(scene.change(id, enroll(1)).await);
    assert!(scene.change(id, enroll(2)).await);
    let waits = scene.user(id).await;
    assert_eq!(waits.mfa.sealed, Some(vec![0, 2, 0xff]));
    assert!(!waits.mfa.is_on());
    assert_eq!(waits.version, ana.version);
    let accept = MfaChange::AcceptStep {
        sealed: vec![0, 2, 0xff],
        step: 7,
    };
    assert!(!scene.change(id, accept).await);
    // A code of the secret before says nothing of the one that waits.
    assert!(!scene.change(id, confirm(1, 7)).await);
    assert!(scene.change(id, confirm(2, 7)).await);
    let on = scene.user(id).await;
    assert!(on.mfa.is_on());
    assert_eq!(on.mfa.confirmed_at, Some(scene.clock.now()));
    assert_eq!(on.mfa.recovery_codes, codes);
    assert_eq!(on.version, ana.version + 1);
    assert!(!scene.change(id, confirm(2, 8)).await);
    assert!(!scene.change(id, enroll(3)).await);
    assert_eq!(scene.user(id).await, on);
    // Under another key it is the same secret.
    let reseal = |before: u8, after: u8| MfaChange::Reseal {
        before: vec![0, before, 0xff],
        after: vec![0, after, 0xff],
    };
    assert!(!scene.change(id, reseal(1, 4)).await);
    assert!(scene.change(id, reseal(2, 4)).await);
    let resealed = scene.user(id).await;
    assert_eq!(resealed.mfa.sealed, Some(vec![0, 4, 0xff]));
    assert_eq!(resealed.mfa.last_step, on.mfa.last_step);
    assert_eq!(resealed.version, on.version);
    assert!(scene.change(id, MfaChange::Disable).await);
    let off = scene.user(id).await;
    assert_eq!(off.mfa, ana.mfa);
    assert_eq!(off.version, ana.version + 2);
}

pub(super) async fn a_step_of_a_code_is_taken_once_and_never_an_earlier_one(
    fixture: &dyn AccountsFixture,
) {
    let scene = Scene::on(fixture).await;
    let id = scene.with_factor().await;
    let accept = |byte, step| MfaChange::AcceptStep {
        sealed: vec![byte],
        step,
    };
    for (step, is_taken) in [
        (7, false),
        (6, false),
        (8, true),
        (8, false),
        (10, true),
        (9, false),
    ] {
        assert_eq!(scene.change(id, accept(1, step)).await, is_taken, "{step}");
    }
    assert!(!scene.change(id, accept(2, 11)).await, "another secret");
    assert_eq!(scene.race(id, accept(1, 11)).await, 1);
}

pub(super) async fn a_recovery_code_is_taken_once(fixture: &dyn AccountsFixture) {
    let scene = Scene::on(fixture).await;
    let id = scene.with_factor().await;
    assert!(!scene.change(id, MfaChange::UseRecoveryCode(hash(99))).await);
    assert_eq!(scene.race(id, MfaChange::UseRecoveryCode(hash(3))).await, 1);
    assert_eq!(scene.user(id).await.mfa.recovery_codes.len(), 9);
    let others = vec![hash(20), hash(21)];
    assert!(
        scene
            .change(id, MfaChange::SetRecoveryCodes(others.clone()))
            .await
    );
    assert!(!scene.change(id, MfaChange::UseRecoveryCode(hash(4))).await);
    assert_eq!(scene.user(id).await.mfa.recovery_codes, others);
    let too_many = (0..11).map(hash).collect();
    assert!(
        !scene
            .change(id, MfaChange::SetRecoveryCodes(too_many))
            .await
    );
}

impl Scene {
    /// A user whose second factor was confirmed with step 7 and has the recovery codes 0 to 9.
    async fn with_factor(&self) -> UserId {
        let id = self.a_user("ana@example.org", Role::Admin).await.id;
        assert!(self.change(id, MfaChange::Enroll { sealed: vec![1] }).await);
        let confirm = MfaChange::Confirm {
            sealed: vec![1],
            step: 7,
            recovery_codes: (0..10).map(hash).collect(),
        };
        assert!(self.change(id, confirm).await);
        id
    }

    /// How many of those who race for it make this change.
    async fn race(&self, user: UserId, change: MfaChange) -> usize {
        let mut racers = tokio::task::JoinSet::new();
        for _ in 0..self.racers {
            let (store, change) = (self.store.clone(), change.clone());
            racers
                .spawn(async move { store.change_mfa(ChangeMfa { user, change }).await.unwrap() });
        }
        racers
            .join_all()
            .await
            .into_iter()
            .filter(|made| *made)
            .count()
    }
}
