//! What a trigger finds in an event, or at a nominal time: which sagas are to start, with which id, input and key, or by which key one is to be
//! cancelled. Pure; whoever calls it keeps the keys and the times. An expression that gives no value is no hit, and is said.

use std::collections::BTreeMap;

use baton_messages::{Event, SagaId, Timestamp};
use serde_json::{Value, json};

use crate::definition::{Definition, EventRule, OnHit, ScheduleRule, Trigger, rfc3339};
use crate::expr::{Scope, Template};

/// The longest key, in bytes: it is a part of a row's name.
pub const KEY_BYTES_MAX: usize = 512;

/// A trigger has found something: a saga is to start, or to be joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The trigger's place in `on:`.
    pub index: u32,
    /// The saga, always the same for the same cause.
    pub saga: SagaId,
    /// Its input.
    pub input: Value,
    /// While a saga of this definition with this key runs, and `window_ms` after its start, this hit joins it instead.
    pub key: Option<String>,
    /// See `key`, in milliseconds.
    pub window_ms: u64,
}

/// A trigger has found that a saga is to be cancelled: whichever its definition started with this key last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelHit {
    /// The trigger's place in `on:`.
    pub index: u32,
    /// The key that leads to the saga.
    pub key: String,
    /// Why, in the author's words.
    pub reason: String,
}

/// A trigger could not be evaluated: no hit, but nothing to pass over in silence either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("trigger {index} of {definition}: `{part}` {why}")]
pub struct TriggerError {
    /// The definition.
    pub definition: String,
    /// The trigger's place in `on:`.
    pub index: u32,
    /// Which of its keys.
    pub part: &'static str,
    /// What is wrong, and how to mend it; without the values it met.
    pub why: String,
}

/// What all triggers of a definition found in one event.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Sagas to start or to join, in the order of `on:`.
    pub hits: Vec<Hit>,
    /// What is to be cancelled, in the order of `on:`; after what is started, so that an event which does both ends with nothing.
    pub cancels: Vec<CancelHit>,
    /// Triggers that look at such events and could not be evaluated.
    pub errors: Vec<TriggerError>,
}

/// An event as expressions see it: `event`, in its JSON form.
#[derive(Debug, Clone)]
pub struct EventScope(Value);

impl EventScope {
    /// The event's JSON form; attributes it does not have are absent.
    #[must_use]
    pub fn new(event: &Event) -> Self {
        // Text, numbers and JSON values only: this cannot fail.
        Self(serde_json::to_value(event).unwrap_or_default())
    }
}

impl Scope for EventScope {
    fn get(&self, name: &str) -> Option<&Value> {
        (name == "event").then_some(&self.0)
    }
}

/// Whether some trigger of this definition looks at events of this type and source.
#[must_use]
pub fn looks_at(definition: &Definition, event: &Event) -> bool {
    let mut triggers = definition.triggers.iter();
    triggers.any(|trigger| trigger.looks_at(&event.kind, &event.source))
}

/// Holds an event against every trigger of a definition.
#[must_use]
pub fn on_event(definition: &Definition, event: &Event) -> Found {
    let mut found = Found::default();
    if !looks_at(definition, event) {
        return found;
    }
    let scope = EventScope::new(event);
    for (index, trigger) in (0u32..).zip(&definition.triggers) {
        let looks = trigger.looks_at(&event.kind, &event.source);
        let Some(rule) = trigger.event_rule().filter(|_| looks) else {
            continue;
        };
        match look(definition, index, rule, event, &scope) {
            Ok(Some(Looked::Start(hit))) => found.hits.push(hit),
            Ok(Some(Looked::Cancel(hit))) => found.cancels.push(hit),
            Ok(None) => {}
            Err((part, why)) => found.errors.push(TriggerError {
                definition: definition.saga.clone(),
                index,
                part,
                why,
            }),
        }
    }
    found
}

type Part<T> = Result<T, (&'static str, String)>;

/// What one trigger says to an event it lets through.
enum Looked {
    Start(Hit),
    Cancel(CancelHit),
}

fn look(
    definition: &Definition,
    index: u32,
    rule: &EventRule,
    event: &Event,
    scope: &EventScope,
) -> Part<Option<Looked>> {
    if let Some(when) = &rule.when {
        match when.eval(scope) {
            Ok(Value::Bool(true)) => {}
            Ok(Value::Bool(false)) => return Ok(None),
            Ok(_) => return Err(("when", "gives neither true nor false".to_owned())),
            Err(error) => return Err(("when", error.to_string())),
        }
    }
    let key = || {
        let key = rule.key.as_ref().map(|key| text_of(key, scope)).transpose();
        key.map_err(|why| ("key", why))
    };
    let (input, window_ms) = match &rule.then {
        OnHit::Start { input, window_ms } => (input.eval(scope), *window_ms),
        OnHit::Cancel { reason } => {
            let key = key()?.ok_or_else(|| ("key", "is not there".to_owned()))?;
            return Ok(Some(Looked::Cancel(CancelHit {
                index,
                key,
                reason: reason.clone(),
            })));
        }
    };
    let input = input.map_err(|error| ("input", error.to_string()))?;
    definition
        .check_input(&input)
        .map_err(|misfit| ("input", format!("does not fit the saga: {misfit}")))?;
    Ok(Some(Looked::Start(Hit {
        index,
        saga: SagaId::of_event(&definition.saga, index, &event.source, &event.id),
        input,
        key: key()?,
        window_ms,
    })))
}

/// A key is text, or what has one way to be written as text.
fn text_of(key: &Template, scope: &EventScope) -> Result<String, String> {
    let text = match key.eval(scope).map_err(|error| error.to_string())? {
        Value::String(text) => text,
        value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err("gives neither text nor a number".to_owned());
        }
    };
    if text.is_empty() || text.len() > KEY_BYTES_MAX {
        return Err(format!(
            "gives {} bytes; a key has 1 to {KEY_BYTES_MAX}",
            text.len()
        ));
    }
    Ok(text)
}

/// The schedules of a definition, each with its place in `on:` and its name: expression and zone, the second of several with the same has ` (2)` behind it.
/// So it stays what it is when a new version orders its triggers otherwise.
#[must_use]
pub fn schedules(definition: &Definition) -> Vec<(u32, String, &ScheduleRule)> {
    let mut named: BTreeMap<String, u32> = BTreeMap::new();
    let mut all = Vec::new();
    for (index, trigger) in (0..).zip(&definition.triggers) {
        let Trigger::Schedule(rule) = trigger else {
            continue;
        };
        let mut name = format!("{} {}", rule.schedule.text(), rule.schedule.timezone());
        let nth = named.entry(name.clone()).or_default();
        *nth += 1;
        if *nth > 1 {
            name.push_str(&format!(" ({nth})"));
        }
        all.push((index, name, rule));
    }
    all
}

/// What a schedule starts for one of its nominal times.
///
/// # Errors
/// When its input cannot be computed or does not fit, or that trigger is no schedule.
pub fn on_schedule(
    definition: &Definition,
    index: u32,
    nominal: Timestamp,
) -> Result<Hit, TriggerError> {
    let error = |part, why| TriggerError {
        definition: definition.saga.clone(),
        index,
        part,
        why,
    };
    let mut own = schedules(definition).into_iter();
    let Some((_, name, rule)) = own.find(|(at, ..)| *at == index) else {
        return Err(error("schedule", "is not there".to_owned()));
    };
    let scope = BTreeMap::from([("schedule".to_owned(), json!({ "time": rfc3339(nominal) }))]);
    let input = rule.input.eval(&scope);
    let input = input.map_err(|wrong| error("input", wrong.to_string()))?;
    definition
        .check_input(&input)
        .map_err(|misfit| error("input", format!("does not fit the saga: {misfit}")))?;
    Ok(Hit {
        index,
        saga: SagaId::of_schedule(&definition.saga, &name, nominal.0),
        input,
        key: None,
        window_ms: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVER: &str = r#"
saga: treat
version: 1
on:
  - event: com.example.cpu
    when: ${ event.data.status != "resolved" }
    input: { host: "${ event.data.host }" }
    key: ${ event.data.host }
  - event: com.example.cpu
    when: ${ event.data.status == "resolved" }
    key: ${ event.data.host }
    cancel: the alarm is over
input: { type: object, required: [host] }
steps:
  - id: only
    sleep: 1s
"#;

    const ALARMS: &str = r#"
saga: quarantine
version: 1
on:
  - event: com.example.antivirus.*
    when: ${ event.data.severity >= 3 }
    input: { ip: "${ event.data.ip }", case: "${ event.id }" }
    key: ${ event.data.ip }
    window: 15m
  - schedule: "0 2 * * *"
    timezone: Europe/Vienna
    input: { ip: "10.0.0.1", case: "${ schedule.time }" }
  - hook: siem
    secret: siem
input:
  type: object
  required: [ip]
  properties: { ip: { type: string } }
steps:
  - id: only
    sleep: 1s
"#;

    fn event(kind: &str, source: &str, data: Value) -> Event {
        serde_json::from_value(json!({
            "specversion": "1.0", "id": "e1", "source": source, "type": kind, "data": data,
        }))
        .unwrap()
    }

    #[test]
    fn an_event_that_fits_is_a_hit_with_an_id_of_its_own() {
        let definition = Definition::parse(ALARMS).unwrap();
        let kind = "com.example.antivirus.detected";
        let alarm = event(kind, "/av", json!({"severity": 4, "ip": "10.0.0.7"}));
        let found = on_event(&definition, &alarm);
        assert_eq!(found.errors, []);
        assert_eq!(
            found.hits,
            [Hit {
                index: 0,
                saga: SagaId::of_event("quarantine", 0, "/av", "e1"),
                input: json!({"ip": "10.0.0.7", "case": "e1"}),
                key: Some("10.0.0.7".into()),
                window_ms: 900_000,
            }]
        );
        let mild = event(kind, "/av", json!({"severity": 2, "ip": "10.0.0.7"}));
        assert_eq!(on_event(&definition, &mild), Found::default());
        let other = event("com.example.other", "/av", json!({}));
        assert_eq!(on_event(&definition, &other), Found::default());
    }

    #[test]
    fn the_archive_of_each_firing_has_a_name_of_its_own() {
        let definition = include_str!("../../sagas/nightly-backup.yaml");
        let definition = Definition::parse(definition).unwrap();
        let name = |ms| on_schedule(&definition, 0, Timestamp(ms)).unwrap().input["name"].clone();
        assert_eq!(name(1_767_319_380_000), "2026-01-02T02:03:00Z");
        assert_eq!(name(1_767_319_440_000), "2026-01-02T02:04:00Z");
    }

    #[test]
    fn a_trigger_that_cannot_be_evaluated_is_no_hit_and_is_said() {
        let definition = Definition::parse(ALARMS).unwrap();
        let kind = "com.example.antivirus.detected";
        for (data, part) in [
            (json!({"ip": "10.0.0.7"}), "when"),
            (json!({"severity": "high", "ip": "10.0.0.7"}), "when"),
            (json!({"severity": 4}), "input"),
            (json!({"severity": 4, "ip": 7}), "input"),
            (json!({"severity": 4, "ip": ""}), "key"),
        ] {
            let found = on_event(&definition, &event(kind, "/av", data.clone()));
            assert_eq!(found.hits, [], "{data}");
            assert_eq!(found.errors.len(), 1, "{data}");
            assert_eq!(found.errors[0].part, part, "{data}");
        }
    }

    #[test]
    fn what_cancels_is_led_by_the_key_that_starts() {
        let definition = Definition::parse(OVER).unwrap();
        let said = |status: &str| {
            let data = json!({"host": "web-7", "status": status});
            on_event(&definition, &event("com.example.cpu", "/watch", data))
        };
        let (firing, resolved) = (said("firing"), said("resolved"));
        assert_eq!((firing.hits.len(), firing.cancels.len()), (1, 0));
        assert_eq!(firing.hits[0].key.as_deref(), Some("web-7"));
        assert_eq!((resolved.hits.len(), resolved.errors.len()), (0, 0));
        assert_eq!(
            resolved.cancels,
            [CancelHit {
                index: 1,
                key: "web-7".into(),
                reason: "the alarm is over".into(),
            }]
        );
        let no_host = event("com.example.cpu", "/watch", json!({"status": "resolved"}));
        let found = on_event(&definition, &no_host);
        assert_eq!((found.cancels.len(), found.errors.len()), (0, 1));
        assert_eq!((found.errors[0].index, found.errors[0].part), (1, "key"));
    }

    /// The alarm of a host that is over leaves the treatment of every other host, and what its whole group has asked for, as they are.
    #[test]
    fn an_alarm_that_is_over_leads_to_the_treatment_of_its_own_host() {
        let definition = include_str!("../../sagas/cpu-alarm.yaml");
        let definition = Definition::parse(definition).unwrap();
        let said = |host: &str, status: &str, everywhere: bool| {
            let data = json!({
                "host": host, "group": "web", "service": "shop", "url": "http://127.0.0.1:8080/",
                "status": status, "everywhere": everywhere,
            });
            let found = on_event(&definition, &event("com.example.cpu.high", "/watch", data));
            assert_eq!(found.errors, []);
            let started: Vec<String> = found.hits.into_iter().filter_map(|hit| hit.key).collect();
            let over: Vec<String> = found.cancels.into_iter().map(|hit| hit.key).collect();
            (started, over)
        };
        let none = Vec::<String>::new;
        let (one, _) = said("web-7", "firing", false);
        let (other, _) = said("web-8", "firing", false);
        assert_eq!((one.len(), other.len()), (1, 1));
        assert_ne!(one, other);
        assert_eq!(said("web-7", "resolved", false), (none(), one));
        let (all, _) = said("web-7", "firing", true);
        assert_eq!(said("web-8", "firing", true), (all, none()));
        assert_eq!(said("web-7", "resolved", true), (none(), none()));
    }

    #[test]
    fn a_hook_is_an_event_of_its_own_path() {
        let definition = Definition::parse(ALARMS).unwrap();
        let sent = event("hook.siem", "/v1/hooks/siem", json!({"ip": "10.0.0.7"}));
        let hits = on_event(&definition, &sent).hits;
        assert_eq!(hits.len(), 1);
        assert_eq!(
            (hits[0].index, &hits[0].input),
            (2, &json!({"ip": "10.0.0.7"}))
        );
        let forged = event("hook.siem", "/elsewhere", json!({"ip": "10.0.0.7"}));
        assert_eq!(on_event(&definition, &forged), Found::default());
    }

    #[test]
    fn a_nominal_time_is_always_the_same_saga() {
        let definition = Definition::parse(ALARMS).unwrap();
        let nominal = Timestamp(1_767_315_600_000);
        let hit = on_schedule(&definition, 1, nominal).unwrap();
        let name = "0 2 * * * Europe/Vienna";
        assert_eq!(hit.saga, SagaId::of_schedule("quarantine", name, nominal.0));
        assert_eq!(hit.input["case"], json!("2026-01-02T01:00:00Z"));
        let moved = ALARMS.replace(
            "on:\n",
            "on:\n  - schedule: \"0 3 * * *\"\n    input: { ip: \"10.0.0.2\" }\n",
        );
        let moved = Definition::parse(&moved).unwrap();
        let again = on_schedule(&moved, 2, nominal).unwrap();
        assert_eq!(again.saga, hit.saga, "wherever it stands");
        let before = on_schedule(&moved, 0, nominal).unwrap();
        assert_ne!(before.saga, hit.saga);
        assert!(on_schedule(&definition, 0, nominal).is_err());
        assert!(on_schedule(&definition, 9, nominal).is_err());
    }
}
