//! Dead letters by group, and groups that grow. How much one has grown is counted in the store, so that whoever leads next counts the same. The groups are read
//! when letters have come or were moved since the last time, as their counts say, and now and then.

use std::collections::BTreeMap;

use baton_driver::StoreError;
use baton_messages::Timestamp;
use baton_messages::alert::ALERT_EVENTS;
use baton_store::{AlertRow, DeadLetterFilter, LetterGroup, LetterRow, LetterState, Reader as _};
use serde_json::{Value, json};

use super::{Cause, Found, Look};
use crate::alerts::Kind;
use crate::masks;

/// Groups of dead letters that are read at a time.
const AT_ONCE: usize = 500;
/// Groups that are looked at: some tens of milliseconds of the store's time.
const GROUPS_MAX: usize = 10_000;
/// They are read again after so long even where the same number of letters stands everywhere: one that has died again where it stood changes no number, and two moves
/// may cancel each other out.
const READ_AGAIN_MS: u64 = 30_000;
/// Groups of which it is counted how much they have grown, those that grew last.
const COUNTED_MAX: usize = 500;
/// Letters of a group that are looked at, the newest, to find out whether alerts' own sagas are behind it.
const LETTERS_MAX: usize = 20;
/// Within this time a group has to grow, in milliseconds.
const GROWS_WITHIN_MS: u64 = 600_000;
/// Of an error so much is in a title: the letter has all of it.
const ERROR_CHARS_MAX: usize = 200;

/// What a group's newest letter says, and whether alerts' own sagas are behind all that were looked at.
#[derive(Debug, Clone)]
struct About {
    queue: String,
    reason: String,
    error: String,
    silent: bool,
}

impl About {
    fn of(row: &LetterRow, silent: bool) -> Self {
        Self {
            queue: row.letter.queue.clone(),
            reason: row.letter.reason.as_str().to_owned(),
            // it goes to whoever hears alerts, and into logs; covered before it is cut, since a part of a secret is not known for one
            error: masks::text(&row.letter.error)
                .chars()
                .take(ERROR_CHARS_MAX)
                .collect(),
            silent,
        }
    }

    /// As the alert has it that was said: it is not read again.
    fn known(row: &AlertRow) -> Option<Self> {
        let word = |name: &str| row.data[name].as_str().map(str::to_owned);
        Some(Self {
            queue: word("queue")?,
            reason: word("reason")?,
            error: word("error")?,
            silent: false,
        })
    }

    fn title(&self, dead: u64) -> String {
        let Self {
            queue,
            reason,
            error,
            ..
        } = self;
        match dead {
            0 | 1 => format!("a message of {queue} is dead ({reason}): {error}"),
            _ => format!("{dead} messages of {queue} are dead ({reason}), such as: {error}"),
        }
    }

    fn cause(&self, key: String, kind: Kind, title: String, group: &str, mut data: Value) -> Cause {
        data["group"] = json!(group);
        data["queue"] = json!(self.queue);
        data["reason"] = json!(self.reason);
        data["error"] = json!(self.error);
        Cause {
            key,
            kind,
            title,
            object: format!("dead-letters?group={group}"),
            command: format!("baton dead ls --group {group}"),
            data,
            silent: self.silent,
        }
    }
}

fn key(kind: Kind, group: &str) -> String {
    format!("{}/{group}", kind.as_str())
}

/// The groups there are, as they were read last.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Those that grew last before others: what is new is kept before what is old where there is more than may be.
    newest_first: Vec<LetterGroup>,
    /// Whether there are more.
    is_part: bool,
    /// How many letters there were, and how many of them where, before they were read, and when that was; none: they have to be read.
    read: Option<(Stood, Timestamp)>,
}

/// How many letters there are, and how many of them where.
type Stood = (u64, BTreeMap<LetterState, u64>);

/// The groups there are, and those that grow.
pub(super) async fn find(
    look: &Look<'_>,
    all: &mut Groups,
    group_grows: u64,
    found: &mut Found,
) -> Result<(), StoreError> {
    all.look(look).await?;
    if all.is_part {
        found.part(Kind::DeadLetter);
        found.part(Kind::GrowingGroup);
    }
    let groups = &all.newest_first;
    let mut growing = Vec::new();
    let may_grow = groups
        .iter()
        .filter(|group| may_have_grown(look, group, group_grows));
    let may_grow: Vec<&LetterGroup> = may_grow.collect();
    if may_grow.len() > COUNTED_MAX {
        found.part(Kind::GrowingGroup);
    }
    for group in may_grow.into_iter().take(COUNTED_MAX) {
        let by = grown(look, group).await?;
        if by >= group_grows {
            growing.push((key(Kind::GrowingGroup, &group.group), (group, by)));
        }
    }
    let dead = groups.iter();
    let dead = dead.map(|group| (key(Kind::DeadLetter, &group.group), group));
    let (dead, dead_beyond) = look.kept(dead.collect());
    let (growing, growing_beyond) = look.kept(growing);
    let mut known = BTreeMap::new();
    let mut causes = Vec::with_capacity(dead.len());
    for (key, group) in dead {
        let Some(about) = about(look, &mut known, group).await? else {
            continue;
        };
        let data =
            json!({ "dead": group.dead, "first_at": group.first_at, "last_at": group.last_at });
        let title = about.title(group.dead);
        causes.push(about.cause(key, Kind::DeadLetter, title, &group.group, data));
    }
    found.take(Kind::DeadLetter, causes, dead_beyond);
    let mut causes = Vec::with_capacity(growing.len());
    for (key, (group, by)) in growing {
        let Some(about) = about(look, &mut known, group).await? else {
            continue;
        };
        let title = format!(
            "a group grew by {by} within ten minutes: {}",
            about.title(group.dead)
        );
        let data = json!({ "by": by, "dead": group.dead });
        causes.push(about.cause(key, Kind::GrowingGroup, title, &group.group, data));
    }
    found.take(Kind::GrowingGroup, causes, growing_beyond);
    Ok(())
}

impl Groups {
    /// Reads them, where they may have changed.
    async fn look(&mut self, look: &Look<'_>) -> Result<(), StoreError> {
        // counted first: what changes while they are read is seen at the next look
        let counts = look.reader.counts().await?;
        let stand = (counts.dead_letters, counts.letters);
        if self.is_current(&stand, look.now) {
            return Ok(());
        }
        // where it fails they are read at the next look, whatever was counted
        self.read = None;
        let mut groups: Vec<LetterGroup> = Vec::new();
        let is_part = loop {
            let after = groups.last().map(|last| last.group.clone());
            let page = look.reader.dead_letter_groups(after, AT_ONCE).await?;
            let is_last = page.len() < AT_ONCE;
            groups.extend(page);
            if is_last || groups.len() >= GROUPS_MAX {
                break !is_last;
            }
        };
        groups.sort_by_key(|group| std::cmp::Reverse(group.last_at));
        (self.newest_first, self.is_part) = (groups, is_part);
        self.read = Some((stand, look.now));
        Ok(())
    }

    /// Whether what was read is what there is.
    fn is_current(&self, stand: &Stood, now: Timestamp) -> bool {
        let read = self.read.as_ref();
        read.is_some_and(|(stood, at)| stood == stand && now.since_ms(*at) < READ_AGAIN_MS)
    }
}

/// Whether it can have grown by so many within the time that counts.
fn may_have_grown(look: &Look<'_>, group: &LetterGroup, least: u64) -> bool {
    group.dead >= least && look.now.since_ms(group.last_at) <= GROWS_WITHIN_MS
}

/// By how many it has grown within the time that counts.
async fn grown(look: &Look<'_>, group: &LetterGroup) -> Result<u64, StoreError> {
    let from = Timestamp(look.now.0.saturating_sub(GROWS_WITHIN_MS));
    let filter = DeadLetterFilter {
        from: Some(from),
        ..of_group(&group.group)
    };
    look.reader.dead_letters_count(filter).await
}

fn of_group(group: &str) -> DeadLetterFilter {
    DeadLetterFilter {
        group: Some(group.to_owned()),
        state: Some(LetterState::Dead),
        ..DeadLetterFilter::default()
    }
}

/// What is said of a group, read at most once in a look; none when somebody has seen to it meanwhile.
async fn about(
    look: &Look<'_>,
    known: &mut BTreeMap<String, About>,
    group: &LetterGroup,
) -> Result<Option<About>, StoreError> {
    let name = &group.group;
    if let Some(about) = known.get(name) {
        return Ok(Some(about.clone()));
    }
    let alert = look.settled(&key(Kind::DeadLetter, name));
    let about = match alert.and_then(About::known) {
        Some(about) => Some(about),
        None => read(look, name).await?,
    };
    if let Some(about) = &about {
        known.insert(name.clone(), about.clone());
    }
    Ok(about)
}

async fn read(look: &Look<'_>, group: &str) -> Result<Option<About>, StoreError> {
    let heads = look
        .reader
        .dead_letter_heads(of_group(group), None, LETTERS_MAX);
    let page = heads.await?;
    let Some(newest) = page.rows.first() else {
        return Ok(None);
    };
    let silent = are_own(look, &page.rows).await?;
    Ok(Some(About::of(newest, silent)))
}

/// Whether all of these are of what alerts start: one of another among them is reason enough to say it.
async fn are_own(look: &Look<'_>, rows: &[LetterRow]) -> Result<bool, StoreError> {
    for row in rows {
        let is_own = match row.letter.saga {
            _ if is_of_an_alert(&row.letter.key) => true,
            Some(saga) => look.is_own(saga).await?,
            None => false,
        };
        if !is_own {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a letter is one of alerts' events: it was published by its type. What else a body speaks of is a sender's word, and silences nothing.
fn is_of_an_alert(routing_key: &str) -> bool {
    routing_key.starts_with(ALERT_EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_when_a_number_has_changed_and_after_a_while() {
        let stood = |all, dead| (all, BTreeMap::from([(LetterState::Dead, dead)]));
        let mut groups = Groups::default();
        assert!(
            !groups.is_current(&stood(3, 2), Timestamp(1_000)),
            "never read"
        );
        groups.read = Some((stood(3, 2), Timestamp(1_000)));
        let is_current =
            |all, dead, after| groups.is_current(&stood(all, dead), Timestamp(1_000 + after));
        assert!(is_current(3, 2, READ_AGAIN_MS - 1));
        assert!(!is_current(3, 2, READ_AGAIN_MS));
        assert!(!is_current(4, 2, 1), "one came, and another was moved");
        assert!(!is_current(3, 1, 1), "one was moved");
    }

    #[test]
    fn only_what_was_published_as_an_alert_is_one() {
        assert!(is_of_an_alert("dev.baton.alert.opened"));
        assert!(!is_of_an_alert("com.example.dev.baton.alert.opened"));
        assert!(!is_of_an_alert("order.placed"));
    }
}
