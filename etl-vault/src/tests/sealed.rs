//! Secrets that are no credentials.

use uuid::Uuid;

use super::*;
use crate::OldKeys;

const PURPOSE: &str = "second factor";

#[tokio::test]
async fn a_secret_opens_for_its_owner_and_purpose_alone() {
    let scene = Scene::new();
    let (ana, bia) = (Uuid::now_v7(), Uuid::now_v7());
    let sealed = scene.vault().seal_for(PURPOSE, ana, b"secret").await;
    let sealed = sealed.unwrap();
    assert!(!sealed.windows(6).any(|part| part == b"secret"));
    // Any process with the key file opens it.
    let opened = scene.vault().open_for(PURPOSE, ana, &sealed).await;
    assert_eq!(&opened.unwrap()[..], b"secret");
    for (purpose, owner) in [(PURPOSE, bia), ("another", ana)] {
        let opened = scene.vault().open_for(purpose, owner, &sealed).await;
        assert!(matches!(opened, Err(VaultError::Shut { .. })), "{opened:?}");
    }
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opened = scene.vault().open_for(PURPOSE, ana, &flipped).await;
        assert!(opened.is_err(), "bit {bit}");
    }
    let nothing = scene.vault().open_for(PURPOSE, ana, &[]).await;
    assert!(matches!(nothing, Err(VaultError::Shut { .. })));
}

#[tokio::test]
async fn a_secret_opens_as_long_as_its_key_stays() {
    let scene = Scene::new();
    let ana = Uuid::now_v7();
    let sealed = scene.vault().seal_for(PURPOSE, ana, b"secret").await;
    let sealed = sealed.unwrap();
    scene.vault().rotate(OldKeys::Keep).await.unwrap();
    let opened = scene.vault().open_for(PURPOSE, ana, &sealed).await;
    assert_eq!(&opened.unwrap()[..], b"secret");
    scene.vault().rotate(OldKeys::Drop).await.unwrap();
    let opened = scene.vault().open_for(PURPOSE, ana, &sealed).await;
    assert!(matches!(opened, Err(VaultError::KeyMissing { .. })));
}
