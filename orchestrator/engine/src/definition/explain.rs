//! The page of each code: what the mistake is, an example of it and of its mend. One text for people who read files and for
//! `baton explain`.

/// All of them.
const PAGES: &str = include_str!("../../../sagas/CODES.md");

/// The page of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// `BT0012`.
    pub code: &'static str,
    /// The mistake in a few words.
    pub title: &'static str,
    /// What it is and what to do; may be empty.
    pub text: &'static str,
    /// A definition with the mistake.
    pub wrong: &'static str,
    /// The same without.
    pub mended: &'static str,
}

/// The page of a code, however it is written (`bt12` too); none when there is no such code.
#[must_use]
pub fn explain(code: &str) -> Option<Explanation> {
    let digits = code.trim_start_matches(['b', 'B', 't', 'T']);
    let wanted: u32 = digits.parse().ok()?;
    explanations().find(|page| page.code.trim_start_matches("BT").parse() == Ok(wanted))
}

/// Every page, in the order of the codes.
pub fn explanations() -> impl Iterator<Item = Explanation> {
    PAGES.split("\n## ").skip(1).filter_map(page)
}

fn page(section: &'static str) -> Option<Explanation> {
    let (head, rest) = section.split_once('\n')?;
    let (code, title) = head.split_once(": ")?;
    let (text, rest) = rest.split_once("Wrong:\n\n```yaml\n")?;
    let (wrong, rest) = rest.split_once("\n```\n\nMended:\n\n```yaml\n")?;
    let (mended, _) = rest.split_once("\n```")?;
    Some(Explanation {
        code,
        title,
        text: text.trim(),
        wrong,
        mended,
    })
}
