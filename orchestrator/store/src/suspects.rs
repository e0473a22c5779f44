//! Notes of what is tried alone because it may be what kills its orchestrator. A note is committed before the try and taken away after it:
//! the notes that are found are those of tries over which a process died.

use std::future::Future;

use baton_driver::StoreError;
use baton_messages::Timestamp;
use uuid::Uuid;

/// How long a note is kept whose message did not come again: longer than anybody leaves a broker's queue alone.
pub const KEPT_MS: u64 = 30 * 24 * 3_600_000;

/// Where the notes are kept. Clones mean the same place.
pub trait Suspects: Clone + Send + Sync + 'static {
    /// Writes down that a part of a message is tried now; answers how many tries of it before came to no end.
    ///
    /// # Errors
    /// When it is not certain to be written: do not try.
    fn begin(
        &self,
        message: Uuid,
        part: u32,
        now: Timestamp,
    ) -> impl Future<Output = Result<u32, StoreError>> + Send;

    /// The try has come to no end so far, and the process lives: this try says nothing about what is tried. Those before it still do.
    ///
    /// # Errors
    /// When the note may still stand as it was.
    fn take_back(
        &self,
        message: Uuid,
        part: u32,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The try came to an end, whatever it was.
    ///
    /// # Errors
    /// When the note may still stand; it then counts as a try that came to none.
    fn done(&self, message: Uuid, part: u32)
    -> impl Future<Output = Result<(), StoreError>> + Send;
}
