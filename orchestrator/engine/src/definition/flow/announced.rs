//! What is wrong with a document for what its task types are. It is asked of definitions that are registered, where one of their types was announced only after that.
//! Nothing is refused by it: what is registered runs on.

use super::{Sagas, Unannounced, check_among};
use crate::catalogue::Catalogue;
use crate::definition::diagnostic::Diagnostic;

/// The mistakes of a document that come of what the catalogue says of its task types, in the order of the document. Those it has whatever its types are do not
/// count: a later version of the checker may know more of them, and no type has changed by that.
#[must_use]
pub fn mistakes_of_types(
    source: &str,
    catalogue: &Catalogue,
    sagas: &dyn Sagas,
) -> Vec<Diagnostic> {
    let mistakes =
        |catalogue: &Catalogue| check_among(source, catalogue, sagas, Unannounced::Warned).errors;
    let mut found = mistakes(catalogue);
    if found.is_empty() {
        return found;
    }
    let whatever = mistakes(&Catalogue::default());
    let place = |one: &Diagnostic| (one.code, one.line, one.column);
    found.retain(|one| whatever.iter().all(|other| place(other) != place(one)));
    found
}
