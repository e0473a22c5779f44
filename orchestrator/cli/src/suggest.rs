//! What somebody may have meant.

/// Closer than this a name is likely to be a slip of the finger.
const NEAR: f64 = 0.6;

/// The known name nearest to a mistyped one.
pub(crate) fn nearest<'n>(
    typed: &str,
    known: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|name| {
            let near = strsim::normalized_damerau_levenshtein(&typed, &name.to_lowercase());
            // somebody who types the beginning of a name means that name
            let begins = typed.len() >= 2 && name.to_lowercase().starts_with(&typed);
            (name, if begins { near.max(0.9) } else { near })
        })
        .filter(|(_, near)| *near >= NEAR)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_nonsense_is_not() {
        let known = ["publish-page", "restore", "file.write@1"];
        assert_eq!(nearest("publish-pgae", known), Some("publish-page"));
        assert_eq!(nearest("file.write", known), Some("file.write@1"));
        assert_eq!(nearest("Restor", known), Some("restore"));
        assert_eq!(nearest("quarantine", known), None);
    }
}
