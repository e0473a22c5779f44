//! The known word that was probably meant: for mistyped keys of a configuration and parameters of an API.

use strsim::levenshtein;

/// The known word that differs least, unless all differ in more than a third.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (levenshtein(given, candidate), candidate))
        .filter(|(far, candidate)| *far <= candidate.len().max(6) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found_and_what_is_far_off_is_not() {
        let known = ["limit", "label", "cursor"];
        assert_eq!(nearest("limt", known), Some("limit"));
        assert_eq!(nearest("lable", known), Some("label"));
        assert_eq!(nearest("colour", known), None);
    }
}
