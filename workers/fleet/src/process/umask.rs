//! Which rights a program's new files are born without. Only the worker's configuration says so, never a task.

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

/// What new files are born without, as the shell's `umask` has it: octal, from `000` to `077`. The owner keeps all of his.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Umask(u32);

impl Umask {
    /// Others may read what is made: the usual one.
    pub const USUAL: Self = Self(0o022);
    /// Nobody else may do anything with it.
    pub const CLOSED: Self = Self(0o077);

    /// For the system.
    pub(super) fn mode(self) -> Mode {
        Mode::from_raw_mode(self.0)
    }

    /// The mode a folder made under it has.
    #[must_use]
    pub const fn of_folder(self) -> u32 {
        0o777 & !self.0
    }
}

impl TryFrom<String> for Umask {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let octal = u32::from_str_radix(&text, 8).ok();
        // A sign is no digit, and what takes the owner's own rights away only makes programs fail.
        let plain = text.chars().all(|c| c.is_digit(8));
        octal
            .filter(|bits| plain && bits & !0o077 == 0)
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is no umask: write it octal, from \"000\" to \"077\"; \"022\" lets others read what is made")
            })
    }
}

impl From<Umask> for String {
    fn from(of: Umask) -> Self {
        format!("{:03o}", of.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_umask_is_octal_and_takes_nothing_from_the_owner() {
        for (text, is) in [("022", 0o022), ("0077", 0o077), ("0", 0), ("27", 0o027)] {
            assert_eq!(Umask::try_from(text.to_owned()), Ok(Umask(is)), "{text}");
        }
        for text in ["", "777", "0100", "9", "+22", "0o22", "u=rwx"] {
            assert!(Umask::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert_eq!(String::from(Umask::USUAL), "022");
        assert_eq!(Umask::USUAL.of_folder(), 0o755);
    }
}
