//! Masks: what must not be seen in anything that leaves the worker, in every form in which it may turn up.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Stands where a secret stood.
const MASK: &str = "***";
/// A shorter form is as likely to be an accident as a secret, and masking it would make every text unreadable.
const FORM_BYTES_MIN: usize = 4;

/// Values that are masked wherever they turn up: as they are, as base 64 (at every offset, so inside `user:password` as well), percent-encoded,
/// hexadecimal, and as they stand in JSON, in XML, in a line of log and among control characters that were taken out.
#[derive(Clone, Default)]
pub struct Masks {
    /// Longest first, so that a form that holds another one goes first.
    forms: Vec<String>,
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masks({} forms)", self.forms.len())
    }
}

impl Masks {
    /// Masks these values. Each line of a value of several lines is masked on its own as well.
    #[must_use]
    pub fn of<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Self {
        let mut forms = Vec::new();
        for value in values {
            let value = value.as_ref();
            forms_of(value, &mut forms);
            let lines = value.lines().map(str::trim);
            lines
                .filter(|l| *l != value)
                .for_each(|l| forms_of(l, &mut forms));
        }
        forms.retain(|form| form.len() >= FORM_BYTES_MIN);
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms }
    }

    /// Masks everything these mask and those mask.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.forms.extend(other.forms.iter().cloned());
        self.forms
            .sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.forms.dedup();
        self
    }

    /// The text with every form of every value masked.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for form in &self.forms {
            if hidden.contains(form.as_str()) {
                hidden = hidden.replace(form.as_str(), MASK);
            }
        }
        hidden
    }

    /// Whether there is nothing to mask.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// JSON with every text in it masked, names included.
    #[must_use]
    pub fn hide_in(&self, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        if self.forms.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.hide(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.hide_in(item)).collect(),
            Value::Object(map) => map
                .into_iter()
                .map(|(name, inner)| (self.hide(&name), self.hide_in(inner)))
                .collect(),
            // A PIN that a server gives back as a number is a secret all the same.
            Value::Number(number) => {
                let text = number.to_string();
                let hidden = self.hide(&text);
                if hidden == text {
                    Value::Number(number)
                } else {
                    Value::String(hidden)
                }
            }
            plain @ (Value::Null | Value::Bool(_)) => plain,
        }
    }

    /// The length of the longest form, in bytes: so much beside a cut may be a part of one.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.forms.first().map_or(0, String::len)
    }
}

fn forms_of(value: &str, forms: &mut Vec<String>) {
    if value.len() < FORM_BYTES_MIN {
        return;
    }
    forms.push(value.to_owned());
    let bytes = value.as_bytes();
    base64_forms(bytes, forms);
    percent_forms(bytes, forms);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(hex.to_uppercase());
    forms.push(hex);
    forms.push(value.chars().filter(|c| !c.is_control()).collect());
    forms.extend(xml_forms(value));
    quoted_forms(value, forms);
}

/// In addresses and forms; the digits after a percent sign are of either case.
fn percent_forms(bytes: &[u8], forms: &mut Vec<String>) {
    let in_address = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let in_form = |b: u8| b.is_ascii_alphanumeric() || b"-._*".contains(&b);
    for small in [false, true] {
        forms.push(percent(bytes, small, in_address));
        forms.push(percent(bytes, small, in_form).replace("%20", "+"));
    }
}

/// In JSON as the common writers have it: beyond ASCII as it is or as `\u`, with `\/` or without; and as Rust quotes a text in a log.
fn quoted_forms(value: &str, forms: &mut Vec<String>) {
    let inner = |quoted: &str| {
        let inner = quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"'));
        inner.unwrap_or(quoted).to_owned()
    };
    forms.push(inner(&format!("{value:?}")));
    let Ok(quoted) = serde_json::to_string(value) else {
        return;
    };
    let plain = inner(&quoted);
    let ascii: String = plain.chars().map(escaped).collect();
    for form in [plain, ascii] {
        forms.push(form.replace('/', "\\/"));
        forms.push(form);
    }
}

fn escaped(c: char) -> String {
    if c.is_ascii() {
        return c.to_string();
    }
    let mut units = [0; 2];
    let units = c.encode_utf16(&mut units);
    units.iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// In XML and HTML; of the two quotes writers turn both, the double one, or none.
fn xml_forms(value: &str) -> [String; 4] {
    let text = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let double = text.replace('"', "&quot;");
    let named = double.replace('\'', "&apos;");
    let numbered = double.replace('\'', "&#39;");
    [text, double, named, numbered]
}

/// How the bytes look within base 64, wherever in a group of three they begin: without the letters they share with their neighbours.
fn base64_forms(bytes: &[u8], forms: &mut Vec<String>) {
    for offset in 0..3 {
        let mut shifted = vec![0; offset];
        shifted.extend_from_slice(bytes);
        // The letters that hold bits of what stands before; the last one may hold bits of what comes after.
        let first = [0, 2, 3][offset];
        for encoded in [
            STANDARD_NO_PAD.encode(&shifted),
            URL_SAFE_NO_PAD.encode(&shifted),
        ] {
            let last = if shifted.len().is_multiple_of(3) {
                encoded.len()
            } else {
                encoded.len() - 1
            };
            if let Some(form) = encoded.get(first..last) {
                forms.push(form.to_owned());
            }
        }
    }
}

fn percent(bytes: &[u8], small: bool, plain: impl Fn(u8) -> bool) -> String {
    let one = |byte: &u8| match (plain(*byte), small) {
        (true, _) => char::from(*byte).to_string(),
        (false, true) => format!("%{byte:02x}"),
        (false, false) => format!("%{byte:02X}"),
    };
    bytes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn every_form_of_a_secret_is_masked() {
        let secret = "p\u{e4}ss w\"rd/+1";
        let masks = Masks::of([secret]);
        let shown = |text: &str| masks.hide(text);
        assert_eq!(shown(&format!("<{secret}>")), "<***>");
        for before in ["", "u", "us", "user:"] {
            let encoded = STANDARD.encode(format!("{before}{secret} and more"));
            let hidden = shown(&encoded);
            assert!(hidden.contains("***"), "{before}: {encoded} -> {hidden}");
        }
        assert_eq!(shown("p%C3%A4ss%20w%22rd%2F%2B1"), "***");
        assert_eq!(shown("p%C3%A4ss+w%22rd%2F%2B1"), "***");
        assert_eq!(shown("p%c3%a4ss+w%22rd%2f%2b1"), "***");
        assert_eq!(shown(r#"p\u00e4ss w\"rd\/+1"#), "***");
        assert_eq!(shown("päss w&quot;rd/+1"), "***");
        let json = serde_json::json!({ "a": [secret, 1], secret: true });
        assert_eq!(shown(&serde_json::to_string(secret).unwrap()), "\"***\"");
        assert_eq!(
            masks.hide_in(json),
            serde_json::json!({ "a": ["***", 1], "***": true })
        );
        assert!(!format!("{masks:?}").contains("rd"));
    }

    #[test]
    fn what_others_make_of_a_secret_is_masked_as_well() {
        let shown = |secret: &str, text: &str| Masks::of([secret]).hide(text);
        assert_eq!(
            shown("a<b>'&c", "<v>a&lt;b&gt;&apos;&amp;c</v>"),
            "<v>***</v>"
        );
        assert_eq!(
            shown("a<b>'&c", "<v>a&lt;b&gt;&#39;&amp;c</v>"),
            "<v>***</v>"
        );
        assert_eq!(shown("ab\u{7}cdef", "it is abcdef"), "it is ***");
        assert_eq!(shown("it's \u{1f511}!", r"it's \ud83d\udd11!"), "***");
        assert_eq!(
            shown("ends with \"", &format!("{:?}", "ends with \"")),
            "\"***\""
        );
        let pin = Masks::of(["12345678"]);
        let answer = serde_json::json!({ "pin": 12_345_678, "id": 1_234_567 });
        assert_eq!(
            pin.hide_in(answer),
            serde_json::json!({ "pin": "***", "id": 1_234_567 })
        );
    }

    #[test]
    fn lines_of_a_key_are_masked_and_what_is_too_short_is_left() {
        let masks = Masks::of(["-----BEGIN\nabcdefgh\n-----END", "no"]);
        assert_eq!(masks.hide("error in abcdefgh: no"), "error in ***: no");
    }
}
