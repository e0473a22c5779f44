//! `Admitted`: the store has given the saga all it wants. Told again it changes nothing.

use std::collections::BTreeMap;

use super::{Deciding, Handled, Verdict};
use crate::record::Record;

pub(super) fn admitted(d: &mut Deciding<'_>, fences: &BTreeMap<String, u64>) -> Handled {
    if !d.state.active() {
        return Ok(Verdict::Ignored {
            why: "the saga has ended, and what it was given goes with it".to_owned(),
        });
    }
    if !d.state.waits_for_admission() {
        return Ok(Verdict::Duplicate);
    }
    d.close_held_back("admitted")?;
    // of one that turns back nothing is waited for any more
    let deadline_ms = d.rules.definition.deadline_ms;
    let deadline_ms = deadline_ms.filter(|_| d.state.unwinding.is_none());
    d.emit(Record::Admitted {
        fences: fences.clone(),
        deadline_at: deadline_ms.map(|ms| d.now.plus_ms(ms)),
    })?;
    Ok(Verdict::Applied)
}
