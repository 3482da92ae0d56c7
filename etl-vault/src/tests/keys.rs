//! Wrong keys, missing ones, and where keys come from.

use super::*;
use crate::KeyId;
use crate::OldKeys;

fn missing(result: Result<(), VaultError>) -> (KeyId, usize, String) {
    match result.unwrap_err() {
        VaultError::KeyMissing {
            key_id,
            credentials,
            at_hand,
        } => (key_id, credentials, at_hand),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_store_without_credentials_needs_no_key() {
    let scene = Scene::new();
    scene.vault().check().await.unwrap();
    assert!(!scene.key_file().exists());
    let mut source = scene.source();
    source.may_make_file = false;
    let vault = Vault::new(scene.store.clone(), source);
    let by = By("ana".into());
    let refused = vault
        .set("default", "x", "command", b"{\"a\":1}", &by)
        .await
        .unwrap_err();
    assert!(matches!(refused, VaultError::NoKey(_)), "{refused}");
    assert!(!scene.key_file().exists());
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_refused_by_its_id() {
    let scene = Scene::new().with(3).await;
    let key_id = scene
        .store
        .credential("default", "c0")
        .await
        .unwrap()
        .unwrap()
        .key_id;
    std::fs::rename(scene.key_file(), scene.folder.path().join("away")).unwrap();
    let (id, count, at_hand) = missing(scene.vault().check().await);
    assert_eq!((id.to_string(), count), (key_id.clone(), 3));
    assert!(at_hand.starts_with("there is no key file"), "{at_hand}");
    // A lost key is not replaced unseen.
    let vault = scene.vault();
    let by = By("ana".into());
    let refused = vault
        .set("default", "x", "command", b"{\"a\":1}", &by)
        .await;
    assert!(matches!(refused, Err(VaultError::KeyMissing { .. })));
    assert!(matches!(
        vault.rotate(OldKeys::Keep).await,
        Err(VaultError::KeyMissing { .. })
    ));
    assert!(!scene.key_file().exists());

    // A wrong key.
    let other = Scene::new().with(1).await;
    std::fs::copy(other.key_file(), scene.key_file()).unwrap();
    let (id, count, at_hand) = missing(scene.vault().check().await);
    assert_eq!((id.to_string(), count), (key_id.clone(), 3));
    assert!(at_hand.contains("has "), "{at_hand}");
    let refused = open(&scene.vault(), "c0").await.unwrap_err();
    assert!(matches!(refused, CredentialError::Sealed(_)));
    let before = std::fs::read(scene.key_file()).unwrap();
    assert!(matches!(
        scene.vault().rotate(OldKeys::Drop).await,
        Err(VaultError::KeyMissing { .. })
    ));
    assert_eq!(std::fs::read(scene.key_file()).unwrap(), before);

    // The right one again.
    std::fs::rename(scene.folder.path().join("away"), scene.key_file()).unwrap();
    scene.vault().check().await.unwrap();
    scene.assert_all_open(&scene.vault(), 3).await;
}

fn by_words(scene: &Scene, now: Option<&str>, old: Option<&str>) -> Vault {
    let source = KeySource {
        passphrase: now.map(passphrase),
        old_passphrase: old.map(passphrase),
        ..scene.source()
    };
    Vault::new(scene.store.clone(), source)
}

#[tokio::test]
async fn a_passphrase_opens_what_it_sealed_and_moves_over_to_another() {
    const ONE: &str = "correct horse battery";
    const TWO: &str = "staple the other way";
    let scene = Scene::new();
    let vault = by_words(&scene, Some(ONE), None);
    for at in 0..3 {
        set(&vault, &format!("c{at}"), &secret(at)).await;
    }
    assert!(!scene.key_file().exists(), "a passphrase needs no file");
    scene
        .assert_all_open(&by_words(&scene, Some(ONE), None), 3)
        .await;
    let (_, count, at_hand) = missing(by_words(&scene, Some(TWO), None).check().await);
    assert_eq!(count, 3);
    assert!(
        at_hand.contains("the passphrase does not give it"),
        "{at_hand}"
    );

    // Another process stores one more: it goes by the same salt, so that a start derives one key.
    set(&by_words(&scene, Some(ONE), None), "c3", &secret(3)).await;
    let key_of = async |name| {
        scene
            .store
            .credential("default", name)
            .await
            .unwrap()
            .unwrap()
            .key_id
    };
    assert_eq!(key_of("c3").await, key_of("c0").await);

    // To another passphrase, and from that to a key file.
    let both = by_words(&scene, Some(TWO), Some(ONE));
    scene.assert_all_open(&both, 4).await;
    let rotation = both.rotate(OldKeys::Drop).await.unwrap();
    assert_eq!((rotation.resealed, rotation.verified), (4, 4));
    scene
        .assert_all_open(&by_words(&scene, Some(TWO), None), 4)
        .await;
    missing(by_words(&scene, Some(ONE), None).check().await);
    let to_file = by_words(&scene, None, Some(TWO));
    let rotation = to_file.rotate(OldKeys::Drop).await.unwrap();
    assert_eq!((rotation.resealed, rotation.verified), (4, 4));
    scene.assert_all_open(&scene.vault(), 4).await;

    // And back from the file.
    let rotation = by_words(&scene, Some(ONE), None)
        .rotate(OldKeys::Keep)
        .await
        .unwrap();
    assert_eq!((rotation.resealed, rotation.verified), (4, 4));
    std::fs::remove_file(scene.key_file()).unwrap();
    let alone = by_words(&scene, Some(ONE), None);
    scene.assert_all_open(&alone, 4).await;
    // With nothing to move it takes another salt.
    let again = alone.rotate(OldKeys::Keep).await.unwrap();
    assert_eq!(again.resealed, 4);
    assert_ne!(again.key_id, rotation.key_id);
    scene
        .assert_all_open(&by_words(&scene, Some(ONE), None), 4)
        .await;
}
