//! What is wrong with a document, where, and how to mend it. Codes are stable: people search for them, tests name them.

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable code, `BT0001` to `BT0039`.
    pub code: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters of the line it is about; 0 when it is about the word that begins there.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            code,
            line,
            column,
            width: _,
            message,
            help,
        } = self;
        write!(f, "{line}:{column}: error[{code}]: {message}")?;
        if !help.is_empty() {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The codes, one for each kind of mistake.
pub(super) mod code {
    /// No YAML.
    pub(crate) const YAML: &str = "BT0001";
    /// A value of the wrong kind.
    pub(crate) const SHAPE: &str = "BT0002";
    /// A key nobody knows.
    pub(crate) const UNKNOWN_KEY: &str = "BT0003";
    /// A key that must be there.
    pub(crate) const MISSING: &str = "BT0004";
    /// Right, but this version cannot do it yet.
    pub(crate) const NOT_YET: &str = "BT0005";
    /// A name that breaks the rule for its kind.
    pub(crate) const NAME: &str = "BT0006";
    /// The same key or id twice.
    pub(crate) const TWICE: &str = "BT0007";
    /// A number or word outside what is allowed.
    pub(crate) const RANGE: &str = "BT0008";
    /// No duration.
    pub(crate) const DURATION: &str = "BT0009";
    /// An expression that cannot be compiled.
    pub(crate) const EXPRESSION: &str = "BT0010";
    /// A reference to what is not there or does not come before.
    pub(crate) const REFERENCE: &str = "BT0011";
    /// Steps that wait for each other.
    pub(crate) const CYCLE: &str = "BT0012";
    /// A pivot that cannot be one, or a second one.
    pub(crate) const PIVOT: &str = "BT0013";
    /// `undo: none` without `because:`, or the other way round.
    pub(crate) const BECAUSE: &str = "BT0014";
    /// Too much of something.
    pub(crate) const TOO_LARGE: &str = "BT0015";
    /// The input's JSON Schema is none.
    pub(crate) const SCHEMA: &str = "BT0016";
    /// A secret where it would be stored or shown.
    pub(crate) const SECRET: &str = "BT0017";
    /// A step that does nothing, or two things.
    pub(crate) const KIND: &str = "BT0018";
    /// A trigger that could not fire as it is written.
    pub(crate) const TRIGGER: &str = "BT0019";
    /// What is handed to a task cannot fit it.
    pub(crate) const FLOW: &str = "BT0020";
    /// A task type nobody has announced.
    pub(crate) const UNKNOWN_TASK: &str = "BT0021";
    /// A function there is not, or with too many or few arguments.
    pub(crate) const FUNCTION: &str = "BT0022";
    /// An operator or function that does not take what it is given.
    pub(crate) const OPERANDS: &str = "BT0023";
    /// What may be null or absent, used as if it were there.
    pub(crate) const ABSENT: &str = "BT0024";
    /// A name that leads nowhere.
    pub(crate) const PATH: &str = "BT0025";
    /// Always the same, or nearly a known name: likely a mistake.
    pub(crate) const CONSTANT: &str = "BT0026";
    /// An expression that yields another kind than its place wants.
    pub(crate) const RESULT: &str = "BT0027";
    /// What can be undone, and nobody says how.
    pub(crate) const UNDO: &str = "BT0028";
    /// What cannot be undone, where the saga may still turn back.
    pub(crate) const IRREVERSIBLE: &str = "BT0029";
    /// What nobody can find out.
    pub(crate) const PROBE: &str = "BT0030";
    /// A time limit that does not hold.
    pub(crate) const TIME: &str = "BT0031";
    /// A secret where the task takes none.
    pub(crate) const SECRET_PLACE: &str = "BT0032";
    /// A secret that is written out.
    pub(crate) const PLAIN_SECRET: &str = "BT0033";
    /// `for_each` where it cannot be, or a key of it without it.
    pub(crate) const FAN_OUT: &str = "BT0034";
    /// A list of which nobody knows how long it may be.
    pub(crate) const UNBOUNDED: &str = "BT0035";
    /// A saga nobody has registered.
    pub(crate) const UNKNOWN_SAGA: &str = "BT0036";
    /// Sagas that lie within themselves, or too deep within each other.
    pub(crate) const NESTING: &str = "BT0037";
    /// Escalations that do not come one after the other.
    pub(crate) const ESCALATION: &str = "BT0038";
    /// What is handed on is of the right kind, and may still be none of the values that are taken.
    pub(crate) const MAY_NOT_FIT: &str = "BT0039";
}
