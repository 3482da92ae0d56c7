//! Rotations: broken off anywhere, beside others who use the vault, and what becomes of the keys.

use std::sync::atomic::{AtomicBool, Ordering};

use etl_core::testing::faults::{Fault, Flaky};

use super::*;
use crate::OldKeys;

/// The words before the keys of the file.
fn roles(scene: &Scene) -> Vec<String> {
    let text = std::fs::read_to_string(scene.key_file()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap().0.to_owned())
        .collect()
}

#[tokio::test]
async fn every_credential_has_the_new_key_and_the_old_one_stays_for_backups() {
    let scene = Scene::new().with(250).await;
    let vault = scene.vault();
    let before = scene
        .store
        .credential("default", "c7")
        .await
        .unwrap()
        .unwrap();
    let rotation = vault.rotate(OldKeys::Keep).await.unwrap();
    assert_eq!((rotation.resealed, rotation.verified), (250, 250));
    assert!(!rotation.is_resumed);
    assert_eq!(rotation.kept.len(), 1);
    assert_eq!(roles(&scene), ["current", "old"]);
    let after = scene
        .store
        .credential("default", "c7")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(after.key_id, rotation.key_id.to_string());
    assert_eq!(
        (after.version, after.updated_at),
        (before.version + 1, before.updated_at)
    );
    scene.assert_all_open(&scene.vault(), 250).await;

    let second = scene.vault().rotate(OldKeys::Drop).await.unwrap();
    assert_ne!(second.key_id, rotation.key_id);
    assert_eq!((second.dropped.len(), second.kept.len()), (2, 0));
    assert_eq!(roles(&scene), ["current"]);
    scene.assert_all_open(&scene.vault(), 250).await;
}

/// Broken off before, in, and after every single call to the store: what is stored opens, and the next rotation ends it.
#[tokio::test]
async fn a_rotation_that_is_broken_off_at_any_call_loses_nothing() {
    const MANY: usize = 12;
    for fault in [Fault::Refused, Fault::Unknown] {
        let mut calls = 0;
        loop {
            let scene = Scene::new().with(MANY).await;
            let plan = (0..calls).map(|_| Fault::None).chain([fault]);
            let flaky = Arc::new(Flaky::by_plan(scene.store.clone(), plan));
            let broken = Vault::new(flaky, scene.source())
                .rotate(OldKeys::Drop)
                .await;
            // Nothing of the process that broke off is left but the store and the file.
            let next = scene.vault();
            next.check().await.unwrap();
            scene.assert_all_open(&next, MANY).await;
            let roles_then = roles(&scene);
            if broken.is_ok() {
                assert_eq!(roles_then, ["current"]);
                assert!(calls > MANY, "{calls}");
                break;
            }
            let was_begun = roles_then == ["current", "retiring"];
            assert!(was_begun || roles_then == ["current"], "{roles_then:?}");
            // A credential that is stored meanwhile has the new key already.
            set(&next, "c0", &secret(0)).await;
            let ended = scene.vault().rotate(OldKeys::Drop).await.unwrap();
            assert_eq!(ended.is_resumed, was_begun);
            assert_eq!(ended.verified, MANY as u64);
            assert_eq!(roles(&scene), ["current"]);
            scene.assert_all_open(&scene.vault(), MANY).await;
            calls += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_opens_all_the_time_while_keys_are_rotated_and_others_store() {
    const MANY: usize = 20;
    let scene = Arc::new(Scene::new().with(MANY).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut users = tokio::task::JoinSet::new();
    for user in 0..4 {
        // Two of them are processes that began before the first rotation; all keep their vault.
        let (scene, stop) = (scene.clone(), stop.clone());
        let vault = scene.vault();
        users.spawn(async move {
            let mut rounds = 0;
            while !stop.load(Ordering::SeqCst) {
                scene.assert_all_open(&vault, MANY).await;
                if user >= 2 {
                    set(
                        &vault,
                        &format!("c{}", rounds % MANY),
                        &secret(rounds % MANY),
                    )
                    .await;
                }
                rounds += 1;
            }
            rounds
        });
    }
    let mut keys = std::collections::HashSet::new();
    for _ in 0..10 {
        // Two at once: one may be overtaken by the other, and says so.
        let (one, other) = (scene.vault(), scene.vault());
        let (one, other) = tokio::join!(one.rotate(OldKeys::Drop), other.rotate(OldKeys::Drop));
        let mut through = 0;
        for result in [one, other] {
            match result {
                Ok(rotation) => {
                    keys.insert(rotation.key_id);
                    through += 1;
                }
                Err(VaultError::Overtaken | VaultError::KeyMissing { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert!(through >= 1);
    }
    stop.store(true, Ordering::SeqCst);
    let rounds: Vec<usize> = users.join_all().await;
    assert!(rounds.iter().all(|rounds| *rounds > 0), "{rounds:?}");
    assert!(keys.len() >= 10);
    scene.assert_all_open(&scene.vault(), MANY).await;
    assert_eq!(roles(&scene), ["current"]);
}

#[tokio::test]
async fn a_key_can_be_brought_to_other_machines_before_it_is_used() {
    let scene = Scene::new().with(3).await;
    let next = scene.vault().stage().await.unwrap();
    assert_eq!(scene.vault().stage().await.unwrap(), next, "one is enough");
    assert_eq!(roles(&scene), ["current", "next"]);
    // Another machine has a copy of the file from now.
    let elsewhere = scene.folder.path().join("elsewhere.key");
    std::fs::copy(scene.key_file(), &elsewhere).unwrap();
    let there = || {
        let source = KeySource {
            file: elsewhere.clone(),
            may_make_file: false,
            ..scene.source()
        };
        Vault::new(scene.store.clone(), source)
    };
    set(&there(), "c1", &secret(1)).await;
    let rotation = scene.vault().rotate(OldKeys::Drop).await.unwrap();
    assert_eq!(rotation.key_id, next);
    scene.assert_all_open(&there(), 3).await;
}

#[tokio::test]
async fn a_damaged_credential_keeps_its_key_and_does_not_hold_up_the_others() {
    let scene = Scene::new().with(3).await;
    let mut stored = scene
        .store
        .credential("default", "c1")
        .await
        .unwrap()
        .unwrap();
    let last = stored.sealed.len() - 1;
    stored.sealed[last] ^= 1;
    let put = PutCredential {
        id: stored.id,
        namespace: stored.namespace,
        name: stored.name,
        connector_type: stored.connector_type,
        version: stored.version + 1,
        key_id: stored.key_id,
        sealed: stored.sealed,
        by: stored.created_by,
    };
    scene.store.put_credential(put).await.unwrap();
    let rotation = scene.vault().rotate(OldKeys::Drop).await.unwrap();
    assert_eq!((rotation.resealed, rotation.verified), (2, 2));
    let damaged: Vec<_> = rotation.damaged.iter().map(|of| &*of.name).collect();
    assert_eq!(damaged, ["c1"]);
    assert_eq!((rotation.kept.len(), rotation.dropped.len()), (1, 0));
    assert_eq!(roles(&scene), ["current", "old"]);
    for at in [0, 2] {
        assert_eq!(
            open(&scene.vault(), &format!("c{at}")).await.unwrap(),
            secret(at)
        );
    }
    // Once it is stored anew nothing needs the keys before.
    set(&scene.vault(), "c1", &secret(1)).await;
    let ended = scene.vault().rotate(OldKeys::Drop).await.unwrap();
    assert!(!ended.is_resumed && ended.damaged.is_empty());
    assert_eq!(roles(&scene), ["current"]);
    scene.assert_all_open(&scene.vault(), 3).await;
}

#[tokio::test]
async fn a_store_that_fails_now_and_then_is_rotated_in_the_end() {
    let scene = Scene::new().with(30).await;
    let flaky = Arc::new(Flaky::by_seed(scene.store.clone(), 7));
    let mut ended = 0;
    for _ in 0..500 {
        let vault = Vault::new(flaky.clone(), scene.source());
        ended += usize::from(vault.rotate(OldKeys::Keep).await.is_ok());
        scene.assert_all_open(&scene.vault(), 30).await;
    }
    let rotation = scene.vault().rotate(OldKeys::Drop).await.unwrap();
    assert_eq!(rotation.verified, 30, "{ended}");
    scene.assert_all_open(&scene.vault(), 30).await;
}
