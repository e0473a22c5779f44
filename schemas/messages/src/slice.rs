//! Sagas hash to 256 slices; slices map to inboxes in the store. The hash is named and its vectors are published
//! (`schemas/json/slice-vectors.json`), so that any sender in any language finds the same slice.

use serde::{Deserialize, Serialize};

use crate::ids::SagaId;

/// How many slices there are; never changes, since ids in flight carry its consequence.
pub const SLICES: usize = 256;

/// One of 256 groups of sagas.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Slice(pub u8);

impl Slice {
    /// FNV-1a, 64 bits, over the 16 bytes of the id in network order, folded to 8 bits by xor of its eight bytes.
    /// Offset basis and prime: `draft-eastlake-fnv`, section 5.
    #[must_use]
    pub fn of(saga: SagaId) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in saga.0.as_bytes() {
            hash ^= u64::from(*byte);
            hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(
            hash.to_be_bytes()
                .iter()
                .fold(0, |folded, byte| folded ^ byte),
        )
    }
}
