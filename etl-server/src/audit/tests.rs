//! Whatever somebody changes behind the chain's back is found.

use std::time::Duration;

use etl_core::contract::acting;
use etl_core::memory::MemoryStore;
use etl_core::model::{Actor, AuditEntry, AuditRecord, Seal, SealedRecord, Timestamp, UserId};
use etl_vault::KeySource;
use serde_json::json;
use uuid::Uuid;

use super::chain::next;
use super::checkpoint::Found;
use super::verify::Walk;
use super::*;

const KEY: [u8; 32] = [7; 32];
const ROWS: u64 = 200;

fn row(id: u64) -> AuditRecord {
    let actor = Actor {
        user_id: Some(UserId(Uuid::from_u128(u128::from(id % 3)))),
        name: format!("u{}", id % 3),
        ip_address: Some("192.0.2.7".into()),
        ..Actor::default()
    };
    let entry = AuditEntry::new("pipeline.update", "pipeline", id)
        .from(json!({ "version": id, "name": "p" }))
        .to(json!({ "version": id + 1 }));
    AuditRecord::new(
        id,
        Timestamp::from_micros(id as i64 * 1_000_000),
        &actor,
        entry,
    )
}

fn sealed(
    key: &[u8; 32],
    last: Seal,
    rows: impl Iterator<Item = AuditRecord>,
) -> Vec<SealedRecord> {
    let keys = Keys::new([&key[..]]);
    let mut last = last;
    rows.map(|record| {
        last = next(keys.current(), last, &record).unwrap();
        SealedRecord { record, seal: last }
    })
    .collect()
}

/// A chain with a checkpoint at every fiftieth place.
fn a_chain() -> (Vec<SealedRecord>, Vec<Checkpoint>) {
    let rows = sealed(&KEY, START, (1..=ROWS).map(row));
    let keys = Keys::new([&KEY[..]]);
    let at = Timestamp::from_micros(0);
    let noted = rows.iter().filter(|row| row.seal.seq % 50 == 0);
    let checkpoints = noted.map(|row| Checkpoint::new(keys.current(), row.seal, at));
    let checkpoints = checkpoints.collect();
    (rows, checkpoints)
}

/// What is found as a store would tell it: by place.
fn faults(mut rows: Vec<SealedRecord>, checkpoints: Vec<Checkpoint>) -> Vec<String> {
    rows.sort_by_key(|row| row.seal.seq);
    let found = Found {
        checkpoints,
        unreadable: Vec::new(),
    };
    let mut walk = Walk::new(Keys::new([&KEY[..]]), found);
    for row in &rows {
        walk.step(row).unwrap();
    }
    walk.end().faults
}

#[test]
fn what_nobody_changed_holds() {
    let (rows, checkpoints) = a_chain();
    assert_eq!(faults(rows.clone(), checkpoints), [""; 0]);
    assert_eq!(faults(rows, Vec::new()), [""; 0]);
}

/// Numbers that are the same in every run (SplitMix64, Steele et al. 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// Changes something as somebody could who has the database and not the key.
fn tamper(rows: &mut Vec<SealedRecord>, random: &mut Random) -> &'static str {
    let at = random.below(rows.len());
    let other = (at + 1 + random.below(rows.len() - 1)) % rows.len();
    match random.below(10) {
        0 => {
            rows[at].record.actor.push('x');
            "another actor"
        }
        1 => {
            rows[at].record.new_value = Some(json!({ "version": 0 }));
            "another value"
        }
        2 => {
            rows[at].record.timestamp = rows[at].record.timestamp + Duration::from_micros(1);
            "another time"
        }
        3 => {
            rows[at].record.ip_address = None;
            "no address"
        }
        4 => {
            rows.remove(at);
            "a row less"
        }
        5 => {
            let (one, two) = (rows[at].record.clone(), rows[other].record.clone());
            (rows[at].record, rows[other].record) = (two, one);
            "rows in each other's place"
        }
        6 => {
            let bit = random.below(256);
            rows[at].seal.mac[bit / 8] ^= 1 << (bit % 8);
            "another MAC"
        }
        7 => {
            rows.truncate(at);
            "no end"
        }
        8 => {
            // A chain of their own from there on, by a key of their own.
            let last = at.checked_sub(1).map_or(START, |before| rows[before].seal);
            let rest = rows.split_off(at);
            let forged = rest.into_iter().map(|mut row| {
                row.record.actor = "nobody".into();
                row.record
            });
            rows.extend(sealed(&[8; 32], last, forged));
            "a forged end"
        }
        _ => {
            let mut copy = rows[other].clone();
            copy.record.id = 10_000;
            rows.insert(at, copy);
            "a row more"
        }
    }
}

#[test]
fn a_thousand_changes_are_found() {
    let (rows, checkpoints) = a_chain();
    let mut random = Random(4);
    for n in 0..1_000 {
        let mut changed = rows.clone();
        let change = tamper(&mut changed, &mut random);
        assert_ne!(changed, rows, "{change}");
        let found = faults(changed, checkpoints.clone());
        assert!(!found.is_empty(), "{n}: {change}");
    }
}

#[test]
fn whoever_has_the_key_is_found_by_the_checkpoints() {
    let (mut rows, checkpoints) = a_chain();
    // Everything from place 100 on is made anew with the right key.
    let rest = rows.split_off(99);
    let forged = rest.into_iter().map(|mut row| {
        row.record.actor = "nobody".into();
        row.record
    });
    let last = rows[98].seal;
    rows.extend(sealed(&KEY, last, forged));
    assert_eq!(
        faults(rows.clone(), Vec::new()),
        [""; 0],
        "the chain alone holds"
    );
    let found = faults(rows, checkpoints.clone());
    assert!(
        found
            .iter()
            .any(|fault| fault.contains("checkpoint at place 100")),
        "{found:?}"
    );

    // The end is cut off, and nothing else is wrong.
    let (rows, _) = a_chain();
    let cut = rows[..120].to_vec();
    assert_eq!(
        faults(cut.clone(), Vec::new()),
        [""; 0],
        "the chain alone holds"
    );
    let found = faults(cut, checkpoints.clone());
    assert!(found[0].contains("ends at place 120"), "{found:?}");

    // A checkpoint of their own.
    let keys = Keys::new([&[8; 32][..]]);
    let forged = Checkpoint::new(keys.current(), rows[49].seal, Timestamp::from_micros(0));
    let found = faults(rows, vec![forged]);
    assert!(found[0].contains("another signature"), "{found:?}");
}

#[test]
fn what_an_earlier_key_sealed_holds_after_a_rotation() {
    let rows = sealed(&KEY, START, (1..=10).map(row));
    let last = rows[9].seal;
    let later = sealed(&[9; 32], last, (11..=20).map(row));
    let mut walk = Walk::new(Keys::new([&[9; 32][..], &KEY[..]]), Found::default());
    for row in rows.iter().chain(&later) {
        walk.step(row).unwrap();
    }
    assert_eq!(walk.end().faults, [""; 0]);
}

#[tokio::test]
async fn what_a_store_notes_is_sealed_once_by_any_number_of_servers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let storage = ArtifactStorage::folder(folder.path().join("data")).unwrap();
    let vault = || {
        let source = KeySource {
            file: folder.path().join("master.key"),
            may_make_file: true,
            passphrase: None,
            old_passphrase: None,
        };
        Vault::new(store.clone(), source)
    };
    let audit: Arc<dyn AuditLog> = store.clone();
    let sealer = || Sealer::new(audit.clone(), vault(), storage.clone());
    let (mut one, mut other) = (sealer(), sealer());
    for n in 0..2_500 {
        let actor = Actor {
            name: format!("u{n}"),
            ..Actor::default()
        };
        let entry = AuditEntry::new("session.open", "session", n);
        acting(Arc::new(actor.clone()), audit.note(&actor, entry))
            .await
            .unwrap();
    }
    let (first, second) = tokio::join!(one.round(), other.round());
    first.unwrap();
    second.unwrap();
    one.round().await.unwrap();
    let verified = verify(&audit, &vault(), &storage).await.unwrap();
    assert_eq!((verified.rows, verified.unsealed), (2_500, 0));
    assert_eq!(verified.faults, [""; 0]);
    assert!(verified.checkpoints >= 1);

    // Somebody touches a checkpoint.
    let checkpoints = folder.path().join("data/audit/checkpoints");
    let file = std::fs::read_dir(checkpoints)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    std::fs::write(file.path(), text.replace("\"seq\":", "\"seq\":1")).unwrap();
    let verified = verify(&audit, &vault(), &storage).await.unwrap();
    assert_eq!(verified.faults.len(), 1, "{:?}", verified.faults);
}
