//! Rows of the audit log: each of their fields is under the hash, which anybody can reckon without us.

use baton_messages::audit::audit_hash;
use baton_messages::{
    AuditCheck, AuditEntry, AuditFault, AuditOutcome, AuditPhase, AuditRow, Timestamp,
};
use serde_json::{Map, Value, json};

/// One that says all there is to say.
fn entry() -> AuditEntry {
    AuditEntry {
        seq: 0,
        prev: String::new(),
        at: Timestamp(1_790_000_000_123),
        phase: AuditPhase::Asked,
        of: Some(7),
        action: "cancelSaga".to_owned(),
        object: "sagas/1".to_owned(),
        part: Some("steps/a".to_owned()),
        who: "ci".to_owned(),
        behalf: Some("anna".to_owned()),
        role: "operator".to_owned(),
        why: Some("not wanted".to_owned()),
        from: "127.0.0.1".to_owned(),
        forwarded: Some("10.0.0.1".to_owned()),
        request: "r-1".to_owned(),
        instance: "o-1".to_owned(),
        asked: Some(json!({ "force": true })),
        before: Some(json!({ "status": "running" })),
        after: Some(json!({ "status": "compensating" })),
        outcome: Some(AuditOutcome {
            status: 200,
            problem: Some("none".to_owned()),
        }),
        uncounted: Some(3),
    }
}

fn check(rows: &[AuditRow]) -> Result<(), AuditFault> {
    let mut check = AuditCheck::default();
    rows.iter().try_for_each(|row| check.row(row.clone()))
}

/// Another value of the same kind.
fn another(name: &str, value: &Value) -> Value {
    match (name, value) {
        ("phase", _) => json!("done"),
        ("outcome", _) => json!({ "status": 500, "problem": "none" }),
        (_, Value::String(text)) => json!(format!("{text}0")),
        (_, Value::Number(number)) => json!(number.as_u64().map_or(0, |n| n + 1)),
        (_, _) => json!({ "other": 1 }),
    }
}

#[test]
fn whoever_changes_or_leaves_out_any_field_is_found_out_at_that_row() {
    let first = entry().sealed(None).unwrap();
    let second = entry().sealed(Some(&first)).unwrap();
    assert_eq!(check(&[first.clone(), second.clone()]), Ok(()));
    let fields: Map<String, Value> = serde_json::from_str(&first.body).unwrap();
    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "action",
            "after",
            "asked",
            "at",
            "before",
            "behalf",
            "forwarded",
            "from",
            "instance",
            "object",
            "of",
            "outcome",
            "part",
            "phase",
            "prev",
            "request",
            "role",
            "seq",
            "uncounted",
            "who",
            "why"
        ],
        "all that is known of an action"
    );
    for (name, value) in &fields {
        for changed in [Some(another(name, value)), None] {
            let mut wrong = fields.clone();
            match &changed {
                Some(changed) => wrong.insert(name.clone(), changed.clone()),
                None => wrong.remove(name),
            };
            let body = Value::Object(wrong).to_string();
            let hash = audit_hash(&body);
            assert_ne!(hash, first.hash, "{name}: {changed:?}");
            // under the hash it had, and under one that fits, which the row behind it does not know
            for hash in [first.hash.clone(), hash] {
                let row = AuditRow {
                    hash,
                    body: body.clone(),
                    ..first.clone()
                };
                let found = check(&[row, second.clone()]).unwrap_err();
                assert_eq!(found.seq(), 1, "{name}: {changed:?}: {found}");
            }
        }
    }
}

/// Reckoned with Python's `json.dumps(…, sort_keys=True, separators=(",", ":"))` and `hashlib.sha256`.
#[test]
fn the_hash_of_a_row_is_what_others_reckon() {
    let row = entry().sealed(None).unwrap();
    assert_eq!(row.body, BODY);
    assert_eq!(row.hash, HASH);
}

const BODY: &str = r#"{"action":"cancelSaga","after":{"status":"compensating"},"asked":{"force":true},"at":1790000000123,"before":{"status":"running"},"behalf":"anna","forwarded":"10.0.0.1","from":"127.0.0.1","instance":"o-1","object":"sagas/1","of":7,"outcome":{"problem":"none","status":200},"part":"steps/a","phase":"asked","prev":"0000000000000000000000000000000000000000000000000000000000000000","request":"r-1","role":"operator","seq":1,"uncounted":3,"who":"ci","why":"not wanted"}"#;
const HASH: &str = "c0c94cdf48ac627385fd5554beedf5a7ead37f79c9a68538834f12e6b5cb5d41";
