//! Secrets that are no credentials.

use std::sync::Mutex;

use async_trait::async_trait;
use etl_core::contract::store::Result as StoreResult;
use etl_core::model::{Cursor, Page, PageRequest};
use uuid::Uuid;

use super::*;
use crate::{Keeper, Kept, OldKeys};

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

/// Keeps secrets, and shows them one at a time.
#[derive(Debug, Default)]
struct Shelf(Mutex<Vec<Kept>>);

#[async_trait]
impl Keeper for Shelf {
    async fn kept(&self, page: &PageRequest) -> StoreResult<Page<Kept>> {
        let shelf = self.0.lock().unwrap();
        let at: usize = page.cursor.as_ref().map_or(0, |at| at.0.parse().unwrap());
        let next = (at + 1 < shelf.len()).then(|| Cursor((at + 1).to_string()));
        Ok(Page {
            items: shelf.get(at).cloned().into_iter().collect(),
            next_cursor: next,
        })
    }

    async fn keep(&self, kept: &Kept, sealed: Vec<u8>) -> StoreResult<bool> {
        let mut shelf = self.0.lock().unwrap();
        let found = shelf.iter_mut().find(|other| *other == kept);
        Ok(found.map(|found| found.sealed = sealed).is_some())
    }
}

#[tokio::test]
async fn a_rotation_goes_through_what_others_keep() {
    let scene = Scene::new().with(2).await;
    let shelf = Arc::new(Shelf::default());
    for name in ["ana", "bia", "eva"] {
        let owner = Uuid::now_v7();
        let vault = scene.vault();
        let sealed = vault.seal_for(PURPOSE, owner, name.as_bytes());
        let kept = Kept {
            purpose: PURPOSE,
            owner,
            name: name.into(),
            sealed: sealed.await.unwrap(),
        };
        shelf.0.lock().unwrap().push(kept);
    }
    let vault = scene.vault().with_keeper(shelf.clone());
    let rotation = vault.rotate(OldKeys::Drop).await.unwrap();
    assert_eq!(rotation.kept_by_others, 3);
    assert_eq!((rotation.resealed, rotation.dropped.len()), (2, 1));
    let all = shelf.0.lock().unwrap().clone();
    for kept in &all {
        let opened = scene
            .vault()
            .open_for(PURPOSE, kept.owner, &kept.sealed)
            .await;
        assert_eq!(&opened.unwrap()[..], kept.name.as_bytes());
    }

    // One that does not open is told and has the keys kept.
    shelf.0.lock().unwrap()[1].owner = Uuid::now_v7();
    let rotation = vault.rotate(OldKeys::Drop).await.unwrap();
    assert_eq!((rotation.kept_by_others, rotation.dropped.len()), (2, 0));
    let damaged: Vec<_> = rotation.damaged.iter().map(|of| &*of.name).collect();
    assert_eq!(damaged, ["bia"]);
}
