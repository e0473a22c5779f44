//! The static checker: what a definition would do wrong with values nobody has yet. Every expression gets a type over the schemas of the
//! saga's input and of the task types' outputs; what it yields is held against what it is handed to; what cannot be taken back, found
//! out or bounded is said. It refuses only what fails for some values of the types it knows, or is something else than it says. A type says less than a schema may: of what conditions tell apart it follows
//! constants, keys and kinds (LANGUAGE.md says what of that never fails and is refused all the same), and there is another way to write it.
//!
//! It runs when a definition is registered and in `baton check`, and to tell people what it says now of one that is registered (`announced`). It never refuses what is registered
//! already: a later version that knows more mistakes, or a task type that is announced later, still runs every saga an earlier one took.

mod announced;
mod applications;
mod children;
mod constants;
mod dead;
mod emitted;
mod fan_out;
mod foreign;
mod group;
mod instead;
mod lease;
mod limits;
mod mends;
mod places;
mod safety;
mod scopes;
mod secrets;
mod triggers;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, code};
use super::read::Doubts;
use super::schema_words::odd_words;
use super::step::{StepKind, TaskStep, UndoPlan};
use super::yaml::{self, Mark, Node, Spoilt};
use super::{Definition, InputSchema, ItemRules, LimitKey, Step, read};
use crate::catalogue::Catalogue;
use crate::expr::{Expr, Template};
use crate::types::{Asked, Scope, Type};
pub use announced::mistakes_of_types;
use applications::{APPLICATIONS_MAX, Endless, circle_at, endless};
use children::Kin;
pub use children::{NoSagas, Sagas, Together, in_order, named};
use constants::Rule;
pub(crate) use fan_out::{Around, ListSite};
use group::Outside;
pub(crate) use instead::Readers;
use values::Text;

/// What came of a look at a document.
#[derive(Debug, Default)]
pub struct Checked {
    /// The definition, when nothing is wrong with its shape.
    pub definition: Option<Definition>,
    /// What cannot work, in the order of the document.
    pub errors: Vec<Diagnostic>,
    /// What is likely a mistake, likewise.
    pub warnings: Vec<Diagnostic>,
    /// Every expression with its type, likewise.
    pub expressions: Vec<TypedExpression>,
}

/// An expression and what it yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedExpression {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Its text.
    pub text: String,
    /// Its type, for people.
    pub of: String,
    /// Whether nothing is known of it.
    pub any: bool,
    /// The smallest parts of it of which nobody knows what they are, as they are written: only where there are some can it fail for a wrong kind.
    pub unknown: Vec<String>,
    /// Whether what it yields may hold more than is said of it, as an object does whose schema says nothing of other keys.
    pub open: bool,
}

/// How a task type the catalogue does not have counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unannounced {
    /// As likely a mistake: a worker may announce it later.
    Warned,
    /// As a mistake where its name is nearly a known one: the catalogue is all there is.
    RefusedWhenNear,
}

/// Reads a document and looks at everything in it. Where its shape is wrong, what can be read of it is looked at all the same, so that
/// all mistakes are said at once.
#[must_use]
pub fn check(source: &str, catalogue: &Catalogue, unannounced: Unannounced) -> Checked {
    check_among(source, catalogue, &NoSagas, unannounced)
}

/// The same, where other definitions are known that a step may name.
#[must_use]
pub fn check_among(
    source: &str,
    catalogue: &Catalogue,
    sagas: &dyn Sagas,
    unannounced: Unannounced,
) -> Checked {
    let read = read::partial(source);
    let mut checked = Checked {
        errors: read.diagnostics,
        ..Checked::default()
    };
    if let (Some(definition), Some(tree)) = (&read.definition, read.tree) {
        let kin = Kin::of(sagas);
        let above = BTreeSet::from([(definition.saga.clone(), definition.version)]);
        let mut flow = Flow {
            unannounced,
            doubts: read.doubts,
            spoilt: read.spoilt,
            tree,
            checked,
            ..Flow::of_types(definition, catalogue, &kin, above)
        };
        flow.all();
        checked = flow.checked;
    }
    let place = |d: &Diagnostic| (d.line, d.column);
    checked.errors.sort_by_key(place);
    checked.warnings.sort_by_key(place);
    bounded(&mut checked.errors);
    bounded(&mut checked.warnings);
    checked
        .expressions
        .sort_by_key(|one| (one.line, one.column));
    checked.definition = read.definition.filter(|_| read.whole);
    checked
}

/// Things that are wrong and told at once, at most: whoever has mended those sees the next ones.
const TOLD_MAX: usize = 100;

fn bounded(found: &mut Vec<Diagnostic>) {
    let more = found.len().saturating_sub(TOLD_MAX);
    if more == 0 {
        return;
    }
    found.truncate(TOLD_MAX + 1);
    if let Some(last) = found.last_mut() {
        last.code = code::TOO_LARGE;
        last.width = 0;
        last.message = format!("from here on {more} more are not told");
        last.help = "mend those above, and check again".to_owned();
    }
}

/// What a saga returns, as far as its definition says.
fn output_type(
    definition: &Definition,
    catalogue: &Catalogue,
    kin: &Kin<'_>,
    above: BTreeSet<(String, u32)>,
) -> Type {
    let Some(output) = &definition.output else {
        return Type::Null;
    };
    let mut flow = Flow::of_types(definition, catalogue, kin, above);
    flow.learn_outputs();
    flow.shape(&output.shape(), &flow.scope_at_the_end())
}

struct Flow<'a> {
    definition: &'a Definition,
    catalogue: &'a Catalogue,
    kin: &'a Kin<'a>,
    /// The definitions whose types are being asked for: one of them asks nothing of itself.
    above: BTreeSet<(String, u32)>,
    unannounced: Unannounced,
    /// What each step yields, by index.
    outputs: Vec<Type>,
    /// What the `if` of each step asks, by index.
    asked: Vec<Option<Arc<Asked>>>,
    /// A step, by its index, and what it yields in place of what its task type does.
    instead: Option<(usize, Type)>,
    /// The steps of which something could not be read, and those of which nobody knows what comes before them.
    doubts: Doubts,
    /// What does not stand in the tree as it was written.
    spoilt: Spoilt,
    tree: Node,
    checked: Checked,
    /// Where in the document the definition stands, when it is a group.
    prefix: String,
    /// What is known around it, when it is a group.
    around: Option<Scope>,
    /// What it stands in, when it is a group.
    outside: Option<&'a Outside<'a>>,
    /// Whether it has been said that sagas lie too deep here.
    too_deep: bool,
}

impl<'a> Flow<'a> {
    /// One that says of types alone what they are.
    fn of_types(
        definition: &'a Definition,
        catalogue: &'a Catalogue,
        kin: &'a Kin<'a>,
        above: BTreeSet<(String, u32)>,
    ) -> Self {
        Self {
            definition,
            catalogue,
            kin,
            above,
            unannounced: Unannounced::Warned,
            outputs: Vec::new(),
            asked: Vec::new(),
            instead: None,
            doubts: Doubts::default(),
            spoilt: Spoilt::new(),
            tree: Node::nothing(),
            checked: Checked::default(),
            prefix: String::new(),
            around: None,
            outside: None,
            too_deep: false,
        }
    }
}

impl Flow<'_> {
    fn all(&mut self) {
        self.input_is_bounded();
        self.words_of_the_input();
        self.starts_itself();
        self.triggers();
        self.deadline();
        self.labels();
        self.reserves();
        self.item_rules(self.definition.item_rules.as_deref(), "/work_items");
        self.body();
        self.foreign();
    }

    /// What each step yields: what a group returns may be what steps before it do.
    fn learn_outputs(&mut self) {
        let steps = &self.definition.steps;
        self.outputs = vec![Type::Any; steps.len()];
        let asked = |step: &Step| Some(Arc::new(Asked::of(step.condition.as_ref()?)?));
        self.asked = steps.iter().map(asked).collect();
        let mut order: Vec<&Step> = steps.iter().collect();
        order.sort_by_key(|step| step.ancestors.len());
        for step in order {
            let of = self.output_of(step);
            if let Some(known) = self.outputs.get_mut(step.index) {
                *known = of;
            }
        }
    }

    /// The steps and the output, of a saga or of a group.
    fn body(&mut self) {
        self.learn_outputs();
        let steps = &self.definition.steps;
        let has_document = !matches!(self.tree.content, yaml::Content::Scalar(_));
        // without it all that there is was read
        let steps_are_all =
            !has_document || self.count_at(&format!("{}/steps", self.prefix)) == steps.len();
        if !steps_are_all {
            return;
        }
        for step in steps {
            self.id(step);
            self.step(step);
        }
        if let Some(output) = &self.definition.output {
            let scope = self.scope_at_the_end();
            let at = format!("{}/output", self.prefix);
            self.template(output, &scope, &at);
        }
    }

    /// Where a step stands in the document.
    fn at(&self, step: &Step) -> String {
        format!("{}/steps/{}", self.prefix, step.index)
    }

    /// How many items a list of the document has.
    fn count_at(&self, pointer: &str) -> usize {
        match &self.tree.at(pointer).content {
            yaml::Content::List(items) => items.len(),
            yaml::Content::Scalar(_) | yaml::Content::Map(_) => 0,
        }
    }

    /// That expressions can reach its output. Looked at here and not where the shape is read: a definition that is registered already stays readable.
    fn id(&mut self, step: &Step) {
        let id = step.id.as_str();
        let is_reached = Expr::compile(id).is_ok_and(|expr| expr.roots().iter().eq([id]));
        if !is_reached {
            let mark = self.tree.mark_at(&format!("{}/id", self.at(step)));
            let message =
                format!("`{id}` is a word of expressions and cannot name a step's output");
            self.error(code::NAME, mark, message, "choose another id".to_owned());
        }
    }

    fn step(&mut self, step: &Step) {
        let at = self.at(step);
        self.item_rules(step.item_rules.as_deref(), &format!("{at}/work_items"));
        let mut scope = self.scope_of(step);
        if let Some(fan) = &step.fan {
            scope = self.each(step, fan, scope);
        }
        let condition = step.condition.as_ref();
        if let Some(condition) = condition {
            self.condition(condition, &scope, &format!("{at}/if"));
        }
        if self.doubts.broken.contains(&step.index) {
            return;
        }
        let scope = condition.map_or_else(|| scope.clone(), |c| scope.clone().assuming(c));
        self.dead_ways(step);
        match &step.kind {
            StepKind::Task(task) => self.task_step(step, task, &scope, &at),
            StepKind::Saga(saga) => self.child(step, saga, &scope, &at),
            StepKind::Sleep(how_long) => {
                self.sleep_has_a_unit(&at);
                let at = format!("{at}/sleep");
                self.text(how_long, Text::OrWhole, &scope, &at);
                self.held_to(how_long, Rule::Sleep, &scope, &at);
            }
            StepKind::Wait(wait) => {
                if let Some(when) = &wait.when {
                    let scope = scope.with("event", scopes::event());
                    self.condition(when, &scope, &format!("{at}/wait/when"));
                }
            }
            StepKind::Approve(approve) => {
                self.approver(approve, &at);
                if let Some(prompt) = &approve.prompt {
                    self.text(
                        prompt,
                        Text::OrScalar,
                        &scope,
                        &format!("{at}/approve/prompt"),
                    );
                }
            }
            StepKind::Emit(emit) => {
                self.emitted(step, emit);
                if let Some(subject) = &emit.subject {
                    self.text(
                        subject,
                        Text::OrScalar,
                        &scope,
                        &format!("{at}/emit/subject"),
                    );
                }
                if let Some(data) = &emit.data {
                    self.template(data, &scope, &format!("{at}/emit/data"));
                }
            }
        }
    }

    /// A task, with what undoes it and finds out: of what is never done nothing more is said.
    fn task_step(&mut self, step: &Step, task: &TaskStep, scope: &Scope, at: &str) {
        let dead = self.dead_keys(step, task);
        self.pool(&task.pool, scope, &format!("{at}/pool"));
        self.task(&task.task_type, &task.with, scope, at);
        if !dead.undo {
            self.undo(step, task, scope, at);
        }
        if let Some(probe) = task.probe.as_ref().filter(|_| !dead.probe) {
            let at = format!("{at}/probe");
            self.task(&probe.task_type, &probe.with, scope, &at);
        }
        self.safety(step, task, dead);
        self.lease(step, task);
    }

    fn pool(&mut self, pool: &Template, scope: &Scope, at: &str) {
        self.text(pool, Text::Only, scope, at);
        self.held_to(pool, Rule::Pool, scope, at);
    }

    fn undo(&mut self, step: &Step, task: &TaskStep, scope: &Scope, at: &str) {
        let at = format!("{at}/undo");
        if let UndoPlan::Task(undo) = &task.undo {
            let own = self.scope_of_undo(step, scope);
            if let Some(pool) = &undo.pool {
                self.pool(pool, &own, &format!("{at}/pool"));
            }
            self.task(&undo.task_type, &undo.with, &own, &at);
        }
        if let Some(when) = &task.undo_when {
            let own = self.scope_of_undo_when(step, scope);
            self.condition(when, &own, &format!("{at}/when"));
        }
    }

    /// That to hold an input against its schema ends. Looked at here and not where the shape is read: a definition that is registered already stays readable.
    fn input_is_bounded(&mut self) {
        let schema = self.definition.input_schema.as_ref();
        let Some(schema) = schema.map(InputSchema::schema) else {
            return;
        };
        let found = endless(schema);
        let (message, help) = match found {
            None => return,
            Some(Endless::Circle) => (
                "a schema of `input` refers to itself, and so to the same value again and again"
                    .to_owned(),
                "have it refer to itself only within `properties` or `items`, or take the reference out",
            ),
            Some(Endless::TooMany) => (
                format!(
                    "more than {APPLICATIONS_MAX} schemas of `input` would be held against one value"
                ),
                "have the schemas of an `allOf`, `anyOf` or `oneOf` not refer to the same next one each: put what they have in common beside them, once",
            ),
        };
        let is_circle = found == Some(Endless::Circle);
        let at = is_circle.then(|| circle_at(schema)).flatten();
        let at = format!("/input{}", at.unwrap_or_default());
        let mark = self.tree.name_mark(&at);
        self.error(code::TOO_LARGE, mark, message, help.to_owned());
    }

    /// That what stands in the schema of the input is of a schema: what is not types nothing, and nothing is held against it.
    fn words_of_the_input(&mut self) {
        let schema = self.definition.input_schema.clone();
        for odd in schema.iter().flat_map(|schema| odd_words(schema.schema())) {
            let mark = self.tree.name_mark(&format!("/input{}", odd.at));
            self.warning(code::SCHEMA, mark, odd.what, odd.help);
        }
    }

    /// What is computed when the saga starts. A label that cannot be computed is left out, so that what may be absent is no mistake.
    fn labels(&mut self) {
        let scope = Scope::default().with("input", self.input());
        for (name, label) in &self.definition.labels {
            let before = self.checked.errors.len();
            self.text(label, Text::OrScalar, &scope, &format!("/labels/{name}"));
            self.absent_is_no_mistake(before);
        }
    }

    /// What it takes before its first step: a start whose names cannot be computed is refused.
    fn reserves(&mut self) {
        let Some(reserves) = &self.definition.reserves else {
            return;
        };
        let scope = Scope::default().with("input", self.input());
        // one that could not be read is missing among them, and then nobody knows which is which
        if self.count_at("/locks") == reserves.locks.len() {
            for (n, lock) in reserves.locks.iter().enumerate() {
                let at = format!("/locks/{n}");
                self.text(&lock.template, Text::OrScalar, &scope, &at);
                self.held_to(&lock.template, Rule::Lock, &scope, &at);
            }
        }
        let limits = [
            ("/concurrency/key", &reserves.concurrency),
            ("/blast_radius/key", &reserves.blast_radius),
        ];
        for (at, limit) in limits {
            match limit.as_ref().and_then(|limit| limit.key.as_ref()) {
                Some(LimitKey::Computed(_, template)) => {
                    self.text(template, Text::OrScalar, &scope, at);
                    self.held_to(template, Rule::Key, &scope, at);
                }
                Some(LimitKey::Label(name)) => self.counted_by(name, &scope),
                None => {}
            }
        }
    }

    /// The label a limit is counted by: one that is left out is empty there, and the start is refused.
    fn counted_by(&mut self, name: &str, scope: &Scope) {
        let mut labels = self.definition.labels.iter();
        if let Some((_, label)) = labels.find(|(label, _)| label == name) {
            self.text(label, Text::OrScalar, scope, &format!("/labels/{name}"));
        }
    }

    /// Whose work items are. A name that cannot be computed is replaced by the owner, so that what may be absent is no mistake.
    fn item_rules(&mut self, rules: Option<&ItemRules>, at: &str) {
        let Some(rules) = rules else { return };
        let scope = self.base();
        let before = self.checked.errors.len();
        if let Some(who) = &rules.assign {
            self.text(
                &who.template,
                Text::OrScalar,
                &scope,
                &format!("{at}/assign"),
            );
        }
        let ladder = rules.escalate.as_deref().unwrap_or_default();
        // one that could not be read is missing among them, and then nobody knows which is which
        if self.count_at(&format!("{at}/escalate")) == ladder.len() {
            for (n, rung) in ladder.iter().enumerate() {
                let at = format!("{at}/escalate/{n}/to");
                self.text(&rung.to.template, Text::OrScalar, &scope, &at);
            }
        }
        self.absent_is_no_mistake(before);
    }

    /// Takes back what was said since so many errors of what may be absent.
    fn absent_is_no_mistake(&mut self, before: usize) {
        let mut n = 0;
        self.checked.errors.retain(|error| {
            n += 1;
            n <= before || error.code != code::ABSENT
        });
    }

    /// A template that may yield anything.
    fn template(&mut self, template: &Template, scope: &Scope, at: &str) {
        self.value(&template.shape(), None, scope, at);
    }

    fn error(&mut self, code: &'static str, mark: Mark, message: String, help: String) {
        if self.spoilt.contains(&(mark.line, mark.column)) {
            return;
        }
        let error = diagnostic(code, mark, message, help);
        if !self.checked.errors.contains(&error) {
            self.checked.errors.push(error);
        }
    }

    fn warning(&mut self, code: &'static str, mark: Mark, message: String, help: String) {
        let warning = diagnostic(code, mark, message, help);
        if !self.checked.warnings.contains(&warning) {
            self.checked.warnings.push(warning);
        }
    }

    fn note(&mut self, expr: &Expr, mark: Mark, of: &Type, unknown: Vec<String>) {
        if expr.is_unreadable() {
            return;
        }
        let typed = TypedExpression {
            line: mark.line,
            column: mark.column,
            text: expr.text().to_owned(),
            of: of.long(),
            any: of.is_any(),
            unknown,
            open: of.is_open(),
        };
        if !self.checked.expressions.contains(&typed) {
            self.checked.expressions.push(typed);
        }
    }
}

fn diagnostic(code: &'static str, mark: Mark, message: String, help: String) -> Diagnostic {
    Diagnostic {
        code,
        line: mark.line,
        column: mark.column,
        width: mark.width,
        message,
        help,
    }
}
