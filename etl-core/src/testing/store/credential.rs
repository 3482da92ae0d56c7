//! Credentials: that what is sealed is kept as it is, and that no write undoes another.

use std::time::Duration;

use uuid::Uuid;

use super::StoreFixture;
use super::scene::Scene;
use crate::contract::store::{
    CredentialWrite, PutCredential, Reseal, SealedCredential, StoreErrorKind,
};
use crate::model::{By, CredentialId, Cursor, PageRequest};

fn first(namespace: &str, name: &str) -> PutCredential {
    PutCredential {
        id: CredentialId(Uuid::now_v7()),
        namespace: namespace.into(),
        name: name.into(),
        connector_type: "command".into(),
        version: 1,
        key_id: "0011223344556677".into(),
        sealed: vec![0, 1, 2, 0xff, 0],
        by: By("ana".into()),
    }
}

fn next(before: &PutCredential, sealed: &[u8]) -> PutCredential {
    PutCredential {
        version: before.version + 1,
        sealed: sealed.into(),
        ..before.clone()
    }
}

fn anew(of: &PutCredential, key_id: &str) -> Reseal {
    Reseal {
        id: of.id,
        version: of.version + 1,
        key_id: key_id.into(),
        sealed: vec![7; 40],
    }
}

impl Scene {
    async fn put_credential(&self, put: &PutCredential) -> CredentialWrite {
        self.store.put_credential(put.clone()).await.unwrap()
    }

    async fn reseal(&self, reseal: &Reseal) -> CredentialWrite {
        self.store.reseal_credential(reseal.clone()).await.unwrap()
    }

    async fn credential(&self, name: &str) -> Option<SealedCredential> {
        self.store.credential("default", name).await.unwrap()
    }
}

pub(super) async fn a_credential_comes_back_as_it_was_put(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    assert_eq!(scene.credential("bank").await, None);
    let put = first("default", "bank");
    let made = scene.now();
    assert_eq!(scene.put_credential(&put).await, CredentialWrite::Written);
    let stored = scene.credential("bank").await.unwrap();
    let told = |stored: &SealedCredential| PutCredential {
        id: stored.id,
        namespace: stored.namespace.clone(),
        name: stored.name.clone(),
        connector_type: stored.connector_type.clone(),
        version: stored.version,
        key_id: stored.key_id.clone(),
        sealed: stored.sealed.clone(),
        by: stored.created_by.clone(),
    };
    assert_eq!(told(&stored), put);
    scene.assert_time(Some(stored.created_at), made);
    assert_eq!(stored.updated_at, stored.created_at);
    // The same name in another namespace is another credential.
    assert_eq!(scene.store.credential("other", "bank").await.unwrap(), None);

    scene.pass(Duration::from_millis(20)).await;
    let second = PutCredential {
        connector_type: "http".into(),
        by: By("rui".into()),
        ..next(&put, &[9; 100])
    };
    let changed = scene.now();
    assert_eq!(
        scene.put_credential(&second).await,
        CredentialWrite::Written
    );
    let after = scene.credential("bank").await.unwrap();
    let by_ana = PutCredential {
        by: By("ana".into()),
        ..second
    };
    assert_eq!(told(&after), by_ana);
    assert_eq!(after.created_at, stored.created_at);
    scene.assert_time(Some(after.updated_at), changed);
    assert!(after.updated_at > stored.updated_at);

    let scene = scene.restart(fixture).await;
    assert_eq!(scene.credential("bank").await, Some(after.clone()));
    let by_id = async |id| scene.store.credential_by_id(id).await.unwrap();
    assert_eq!(by_id(put.id).await, Some(after));
    assert_eq!(by_id(CredentialId(Uuid::now_v7())).await, None);
    let removed = scene.store.remove_credential("default", "bank").await;
    assert!(removed.unwrap());
    assert_eq!(by_id(put.id).await, None);
}

pub(super) async fn a_write_by_an_old_version_changes_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let one = first("default", "bank");
    let two = next(&one, &[2]);
    let refused = async |put: &PutCredential| {
        let before = scene.credential("bank").await;
        assert_eq!(scene.put_credential(put).await, CredentialWrite::Stale);
        assert_eq!(scene.credential("bank").await, before);
    };
    // Nothing is there: there is no next version.
    refused(&two).await;
    scene.put_credential(&one).await;
    refused(&first("default", "bank")).await;
    refused(&next(&two, &[3])).await;
    let of_another = PutCredential {
        id: CredentialId(Uuid::now_v7()),
        ..two.clone()
    };
    refused(&of_another).await;
    scene.put_credential(&two).await;
    refused(&next(&one, &[4])).await;
    refused(&one).await;
}

pub(super) async fn a_write_sent_again_is_written(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let one = first("default", "bank");
    let two = next(&one, &[2]);
    for put in [&one, &two] {
        assert_eq!(scene.put_credential(put).await, CredentialWrite::Written);
        let stored = scene.credential("bank").await;
        assert_eq!(scene.put_credential(put).await, CredentialWrite::Written);
        assert_eq!(scene.credential("bank").await, stored);
    }
    let reseal = anew(&two, "new");
    assert_eq!(scene.reseal(&reseal).await, CredentialWrite::Written);
    let stored = scene.credential("bank").await;
    assert_eq!(scene.reseal(&reseal).await, CredentialWrite::Written);
    assert_eq!(scene.credential("bank").await, stored);
}

pub(super) async fn sealing_anew_never_undoes_what_was_stored_since(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let one = first("default", "bank");
    scene.put_credential(&one).await;
    let seen = scene.credential("bank").await.unwrap();
    assert_eq!(
        scene.reseal(&anew(&one, "new")).await,
        CredentialWrite::Written
    );
    let after = scene.credential("bank").await.unwrap();
    let expected = SealedCredential {
        version: 2,
        key_id: "new".into(),
        sealed: vec![7; 40],
        ..seen
    };
    assert_eq!(after, expected);

    // Another value was stored since it was read.
    let two = PutCredential {
        version: 2,
        ..one.clone()
    };
    let three = next(&two, &[3]);
    scene.put_credential(&three).await;
    let stored = scene.credential("bank").await;
    for stale in [anew(&one, "stale"), anew(&two, "stale")] {
        assert_eq!(scene.reseal(&stale).await, CredentialWrite::Stale);
    }
    assert_eq!(scene.credential("bank").await, stored);
    let nobody = anew(&first("default", "other"), "new");
    assert_eq!(scene.reseal(&nobody).await, CredentialWrite::Stale);
}

pub(super) async fn one_that_was_removed_is_gone_and_comes_back_as_another(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let remove = async || {
        let removed = scene.store.remove_credential("default", "bank").await;
        removed.unwrap()
    };
    assert!(!remove().await);
    let one = first("default", "bank");
    scene.put_credential(&one).await;
    scene.put_credential(&first("other", "bank")).await;
    assert!(remove().await);
    assert!(!remove().await);
    assert_eq!(scene.credential("bank").await, None);
    assert!(
        scene
            .store
            .credential("other", "bank")
            .await
            .unwrap()
            .is_some()
    );
    // Who still has the old one in hand can't bring it back.
    assert_eq!(
        scene.reseal(&anew(&one, "new")).await,
        CredentialWrite::Stale
    );
    assert_eq!(
        scene.put_credential(&next(&one, &[2])).await,
        CredentialWrite::Stale
    );
    let again = first("default", "bank");
    assert_eq!(scene.put_credential(&again).await, CredentialWrite::Written);
    assert_eq!(
        scene.reseal(&anew(&one, "new")).await,
        CredentialWrite::Stale
    );
    assert_eq!(scene.credential("bank").await.unwrap().id, again.id);
}

pub(super) async fn credentials_are_listed_by_namespace_and_name_in_pages(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    for (namespace, name) in [
        ("b", "x"),
        ("a", "y2"),
        ("a-b", "a"),
        ("a", "Z"),
        ("a", "y10"),
    ] {
        scene.put_credential(&first(namespace, name)).await;
    }
    for limit in [1, 2, 500] {
        let mut page = PageRequest::first(limit);
        let mut names = Vec::new();
        loop {
            let answer = scene.store.credentials(&page).await.unwrap();
            assert!(answer.items.len() <= limit);
            let told = answer.items.iter();
            names.extend(told.map(|told| format!("{}/{}", told.namespace, told.name)));
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => break,
            }
        }
        assert_eq!(names, ["a/Z", "a/y10", "a/y2", "a-b/a", "b/x"], "{limit}");
    }
    let strange = PageRequest {
        limit: 10,
        cursor: Some(Cursor("strange".into())),
    };
    let refused = scene.store.credentials(&strange).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::NotFound);
}

pub(super) async fn racing_writers_of_a_credential_write_each_version_once(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let one = first("default", "bank");
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..scene.facts.racers {
        let (store, one) = (scene.store.clone(), one.clone());
        racers.spawn(async move {
            let mut written = Vec::new();
            while written.len() < 3 {
                let before = store.credential("default", "bank").await.unwrap();
                let version = before.map_or(1, |before| before.version + 1);
                // Half of them seal anew what others store.
                let mine = vec![racer as u8, version as u8];
                let wrote = if racer % 2 == 0 || version == 1 {
                    let put = PutCredential {
                        version,
                        sealed: mine,
                        ..one.clone()
                    };
                    store.put_credential(put).await
                } else {
                    let reseal = Reseal {
                        id: one.id,
                        version,
                        key_id: "new".into(),
                        sealed: mine,
                    };
                    store.reseal_credential(reseal).await
                };
                if wrote.unwrap() == CredentialWrite::Written {
                    written.push(version);
                }
            }
            written
        });
    }
    let mut written: Vec<u64> = racers.join_all().await.into_iter().flatten().collect();
    written.sort_unstable();
    let expected: Vec<u64> = (1..=3 * scene.facts.racers as u64).collect();
    assert_eq!(written, expected);
    let last = scene.credential("bank").await.unwrap();
    assert_eq!(last.version, 3 * scene.facts.racers as u64);
}
