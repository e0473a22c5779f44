//! The book: every call kept in order in a file, and what the calls have come to. Survives its own process, not the
//! machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which way a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Did {
    /// Bring the effect about.
    Do,
    /// Take it back.
    Undo,
}

/// One call, as it came in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Names the effect: the same for every try of doing it and of undoing it.
    pub key: String,
    /// Whether it is done or undone.
    pub direction: Did,
    /// The saga that asked; for the reader.
    #[serde(default)]
    pub saga: String,
    /// The step that asked; for the reader.
    #[serde(default)]
    pub step: String,
    /// The run of the worker that made the call; tells two workers apart.
    #[serde(default)]
    pub run: String,
    /// Whatever the effect is about.
    #[serde(default)]
    pub value: Value,
}

/// How an effect stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Never brought about.
    #[default]
    Never,
    /// Brought about and not taken back.
    Applied,
    /// Brought about and taken back.
    Reverted,
}

/// What all calls of one key have come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// How it stands.
    pub state: State,
    /// How often it was brought about: more than once only when it was done again after an undo.
    pub done: u32,
    /// How often it was taken back.
    pub undone: u32,
    /// Calls that changed nothing: a `do` of what stands, an `undo` of what does not.
    pub repeats: u32,
    /// `do` calls after an `undo`, whether meant or from a worker that came too late.
    pub done_after_undo: u32,
    /// The value of the latest `do` that changed something.
    pub value: Value,
}

impl Effect {
    /// Takes one call into account. True when it changed how the effect stands.
    fn take(&mut self, call: &Call) -> bool {
        match (call.direction, self.state) {
            (Did::Do, State::Applied) | (Did::Undo, State::Never | State::Reverted) => {
                self.repeats += 1;
                return false;
            }
            (Did::Do, before) => {
                self.done += 1;
                self.done_after_undo += u32::from(before == State::Reverted);
                self.state = State::Applied;
                self.value = call.value.clone();
            }
            (Did::Undo, State::Applied) => {
                self.undone += 1;
                self.state = State::Reverted;
            }
        }
        true
    }
}

/// Every call, in order, and what they have come to.
#[derive(Debug)]
pub struct Book {
    file: File,
    calls: Vec<Call>,
    effects: BTreeMap<String, Effect>,
}

impl Book {
    /// Opens the book at `path`, or begins it. A last line cut off by a kill was never answered for and is dropped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let (mut calls, mut effects, mut whole) = (Vec::new(), BTreeMap::new(), 0);
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            let call: Call = serde_json::from_slice(&line)?;
            entry(&mut effects, &call.key).take(&call);
            calls.push(call);
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole)?;
        Ok(Self {
            file,
            calls,
            effects,
        })
    }

    /// Writes a call down and takes it into account. Returns whether it changed anything, and how the effect stands.
    pub fn enter(&mut self, call: Call) -> io::Result<(bool, Effect)> {
        let mut line = serde_json::to_vec(&call)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        let effect = entry(&mut self.effects, &call.key);
        let changed = effect.take(&call);
        let effect = effect.clone();
        self.calls.push(call);
        Ok((changed, effect))
    }

    /// How the effect of that name stands.
    pub fn effect(&self, key: &str) -> Effect {
        self.effects.get(key).cloned().unwrap_or_default()
    }

    /// All effects by name.
    pub fn effects(&self) -> &BTreeMap<String, Effect> {
        &self.effects
    }

    /// All calls in order.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }
}

fn entry<'a>(effects: &'a mut BTreeMap<String, Effect>, key: &str) -> &'a mut Effect {
    effects.entry(key.to_owned()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(key: &str, direction: Did) -> Call {
        let (saga, step, run) = (String::new(), String::new(), String::new());
        Call {
            key: key.to_owned(),
            direction,
            saga,
            step,
            run,
            value: Value::from(1),
        }
    }

    #[test]
    fn effects_are_idempotent_and_survive() {
        let path = crate::binaries::fresh_dir("book").join("book.jsonl");
        let mut book = Book::open(&path).unwrap();
        for (key, direction, changes) in [
            ("a", Did::Do, true),
            ("a", Did::Do, false),
            ("a", Did::Undo, true),
            ("a", Did::Undo, false),
            ("b", Did::Undo, false),
            ("c", Did::Do, true),
            ("c", Did::Undo, true),
            ("c", Did::Do, true),
        ] {
            assert_eq!(
                book.enter(call(key, direction)).unwrap().0,
                changes,
                "{key} {direction:?}"
            );
        }
        let a = book.effect("a");
        assert_eq!(
            (a.state, a.done, a.undone, a.repeats),
            (State::Reverted, 1, 1, 2)
        );
        assert_eq!(book.effect("b").state, State::Never);
        assert_eq!(
            (book.effect("c").state, book.effect("c").done_after_undo),
            (State::Applied, 1)
        );
        assert_eq!(book.effect("nobody").state, State::Never);

        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"key\": \"cut o")
            .unwrap();
        let mut again = Book::open(&path).unwrap();
        assert_eq!(
            (again.effects(), again.calls()),
            (book.effects(), book.calls())
        );
        again.enter(call("d", Did::Do)).unwrap();
        assert_eq!(Book::open(&path).unwrap().calls().len(), 9);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
