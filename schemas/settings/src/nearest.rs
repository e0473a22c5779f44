//! The known word that was probably meant: for mistyped keys of a configuration and parameters of an API.

/// The known word that differs least, unless all differ in more than a third.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(given, candidate), candidate))
        .filter(|(far, candidate)| *far <= candidate.len().max(6) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be changed, put in or taken out (Levenshtein).
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut before = i;
        let mut left = i + 1;
        for (j, to) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let change = before + usize::from(from != *to);
            let best = change.min(above + 1).min(left + 1);
            before = above;
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            left = best;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
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
        assert_eq!(distance("", "abc"), 3);
    }
}
