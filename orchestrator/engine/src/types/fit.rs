//! Whether a value of one type may be handed to what takes another: by its kind, and by its value as far as that is said (one of some texts, whole numbers within
//! bounds); and why not.

use super::{Object, Type, Whole};

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
        let there = is.properties.get(key);
        let missing = |ever| {
            Some(Misfit::new(Why::Missing {
                key: key.clone(),
                ever,
            }))
        };
        match there {
            Some(own) => {
                if let Some(inside) = misfit_by(&own.of, &wanted.of, look) {
                    return Some(inside.under(&format!(".{key}")));
                }
                if wanted.required && !own.required {
                    return missing(true);
                }
            }
            // Whoever says nothing of a key may have it; whoever names what other keys hold may as well not have this one.
            None if wanted.required && is.rest.is_none() => return missing(false),
            None => {}
        }
    }
    let surplus = is
        .properties
        .iter()
        .filter(|(key, _)| !takes.properties.contains_key(*key));
    for (key, own) in surplus {
        let Some(rest) = &takes.rest else {
            return Some(Misfit::new(Why::Surplus { key: key.clone() }));
        };
        if let Some(inside) = misfit_by(&own.of, rest, look) {
            return Some(inside.under(&format!(".{key}")));
        }
    }
    None
}
