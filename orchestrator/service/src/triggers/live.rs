//! The triggers that are live: those of the newest version of each definition. A set is made anew when a definition is registered, and
//! never changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_driver::DefinitionRow;
use baton_engine::Definition;
use baton_engine::definition::{EventPattern, ScheduleRule, StepKind, Trigger, hook_type};
use baton_engine::trigger::{Hit, on_event, schedules};
use baton_messages::{Event, Timestamp};
use baton_store::{Claim, Planned, TriggerRef};

/// Parsed definitions, and which triggers of them are live.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Every version there is: what was planned by one is carried out by the same.
    all: BTreeMap<(String, u32), Arc<Definition>>,
    /// The newest of each.
    newest: BTreeMap<String, Arc<Definition>>,
    /// What steps of any version may wait for.
    awaited: BTreeSet<EventPattern>,
}

/// One live schedule.
#[derive(Debug, Clone)]
pub(crate) struct LiveSchedule {
    pub(crate) definition: Arc<Definition>,
    pub(crate) trigger: u32,
    /// What it goes by, wherever in `on:` it stands.
    pub(crate) name: String,
    pub(crate) rule: ScheduleRule,
}

impl Live {
    /// The set after these rows; what was parsed before is not parsed again.
    pub(crate) fn with(&self, rows: Vec<DefinitionRow>) -> Self {
        let mut made = Self {
            all: self.all.clone(),
            ..Self::default()
        };
        for row in rows {
            let place = (row.name, row.version);
            if made.all.contains_key(&place) {
                continue;
            }
            match Definition::parse(&row.source) {
                Ok(definition) => {
                    made.all.insert(place, Arc::new(definition));
                }
                Err(_) => {
                    tracing::error!(definition = %place.0, version = place.1, "a registered definition cannot be read, so its triggers are not live; it may be of a newer program");
                }
            }
        }
        // ascending versions: the last one stays
        for ((name, _), definition) in &made.all {
            made.newest.insert(name.clone(), definition.clone());
        }
        for definition in made.all.values() {
            made.awaited.extend(waits(definition).cloned());
        }
        made
    }

    /// The newest version of every definition.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.newest.values()
    }

    /// A version of a definition.
    pub(crate) fn definition(&self, name: &str, version: u32) -> Option<&Arc<Definition>> {
        self.all.get(&(name.to_owned(), version))
    }

    /// Whether there is a definition of this name that can be read.
    pub(crate) fn has(&self, definition: &str) -> bool {
        self.newest.contains_key(definition)
    }

    /// The keys by which the queue gets what is needed. Hooks need none: their events are taken in where they come.
    pub(crate) fn binding_keys(&self) -> BTreeSet<String> {
        let triggers = self
            .newest
            .values()
            .flat_map(|definition| &definition.triggers);
        let events = triggers.filter_map(|trigger| match trigger {
            Trigger::Event { event, .. } => Some(event.binding_key()),
            Trigger::Hook { .. } | Trigger::Schedule(_) => None,
        });
        let waits = self.awaited.iter().map(EventPattern::binding_key);
        events.chain(waits).collect()
    }

    /// Whether some step may wait for events of this type, now or later.
    pub(crate) fn is_awaited(&self, kind: &str) -> bool {
        self.awaited.iter().any(|pattern| pattern.fits(kind))
    }

    /// What the live triggers say to an event. `secret`: the one that signed it, of an event that came by a hook; a trigger on a hook
    /// takes only what its own secret signed.
    pub(crate) fn planned(
        &self,
        event: &Event,
        secret: Option<&str>,
        now: Timestamp,
    ) -> Vec<Planned> {
        let mut planned = Vec::new();
        for definition in self.newest.values() {
            let found = on_event(definition, event);
            let of = |trigger| TriggerRef {
                definition: definition.saga.clone(),
                version: definition.version,
                trigger,
            };
            let may = |index: &u32| signed(definition, *index, secret);
            let hits = found.hits.into_iter().filter(|hit| may(&hit.index));
            planned.extend(hits.map(|hit| Planned::Start {
                of: of(hit.index),
                saga: hit.saga,
                key: hit.key.map(|key| Claim {
                    key,
                    until: now.plus_ms(hit.window_ms),
                }),
            }));
            let cancels = found.cancels.into_iter().filter(|hit| may(&hit.index));
            planned.extend(cancels.map(|hit| Planned::Cancel {
                of: of(hit.index),
                key: hit.key,
                reason: hit.reason,
            }));
            let errors = found.errors.into_iter().filter(|error| may(&error.index));
            planned.extend(errors.map(|error| Planned::Refused {
                of: of(error.index),
                error: format!("`{}` {}", error.part, error.why),
            }));
        }
        planned
    }

    /// Why one of these triggers would refuse an event, as they are now; none of them: why any would. Said before anything is taken in.
    pub(crate) fn refusal(&self, of: &[TriggerRef], event: &Event) -> Option<String> {
        self.newest.values().find_map(|definition| {
            let asked = |trigger: u32| {
                let is_it =
                    |one: &TriggerRef| one.definition == definition.saga && one.trigger == trigger;
                of.is_empty() || of.iter().any(is_it)
            };
            let found = on_event(definition, event);
            let errors = found.errors.into_iter();
            let errors =
                errors.map(|error| (error.index, format!("`{}` {}", error.part, error.why)));
            let misfits = found.hits.into_iter().filter_map(|hit| {
                let misfit = definition.check_input(&hit.input).err()?;
                Some((
                    hit.index,
                    format!("the input it gives does not fit: {misfit}"),
                ))
            });
            let (trigger, why) = errors.chain(misfits).find(|(trigger, _)| asked(*trigger))?;
            let (saga, version) = (&definition.saga, definition.version);
            Some(format!("trigger {trigger} of {saga}@{version}: {why}"))
        })
    }

    /// Whether an event of the bus would be kept: a trigger says something to it, or a step may wait for its type.
    pub(crate) fn wants(&self, event: &Event, now: Timestamp) -> bool {
        self.is_awaited(&event.kind) || !self.planned(event, None, now).is_empty()
    }

    /// The secrets that triggers of a definition name.
    pub(crate) fn hooks_of(definition: &Definition) -> BTreeSet<(&str, &str)> {
        let triggers = definition.triggers.iter();
        triggers
            .filter_map(|trigger| match trigger {
                Trigger::Hook { name, secret, .. } => Some((name.as_str(), secret.as_str())),
                Trigger::Event { .. } | Trigger::Schedule(_) => None,
            })
            .collect()
    }

    /// What a trigger finds in an event it was kept for, and by which version: the one that found it then; or, where that cannot be read any more
    /// or finds it no longer, as after an exchange of the program, the newest that can. Only the version that was planned is known to hold the
    /// secret that signed a hook, so that no other takes its place.
    pub(crate) fn hit(&self, of: &TriggerRef, event: &Event) -> Option<(u32, Hit)> {
        let planned = self.definition(&of.definition, of.version);
        let newest = || {
            let newest = self.newest.get(&of.definition)?;
            let on_hook = signed_by_any(newest, of.trigger) || claims_a_hook(event);
            (!on_hook).then_some(newest)
        };
        let found = |definition: &Arc<Definition>| {
            let hits = on_event(definition, event).hits;
            let hit = hits.into_iter().find(|hit| hit.index == of.trigger)?;
            Some((definition.version, hit))
        };
        planned.and_then(found).or_else(|| found(newest()?))
    }

    /// The secrets with which a hook may be signed; none when no live trigger is on it.
    pub(crate) fn secrets_of(&self, hook: &str) -> BTreeSet<&str> {
        let triggers = self
            .newest
            .values()
            .flat_map(|definition| &definition.triggers);
        triggers
            .filter_map(|trigger| match trigger {
                Trigger::Hook { name, secret, .. } if name == hook => Some(secret.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Every live schedule.
    pub(crate) fn schedules(&self) -> Vec<LiveSchedule> {
        let mut all = Vec::new();
        for definition in self.newest.values() {
            for (trigger, name, rule) in schedules(definition) {
                all.push(LiveSchedule {
                    definition: definition.clone(),
                    trigger,
                    name,
                    rule: rule.clone(),
                });
            }
        }
        all
    }
}

/// What steps of a definition may wait for.
fn waits(definition: &Definition) -> impl Iterator<Item = &EventPattern> {
    let steps = definition.all_steps().into_iter();
    steps.filter_map(|step| match &step.kind {
        StepKind::Wait(wait) => Some(&wait.event),
        _ => None,
    })
}

/// Whether a definition needs events of the bus.
pub(crate) fn listens(definition: &Definition) -> bool {
    let event = |trigger: &Trigger| matches!(trigger, Trigger::Event { .. });
    definition.triggers.iter().any(event) || waits(definition).next().is_some()
}

/// Whether this trigger is on a hook.
fn signed_by_any(definition: &Definition, trigger: u32) -> bool {
    let at = usize::try_from(trigger).unwrap_or(usize::MAX);
    matches!(definition.triggers.get(at), Some(Trigger::Hook { .. }))
}

/// A trigger on a hook takes only what its own secret signed; any other takes what it wants.
fn signed(definition: &Definition, trigger: u32, by: Option<&str>) -> bool {
    let at = usize::try_from(trigger).unwrap_or(usize::MAX);
    match definition.triggers.get(at) {
        Some(Trigger::Hook { secret, .. }) => by == Some(secret.as_str()),
        Some(Trigger::Event { .. } | Trigger::Schedule(_)) | None => true,
    }
}

/// Whether an event says it came by a hook: what the broker brings never did.
pub(crate) fn claims_a_hook(event: &Event) -> bool {
    event.source.starts_with("/v1/hooks/") || event.kind.starts_with(&hook_type(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(name: &str, version: u32, on: &str) -> DefinitionRow {
        DefinitionRow {
            name: name.to_owned(),
            version,
            source: format!(
                "saga: {name}\nversion: {version}\non:\n{on}steps:\n  - id: a\n    wait: {{ event: com.wait.*, timeout: 1h }}\n"
            ),
            at: Timestamp(0),
            by: String::new(),
        }
    }

    fn event(kind: &str, source: &str) -> Event {
        serde_json::from_value(json!({
            "specversion": "1.0", "id": "1", "source": source, "type": kind, "data": {},
        }))
        .unwrap()
    }

    #[test]
    fn only_the_newest_version_has_live_triggers_and_every_version_waits() {
        let old = row("s", 1, "  - event: com.old\n");
        let new = row("s", 2, "  - event: com.new.*\n");
        let live = Live::default().with(vec![new, old]);
        let keys: Vec<String> = live.binding_keys().into_iter().collect();
        assert_eq!(keys, ["com.new.#", "com.wait.#"]);
        assert!(
            live.planned(&event("com.old", "/s"), None, Timestamp(0))
                .is_empty()
        );
        let planned = live.planned(&event("com.new.a", "/s"), None, Timestamp(0));
        assert!(
            matches!(&planned[..], [Planned::Start { of, .. }] if of.version == 2),
            "{planned:?}"
        );
        assert!(live.is_awaited("com.wait.x") && !live.is_awaited("com.new.a"));
    }

    #[test]
    fn where_the_planned_version_cannot_be_read_the_newest_that_can_takes_its_place() {
        let of = |definition: &str, version, trigger| TriggerRef {
            definition: definition.to_owned(),
            version,
            trigger,
        };
        let hook = "  - hook: h\n    secret: one\n";
        let rows = vec![
            row("s", 1, "  - event: com.a\n"),
            row("s", 2, "  - event: com.a\n  - event: com.b\n"),
            row("h", 1, hook),
        ];
        let live = Live::default().with(rows);
        let version = |of: &TriggerRef, kind: &str, source: &str| {
            live.hit(of, &event(kind, source))
                .map(|(version, _)| version)
        };
        assert_eq!(
            version(&of("s", 1, 0), "com.a", "/s"),
            Some(1),
            "itself first"
        );
        assert_eq!(version(&of("s", 3, 0), "com.a", "/s"), Some(2));
        assert_eq!(
            version(&of("s", 3, 1), "com.a", "/s"),
            None,
            "another trigger"
        );
        assert_eq!(version(&of("s", 3, 1), "com.b", "/s"), Some(2));
        assert_eq!(version(&of("h", 1, 0), "hook.h", "/v1/hooks/h"), Some(1));
        assert_eq!(version(&of("h", 2, 0), "hook.h", "/v1/hooks/h"), None);
    }

    #[test]
    fn what_cancels_is_planned_behind_what_starts_and_only_where_it_may() {
        let on = "  - event: com.a\n    key: ${ event.source }\n    cancel: it is over\n  - event: com.a\n    key: ${ event.source }\n  - hook: h\n    secret: one\n    key: ${ event.source }\n    cancel: it was called off\n";
        let live = Live::default().with(vec![row("s", 1, on)]);
        let cancels = |event: &Event, secret: Option<&str>| -> Vec<(bool, u32)> {
            let planned = live.planned(event, secret, Timestamp(0));
            let is_cancel = |one: &Planned| matches!(one, Planned::Cancel { .. });
            let both = planned.iter();
            both.map(|one| (is_cancel(one), one.of().trigger)).collect()
        };
        let heard = event("com.a", "/s");
        assert_eq!(cancels(&heard, None), [(false, 1), (true, 0)]);
        let sent = event("hook.h", "/v1/hooks/h");
        assert_eq!(cancels(&sent, None), []);
        assert_eq!(cancels(&sent, Some("two")), []);
        assert_eq!(cancels(&sent, Some("one")), [(true, 2)]);
        assert!(live.wants(&heard, Timestamp(0)));
        assert!(live.binding_keys().contains("com.a"));
    }

    #[test]
    fn a_trigger_on_a_hook_takes_only_what_its_secret_signed() {
        let one = row("a", 1, "  - hook: h\n    secret: one\n");
        let two = row("b", 1, "  - hook: h\n    secret: two\n");
        let live = Live::default().with(vec![one, two]);
        assert_eq!(
            live.secrets_of("h").into_iter().collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert!(live.secrets_of("other").is_empty());
        let sent = event("hook.h", "/v1/hooks/h");
        assert!(claims_a_hook(&sent) && claims_a_hook(&event("hook.h", "/s")));
        assert!(live.planned(&sent, None, Timestamp(0)).is_empty());
        let planned = live.planned(&sent, Some("two"), Timestamp(0));
        assert!(
            matches!(&planned[..], [Planned::Start { of, .. }] if of.definition == "b"),
            "{planned:?}"
        );
        assert!(
            !live.binding_keys().contains("hook.h"),
            "the broker brings none"
        );
    }
}
