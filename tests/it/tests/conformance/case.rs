//! A case as it is written: its name, the rules it proves, what the worker is told at its start, and its steps in order.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Sentences of PROTOCOL.md, word for word.
    pub(crate) rules: Vec<String>,
    /// The roles whose queues there are from the start.
    pub(crate) roles: Vec<String>,
    /// Settings of the worker beside those every case has: `concurrency`.
    pub(crate) settings: BTreeMap<String, String>,
    /// Whether a step starts the worker, instead of it being there from the start.
    pub(crate) worker_later: bool,
    /// Whether a step begins to listen to the fleet.
    pub(crate) fleet_later: bool,
    pub(crate) steps: Vec<Map<String, Value>>,
}

impl Case {
    /// Every case of a folder, by name.
    pub(crate) fn all(folder: &Path) -> Vec<Self> {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("the folder of the cases can be read")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
            .collect();
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).expect("a case can be read");
        let case: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let texts = |key: &str| -> Vec<String> {
            let list = case[key].as_array().into_iter().flatten();
            list.filter_map(|text| text.as_str().map(str::to_owned))
                .collect()
        };
        let settings = case["settings"].as_object().into_iter().flatten();
        let steps = case["steps"].as_array().into_iter().flatten();
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let read = Self {
            name: name.into_owned(),
            rules: texts("rules"),
            roles: texts("roles"),
            settings: settings
                .map(|(key, value)| (key.clone(), value.to_string()))
                .collect(),
            worker_later: case["worker"] == "later",
            fleet_later: case["fleet"] == "later",
            steps: steps.filter_map(|step| step.as_object().cloned()).collect(),
        };
        let whole = !read.rules.is_empty() && !read.steps.is_empty();
        assert!(whole, "{}: a case has rules and steps", file.display());
        read
    }
}
