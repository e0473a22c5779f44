//! Definitions that are wrong now that their task types are known: when such a one was registered nobody had announced the type, so that nothing of it could be
//! checked. The newest version of each is looked at again when the task types have changed, beside what else runs here.
//!
//! Guarantee: an alert is over when a newer version, or what the types say now, has nothing of it any more, and never because nobody has looked yet. Bounded: one
//! look begins with documents for so long, those of which nothing is known first, then those looked at longest ago, so that each is come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_engine::definition::{Diagnostic, Together, mistakes_of_types, registered_as};
use baton_engine::{Catalogue, Definition};
use serde_json::json;

use super::{Cause, Found, Look};
use crate::alerts::{Kind, Uses};
use crate::triggers::Live;
use crate::types::Types;

/// How long one look begins with another document: a large one takes a processor for a while, and all other alerts wait for the end of the look.
const LOOKING_MAX: Duration = Duration::from_secs(1);

/// What came of the looks so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    seen: BTreeMap<String, Seen>,
}

/// A definition as it was looked at last.
#[derive(Debug)]
struct Seen {
    version: u32,
    /// [`Types::changes`] before that.
    changes: u64,
    /// The first mistake, and how many others there are.
    wrong: Option<(Diagnostic, usize)>,
}

fn key(definition: &str) -> String {
    format!("wrong-definition/{definition}")
}

impl Mistakes {
    pub(super) async fn find(&mut self, look: &Look<'_>, uses: &Uses, found: &mut Found) {
        let live = uses.live.borrow().clone();
        self.look_again(&live, &uses.types).await;
        let wrong = live.definitions().filter_map(|definition| {
            let wrong = self.of(definition)?.wrong.as_ref()?;
            Some((key(&definition.saga), cause(look, definition, wrong)))
        });
        let (kept, beyond) = look.kept(wrong.collect());
        let causes = kept.into_iter().map(|(_, cause)| cause).collect();
        found.take(Kind::WrongDefinition, causes, beyond);
        let mut all = live.definitions();
        if self.seen.is_empty() || all.any(|definition| self.of(definition).is_none()) {
            found.part(Kind::WrongDefinition);
        }
    }

    /// What is known of this very version.
    fn of(&self, definition: &Definition) -> Option<&Seen> {
        let seen = self.seen.get(&definition.saga)?;
        (seen.version == definition.version).then_some(seen)
    }

    /// Those that have to be looked at, the first one first.
    fn due<'l>(&self, live: &'l Live, changes: u64) -> Vec<&'l Arc<Definition>> {
        let last = |definition: &Definition| self.of(definition).map(|seen| seen.changes);
        let all = live.definitions();
        let mut due: Vec<_> = all.filter(|one| last(one) != Some(changes)).collect();
        due.sort_by_key(|one| last(one));
        due
    }

    async fn look_again(&mut self, live: &Live, types: &Arc<Types>) {
        let changes = types.changes();
        let due = self.due(live, changes);
        if due.is_empty() {
            return;
        }
        let types = types.clone();
        let known = move || Arc::new(types.catalogue().with_planned());
        let Ok(catalogue) = tokio::task::spawn_blocking(known).await else {
            return;
        };
        let began = Instant::now();
        for definition in due {
            let wrong = wrong(definition.clone(), together(definition, live), &catalogue).await;
            let version = definition.version;
            let seen = Seen {
                version,
                changes,
                wrong,
            };
            self.seen.insert(definition.saga.clone(), seen);
            if began.elapsed() >= LOOKING_MAX {
                break;
            }
        }
    }
}

/// Holds it against its task types, beside what else runs here.
async fn wrong(
    definition: Arc<Definition>,
    sagas: Together,
    catalogue: &Arc<Catalogue>,
) -> Option<(Diagnostic, usize)> {
    let (name, version) = (definition.saga.clone(), definition.version);
    let catalogue = catalogue.clone();
    let looking = tokio::task::spawn_blocking(move || {
        mistakes_of_types(&definition.source, &catalogue, &sagas)
    });
    match looking.await {
        Ok(found) => {
            let more = found.len().saturating_sub(1);
            found.into_iter().next().map(|first| (first, more))
        }
        Err(error) => {
            tracing::error!(
                definition = %name, version, %error,
                "the checker broke off at a registered definition: nobody is told whether it fits its task types; see `baton definitions show {name}@{version}`"
            );
            None
        }
    }
}

/// The registered definitions that it names, with those within them.
fn together(definition: &Definition, live: &Live) -> Together {
    let mut together = Together::registered(Vec::new());
    let mut wanted = definition.names();
    let mut seen = BTreeSet::new();
    while let Some((name, version)) = wanted.pop() {
        let found = live.definition(registered_as(&name), version);
        if let Some(found) = found.filter(|_| seen.insert((name, version))) {
            wanted.extend(found.names());
            together.add(found.clone());
        }
    }
    together
}

fn cause(look: &Look<'_>, definition: &Definition, wrong: &(Diagnostic, usize)) -> Cause {
    let (name, version) = (&definition.saga, definition.version);
    let (first, more) = wrong;
    let (code, line, column) = (first.code, first.line, first.column);
    let message = &first.message;
    let others = match *more {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    Cause {
        key: key(name),
        kind: Kind::WrongDefinition,
        title: format!(
            "{name}@{version} is wrong, now that its task types are known: {code} at {line}:{column}: {message}{others}"
        ),
        object: format!("definitions/{name}"),
        command: format!("baton definitions show {name}@{version}"),
        data: json!({ "definition": name, "version": version, "code": code, "line": line, "column": column, "message": message, "errors": more + 1 }),
        silent: look.own.contains(name),
    }
}

#[cfg(test)]
mod tests {
    use baton_driver::DefinitionRow;
    use baton_messages::Timestamp;

    use super::*;

    fn row(name: &str, version: u32, steps: &str) -> DefinitionRow {
        DefinitionRow {
            name: name.to_owned(),
            version,
            source: format!("saga: {name}\nversion: {version}\nsteps:\n{steps}"),
            at: Timestamp(0),
            by: String::new(),
        }
    }

    const SLEEPS: &str = "  - id: a\n    sleep: 1s\n";

    fn seen(mistakes: &mut Mistakes, name: &str, version: u32, changes: u64) {
        let seen = Seen {
            version,
            changes,
            wrong: None,
        };
        mistakes.seen.insert(name.to_owned(), seen);
    }

    #[test]
    fn what_nobody_has_looked_at_comes_first_and_then_what_was_looked_at_longest_ago() {
        let rows = ["a", "b", "c", "d"].map(|name| row(name, 2, SLEEPS));
        let live = Live::default().with(rows.into());
        let mut mistakes = Mistakes::default();
        seen(&mut mistakes, "a", 2, 6);
        seen(&mut mistakes, "b", 2, 5);
        // of another version
        seen(&mut mistakes, "c", 1, 7);
        seen(&mut mistakes, "d", 2, 7);
        let due = |changes| -> Vec<&str> {
            let due = mistakes.due(&live, changes).into_iter();
            due.map(|one| one.saga.as_str()).collect()
        };
        assert_eq!(due(7), ["c", "b", "a"]);
        assert_eq!(due(8), ["c", "b", "a", "d"]);
    }

    #[test]
    fn what_it_names_is_there_with_what_lies_within_that() {
        use baton_engine::definition::Sagas as _;
        let names = |name: &str| format!("  - id: a\n    saga: {name}@1\n");
        let rows = [
            row("top", 1, &names("middle")),
            row("middle", 1, &names("low")),
            row("low", 1, SLEEPS),
            row("other", 1, SLEEPS),
        ];
        let live = Live::default().with(rows.into());
        let together = together(live.definition("top", 1).unwrap(), &live);
        assert_eq!(together.names(), ["low@1", "middle@1"]);
    }
}
