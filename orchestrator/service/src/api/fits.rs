//! Why a saga is not started: an input that does not fit, place by place; a name or a version there is not, with those there are. What can be
//! known at once is said at once, and not by a saga that fails later.

use std::sync::Arc;

use axum::http::StatusCode;
use baton_engine::catalogue::Known;
use baton_engine::definition::InputMisfit;
use baton_engine::expr::secret_at;
use baton_messages::{Start, TaskType};
use baton_settings::nearest::nearest;
use baton_store::Reader as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::Api;
use super::problem::{Answer, Problem};

/// Versions of a definition that are named to who asked for another.
const VERSIONS_NAMED: usize = 10;

/// One place of an input that does not fit.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Misfit {
    /// A JSON pointer into the input; empty: the input itself.
    path: String,
    /// What does not fit.
    message: String,
}

impl Api {
    /// A task type somebody has announced.
    pub(super) fn known_type(&self, task_type: &TaskType) -> Answer<Arc<Known>> {
        self.types.get(task_type).ok_or_else(|| {
            let all = self.types.all();
            let names = all.iter().map(|known| known.task_type.as_str());
            let near = nearest(task_type.as_str(), names);
            let hint = near.map_or_else(
                || "see /v1/task-types".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            Problem::not_found(format!("nobody has ever announced {task_type}; {hint}"))
        })
    }

    /// Whether a task type run on its own takes an input.
    pub(super) fn fits(&self, task_type: &TaskType, input: &Value) -> Answer<()> {
        let known = self.known_type(task_type)?;
        if let Some(path) = secret_at(input) {
            let message = "names a secret, which only a definition may: `${ secret(\"name\") }` in the `with:` of a step";
            let misfit = Misfit {
                path,
                message: message.to_owned(),
            };
            return Err(misfitting(task_type.as_str(), vec![misfit]));
        }
        match known.misfits(input) {
            none if none.is_empty() => Ok(()),
            found => Err(misfitting(task_type.as_str(), drawn(found))),
        }
    }

    /// What was refused, with what its caller needs to mend it.
    pub(super) async fn not_started(&self, problem: Problem, start: &Start) -> Problem {
        match problem.kind() {
            "misfit" => self.misfit(problem, start).await,
            "not-found" => self.unknown(problem, start).await,
            _ => problem,
        }
    }

    /// Whether a request to start a saga would be taken: its definition is there, and takes its input.
    pub(super) async fn start_fits(&self, start: &Start) -> Answer<()> {
        let problem = Problem::not_found(format!("no definition `{}`", start.definition));
        let versions = self.versions_of(&start.definition).await;
        let version = start.version.or_else(|| versions.iter().copied().max());
        let Some(version) = version.filter(|version| versions.contains(version)) else {
            return Err(self.unknown(problem, start).await);
        };
        let known = self.definition(&start.definition, version).await?;
        let known = known.as_ref();
        let schema = known.and_then(|known| known.input_schema.as_ref());
        match schema.map(|schema| schema.misfits(&start.input)) {
            Some(found) if !found.is_empty() => Err(misfitting(
                &format!("{}@{version}", start.definition),
                drawn(found),
            )),
            _ => Ok(()),
        }
    }

    async fn misfit(&self, problem: Problem, start: &Start) -> Problem {
        let version = match start.version {
            Some(version) => Some(version),
            None => self.versions_of(&start.definition).await.into_iter().max(),
        };
        let Some(version) = version else {
            return problem;
        };
        let known = self.definition(&start.definition, version).await;
        let schema = known.ok().flatten();
        let schema = schema
            .as_ref()
            .and_then(|known| known.input_schema.as_ref());
        match schema.map(|schema| schema.misfits(&start.input)) {
            Some(found) if !found.is_empty() => {
                misfitting(&format!("{}@{version}", start.definition), drawn(found))
            }
            _ => problem,
        }
    }

    /// The registered versions of a definition; none when the store cannot be read, which the caller hears of elsewhere.
    async fn versions_of(&self, name: &str) -> Vec<u32> {
        let all = self.reader.definitions().await.unwrap_or_default();
        let own = all.into_iter().filter(|row| row.name == name);
        own.map(|row| row.version).collect()
    }

    async fn unknown(&self, problem: Problem, start: &Start) -> Problem {
        let name = &start.definition;
        let mut versions = self.versions_of(name).await;
        if let (Some(asked), false) = (start.version, versions.is_empty()) {
            versions.sort_unstable_by(|a, b| b.cmp(a));
            let detail = format!(
                "{name}@{asked} is not registered; {}",
                named(name, &versions)
            );
            return problem.saying(detail);
        }
        let all = self.reader.definitions().await.unwrap_or_default();
        let names = all.iter().map(|row| row.name.as_str());
        match nearest(name, names) {
            Some(near) => problem.saying(format!(
                "no definition `{name}` is registered; did you mean `{near}`?"
            )),
            None => problem.saying(format!(
                "no definition `{name}` is registered; see /v1/definitions"
            )),
        }
    }
}

/// Which versions there are, newest first.
fn named(name: &str, newest_first: &[u32]) -> String {
    let some: Vec<String> = newest_first
        .iter()
        .take(VERSIONS_NAMED)
        .map(|version| format!("{name}@{version}"))
        .collect();
    let more = newest_first.len().saturating_sub(VERSIONS_NAMED);
    match (newest_first.len(), more) {
        (1, _) => format!("there is {}", some.join("")),
        (_, 0) => format!("there are {}", some.join(", ")),
        (_, more) => format!("there are {} and {more} older ones", some.join(", ")),
    }
}

fn drawn(found: Vec<InputMisfit>) -> Vec<Misfit> {
    let one = |InputMisfit { path, message }| Misfit { path, message };
    found.into_iter().map(one).collect()
}

fn misfitting(what: &str, errors: Vec<Misfit>) -> Problem {
    let all: Vec<String> = errors
        .iter()
        .map(|one| match one.path.as_str() {
            "" => format!("the input: {}", one.message),
            path => format!("input{path}: {}", one.message),
        })
        .collect();
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "misfit",
        "The input does not fit",
        format!("input does not fit {what}: {}", all.join("; ")),
    )
    .with("errors", json!(errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misfit_names_each_place() {
        let place = |path: &str, message: &str| Misfit {
            path: path.to_owned(),
            message: message.to_owned(),
        };
        let problem = misfitting(
            "s@1",
            vec![place("", "no object"), place("/a/0", "no text")],
        );
        let expected = Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "misfit",
            "The input does not fit",
            "input does not fit s@1: the input: no object; input/a/0: no text",
        )
        .with(
            "errors",
            json!([{ "path": "", "message": "no object" }, { "path": "/a/0", "message": "no text" }]),
        );
        assert_eq!(problem, expected);
    }

    #[test]
    fn versions_are_named_as_they_are_typed() {
        assert_eq!(named("x", &[3]), "there is x@3");
        assert_eq!(named("x", &[3, 1]), "there are x@3, x@1");
        let many: Vec<u32> = (1..=12).rev().collect();
        assert!(named("x", &many).ends_with("x@3 and 2 older ones"));
    }
}
