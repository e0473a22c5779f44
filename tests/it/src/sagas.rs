//! Saga definitions for tests. Each names its effects `<name>-<step>`, where `name` is in its input, so that the ledger can be asked
//! for every effect of every saga by name.

/// What every definition here takes.
const INPUT: &str = "input:
  type: object
  required: [name]
  properties: { name: { type: string }, dir: { type: string } }
";

/// How patient a step is. A claimed task of a killed worker is given up 10 s after the lease; a task that is held late is offered for
/// `queue_timeout`, and what may have reached two workers is waited for as long.
const PATIENCE: &str =
    "heartbeat: 4s\n    retry: { attempts: 10, backoff: 100ms, factor: 2, max: 1s }\n";

/// Steps of a definition, written one after another.
#[derive(Debug, Clone)]
pub struct Saga {
    text: String,
}

impl Saga {
    /// A definition without steps, version 1.
    pub fn named(name: &str) -> Self {
        Self {
            text: format!("saga: {name}\nversion: 1\n{INPUT}steps:\n"),
        }
    }

    /// One claimed effect; `with` has further fields of its input: `, fail: final`.
    #[must_use]
    pub fn effect(self, id: &str, with: &str) -> Self {
        self.task(id, "test.effect@1", with, "timeout: 30s\n    ")
    }

    /// One effect that is held late.
    #[must_use]
    pub fn late(self, id: &str, with: &str) -> Self {
        self.task(
            id,
            "test.effect-late@1",
            with,
            "timeout: 5s\n    queue_timeout: 10s\n    ",
        )
    }

    /// One effect of either type, with further keys of the step: `after: [a]\n    `.
    #[must_use]
    pub fn task(mut self, id: &str, task_type: &str, with: &str, keys: &str) -> Self {
        self.text += &format!(
            "  - id: {id}\n    task: {task_type}\n    with: {{ key: \"${{ input.name }}-{id}\"{with} }}\n    {keys}{PATIENCE}"
        );
        self
    }

    /// Writes the file `<dir>/<name>.txt`.
    #[must_use]
    pub fn file(mut self, id: &str) -> Self {
        self.text += &format!(
            "  - id: {id}\n    task: file.write@1\n    with: {{ path: \"${{ input.dir }}/${{ input.name }}.txt\", content: \"new of ${{ input.name }}\" }}\n    {PATIENCE}"
        );
        self.taking_what_it_reads()
    }

    /// Any step, as it is.
    #[must_use]
    pub fn step(mut self, yaml: &str) -> Self {
        self.text += yaml;
        self.taking_what_it_reads()
    }

    /// A folder that is read is required; the others start with a name alone.
    fn taking_what_it_reads(mut self) -> Self {
        if self.text.contains("input.dir") {
            self.text = self
                .text
                .replace("required: [name]\n", "required: [name, dir]\n");
        }
        self
    }

    /// The document.
    pub fn yaml(&self) -> &str {
        &self.text
    }
}

/// What `file.write` leaves in the file of a saga of that name.
pub fn written(name: &str) -> String {
    format!("new of {name}")
}
