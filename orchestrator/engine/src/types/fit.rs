//! Whether a value of one type may be handed to what takes another: by its kind, and by its value as far as that is said (one of some texts, whole numbers within
//! bounds); and why not.

use std::collections::BTreeMap;

use super::{Object, Pattern, Property, Type, Whole};

/// Names that hardly a schema has: what keys hold that no pattern takes is asked of those of them that each side leaves.
const OTHERS: [&str; 6] = ["other", "Other", "0", "_", "-", "ä"];
/// The most keys two objects are asked of that neither describes: each is held against every pattern of both.
const ASKED_MAX: usize = 512;

/// Why a value may not fit: where in it, what it is there, what is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The way down to it, `.a[].b`; empty for the value itself.
    pub(crate) at: String,
    pub(crate) why: Why,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is, or may be, of another kind.
    Kind { is: Type, takes: Type },
    /// A key it needs is not there, or not always.
    Missing { key: String, ever: bool },
    /// It has a key that is not taken.
    Surplus { key: String },
    /// It may have keys that are not taken, which it does not describe: of this pattern, or others.
    Others { pattern: Option<String> },
}

impl Misfit {
    fn new(why: Why) -> Self {
        Self {
            at: String::new(),
            why,
        }
    }

    fn under(mut self, part: &str) -> Self {
        self.at.insert_str(0, part);
        self
    }
}

/// How closely it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// At kinds: that any text may be one of those that are taken is enough, and so with whole numbers.
    Kinds,
    /// Also at what is known of the values of a kind.
    Values,
}

/// Why a value of the type `is` does not always fit `takes` by its kind; `None` when it does, as far as can be known.
pub(crate) fn misfit(is: &Type, takes: &Type) -> Option<Misfit> {
    misfit_by(is, takes, Look::Kinds)
}

/// Why a value that is of the right kind may still not fit: it is any text where one of some is taken, or a whole number beyond the bounds there.
pub(crate) fn doubt(is: &Type, takes: &Type) -> Option<Misfit> {
    misfit_by(is, takes, Look::Values)
}

fn misfit_by(is: &Type, takes: &Type, look: Look) -> Option<Misfit> {
    let taken = takes.alternatives();
    if taken.contains(&Type::Any) {
        return None;
    }
    let misfits = is.alternatives().iter();
    misfits
        .filter_map(|one| misfit_of_one(one, is, takes, look))
        .next()
}

/// Of one alternative, with all of them for the words.
fn misfit_of_one(one: &Type, is: &Type, takes: &Type, look: Look) -> Option<Misfit> {
    let mut nearest: Option<Misfit> = None;
    for taken in takes.alternatives() {
        let misfit = match (one, taken) {
            (Type::Any, _)
            | (Type::Null, Type::Null)
            | (Type::Bool, Type::Bool)
            | (Type::Int(_) | Type::Uint | Type::Double, Type::Double)
            | (Type::Text(_), Type::Text(None)) => return None,
            (Type::Int(_) | Type::Uint, Type::Int(_)) if look == Look::Kinds => return None,
            (Type::Int(is), Type::Int(takes)) if is.within(*takes) => return None,
            (Type::Uint, Type::Int(takes)) if Whole::COUNT.within(*takes) => return None,
            (Type::Text(None), Type::Text(_)) if look == Look::Kinds => return None,
            (Type::Text(Some(is)), Type::Text(Some(takes))) if is.is_subset(takes) => return None,
            (Type::List(is), Type::List(takes)) => match misfit_by(is, takes, look) {
                None => return None,
                Some(inside) => inside.under("[]"),
            },
            (Type::Object(is), Type::Object(takes)) => misfit_of_objects(is, takes, look)?,
            _ => continue,
        };
        // What is of the right kind and wrong inside says more than that it is wrong.
        nearest = Some(misfit);
    }
    Some(nearest.unwrap_or_else(|| {
        Misfit::new(Why::Kind {
            is: is.clone(),
            takes: takes.clone(),
        })
    }))
}

fn misfit_of_objects(is: &Object, takes: &Object, look: Look) -> Option<Misfit> {
    for (key, wanted) in &takes.properties {
        let missing = |ever| {
            Some(Misfit::new(Why::Missing {
                key: key.clone(),
                ever,
            }))
        };
        let described = is.properties.get(key).cloned();
        match described.or_else(|| undescribed(is, key)) {
            // Whoever says nothing of a key may have it.
            Some(own) if own.of.is_any() && !is.properties.contains_key(key) => {}
            Some(own) => {
                if let Some(inside) = misfit_by(&own.of, &wanted.of, look) {
                    return Some(inside.under(&format!(".{key}")));
                }
                if wanted.required && !own.required {
                    return missing(true);
                }
            }
            None if wanted.required => return missing(false),
            None => {}
        }
    }
    let surplus = is
        .properties
        .iter()
        .filter(|(key, _)| !takes.properties.contains_key(*key));
    for (key, own) in surplus {
        let Some(rest) = takes.other(key) else {
            return Some(Misfit::new(Why::Surplus { key: key.clone() }));
        };
        if let Some(inside) = misfit_by(&own.of, &rest, look) {
            return Some(inside.under(&format!(".{key}")));
        }
    }
    misfit_of_others(is, takes, look)
}

/// A key that an object does not describe, as it may be there; `None` where it never is.
fn undescribed(is: &Object, key: &str) -> Option<Property> {
    let of = is.other(key)?;
    let of = if is.some_names { Type::Any } else { of };
    let required = false;
    Some(Property { of, required })
}

/// The same of the keys that neither describes: of some that there may be, since all are too many. What none of them says is found out when there is one.
fn misfit_of_others(is: &Object, takes: &Object, look: Look) -> Option<Misfit> {
    let is_said = is.others().any(|of| !of.is_any());
    if is.some_names || !is_said {
        return None;
    }
    let described =
        |key: &String| is.properties.contains_key(key) || takes.properties.contains_key(key);
    for key in asked(is, takes).into_iter().filter(|key| !described(key)) {
        let Some(own) = is.other(&key).filter(|own| !own.is_any()) else {
            continue;
        };
        let patterns = is.patterns.iter().map(|(pattern, _)| pattern);
        let pattern = patterns.filter(|one| one.takes(&key)).map(|one| one.text());
        let pattern = pattern.map(str::to_owned).next();
        let Some(wanted) = takes.other(&key) else {
            return Some(Misfit::new(Why::Others { pattern }));
        };
        if let Some(inside) = misfit_by(&own, &wanted, look) {
            let at = pattern.map_or_else(|| ".*".to_owned(), |text| format!("./{text}/"));
            return Some(inside.under(&at));
        }
    }
    None
}

/// Keys in which the patterns of both show: of each by itself, of two at once, of none.
fn asked(is: &Object, takes: &Object) -> Vec<String> {
    let patterns = is.patterns.iter().chain(&takes.patterns);
    let patterns: BTreeMap<&str, &Pattern> = patterns
        .map(|(pattern, _)| (pattern.text(), pattern.as_ref()))
        .collect();
    let samples: Vec<Vec<String>> = patterns.values().map(|one| one.samples()).collect();
    let of_none = OTHERS.iter().map(|key| (*key).to_owned());
    let of_one = samples.iter().flatten().cloned();
    let first = || samples.iter().filter_map(|all| all.first());
    let of_two = first().flat_map(|one| first().map(move |other| format!("{one}{other}")));
    let all = of_none.chain(of_one).chain(of_two);
    all.take(ASKED_MAX).collect()
}
