//! Every code has a page, and each page is right: its wrong example has just that mistake, its mended one has none.

mod catalogue;

use std::collections::BTreeSet;

use baton_engine::definition::{Unannounced, check_among, explain, explanations};

#[test]
fn every_page_shows_its_mistake_and_its_mend() {
    let (catalogue, sagas) = (catalogue::shipped_and_made_up(), catalogue::sagas());
    for page in explanations() {
        let found = check_among(page.wrong, &catalogue, &sagas, Unannounced::RefusedWhenNear);
        let codes: BTreeSet<&str> = found
            .errors
            .iter()
            .chain(&found.warnings)
            .map(|one| one.code)
            .collect();
        assert_eq!(
            codes,
            BTreeSet::from([page.code]),
            "{}: {found:#?}",
            page.wrong
        );
        let found = check_among(
            page.mended,
            &catalogue,
            &sagas,
            Unannounced::RefusedWhenNear,
        );
        let said: Vec<_> = found.errors.iter().chain(&found.warnings).collect();
        assert!(said.is_empty(), "{} mended: {said:#?}", page.code);
        assert!(found.definition.is_some(), "{}", page.code);
    }
}

/// The list of codes is the source that holds them.
#[test]
fn every_code_has_a_page() {
    let source = include_str!("../src/definition/diagnostic.rs");
    let codes: Vec<&str> = source
        .split('"')
        .filter(|part| part.len() == 6 && part.starts_with("BT"))
        .collect();
    assert!(codes.len() > 30, "{codes:?}");
    let pages: Vec<&str> = explanations().map(|page| page.code).collect();
    assert_eq!(codes, pages);
}

#[test]
fn a_code_is_found_however_it_is_written() {
    for text in ["BT0012", "bt0012", "bt12", "12"] {
        assert_eq!(explain(text).unwrap().code, "BT0012", "{text}");
    }
    assert_eq!(explain("BT9999"), None);
    assert_eq!(explain("cycle"), None);
}
