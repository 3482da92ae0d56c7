//! Passwords: which may be chosen, and what is kept of them.

use std::sync::Arc;
use std::thread::available_parallelism;

use argon2::password_hash::{self, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::common_password::is_common;
use super::secret::Secret;

/// The least characters of a password. There is no other rule of what is in it.
pub(crate) const LEAST: usize = 12;
/// The most.
pub(crate) const MOST: usize = 128;

/// KiB of memory that a hash takes.
const MEMORY: u32 = 19_456;
/// How often it goes through them.
const PASSES: u32 = 2;
/// How many callers may wait for each hash that is worked on. More are sent away.
const WAITING: usize = 8;

/// A hash of no password, of the same cost as others.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password may not be chosen, if it may not.
pub(crate) fn fault(password: &Secret, email: &str) -> Option<String> {
    let password = password.expose();
    let count = password.chars().count();
    if count < LEAST {
        return Some(format!("a password has at least {LEAST} characters"));
    }
    if count > MOST {
        return Some(format!("a password has at most {MOST} characters"));
    }
    if is_common(password, email) {
        return Some("this is one of the first passwords that others would try".into());
    }
    None
}

/// Makes and checks hashes, a bounded number at once: each takes 19 MiB and a core for some time.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// Who is worked for.
    turns: Arc<Semaphore>,
    /// Who is worked for or waits.
    places: Arc<Semaphore>,
}

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are looked at")]
pub(crate) struct Crowded;

/// Whether a password is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    No,
    Yes,
    /// It is, and its hash is cheaper than they are made now.
    AndWeak,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self::with_turns(cores)
    }

    fn with_turns(turns: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            places: Arc::new(Semaphore::new(turns * (1 + WAITING))),
        }
    }

    /// What is kept of a password.
    pub(crate) async fn hash(&self, password: &Secret) -> Result<String, Unhashed> {
        let password = password.clone();
        self.in_turn(move || {
            let hash = argon2().hash_password(password.expose().as_bytes())?;
            Ok(hash.to_string())
        })
        .await?
    }

    /// Whether this is the password. Without a hash it never is, and takes as long.
    pub(crate) async fn verify(
        &self,
        password: &Secret,
        hash: Option<&str>,
    ) -> Result<Verified, Crowded> {
        let password = password.clone();
        let hash = hash.unwrap_or(NOBODYS).to_owned();
        self.in_turn(move || verify(&password, &hash)).await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Crowded> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Crowded)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Crowded)?;
        // The permits go with the work: it goes on when whoever asked has gone away.
        let permits: [OwnedSemaphorePermit; 2] = [turn, place];
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permits);
            done
        });
        work.await.map_err(|_| Crowded)
    }
}

/// No hash was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unhashed {
    #[error(transparent)]
    Crowded(#[from] Crowded),
    #[error("the password can't be hashed")]
    Failed(#[from] password_hash::Error),
}

/// The parameters that hashes are made with. A hash says its own.
fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, 1, None).unwrap_or(Params::DEFAULT);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn verify(password: &Secret, hash: &str) -> Verified {
    let Ok(hash) = PasswordHash::new(hash) else {
        tracing::warn!("a stored password can't be read");
        return Verified::No;
    };
    let password = password.expose().as_bytes();
    if argon2().verify_password(password, &hash).is_err() {
        return Verified::No;
    }
    if is_weak(&hash) {
        Verified::AndWeak
    } else {
        Verified::Yes
    }
}

/// Whether it is cheaper than hashes are made now.
fn is_weak(hash: &PasswordHash) -> bool {
    let Ok(params) = Params::try_from(hash) else {
        return true;
    };
    hash.algorithm != Algorithm::Argon2id.ident()
        || params.m_cost() < MEMORY
        || params.t_cost() < PASSES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[tokio::test]
    async fn a_password_is_known_again_by_its_hash_and_no_other_is() {
        let passwords = Passwords::new();
        let password = secret("größer als 12 🐘");
        let hash = passwords.hash(&password).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_ne!(hash, passwords.hash(&password).await.unwrap());
        let verify = |text: &'static str, hash: Option<String>| {
            let passwords = &passwords;
            async move {
                let verified = passwords.verify(&secret(text), hash.as_deref()).await;
                verified.unwrap()
            }
        };
        assert_eq!(
            verify("größer als 12 🐘", Some(hash.clone())).await,
            Verified::Yes
        );
        assert_eq!(
            verify("größer als 12 ", Some(hash.clone())).await,
            Verified::No
        );
        assert_eq!(verify("größer als 12 🐘", None).await, Verified::No);
        assert_eq!(verify("", None).await, Verified::No);
        assert_eq!(
            verify("größer als 12 🐘", Some("nonsense".into())).await,
            Verified::No
        );
    }

    #[tokio::test]
    async fn a_cheaper_hash_is_told() {
        let params = Params::new(8 * 1024, 1, 1, None).unwrap();
        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = cheap.hash_password(b"correct horse battery").unwrap();
        let verified = Passwords::new()
            .verify(&secret("correct horse battery"), Some(&hash.to_string()))
            .await;
        assert_eq!(verified.unwrap(), Verified::AndWeak);
    }

    #[test]
    fn what_stands_for_nobody_costs_what_others_cost() {
        assert!(!is_weak(&PasswordHash::new(NOBODYS).unwrap()));
    }

    #[tokio::test]
    async fn who_finds_no_place_to_wait_is_sent_away() {
        let passwords = Passwords::with_turns(0);
        let answer = passwords
            .verify(&secret("correct horse battery"), None)
            .await;
        assert_eq!(answer, Err(Crowded));
    }

    #[test]
    fn a_password_is_long_enough_and_not_a_common_one() {
        for (password, is_good) in [
            ("correct horse battery", true),
            ("uma frase longa", true),
            ("elevenchars", false),
            ("password1234", false),
            ("ana.souza@example.org", false),
        ] {
            let fault = fault(&secret(password), "ana.souza@example.org");
            assert_eq!(fault.is_none(), is_good, "{password}: {fault:?}");
        }
        assert!(fault(&secret(&"ä".repeat(129)), "a@b.c").is_some());
        let long: String = ('\u{4e00}'..).take(128).collect();
        assert_eq!(fault(&secret(&long), "a@b.c"), None);
    }
}
