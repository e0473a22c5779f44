//! What is needed of a store that keeps alerts.

use baton_messages::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::Subject;
use crate::alerts::{AlertRow, AlertState, Alerts as _, Answered, Saying};

/// An alert as it is written first.
pub fn alert(number: u32) -> AlertRow {
    AlertRow {
        id: Uuid::from_u128(u128::from(number)),
        key: format!("parked/\u{0}{number}"),
        kind: "parked".to_owned(),
        state: AlertState::Open,
        title: format!("number {number} \u{1b} ß"),
        object: "sagas/1".to_owned(),
        command: "baton show 1".to_owned(),
        data: json!({ "step": "a" }),
        silent: false,
        opened_at: Timestamp(u64::from(number) * 10),
        openings: 1,
        resolved_at: None,
        said_at: None,
        sayings: 1,
        unsaid: Some(Saying::Opened),
        acknowledged: None,
        muted: None,
        revision: 1,
    }
}

fn changed(row: &AlertRow, change: impl FnOnce(&mut AlertRow)) -> AlertRow {
    let mut row = row.clone();
    row.revision += 1;
    change(&mut row);
    row
}

/// Of two who saw the same alert and change it, one does; what is written is there at the next opening, whole.
pub async fn an_alert_is_changed_by_one_who_saw_it_last(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let alerts = subject.alerts(&store);
    let rows = vec![alert(1), alert(2)];
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    assert_eq!(alerts.put(rows.clone()).await.unwrap(), ids);
    let nothing: Vec<Uuid> = Vec::new();
    assert_eq!(alerts.put(rows.clone()).await.unwrap(), nothing);
    let seen = changed(&rows[0], |row| {
        row.acknowledged = Some(Answered {
            by: "anna".to_owned(),
            why: "known".to_owned(),
            at: Timestamp(5),
            until: None,
        });
    });
    let said = changed(&rows[0], |row| row.unsaid = None);
    assert_eq!(alerts.put(vec![seen.clone()]).await.unwrap(), [seen.id]);
    assert_eq!(alerts.put(vec![said, seen.clone()]).await.unwrap(), nothing);
    subject.close(store).await;
    let (store, _) = subject.open().await;
    let alerts = subject.alerts(&store);
    let keys = vec![rows[0].key.clone(), "none".to_owned()];
    let found = alerts.keyed(keys).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&seen));
    assert_eq!(alerts.between(seen.id, seen.id).await.unwrap(), [seen]);
    subject.close(store).await;
}

/// What is open or has still to be said stands; what is resolved and said is forgotten in time; pages are newest first.
pub async fn alerts_stand_until_they_are_over_and_said(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let alerts = subject.alerts(&store);
    let rows: Vec<AlertRow> = (1..=9).map(alert).collect();
    alerts.put(rows.clone()).await.unwrap();
    let over = |row: &AlertRow, unsaid| {
        changed(row, |row| {
            row.state = AlertState::Resolved;
            row.unsaid = unsaid;
        })
    };
    let silent = over(&rows[0], None);
    let loud = over(&rows[1], Some(Saying::Resolved));
    alerts.put(vec![silent, loud.clone()]).await.unwrap();
    let standing = alerts.standing(5).await.unwrap().rows;
    let numbers: Vec<u128> = standing.iter().map(|row| row.id.as_u128()).collect();
    assert_eq!(numbers, [3, 4, 5, 6, 7, 2]);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = alerts.page(None, after, 4).await.unwrap();
        found.extend(page.rows.iter().map(|row| row.id.as_u128()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let page = alerts
        .page(Some(AlertState::Resolved), None, 9)
        .await
        .unwrap();
    let found: Vec<u128> = page.rows.iter().map(|row| row.id.as_u128()).collect();
    assert_eq!(found, [2, 1]);
    alerts.forget(Timestamp(1_000), 100).await.unwrap();
    let page = alerts.page(None, None, 99).await.unwrap();
    assert_eq!(
        page.rows.len(),
        8,
        "what has still to be said, or is open, stays"
    );
    subject.close(store).await;
}
