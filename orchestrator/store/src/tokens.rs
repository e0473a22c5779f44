//! The named tokens of the HTTP API as a store keeps them: never the token, only its hash. Written by the API and not by the driver:
//! no saga depends on them, so they need neither fence nor place in the log.

use std::future::Future;

use baton_driver::StoreError;
use baton_messages::Timestamp;

/// Bytes of a token's hash: SHA-256.
pub const HASH_BYTES: usize = 32;

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its name, which stands in records for whoever carries it.
    pub name: String,
    /// What it may do: one word, whose meaning the API knows.
    pub role: String,
    /// SHA-256 of the token.
    pub hash: [u8; HASH_BYTES],
    /// When it was made.
    pub made_at: Timestamp,
    /// By whom.
    pub made_by: String,
    /// From when on it is refused; none: never.
    pub expires_at: Option<Timestamp>,
}

/// Where tokens are kept. Clones mean the same place.
pub trait TokenStore: Clone + Send + Sync {
    /// Keeps a new token; answers false, and changes nothing, when its name or hash is there already.
    fn put_token(&self, row: TokenRow) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Forgets a token; answers false when there is none of this name.
    fn delete_token(&self, name: String) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Every token, by name.
    fn tokens(&self) -> impl Future<Output = Result<Vec<TokenRow>, StoreError>> + Send;
}
