//! Secrets for other purposes, over several processes and through rotations.

use super::*;
use crate::{DerivedKey, OldKeys, Standing};

async fn tokens(vault: &Vault) -> Vec<DerivedKey> {
    vault.derived_keys("tokens").await.unwrap()
}

fn standings(keys: &[DerivedKey]) -> Vec<Standing> {
    keys.iter().map(DerivedKey::standing).collect()
}

#[tokio::test]
async fn every_process_with_the_key_file_has_the_same_secret_for_a_purpose() {
    let scene = Scene::new();
    let one = tokens(&scene.vault()).await;
    let other = tokens(&scene.vault()).await;
    assert_eq!(standings(&one), [Standing::Current]);
    assert_eq!(one[0].bytes(), other[0].bytes());
    assert_eq!(one[0].key_id(), other[0].key_id());
    let audit = scene.vault().derived_keys("audit").await.unwrap();
    assert_eq!(audit[0].key_id(), one[0].key_id());
    assert_ne!(audit[0].bytes(), one[0].bytes());
    // Another deployment.
    assert_ne!(
        tokens(&Scene::new().vault()).await[0].bytes(),
        one[0].bytes()
    );
}

#[tokio::test]
async fn after_a_rotation_the_new_keys_secret_comes_first_and_the_old_one_is_told_as_old() {
    let scene = Scene::new().with(1).await;
    // It has read the file before, and sees what another process did to it.
    let vault = scene.vault();
    let before = tokens(&vault).await;
    scene.vault().rotate(OldKeys::Keep).await.unwrap();
    let kept = tokens(&vault).await;
    assert_eq!(standings(&kept), [Standing::Current, Standing::Old]);
    assert_ne!(kept[0].bytes(), before[0].bytes());
    assert_eq!(kept[1].bytes(), before[0].bytes());
    scene.vault().rotate(OldKeys::Drop).await.unwrap();
    let dropped = tokens(&vault).await;
    assert!(
        dropped.iter().all(|key| key.key_id() != kept[0].key_id()),
        "{dropped:?}"
    );
}

#[tokio::test]
async fn without_a_key_that_processes_share_there_is_no_secret() {
    let scene = Scene::new();
    let mut source = scene.source();
    source.may_make_file = false;
    let vault = Vault::new(scene.store.clone(), source);
    let refused = vault.derived_keys("tokens").await.unwrap_err();
    assert!(matches!(refused, VaultError::NoKey(_)), "{refused}");
    let mut source = scene.source();
    source.passphrase = Some(Passphrase::new("correct horse battery".into()).unwrap());
    let vault = Vault::new(scene.store.clone(), source);
    let refused = vault.derived_keys("tokens").await.unwrap_err();
    assert!(matches!(refused, VaultError::NoSharedKey), "{refused}");
    assert!(!scene.key_file().exists());
}
