//! Rows: how they are listed, and how they become a chain.

use std::time::Duration;

use uuid::Uuid;

use super::{AuditFixture, Scene};
use crate::contract::store::SealAudit;
use crate::contract::{Clock, StoreErrorKind};
use crate::model::{Actor, AuditEntry, AuditFilter, AuditRecord, Cursor, PageRequest, UserId};

pub(super) async fn rows_are_listed_newest_first_in_pages_by_what_they_are_about(
    fixture: &dyn AuditFixture,
) {
    let scene = Scene::on(fixture).await;
    for at in 0..5 {
        scene.note("login.fail", &format!("u{}", at % 2)).await;
        scene.clock.advance(Duration::from_secs(1));
    }
    let stranger = Actor::default();
    let entry = AuditEntry::new("login.deny", "user", "u1");
    scene.store.note(&stranger, entry).await.unwrap();

    let mut page = PageRequest::first(2);
    let mut ids = Vec::new();
    loop {
        let part = scene.list(&AuditFilter::default(), &page).await;
        assert!(part.items.len() <= 2);
        ids.extend(part.items.iter().map(|row| row.id));
        match part.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(ids.len(), 6);
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    page.cursor = Some(Cursor("nowhere".into()));
    let lost = scene.store.audit(&AuditFilter::default(), &page).await;
    assert_eq!(lost.unwrap_err().kind, StoreErrorKind::NotFound);

    let begun = scene.clock.now() - Duration::from_secs(5);
    let second = Duration::from_secs(1);
    let all = AuditFilter::default;
    for (filter, count) in [
        (all(), 6),
        (
            AuditFilter {
                user_id: scene.actor.user_id,
                ..all()
            },
            5,
        ),
        (
            AuditFilter {
                user_id: Some(UserId(Uuid::now_v7())),
                ..all()
            },
            0,
        ),
        (
            AuditFilter {
                action: Some("login.deny".into()),
                ..all()
            },
            1,
        ),
        (
            AuditFilter {
                resource_type: Some("user".into()),
                resource_id: Some("u1".into()),
                ..all()
            },
            3,
        ),
        (
            AuditFilter {
                resource_type: Some("job".into()),
                ..all()
            },
            0,
        ),
        (
            AuditFilter {
                user_id: scene.actor.user_id,
                action: Some("login.fail".into()),
                resource_id: Some("u0".into()),
                from: Some(begun + second),
                to: Some(begun + second * 4),
                ..all()
            },
            1,
        ),
    ] {
        let found = scene.list(&filter, &PageRequest::default()).await;
        assert_eq!(found.items.len(), count, "{filter:?}");
    }
}

pub(super) async fn rows_are_taken_into_the_chain_once_and_stay_as_they_are(
    fixture: &dyn AuditFixture,
) {
    let scene = Scene::on(fixture).await;
    for at in 0..5 {
        scene.note("login.fail", &at.to_string()).await;
    }
    assert_eq!(scene.store.head().await.unwrap(), None);
    let open = scene.store.unsealed(3).await.unwrap();
    assert_eq!(open.len(), 3);
    assert!(open.is_sorted_by_key(|row| row.id));
    let rows = |records: &[AuditRecord]| -> Vec<(u64, [u8; 32])> {
        records
            .iter()
            .map(|row| (row.id, [row.id as u8; 32]))
            .collect()
    };
    let seal = async |after, rows: Vec<(u64, [u8; 32])>| {
        scene.store.seal(SealAudit { after, rows }).await.unwrap()
    };
    assert!(!seal(1, rows(&open)).await, "another place");
    assert!(seal(0, rows(&open)).await);
    assert!(!seal(0, rows(&open)).await, "the same again");
    assert!(!seal(3, rows(&open[..1])).await, "a row that has a place");
    assert!(!seal(3, vec![(999_999, [0; 32])]).await, "no row");
    let rest = scene.store.unsealed(10).await.unwrap();
    assert_eq!(rest.len(), 2);
    let mut turned = rows(&rest);
    turned.reverse();
    assert!(seal(3, turned).await);
    assert_eq!(scene.store.unsealed(10).await.unwrap(), []);

    let chain = scene.store.sealed(0, 10).await.unwrap();
    let places: Vec<_> = chain.iter().map(|row| row.seal.seq).collect();
    assert_eq!(places, [1, 2, 3, 4, 5]);
    let order = [&open[0], &open[1], &open[2], &rest[1], &rest[0]];
    for (sealed, record) in chain.iter().zip(order) {
        assert_eq!(sealed.record, *record);
        assert_eq!(sealed.seal.mac, [record.id as u8; 32]);
    }
    let head = scene.store.head().await.unwrap().unwrap();
    assert_eq!(Some(head), chain.last().map(|row| row.seal));
    let part = scene.store.sealed(3, 1).await.unwrap();
    assert_eq!(part, chain[3..4]);
}

pub(super) async fn of_two_who_seal_at_once_one_does(fixture: &dyn AuditFixture) {
    let scene = Scene::on(fixture).await;
    for round in 0..10 {
        scene.note("login.fail", "1").await;
        let open = scene.store.unsealed(10).await.unwrap();
        let mut race = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (store, id) = (scene.store.clone(), open[0].id);
            race.spawn(async move {
                let seal = SealAudit {
                    after: round,
                    rows: vec![(id, [1; 32])],
                };
                store.seal(seal).await.unwrap()
            });
        }
        let won = race.join_all().await.into_iter().filter(|won| *won);
        assert_eq!(won.count(), 1);
    }
    assert_eq!(scene.store.sealed(0, 100).await.unwrap().len(), 10);
}
