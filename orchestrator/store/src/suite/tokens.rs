//! What the API needs of the tokens a store keeps.

use baton_messages::Timestamp;

use super::Subject;
use crate::tokens::{TokenRow, TokenStore as _};

fn token(name: &str, byte: u8) -> TokenRow {
    TokenRow {
        name: name.to_owned(),
        role: "viewer".to_owned(),
        hash: [byte; 32],
        made_at: Timestamp(7),
        made_by: "admin".to_owned(),
        expires_at: (byte > 1).then_some(Timestamp(u64::from(byte))),
    }
}

/// What is kept is there at the next opening, whole and by name; a name or a hash is there once, and the first stays.
pub async fn tokens_are_kept_once(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let tokens = subject.tokens(&store);
    assert_eq!(tokens.tokens().await.unwrap(), []);
    assert!(tokens.put_token(token("wall", 2)).await.unwrap());
    assert!(tokens.put_token(token("ci", 1)).await.unwrap());
    assert!(!tokens.put_token(token("ci", 3)).await.unwrap(), "the name");
    assert!(!tokens.put_token(token("x", 1)).await.unwrap(), "the hash");
    subject.close(store).await;
    let (store, _) = subject.open().await;
    let kept = subject.tokens(&store).tokens().await.unwrap();
    assert_eq!(kept, [token("ci", 1), token("wall", 2)]);
    subject.close(store).await;
}

/// What is forgotten is gone, and its name is free again.
pub async fn a_token_is_forgotten(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let tokens = subject.tokens(&store);
    assert!(!tokens.delete_token("ci".to_owned()).await.unwrap());
    assert!(tokens.put_token(token("ci", 1)).await.unwrap());
    assert!(tokens.delete_token("ci".to_owned()).await.unwrap());
    assert_eq!(tokens.tokens().await.unwrap(), []);
    assert!(tokens.put_token(token("ci", 2)).await.unwrap());
    subject.close(store).await;
}
