//! What an operator did, as it is kept: rows that are chained by hashes, so that whoever has one hash can tell whether anything before it was
//! changed, left out or put in. Written by the orchestrator, verified by anybody; no broker, store or clock is needed for either.
//!
//! **The canonical form** of a row is its [`AuditEntry`] as JSON by RFC 8785 (JCS). **Its hash** is SHA-256 over these bytes, in lower-case
//! hexadecimal. The entry holds its own number and the hash of the row before it, so that a hash speaks for everything up to its row.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::Timestamp;

/// What stands as the hash before the first row.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The type of the event that says how far the audit log is.
pub const AUDIT_HEAD_EVENT: &str = "dev.baton.audit.head";

/// What a row is about an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditPhase {
    /// Somebody asked for it; nothing of it was done before this row was committed.
    Asked,
    /// What came of what was asked. Where it is missing, nobody wrote down what came of it: the process died, or its store was away.
    Done,
    /// Somebody asked for what his role does not allow; nothing was done.
    Refused,
    /// Somebody was shown what not everybody may see.
    Seen,
}

impl AuditPhase {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Seen => "seen",
        }
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditOutcome {
    /// The status of HTTP.
    pub status: u16,
    /// Which problem it was, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One row, without its own hash. What is absent is left out of its JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Its number: from 1, without gaps.
    pub seq: u64,
    /// The hash of the row before it; of the first: 64 zeros.
    pub prev: String,
    /// When, by the clock of the orchestrator.
    pub at: Timestamp,
    /// What it is about the action.
    pub phase: AuditPhase,
    /// Of what came of something: the number of the row in which it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// What: the name of the operation of the HTTP API, such as `cancelSaga`.
    pub action: String,
    /// On what: the beginning of its path in the API, such as `sagas/<id>` or `tokens/<name>`.
    pub object: String,
    /// Which part of it: the rest of that path, such as `steps/<step>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Who: the name of the token.
    pub who: String,
    /// On whose behalf, as the caller says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behalf: Option<String>,
    /// The role of the token.
    pub role: String,
    /// Why, as the caller says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// From where: the address of the peer.
    pub from: String,
    /// Where a proxy says the caller is; anybody can say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<String>,
    /// The request's id: the caller's `X-Request-Id`, or one of ours.
    pub request: String,
    /// Which orchestrator was asked.
    pub instance: String,
    /// With what, as far as it is no secret: inputs, outputs and bodies are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Value>,
    /// How it stood before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// How it stood afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// What was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AuditOutcome>,
    /// How many like it came before it and were only counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted: Option<u64>,
}

/// A row as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRow {
    /// Its number, by which it is found.
    pub seq: u64,
    /// Its canonical form, which is what was hashed.
    pub body: String,
    /// SHA-256 of the canonical form.
    pub hash: String,
}

/// How far the log was at a moment: kept away from it, it shows that the newest rows were cut off or written anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHead {
    /// The number of the last row; 0 when there was none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// When it was the last.
    pub at: Timestamp,
}

/// SHA-256 of the canonical form, in hexadecimal.
#[must_use]
pub fn audit_hash(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl AuditEntry {
    /// Gives it its place behind a row, and makes of it what is kept.
    ///
    /// # Errors
    /// When a number in it is none that JSON can hold.
    pub fn sealed(mut self, after: Option<&AuditRow>) -> serde_json::Result<AuditRow> {
        self.seq = after.map_or(1, |row| row.seq + 1);
        self.prev = after.map_or_else(|| GENESIS.to_owned(), |row| row.hash.clone());
        let body = serde_json_canonicalizer::to_string(&self)?;
        let hash = audit_hash(&body);
        Ok(AuditRow {
            seq: self.seq,
            body,
            hash,
        })
    }
}

impl AuditRow {
    /// What it says; none when it is no entry.
    #[must_use]
    pub fn entry(&self) -> Option<AuditEntry> {
        serde_json::from_str(&self.body).ok()
    }
}

/// What is wrong with a log, at the first row that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// What stands there is not what was written.
    #[error("row {seq} was changed: {why}")]
    Changed {
        /// Which row.
        seq: u64,
        /// How it is seen.
        why: String,
    },
    /// Rows in the middle are gone.
    #[error("row {seq} is missing: the next one that is there is row {next}")]
    Missing {
        /// The first that is gone.
        seq: u64,
        /// The next that is there.
        next: u64,
    },
    /// The newest rows are gone.
    #[error(
        "row {seq} is missing: the log ends before it, and it went to row {head} by a head that was exported"
    )]
    CutOff {
        /// The first that is gone.
        seq: u64,
        /// How far it went.
        head: u64,
    },
    /// It hangs together, and is not the log that was exported.
    #[error(
        "row {seq} is not the row that was written there: the log was written anew somewhere between row {from} and row {seq}, by a head that was exported"
    )]
    Forked {
        /// The first row that may be wrong.
        from: u64,
        /// The row whose hash is another.
        seq: u64,
    },
}

impl AuditFault {
    /// The first row that is wrong.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Changed { seq, .. }
            | Self::Missing { seq, .. }
            | Self::CutOff { seq, .. }
            | Self::Forked { seq, .. } => *seq,
        }
    }
}

/// Follows a chain row by row, oldest first, and holds it against heads that were exported.
#[derive(Debug, Default)]
pub struct AuditCheck {
    last: Option<AuditRow>,
    heads: Vec<AuditHead>,
    /// The last exported head that was found as it was.
    agreed: u64,
    next_head: usize,
}

impl AuditCheck {
    /// One that knows these heads, in any order.
    #[must_use]
    pub fn new(mut heads: Vec<AuditHead>) -> Self {
        heads.retain(|head| head.seq > 0);
        heads.sort_by_key(|head| head.seq);
        Self {
            heads,
            ..Self::default()
        }
    }

    /// How many rows were followed.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.last.as_ref().map_or(0, |row| row.seq)
    }

    /// The last row's hash.
    #[must_use]
    pub fn hash(&self) -> &str {
        self.last.as_ref().map_or(GENESIS, |row| &row.hash)
    }

    /// The next row.
    ///
    /// # Errors
    /// [`AuditFault`], of the first row that is wrong; nothing is followed behind it.
    pub fn row(&mut self, row: AuditRow) -> Result<(), AuditFault> {
        let wanted = self.rows() + 1;
        if row.seq > wanted {
            return Err(AuditFault::Missing {
                seq: wanted,
                next: row.seq,
            });
        }
        if row.seq < wanted {
            return Err(changed(row.seq, "it stands there twice"));
        }
        if audit_hash(&row.body) != row.hash {
            return Err(changed(row.seq, "its hash is another"));
        }
        let Some(entry) = row.entry() else {
            return Err(changed(row.seq, "it is no audit row"));
        };
        if entry.seq != row.seq {
            let why = format!("it says that it is row {}", entry.seq);
            return Err(changed(row.seq, &why));
        }
        if entry.prev != self.hash() {
            // its own hash fits: then it is the row before it that is another than when this one was written
            let (seq, why) = match wanted {
                1 => (1, "it follows a row that was never there"),
                _ => (wanted - 1, "the next row follows another one"),
            };
            return Err(changed(seq, why));
        }
        self.hold_against_heads(&row)?;
        self.last = Some(row);
        Ok(())
    }

    fn hold_against_heads(&mut self, row: &AuditRow) -> Result<(), AuditFault> {
        while let Some(head) = self.heads.get(self.next_head) {
            if head.seq > row.seq {
                break;
            }
            if head.seq == row.seq && head.hash != row.hash {
                return Err(AuditFault::Forked {
                    from: self.agreed + 1,
                    seq: row.seq,
                });
            }
            self.agreed = head.seq;
            self.next_head += 1;
        }
        Ok(())
    }

    /// There are no more rows.
    ///
    /// # Errors
    /// [`AuditFault::CutOff`] when an exported head lies behind the last of them.
    pub fn end(&self) -> Result<(), AuditFault> {
        match self.heads.last() {
            Some(head) if head.seq > self.rows() => Err(AuditFault::CutOff {
                seq: self.rows() + 1,
                head: head.seq,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

fn changed(seq: u64, why: &str) -> AuditFault {
    AuditFault::Changed {
        seq,
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &str) -> AuditEntry {
        AuditEntry {
            seq: 0,
            prev: String::new(),
            at: Timestamp(1_790_000_000_123),
            phase: AuditPhase::Asked,
            of: None,
            action: action.to_owned(),
            object: "sagas/1".to_owned(),
            part: None,
            who: "ci".to_owned(),
            behalf: Some("anna".to_owned()),
            role: "operator".to_owned(),
            why: Some("café \u{0} \"quoted\"".to_owned()),
            from: "127.0.0.1".to_owned(),
            forwarded: None,
            request: "r".to_owned(),
            instance: "o-1".to_owned(),
            asked: Some(serde_json::json!({ "b": 1, "a": 2.5 })),
            before: None,
            after: None,
            outcome: None,
            uncounted: None,
        }
    }

    fn chain(rows: usize) -> Vec<AuditRow> {
        let mut chain: Vec<AuditRow> = Vec::new();
        for number in 0..rows {
            let sealed = entry(&format!("act{number}")).sealed(chain.last());
            chain.push(sealed.unwrap());
        }
        chain
    }

    fn heads(rows: &[AuditRow], of: &[usize]) -> Vec<AuditHead> {
        of.iter()
            .map(|seq| AuditHead {
                seq: *seq as u64,
                hash: rows[*seq - 1].hash.clone(),
                at: Timestamp(1),
            })
            .collect()
    }

    fn check(rows: Vec<AuditRow>, heads: Vec<AuditHead>) -> Result<u64, AuditFault> {
        let mut check = AuditCheck::new(heads);
        for row in rows {
            check.row(row)?;
        }
        check.end()?;
        Ok(check.rows())
    }

    /// Rebuilds the chain from a row on, as somebody would who can write into the store.
    fn rewritten(rows: &[AuditRow], from: usize, keep: impl Fn(u64) -> bool) -> Vec<AuditRow> {
        let mut chain = rows[..from].to_vec();
        for row in &rows[from..] {
            if keep(row.seq) {
                let mut entry = row.entry().unwrap();
                entry.who = "nobody".to_owned();
                chain.push(entry.sealed(chain.last()).unwrap());
            }
        }
        chain
    }

    #[test]
    fn the_canonical_form_is_that_of_rfc_8785_and_the_hash_is_over_it() {
        let row = entry("cancelSaga").sealed(None).unwrap();
        assert!(row.body.starts_with(r#"{"action":"cancelSaga","asked":{"a":2.5,"b":1},"at":1790000000123,"behalf":"anna""#), "{}", row.body);
        assert!(
            row.body.contains(r#""prev":"0000"#) && row.body.contains(r#"café \u0000 \"quoted\""#),
            "{}",
            row.body
        );
        assert_eq!(row.hash, audit_hash(&row.body));
        assert_eq!(
            audit_hash(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(row.entry().unwrap().sealed(None).unwrap(), row);
    }

    #[test]
    fn a_whole_chain_is_right_with_and_without_heads() {
        let rows = chain(9);
        assert_eq!(check(Vec::new(), Vec::new()), Ok(0));
        assert_eq!(check(rows.clone(), Vec::new()), Ok(9));
        assert_eq!(check(rows.clone(), heads(&rows, &[9, 3, 3])), Ok(9));
    }

    #[test]
    fn a_changed_row_is_named() {
        let rows = chain(9);
        for number in 0..9 {
            let mut wrong = rows.clone();
            wrong[number].body = wrong[number].body.replace("anna", "otto");
            let seq = number as u64 + 1;
            let found = check(wrong.clone(), Vec::new()).unwrap_err();
            assert!(
                matches!(found, AuditFault::Changed { seq: of, .. } if of == seq),
                "{found}"
            );
            // with a hash that fits, the row behind it says so; of the last one only a head can
            wrong[number].hash = audit_hash(&wrong[number].body);
            let found = check(wrong, heads(&rows, &[9])).unwrap_err();
            assert_eq!(found.seq(), seq, "{found}");
        }
    }

    #[test]
    fn what_is_missing_is_named_in_the_middle_and_at_the_end() {
        let rows = chain(9);
        let mut gap = rows.clone();
        gap.drain(3..5);
        assert_eq!(
            check(gap, Vec::new()),
            Err(AuditFault::Missing { seq: 4, next: 6 })
        );
        let short = rows[..6].to_vec();
        assert_eq!(
            check(short.clone(), Vec::new()),
            Ok(6),
            "no head, no witness"
        );
        assert_eq!(
            check(short, heads(&rows, &[4, 8])),
            Err(AuditFault::CutOff { seq: 7, head: 8 })
        );
        assert_eq!(
            check(Vec::new(), heads(&rows, &[1])),
            Err(AuditFault::CutOff { seq: 1, head: 1 })
        );
    }

    #[test]
    fn a_chain_that_was_written_anew_is_another_one() {
        let rows = chain(9);
        let anew = rewritten(&rows, 4, |_| true);
        assert_eq!(check(anew.clone(), Vec::new()), Ok(9), "it hangs together");
        assert_eq!(
            check(anew, heads(&rows, &[4, 7])),
            Err(AuditFault::Forked { from: 5, seq: 7 })
        );
        let without = rewritten(&rows, 4, |seq| seq != 6);
        assert_eq!(
            check(without, heads(&rows, &[5, 8])),
            Err(AuditFault::Forked { from: 1, seq: 5 })
        );
    }
}
