//! Definitions: checked, registered, listed, shown. What is wrong with a document is answered at line and column.

use baton_store::Reader as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_driver::DefinitionRow;
use baton_engine::definition::{self as engine, Diagnostic, Together, Unannounced};
use baton_engine::{Catalogue, Definition, Feature};
use baton_messages::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;

use super::answer::YamlText;
use super::auth::{Admin, Viewer};
use super::extract::{Nothing, Path, Query, Yaml};
use super::problem::{Answer, Problem};
use super::sagas::COMMIT_WAIT;
use super::upgrades::OnVersion;
use super::{Api, Shared};

/// How long it is counted who runs on older versions: where many sagas of others run, that looks along all of them.
const OLDER_WAIT: Duration = Duration::from_secs(2);
/// How long an answer waits until what its triggers need is bound: an event that is published after it should find them.
const BOUND_WAIT: Duration = Duration::from_secs(5);
/// Most parsed definitions kept for showing; beyond it they are read again when asked for.
const KNOWN_MAX: usize = 256;

/// Documents that are looked at side by side: a large one takes a processor for a while, and whoever may look may send as many as he likes.
const LOOKS_MAX: usize = 2;
static LOOKS: Semaphore = Semaphore::const_new(LOOKS_MAX);

/// Does what takes a processor for a while beside what serves requests. Whoever goes away leaves a look that was begun its turn.
pub(super) async fn aside<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Answer<T> {
    let turn = LOOKS.acquire().await;
    let looking = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        look()
    });
    looking.await.map_err(|error| Problem::failed(&error))
}

/// Parsed definitions, for showing. They never change, so they are never stale.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<BTreeMap<(String, u32), Arc<Definition>>>);

impl Api {
    /// A registered definition, parsed, or a group that stands in one.
    pub(super) async fn definition(
        &self,
        name: &str,
        version: u32,
    ) -> Answer<Option<Arc<Definition>>> {
        let Some((saga, way)) = engine::group_in(name) else {
            return self.registered(name, version).await;
        };
        let saga = self.registered(saga, version).await?;
        Ok(saga.and_then(|saga| saga.group(way).cloned()))
    }

    async fn registered(&self, name: &str, version: u32) -> Answer<Option<Arc<Definition>>> {
        let key = (name.to_owned(), version);
        if let Some(known) = self.definitions.get(&key) {
            return Ok(Some(known));
        }
        let found = self.reader.definition(name.to_owned(), version).await;
        let found = found.map_err(|error| Problem::store(&error))?;
        let parsed = found.and_then(|row| Definition::parse(&row.source).ok());
        Ok(parsed.map(|definition| self.definitions.keep(key, definition)))
    }

    /// The task types known now, to hold definitions against.
    pub(super) fn catalogue(&self) -> Catalogue {
        self.types.catalogue()
    }

    /// What is right and wrong with a document, among what is registered and announced; with its text.
    async fn looked_at(&self, source: String) -> Answer<(String, engine::Checked)> {
        let sagas = self.sagas(&source).await?;
        let catalogue = self.catalogue().with_planned();
        aside(move || {
            let found = engine::check_among(&source, &catalogue, &sagas, Unannounced::Warned);
            (source, found)
        })
        .await
    }

    /// The registered definitions that a document names, with those within them.
    async fn sagas(&self, source: &str) -> Answer<Together> {
        let read = source.to_owned();
        let wanted = aside(move || engine::named(&read)).await?;
        self.among(wanted).await
    }

    /// Those that the steps of a registered definition name, with those within them.
    pub(super) async fn named_by(&self, definition: &Definition) -> Answer<Together> {
        self.among(definition.names()).await
    }

    async fn among(&self, mut wanted: Vec<(String, u32)>) -> Answer<Together> {
        if wanted.is_empty() {
            return Ok(Together::registered(Vec::new()));
        }
        let mut found = Vec::new();
        let (mut seen, mut is_one_unknown) = (BTreeSet::new(), false);
        while let Some((name, version)) = wanted.pop() {
            if !seen.insert((name.clone(), version)) {
                continue;
            }
            match self.definition(&name, version).await? {
                Some(definition) => {
                    wanted.extend(definition.names());
                    found.push(definition);
                }
                None => is_one_unknown = true,
            }
        }
        // all the names are for what is said of one that is none of them
        let names = match is_one_unknown {
            true => self.reader.definitions().await,
            false => Ok(Vec::new()),
        };
        let names = names.map_err(|error| Problem::store(&error))?;
        let names = names
            .iter()
            .map(|row| format!("{}@{}", row.name, row.version));
        let mut together = Together::registered(names.collect());
        for definition in found {
            together.add(definition);
        }
        Ok(together)
    }

    /// What the configuration has to have for a definition, and has not: until then every request of such a hook is refused.
    fn lacks(&self, definition: &Definition) -> Vec<String> {
        let hooks = crate::triggers::Live::hooks_of(definition);
        let without = hooks
            .into_iter()
            .filter(|(_, secret)| !self.triggers.hooks.has(secret));
        without
            .map(|(hook, secret)| {
                format!(
                    "the hook `{hook}` refuses every request: its secret `{secret}` is not configured; add [hooks.{secret}] with secret_file or secret_env to the orchestrator's configuration and start it again"
                )
            })
            .collect()
    }

    /// Refuses a definition that a member which is there cannot read: it would leave its sagas alone. One that is registered already is not made anew.
    async fn read_by_all(&self, definition: &Definition) -> Answer<()> {
        let level = self.router.level();
        let mut has = Feature::of(definition).into_iter();
        let Some(feature) = has.find(|feature| !feature.is_read_at(level)) else {
            return Ok(());
        };
        let (name, version) = (&definition.saga, definition.version);
        if self.definition(name, version).await?.is_some() {
            return Ok(());
        }
        let older = self.router.below(feature.since()).join(", ");
        Err(Problem::not_now(format!(
            "{name}@{version} has {}, which orchestrators of an older version cannot read ({older}): update them or end them (`baton cluster`), then register it again",
            feature.as_str()
        )))
    }

    /// Registers a definition; the problem is the caller's when other content stands under its name and version.
    pub(super) async fn register(&self, definition: Definition, by: String) -> Answer<()> {
        let (name, version) = (definition.saga.clone(), definition.version);
        let named = || format!("{name}@{version}");
        self.read_by_all(&definition).await?;
        let registered = self.router.registered(definition, by, COMMIT_WAIT).await;
        match registered {
            Err(not) => Err(Problem::not_taken(not, named())),
            Ok(Err(why)) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store",
                "The store cannot keep it",
                why,
            )
            .again_after_s(5)),
            Ok(Ok(false)) => Err(Problem::new(
                StatusCode::CONFLICT,
                "definition-differs",
                "A registered version never changes",
                format!(
                    "{} is registered with other content; give this one the next version",
                    named()
                ),
            )),
            Ok(Ok(true)) if self.router.is_alone() => Ok(()),
            Ok(Ok(true)) => {
                self.router.tell_everybody().await;
                Ok(())
            }
        }
    }
}

impl Known {
    fn get(&self, key: &(String, u32)) -> Option<Arc<Definition>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    fn keep(&self, key: (String, u32), definition: Definition) -> Arc<Definition> {
        let definition = Arc::new(definition);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, definition.clone());
        definition
    }
}

/// A definition that is registered.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Registered {
    definition: String,
    version: u32,
    /// How many steps it has, with those of groups.
    steps: usize,
    /// What is likely a mistake, and registered all the same.
    warnings: Vec<Wrong>,
    /// What the configuration of this orchestrator lacks for it, and how to add it; registered all the same.
    lacks: Vec<String>,
    /// How many sagas go on under each older version; `/v1/definitions/{name}/upgrade` moves those that can.
    older: Vec<OnVersion>,
}

/// Registers the YAML of the body.
pub(crate) async fn put(
    State(api): Shared,
    Admin(caller): Admin,
    Yaml(body): Yaml,
) -> Answer<Json<Registered>> {
    let (body, found) = api.looked_at(body).await?;
    let Some(definition) = found.definition.filter(|_| found.errors.is_empty()) else {
        return Err(misshapen(&body, &found.errors));
    };
    let warned = |one| Wrong::of(&body, one, Severity::Warning);
    let mut registered = Registered {
        definition: definition.saga.clone(),
        version: definition.version,
        steps: definition.all_steps().len(),
        warnings: found.warnings.iter().map(warned).collect(),
        lacks: api.lacks(&definition),
        older: Vec::new(),
    };
    let listens = crate::triggers::listens(&definition);
    let triggered = listens || !definition.triggers.is_empty();
    let (name, version) = (definition.saga.clone(), definition.version);
    caller.said.object(format!("definitions/{name}@{version}"));
    api.register(definition, caller.by(None)).await?;
    let wait = if triggered {
        BOUND_WAIT
    } else {
        Duration::ZERO
    };
    let triggers = &api.triggers;
    triggers.registered(&name, version, listens, wait).await;
    // it is registered, whatever else cannot be read now, or not in time
    let older = tokio::time::timeout(OLDER_WAIT, api.on_older(&name, version)).await;
    registered.older = older.ok().and_then(Result::ok).unwrap_or_default();
    Ok(Json(registered))
}

fn misshapen(source: &str, wrong: &[Diagnostic]) -> Problem {
    let detail: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    let errors: Vec<Wrong> = wrong
        .iter()
        .map(|one| Wrong::of(source, one, Severity::Error))
        .collect();
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "definition",
        "The definition is not right",
        detail.join("\n"),
    )
    .with("errors", json!(errors))
}

/// One thing that is wrong with a definition.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Diagnostic")]
struct Wrong {
    /// Stable, to search for.
    code: String,
    severity: Severity,
    /// From 1.
    line: usize,
    /// In characters, from 1.
    column: usize,
    /// How many characters of the line it is about; 0 when it is about the word that begins there.
    width: usize,
    /// What is wrong.
    message: String,
    /// How to mend it; may be empty.
    help: String,
    /// The line of the document.
    source_line: String,
}

/// How wrong it is.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Severity {
    /// It is refused.
    Error,
    /// It is likely a mistake.
    Warning,
}

/// All that was found, in the order of the document.
fn diagnostics(source: &str, found: &engine::Checked) -> Vec<Wrong> {
    let all = |found: &[Diagnostic], severity| -> Vec<Wrong> {
        let drawn = found.iter().map(|one| Wrong::of(source, one, severity));
        drawn.collect()
    };
    let mut diagnostics = all(&found.errors, Severity::Error);
    diagnostics.extend(all(&found.warnings, Severity::Warning));
    diagnostics.sort_by_key(|one| (one.line, one.column));
    diagnostics
}

impl Wrong {
    fn of(source: &str, one: &Diagnostic, severity: Severity) -> Self {
        let line = source.lines().nth(one.line.saturating_sub(1));
        Self {
            code: one.code.to_owned(),
            severity,
            line: one.line,
            column: one.column,
            width: one.width,
            message: one.message.clone(),
            help: one.help.clone(),
            source_line: line.unwrap_or_default().to_owned(),
        }
    }
}

/// What a look at a definition found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Checked {
    /// Whether it could be registered as far as it can be told by itself.
    ok: bool,
    diagnostics: Vec<Wrong>,
    /// What the configuration of this orchestrator lacks for it, and how to add it.
    lacks: Vec<String>,
}

/// Looks at the YAML of the body and registers nothing.
pub(crate) async fn check(
    State(api): Shared,
    Viewer(_): Viewer,
    Yaml(body): Yaml,
) -> Answer<Json<Checked>> {
    let (body, found) = api.looked_at(body).await?;
    Ok(Json(Checked {
        ok: found.errors.is_empty(),
        diagnostics: diagnostics(&body, &found),
        lacks: found
            .definition
            .map(|definition| api.lacks(&definition))
            .unwrap_or_default(),
    }))
}

/// A registered definition without its text.
#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    definition: String,
    version: u32,
    /// When it was registered.
    at: Timestamp,
    /// By whom.
    by: String,
}

impl From<DefinitionRow> for Row {
    fn from(row: DefinitionRow) -> Self {
        Self {
            definition: row.name,
            version: row.version,
            at: row.at,
            by: row.by,
        }
    }
}

/// Registered definitions.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Definitions {
    /// Newest first.
    definitions: Vec<Row>,
}

impl Definitions {
    fn of(mut rows: Vec<DefinitionRow>) -> Self {
        rows.sort_by(|a, b| (b.at, &b.name, b.version).cmp(&(a.at, &a.name, a.version)));
        Self {
            definitions: rows.into_iter().map(Row::from).collect(),
        }
    }
}

/// Every registered definition, without its text.
pub(crate) async fn list(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<Definitions>> {
    let all = api.reader.definitions().await;
    let all = all.map_err(|error| Problem::store(&error))?;
    Ok(Json(Definitions::of(all)))
}

/// The definition a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Named {
    name: String,
}

impl Named {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Which version is looked at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichVersion {
    /// The version that is checked; the newest where none is named.
    version: Option<u32>,
}

/// The versions of a definition, and what is wrong with one of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Versions {
    /// Newest first.
    definitions: Vec<Row>,
    /// The version that was checked.
    checked: u32,
    /// What the checker says of it now, by the task types there are now: it may be more than when it was registered, or less. It runs whatever is said.
    diagnostics: Vec<Wrong>,
}

/// Every registered version of one definition, with what is wrong with one of them now.
pub(crate) async fn versions(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(of): Path<Named>,
    Query(which): Query<WhichVersion>,
) -> Answer<Json<Versions>> {
    let all = api.reader.definitions().await;
    let mut all = all.map_err(|error| Problem::store(&error))?;
    all.retain(|row| row.name == of.name);
    let newest = all.iter().map(|row| row.version).max();
    let Some(checked) = which.version.or(newest) else {
        return Err(Problem::not_found(format!(
            "no definition `{}` is registered; see /v1/definitions",
            of.name
        )));
    };
    let Some(row) = all.iter().find(|row| row.version == checked) else {
        return Err(Problem::not_found(format!(
            "{}@{checked} is not registered; see /v1/definitions",
            of.name
        )));
    };
    let (source, found) = api.looked_at(row.source.clone()).await?;
    Ok(Json(Versions {
        definitions: Definitions::of(all).definitions,
        checked,
        diagnostics: diagnostics(&source, &found),
    }))
}

/// The version of a definition a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NamedVersion {
    name: String,
    version: u32,
}

/// The YAML of one, byte for byte; of a group the document it stands in.
pub(crate) async fn one(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(of): Path<NamedVersion>,
) -> Answer<YamlText> {
    let NamedVersion { name, version } = of;
    let registered = engine::registered_as(&name).to_owned();
    let found = api.reader.definition(registered, version).await;
    found
        .map_err(|error| Problem::store(&error))?
        .map(|row| YamlText(row.source))
        .ok_or_else(|| {
            Problem::not_found(format!(
                "{name}@{version} is not registered; see /v1/definitions"
            ))
        })
}
