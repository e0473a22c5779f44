//! Who may do what: named tokens with roles. A token is 256 bits of chance; only its SHA-256 is kept, so that neither the store nor a
//! backup of it lets anybody in. The token `admin` belongs to whoever may read the data folder (or the configuration) and cannot be lost.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use baton_driver::StoreError;
use baton_engine::Role;
use baton_messages::Timestamp;
use baton_store::tokens::HASH_BYTES;
use baton_store::{AnyTokens, TokenRow, TokenStore as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::Notify;

/// The name of the token of the data folder or the configuration.
pub(crate) const ADMIN: &str = "admin";
/// Most named tokens: every request is compared with all of them.
pub(crate) const TOKENS_MAX: usize = 1_000;
/// Names that mean something else in a record or a definition.
const RESERVED: [&str; 7] = [
    ADMIN, "viewer", "auditor", "operator", "baton", "system", "id",
];

/// A token that lets somebody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its name.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
    /// From when on it is refused.
    pub(crate) expires_at: Option<Timestamp>,
    /// When and by whom it was made; none for the one of the data folder.
    pub(crate) made: Option<(Timestamp, String)>,
    hash: [u8; HASH_BYTES],
}

#[cfg(test)]
impl Known {
    /// One that was never made.
    pub(crate) fn of_test(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            expires_at: None,
            made: None,
            hash: hash(name),
        }
    }
}

/// Why a token lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// Nobody knows it.
    Unknown,
    /// It was good until then.
    Expired {
        /// Its name.
        name: String,
        /// Until when.
        at: Timestamp,
    },
}

/// Why a token was not made.
#[derive(Debug)]
pub(crate) enum NotMade {
    /// The name is no good.
    Name(String),
    /// It is there already.
    Taken,
    /// There are as many as there may be.
    TooMany,
    /// The store could not keep it.
    Store(StoreError),
}

/// After how long it is looked again whether a token has expired: the clock may have been set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Everybody who may come in.
#[derive(Debug)]
pub(crate) struct Access {
    store: AnyTokens,
    known: RwLock<Vec<Known>>,
    /// Told when a token is revoked.
    revoked: Notify,
}

impl Access {
    /// Reads the named tokens; `admin` is the one of the data folder or the configuration.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn open(store: AnyTokens, admin: &str) -> Result<Self, StoreError> {
        let mut known = vec![Known {
            name: ADMIN.to_owned(),
            role: Role::Admin,
            expires_at: None,
            made: None,
            hash: hash(admin),
        }];
        for row in store.tokens().await? {
            match Role::of(&row.role) {
                Some(role) => known.push(of_row(row, role)),
                None => {
                    tracing::error!(token = %row.name, role = %row.role, "a token has a role that this version does not know; it is not accepted");
                }
            }
        }
        Ok(Self {
            store,
            known: RwLock::new(known),
            revoked: Notify::new(),
        })
    }

    /// Reads the named tokens anew: another process may have made or revoked some.
    ///
    /// # Errors
    /// When the store cannot be read; who is known stays.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let rows = self.store.tokens().await?;
        let rows = rows.into_iter().filter_map(|row| {
            let role = Role::of(&row.role)?;
            Some(of_row(row, role))
        });
        let rows: Vec<Known> = rows.collect();
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let admin = all.iter().filter(|known| known.made.is_none()).cloned();
        let now: Vec<Known> = admin.chain(rows).collect();
        let changed = *all != now;
        *all = now;
        drop(all);
        if changed {
            self.revoked.notify_waiters();
        }
        Ok(())
    }

    /// Whose token it is. Compares with every one, in a time that tells nothing of where they differ.
    pub(crate) fn check(&self, token: &str, now: Timestamp) -> Result<Known, NoEntry> {
        let given = hash(token);
        let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for known in all.iter() {
            let same: Choice = known.hash.ct_eq(&given);
            if bool::from(same) {
                found = Some(known);
            }
        }
        let found = found.ok_or(NoEntry::Unknown)?;
        match found.expires_at {
            Some(at) if at <= now => Err(NoEntry::Expired {
                name: found.name.clone(),
                at,
            }),
            Some(_) | None => Ok(found.clone()),
        }
    }

    /// Makes a token: what is known of it, and the token itself, which nobody can show again.
    pub(crate) async fn make(
        &self,
        name: &str,
        role: Role,
        expires_at: Option<Timestamp>,
        by: &str,
        now: Timestamp,
    ) -> Result<(Known, String), NotMade> {
        name_fits(name).map_err(NotMade::Name)?;
        if self.all().len() >= TOKENS_MAX {
            return Err(NotMade::TooMany);
        }
        let token = random();
        let row = TokenRow {
            name: name.to_owned(),
            role: role.as_str().to_owned(),
            hash: hash(&token),
            made_at: now,
            made_by: by.to_owned(),
            expires_at,
        };
        let kept = self.store.put_token(row.clone()).await;
        if !kept.map_err(NotMade::Store)? {
            return Err(NotMade::Taken);
        }
        let known = of_row(row, role);
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        all.push(known.clone());
        drop(all);
        tracing::info!(token = name, role = role.as_str(), by, "a token was made");
        Ok((known, token))
    }

    /// Revokes a token; false when there is none of this name.
    pub(crate) async fn revoke(&self, name: &str, by: &str) -> Result<bool, StoreError> {
        // first in memory: from here on it lets nobody in, whatever the store says
        self.forget(name);
        let gone = self.store.delete_token(name.to_owned()).await?;
        if gone {
            tracing::info!(token = name, by, "a token was revoked");
        }
        Ok(gone)
    }

    fn forget(&self, name: &str) {
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.made.is_none() || known.name != name);
        drop(all);
        self.revoked.notify_waiters();
    }

    /// Returns when a token lets nobody in any longer: it has expired, or it was revoked.
    pub(crate) async fn useless(&self, token: &Known) {
        loop {
            let revoked = self.revoked.notified();
            tokio::pin!(revoked);
            revoked.as_mut().enable();
            let stands = {
                let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
                all.iter().any(|known| known.hash == token.hash)
            };
            let left_ms = token.expires_at.map(|at| at.since_ms(crate::clock::now()));
            if !stands || left_ms == Some(0) {
                return;
            }
            // looked at again now and then: the clock may be set
            let left = left_ms
                .map_or(LOOK_AGAIN, Duration::from_millis)
                .min(LOOK_AGAIN);
            tokio::select! {
                () = revoked => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Whether a token has this name.
    pub(crate) fn is_known(&self, name: &str) -> bool {
        let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|known| known.name == name)
    }

    /// Every token, by name.
    pub(crate) fn all(&self) -> Vec<Known> {
        let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = all.clone();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

fn of_row(row: TokenRow, role: Role) -> Known {
    Known {
        name: row.name,
        role,
        expires_at: row.expires_at,
        made: Some((row.made_at, row.made_by)),
        hash: row.hash,
    }
}

fn hash(token: &str) -> [u8; HASH_BYTES] {
    Sha256::digest(token.as_bytes()).into()
}

/// 256 bits of chance out of three UUIDs, which fix six bits each.
pub(crate) fn random() -> String {
    let mut chance = Sha256::new();
    for _ in 0..3 {
        chance.update(uuid::Uuid::new_v4().as_bytes());
    }
    let bytes: [u8; 32] = chance.finalize().into();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn name_fits(name: &str) -> Result<(), String> {
    if RESERVED.contains(&name) {
        return Err(format!("`{name}` means something else; take another name"));
    }
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if name.len() > 64 || !begins || !name.chars().all(letters) {
        return Err("a name is 1 to 64 letters, digits, `.`, `_` and `-`, and begins with a letter or digit".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use baton_store::{AnyStore, SqliteOptions, SqliteStore};

    use super::*;

    async fn access(folder: &tempfile::TempDir) -> (AnyStore, Access) {
        let path = folder.path().join("baton.db");
        let store = SqliteStore::open(path, SqliteOptions::default()).unwrap();
        let store = AnyStore::Sqlite(store);
        let access = Access::open(store.tokens(), "the-one-of-the-file").await;
        (store, access.unwrap())
    }

    #[tokio::test]
    async fn a_token_lets_in_until_it_expires_or_is_revoked_and_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (store, before) = access(&folder).await;
        let until = Some(Timestamp(100));
        let made = before.make("ci", Role::Operator, until, "admin", Timestamp(1));
        let (_, token) = made.await.unwrap();
        store.close().await.unwrap();

        let (_store, access) = access(&folder).await;
        let known = access.check(&token, Timestamp(99)).unwrap();
        assert_eq!((known.name.as_str(), known.role), ("ci", Role::Operator));
        let late = access.check(&token, Timestamp(100)).unwrap_err();
        assert!(matches!(late, NoEntry::Expired { name, .. } if name == "ci"));
        assert_eq!(access.check("ci", Timestamp(1)), Err(NoEntry::Unknown));
        assert!(access.revoke("ci", "admin").await.unwrap());
        assert_eq!(access.check(&token, Timestamp(1)), Err(NoEntry::Unknown));
        let admin = access.check("the-one-of-the-file", Timestamp(u64::MAX));
        assert_eq!(admin.unwrap().role, Role::Admin);
    }

    #[tokio::test]
    async fn whoever_reads_on_is_told_when_his_token_is_revoked_or_expires() {
        const SOON: Duration = Duration::from_secs(60);
        let folder = tempfile::tempdir().unwrap();
        let (_store, access) = access(&folder).await;
        let now = crate::clock::now();
        let ends = Some(now.plus_ms(300));
        let made = access.make("brief", Role::Viewer, ends, "admin", now);
        let (brief, _) = made.await.unwrap();
        let made = access.make("lasting", Role::Viewer, None, "admin", now);
        let (lasting, _) = made.await.unwrap();
        let over = tokio::time::timeout(SOON, access.useless(&brief)).await;
        assert!(over.is_ok(), "it has expired");
        let mut reads = std::pin::pin!(access.useless(&lasting));
        assert!(futures::poll!(&mut reads).is_pending(), "it lets in");
        access.revoke("brief", "admin").await.unwrap();
        assert!(
            futures::poll!(&mut reads).is_pending(),
            "another was revoked"
        );
        access.revoke("lasting", "admin").await.unwrap();
        assert!(tokio::time::timeout(SOON, reads).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let (_store, access) = access(&folder).await;
        let made = async |name: &'static str| {
            let made = access.make(name, Role::Viewer, None, "admin", Timestamp(1));
            made.await
        };
        made("ci").await.unwrap();
        assert!(matches!(made("ci").await, Err(NotMade::Taken)));
        for wrong in ["admin", "operator", "", "-a", "a b", "a:b", "é"] {
            assert!(
                matches!(made(wrong).await, Err(NotMade::Name(_))),
                "{wrong}"
            );
        }
        assert!(!access.revoke("admin", "x").await.unwrap());
        assert!(access.check("the-one-of-the-file", Timestamp(1)).is_ok());
    }

    #[test]
    fn roles_are_in_order_and_tokens_differ() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert_eq!(Role::of("operator"), Some(Role::Operator));
        assert_eq!(Role::of("root"), None);
        assert_ne!(random(), random());
        assert_eq!(random().len(), 43);
    }
}
