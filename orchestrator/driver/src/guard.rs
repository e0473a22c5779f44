//! Where a panic stops that a defect of ours in the engine makes: at the one saga it happened to, and at none of its neighbours.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// That something panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(String);

/// Does something on which others must not fail. What it changed before a panic is not to be trusted: whoever calls throws it away, or reads it anew.
///
/// # Errors
/// [`Panicked`] when it panics, with what the panic says.
pub fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| Panicked(text(&*panic)))
}

fn text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_what_it_says() {
        assert_eq!(guarded(|| 1), Ok(1));
        let two = 2;
        let told = |act: fn(i32)| guarded(move || act(two)).unwrap_err().to_string();
        assert_eq!(told(|_| panic!("plain")), "panicked: plain");
        assert_eq!(told(|n| panic!("made of {n}")), "panicked: made of 2");
    }
}
