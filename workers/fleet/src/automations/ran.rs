//! What a program printed and left, as it stands in the output of a step: small enough for the message that carries it.

use baton_messages::OUTPUT_BYTES_MAX;
use serde::Serialize;

/// Characters of each output that are reported: a person reads the rest where it was kept.
const SHOWN_CHARS_MAX: usize = 4_000;

/// The text, with its middle left out where it is longer than a report should be.
pub(crate) fn shown(text: &str) -> String {
    let chars = text.chars().count();
    if chars <= SHOWN_CHARS_MAX {
        return text.to_owned();
    }
    let half = SHOWN_CHARS_MAX / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(chars - half).collect();
    format!(
        "{head}\n… {} characters left out …\n{tail}",
        chars - 2 * half
    )
}

/// Whether an output fits the message that carries it; why not, if it does not.
pub(crate) fn fits(output: &impl Serialize) -> Result<(), String> {
    let bytes = serde_json::to_vec(output).map_or(usize::MAX, |bytes| bytes.len());
    if bytes > OUTPUT_BYTES_MAX {
        return Err(format!(
            "the output has {bytes} bytes, more than {OUTPUT_BYTES_MAX}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_middle() {
        let long = "ä".repeat(10_000);
        let short = shown(&long);
        assert!(short.contains("6000 characters left out") && short.chars().count() < 4_100);
        assert_eq!(shown("short"), "short");
        assert!(fits(&short).is_ok() && fits(&"x".repeat(OUTPUT_BYTES_MAX)).is_err());
    }
}
