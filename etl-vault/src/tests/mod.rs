//! Stories of the vault, over the store in memory and a key file of their own.

mod derived;
mod keys;
mod rotation;
mod sealed;

use std::path::PathBuf;
use std::sync::Arc;

use etl_core::contract::store::{CredentialStore, PutCredential};
use etl_core::contract::{CredentialError, Credentials};
use etl_core::memory::MemoryStore;
use etl_core::model::By;
use etl_core::testing::ManualClock;
use serde_json::{Value, json};

use crate::{KeySource, Passphrase, Vault, VaultError};

const CANARY: &str = "canary-7f3e9a";

/// A store and a key file that outlive the vaults over them.
struct Scene {
    folder: tempfile::TempDir,
    store: Arc<MemoryStore>,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            store: Arc::new(MemoryStore::new(Arc::new(ManualClock::default()))),
        }
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("master.key")
    }

    fn source(&self) -> KeySource {
        KeySource {
            file: self.key_file(),
            may_make_file: true,
            passphrase: None,
            old_passphrase: None,
        }
    }

    fn vault(&self) -> Vault {
        Vault::new(self.store.clone(), self.source())
    }

    /// Stores so many credentials, `c0` and on.
    async fn with(self, credentials: usize) -> Self {
        let vault = self.vault();
        for at in 0..credentials {
            set(&vault, &format!("c{at}"), &secret(at)).await;
        }
        self
    }

    async fn assert_all_open(&self, vault: &Vault, credentials: usize) {
        for at in 0..credentials {
            let opened = open(vault, &format!("c{at}")).await.unwrap();
            assert_eq!(opened, secret(at), "c{at}");
        }
    }
}

fn secret(at: usize) -> Value {
    json!({ "user": "etl", "password": format!("{CANARY}-{at}") })
}

async fn set(vault: &Vault, name: &str, secret: &Value) {
    let text = secret.to_string();
    let by = By("ana".into());
    let set = vault
        .set("default", name, "command", text.as_bytes(), &by)
        .await;
    set.unwrap();
}

async fn open(vault: &Vault, name: &str) -> Result<Value, CredentialError> {
    vault.open("default", name, "command").await
}

#[tokio::test]
async fn a_credential_opens_for_its_own_connector_and_namespace() {
    let scene = Scene::new().with(1).await;
    // Another process.
    let vault = scene.vault();
    assert_eq!(open(&vault, "c0").await.unwrap(), secret(0));
    let elsewhere = vault.open("default", "c0", "http").await.unwrap_err();
    assert_eq!(
        elsewhere.to_string(),
        "the credential \"c0\" is for command steps, and this is none"
    );
    let missing = vault.open("other", "c0", "command").await.unwrap_err();
    assert!(matches!(missing, CredentialError::Missing(_)));
    set(&vault, "c0", &json!({ "token": "new" })).await;
    assert_eq!(
        open(&scene.vault(), "c0").await.unwrap(),
        json!({ "token": "new" })
    );
    assert!(vault.remove("default", "c0").await.unwrap());
    assert!(!vault.remove("default", "c0").await.unwrap());
}

#[tokio::test]
async fn a_secret_is_set_at_the_version_that_was_looked_at_or_not_at_all() {
    let scene = Scene::new();
    let vault = scene.vault();
    let set_if = async |version, at: usize| {
        let text = secret(at).to_string();
        let (place, by) = (("default", "c0"), By("ana".into()));
        let set = vault.set_if(version, place, "command", text.as_bytes(), &by);
        set.await.map(|stored| stored.version)
    };
    let is_stale = |refused: Result<u64, VaultError>, at: u64| matches!(refused, Err(VaultError::Stale { version }) if version == at);
    assert!(is_stale(set_if(1, 1).await, 0));
    assert_eq!(set_if(0, 1).await.unwrap(), 1);
    assert!(is_stale(set_if(0, 2).await, 1));
    assert_eq!(open(&vault, "c0").await.unwrap(), secret(1));
    assert_eq!(set_if(1, 3).await.unwrap(), 2);
    assert!(is_stale(set_if(1, 4).await, 2));
    assert_eq!(open(&vault, "c0").await.unwrap(), secret(3));
}

#[tokio::test]
async fn a_row_that_was_moved_or_put_back_does_not_open() {
    let scene = Scene::new().with(2).await;
    let vault = scene.vault();
    let seen = scene
        .store
        .credential("default", "c0")
        .await
        .unwrap()
        .unwrap();
    let other = scene
        .store
        .credential("default", "c1")
        .await
        .unwrap()
        .unwrap();
    let put = |id, name: &str, version, sealed: &[u8]| PutCredential {
        id,
        namespace: "default".into(),
        name: name.into(),
        connector_type: "command".into(),
        version,
        key_id: seen.key_id.clone(),
        sealed: sealed.to_vec(),
        by: By("mallory".into()),
    };
    // The bytes of c1 in the row of c0; then an old value of c0 as its newest.
    for sealed in [&other.sealed, &seen.sealed] {
        let version = scene
            .store
            .credential("default", "c0")
            .await
            .unwrap()
            .unwrap()
            .version;
        let moved = put(seen.id, "c0", version + 1, sealed);
        scene.store.put_credential(moved).await.unwrap();
        let refused = open(&vault, "c0").await.unwrap_err();
        assert!(matches!(refused, CredentialError::Sealed(_)), "{refused:?}");
    }
    // The others are not kept from being used.
    vault.check().await.unwrap();
    assert_eq!(open(&vault, "c1").await.unwrap(), secret(1));
}

#[tokio::test]
async fn a_secret_is_never_shown_and_never_stored() {
    let scene = Scene::new().with(3).await;
    let vault = scene.vault();
    open(&vault, "c0").await.unwrap();
    let mut said = format!("{vault:?} {:?}", scene.source());
    let page = etl_core::model::PageRequest::default();
    for stored in scene.store.credentials(&page).await.unwrap().items {
        said += &format!("{stored:?}");
        let bytes = stored.sealed.windows(6);
        assert!(
            bytes
                .into_iter()
                .all(|of| !CANARY.as_bytes().windows(6).any(|canary| canary == of))
        );
    }
    for refused in [
        &br#"{ "password": "canary-7f3e9a" "#[..],
        br#""canary-7f3e9a""#,
        br#"["canary-7f3e9a"]"#,
        b"canary-7f3e9a",
        b"{}",
        &vec![b'1'; 70_000],
    ] {
        let by = By("ana".into());
        let refused = vault.set("default", "x", "command", refused, &by).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, VaultError::Invalid(_)));
        said += &format!("{refused} {refused:?}");
    }
    let key = std::fs::read_to_string(scene.key_file()).unwrap();
    let key = key.lines().last().unwrap().split_once(' ').unwrap().1;
    for secret in ["canary", key] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(said.contains("[redacted]"));
}

#[tokio::test]
async fn a_name_is_plain_and_so_is_a_namespace() {
    let scene = Scene::new();
    let vault = scene.vault();
    let long = "x".repeat(256);
    for name in ["", "a b", "a/b", ".a", "-a", "ä", "a\n", "{{ x }}", &long] {
        let by = By("ana".into());
        let refused = vault
            .set("default", name, "command", b"{\"a\":1}", &by)
            .await;
        assert!(matches!(refused, Err(VaultError::Invalid(_))), "{name:?}");
    }
    for namespace in ["", "a/b", "Finance", "a b", "-a", "a.b", &long] {
        let by = By("ana".into());
        let refused = vault
            .set(namespace, "c", "command", b"{\"a\":1}", &by)
            .await;
        let refused = refused.unwrap_err();
        assert!(refused.to_string().contains("namespace"), "{refused}");
    }
    assert!(!scene.key_file().exists(), "no key is made for nothing");
    set(&vault, "Ops_hook-2.eu", &json!({ "a": 1 })).await;
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.into()).unwrap()
}
