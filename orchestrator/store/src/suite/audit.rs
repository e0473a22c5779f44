//! What is needed of a store that keeps what operators did.

use baton_messages::{AuditCheck, AuditEntry, AuditOutcome, AuditPhase, AuditRow, Timestamp};

use super::Subject;
use crate::audit::{AuditCursor, AuditFilter, AuditLog};

/// What somebody asked for.
pub fn asked(who: &str, action: &str, object: &str, at: u64) -> AuditEntry {
    AuditEntry {
        seq: 0,
        prev: String::new(),
        at: Timestamp(at),
        phase: AuditPhase::Asked,
        of: None,
        action: action.to_owned(),
        object: object.to_owned(),
        part: Some("steps/a".to_owned()),
        who: who.to_owned(),
        behalf: Some("Zoë \u{0} \u{1b}".to_owned()),
        role: "operator".to_owned(),
        why: Some("'; DROP TABLE audit; --".to_owned()),
        from: "::1".to_owned(),
        forwarded: None,
        request: "r".to_owned(),
        instance: "o".to_owned(),
        asked: Some(serde_json::json!({ "rate": 2.5 })),
        before: None,
        after: None,
        outcome: None,
        uncounted: None,
    }
}

/// What came of that.
fn done(of: &AuditRow, at: u64) -> AuditEntry {
    let entry = of.entry().unwrap();
    AuditEntry {
        phase: AuditPhase::Done,
        of: Some(of.seq),
        at: Timestamp(at),
        outcome: Some(AuditOutcome {
            status: 200,
            problem: None,
        }),
        ..entry
    }
}

/// Every kind of filter.
pub fn filters() -> Vec<AuditFilter> {
    let mut filters = Vec::new();
    for bits in 0..16_u8 {
        let set = |bit: u8, text: &str| (bits & bit > 0).then(|| text.to_owned());
        filters.push(AuditFilter {
            who: set(1, "ci"),
            action: set(2, "cancelSaga"),
            object: set(4, "sagas/1"),
            phase: (bits & 8 > 0).then_some(AuditPhase::Done),
            all: bits % 3 == 0,
            ..AuditFilter::default()
        });
    }
    filters
}

async fn whole(log: &impl AuditLog) -> Vec<AuditRow> {
    let mut all: Vec<AuditRow> = Vec::new();
    loop {
        let after = all.last().map_or(0, |row| row.seq);
        let page = log.rows(after, 3).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn hangs_together(rows: &[AuditRow]) {
    let mut check = AuditCheck::default();
    for row in rows {
        check.row(row.clone()).unwrap();
    }
}

/// Each row follows the last, also the one a former owner wrote; what is kept is what was answered.
pub async fn the_chain_goes_on_over_openings(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let log = subject.audit(&store);
    assert_eq!(log.head().await.unwrap(), None);
    assert_eq!(log.append(Vec::new()).await.unwrap(), Vec::new());
    let entry = asked("ci", "cancelSaga", "sagas/1", 5);
    let mut kept = log.append(vec![entry.clone(), entry]).await.unwrap();
    let answer = done(&kept[0], 6);
    kept.extend(log.append(vec![answer]).await.unwrap());
    subject.close(store).await;
    let (store, _) = subject.open().await;
    let log = subject.audit(&store);
    let entry = asked("ci", "pauseSaga", "sagas/2", 7);
    kept.extend(log.append(vec![entry]).await.unwrap());
    assert_eq!(whole(&log).await, kept);
    assert_eq!(log.head().await.unwrap().as_ref(), kept.last());
    let numbers: Vec<u64> = kept.iter().map(|row| row.seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    hangs_together(&kept);
    subject.close(store).await;
}

/// However many add at once, nobody's row is lost, and no two follow the same one.
pub async fn many_who_add_at_once_make_one_chain(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let log = subject.audit(&store);
    let adding = (0..20_u64).map(|number| {
        let log = log.clone();
        let who = format!("w{number}");
        tokio::spawn(async move {
            let entries = vec![asked(&who, "cancelSaga", "sagas/1", number); 3];
            log.append(entries).await.unwrap()
        })
    });
    let added: Vec<_> = adding.collect();
    for one in added {
        let rows = one.await.unwrap();
        assert_eq!(rows[0].seq + 2, rows[2].seq, "together");
    }
    let kept = whole(&log).await;
    assert_eq!(kept.len(), 60);
    hangs_together(&kept);
    subject.close(store).await;
}

/// Newest first, in pages, by who, what, on what, when and how it ended; what was answered stands there once.
pub async fn actions_are_found_by_who_what_and_when(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let log = subject.audit(&store);
    for number in 1..=30_u64 {
        let who = ["ci", "anna"][usize::from(number % 2 == 0)];
        let action = ["cancelSaga", "pauseSaga", "revokeToken"][(number % 3) as usize];
        let object = format!("sagas/{}", number % 4);
        let entry = asked(who, action, &object, number * 10);
        let kept = log.append(vec![entry]).await.unwrap();
        if number % 5 != 0 {
            log.append(vec![done(&kept[0], number * 10 + 1)])
                .await
                .unwrap();
        }
    }
    let all: Vec<AuditEntry> = whole(&log)
        .await
        .iter()
        .map(|row| row.entry().unwrap())
        .collect();
    for mut filter in filters() {
        for (from, until) in [(None, None), (Some(Timestamp(101)), Some(Timestamp(200)))] {
            (filter.from, filter.until) = (from, until);
            let mut wanted: Vec<u64> = all
                .iter()
                .filter(|entry| fits(entry, &filter, &all))
                .map(|entry| entry.seq)
                .collect();
            wanted.reverse();
            assert_eq!(pages(&log, &filter).await, wanted, "{filter:?}");
        }
    }
    subject.close(store).await;
}

fn fits(entry: &AuditEntry, filter: &AuditFilter, all: &[AuditEntry]) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|of| of == found);
    let answered = all.iter().any(|other| other.of == Some(entry.seq));
    is(&filter.who, &entry.who)
        && is(&filter.action, &entry.action)
        && is(&filter.object, &entry.object)
        && filter.phase.is_none_or(|phase| phase == entry.phase)
        && filter.from.is_none_or(|from| from <= entry.at)
        && filter.until.is_none_or(|until| until >= entry.at)
        && (filter.all || !answered)
}

async fn pages(log: &impl AuditLog, filter: &AuditFilter) -> Vec<u64> {
    let mut found: Vec<u64> = Vec::new();
    let mut after: Option<AuditCursor> = None;
    loop {
        let page = log.page(filter.clone(), after, 4).await.unwrap();
        found.extend(page.rows.iter().map(|row| row.seq));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}
