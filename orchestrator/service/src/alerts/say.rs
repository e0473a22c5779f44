//! An alert as an event.

use baton_engine::definition::rfc3339;
use baton_messages::alert::{ALERT_OPENED, ALERT_REPEATED, ALERT_RESOLVED, AlertSaid};
use baton_messages::event::SPECVERSION;
use baton_messages::{Event, Timestamp};
use baton_store::{AlertRow, Saying};
use serde_json::json;
use uuid::Uuid;

use super::{Rules, link};

/// What the events say that they come from.
const SOURCE: &str = "/baton/alerts";

/// What is to be said of it, as an event; none when nothing is. The same saying is the same event, whoever says it and however often.
pub(super) fn event(row: &AlertRow, rules: &Rules, now: Timestamp) -> Option<Event> {
    let kind = match row.unsaid? {
        Saying::Opened => ALERT_OPENED,
        Saying::Repeated => ALERT_REPEATED,
        Saying::Resolved => ALERT_RESOLVED,
    };
    let said = AlertSaid {
        id: row.id,
        key: row.key.clone(),
        kind: row.kind.clone(),
        title: row.title.clone(),
        object: row.object.clone(),
        link: link(&rules.link, &row.object),
        command: row.command.clone(),
        opened_at: row.opened_at,
        openings: row.openings,
        data: row.data.clone(),
    };
    let number = row.sayings.to_be_bytes();
    Some(Event {
        specversion: SPECVERSION.to_owned(),
        id: Uuid::new_v5(&row.id, &number).to_string(),
        source: SOURCE.to_owned(),
        kind: kind.to_owned(),
        subject: Some(row.key.clone()),
        time: Some(rfc3339(now)),
        datacontenttype: Some("application/json".to_owned()),
        dataschema: None,
        data: Some(json!(said)),
        data_base64: None,
        extensions: Default::default(),
    })
}
