//! Dead letters after their intake, in memory.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use uuid::Uuid;

use super::MemoryStore;
use super::tables::Tables;
use crate::arrivals::{Arrived, Arriving, KEPT_MS};
use crate::facets::facets_of;
use crate::group::group_of;
use crate::letters::{
    Claiming, Death, Died, EditRow, GivingBack, HistoryRow, Imported, LetterRow, LetterState,
    Letters, Move, OperationRow, OperationState, OperationStep, Sending, Settling, Standing,
    Waiting, WholeLetter, Written,
};
use crate::read::DeadLetterCursor;

impl MemoryStore {
    /// Every letter with where it stands, by id.
    pub(super) fn letter_rows(&self) -> Vec<LetterRow> {
        let tables = self.tables();
        let letters = tables.dead_letters.iter().map(|(id, letter)| LetterRow {
            letter: letter.clone(),
            now: tables.standings.get(id).cloned().unwrap_or_default(),
            body_bytes: letter.body.len() as u64,
            about: facets_of(letter),
        });
        letters.collect()
    }
}

/// What a history says of a note: it moves nothing.
const NOTED: &str = "noted";

/// Writes down what happened to a letter, by whoever moved it last.
fn happened(tables: &mut Tables, letter: Uuid, at: Timestamp, what: &str, text: &str) {
    let now = tables.standings.get(&letter).cloned().unwrap_or_default();
    let history = tables.history.entry(letter).or_default();
    history.push(HistoryRow {
        n: u32::try_from(history.len()).unwrap_or(u32::MAX) + 1,
        at,
        what: what.to_owned(),
        by: now.changed_by.unwrap_or_default(),
        why: now.why.unwrap_or_default(),
        text: text.to_owned(),
        died: None,
    });
}

impl Letters for MemoryStore {
    async fn move_letter(&self, asked: Move) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let found = tables.standings.get_mut(&asked.letter);
        let Some(now) = found.filter(|now| now.state == asked.from) else {
            return Ok(false);
        };
        now.state = asked.to;
        now.replays += u32::from(asked.to == LetterState::Replaying);
        now.changed_at = Some(asked.mover.at);
        now.changed_by = Some(asked.mover.by);
        now.why = Some(asked.mover.why);
        now.action = Some(asked.mover.action);
        (now.operation, now.outcome) = (None, None);
        (now.stage, now.sent_at) = (None, None);
        if asked.to != LetterState::Replaying {
            happened(
                &mut tables,
                asked.letter,
                asked.mover.at,
                asked.to.as_str(),
                "",
            );
        }
        Ok(true)
    }

    async fn note(
        &self,
        letter: Uuid,
        note: String,
        by: String,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let Some(now) = tables.standings.get_mut(&letter) else {
            return Ok(false);
        };
        now.note = Some(note.clone());
        let history = tables.history.entry(letter).or_default();
        history.push(HistoryRow {
            n: u32::try_from(history.len()).unwrap_or(u32::MAX) + 1,
            at,
            what: NOTED.to_owned(),
            by,
            why: String::new(),
            text: note,
            died: None,
        });
        Ok(true)
    }

    async fn edit(&self, edit: EditRow) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let found = tables.standings.get_mut(&edit.letter);
        let fits =
            |now: &&mut Standing| now.state == LetterState::Dead && now.edition + 1 == edit.edition;
        let Some(now) = found.filter(fits) else {
            return Ok(false);
        };
        now.edition = edit.edition;
        tables.edits.insert((edit.letter, edit.edition), edit);
        Ok(true)
    }

    async fn import(&self, letters: Vec<WholeLetter>) -> Result<Imported, StoreError> {
        let mut tables = self.tables();
        let mut done = Imported::default();
        for WholeLetter {
            row,
            edits,
            history,
        } in letters
        {
            let id = row.letter.id;
            if tables.dead_letters.contains_key(&id) {
                done.known += 1;
                continue;
            }
            let group = group_of(&row.letter, &facets_of(&row.letter));
            tables.standings.insert(id, Standing { group, ..row.now });
            tables.dead_letters.insert(id, row.letter);
            let edits = edits.into_iter().map(|edit| ((id, edit.edition), edit));
            tables.edits.extend(edits);
            tables.history.insert(id, history);
            done.added += 1;
        }
        Ok(done)
    }

    async fn write_down(&self, written: Vec<Written>) -> Result<Vec<bool>, StoreError> {
        let mut tables = self.tables();
        let written = written.into_iter().map(|one| match one {
            Written::Settled(settled) => settle(&mut tables, &settled),
            Written::Sent(one) => sent(&mut tables, one),
        });
        Ok(written.collect())
    }

    async fn waiting(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let tables = self.tables();
        let waits = tables.standings.iter().filter_map(|(letter, now)| {
            let sent_at = now
                .sent_at
                .filter(|_| now.state == LetterState::Replaying)?;
            Some(Waiting {
                letter: *letter,
                action: now.action?,
                operation: now.operation,
                attempt: now.attempt.clone()?,
                sent_at,
            })
        });
        let waits = waits.filter(|waits| after.is_none_or(|after| waits.letter > after));
        Ok(waits.take(limit).collect())
    }

    async fn waiting_in(
        &self,
        operation: Uuid,
        stage: u32,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let mut found = self.waiting(None, usize::MAX).await?;
        let tables = self.tables();
        let is_of_stage =
            |letter: &Uuid| tables.standings.get(letter).and_then(|now| now.stage) == Some(stage);
        found.retain(|one| one.operation == Some(operation) && is_of_stage(&one.letter));
        found.truncate(limit);
        Ok(found)
    }

    async fn died_again(&self, death: Death) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        if !tables.deaths.insert(death.death) {
            return Ok(true);
        }
        let found = tables.dead_letters.get(&death.letter);
        let taken_in = found.map_or(death.at, |letter| letter.at);
        let Some(now) = tables.standings.get_mut(&death.letter) else {
            tables.deaths.remove(&death.death);
            return Ok(false);
        };
        let (stage, from, mut of) = (now.stage, now.state, now.operation);
        now.died_again += 1;
        now.died_at = Some(now.died_at.unwrap_or(taken_in).max(death.at));
        if death.attempt.is_some() {
            (now.attempt, of) = (death.attempt, None);
        } else {
            now.state = LetterState::Dead;
            now.changed_at = Some(death.at);
            now.outcome = Some(format!("it died again: {}", death.error));
            now.sent_at = None;
        }
        let history = tables.history.entry(death.letter).or_default();
        history.push(HistoryRow {
            n: u32::try_from(history.len()).unwrap_or(u32::MAX) + 1,
            at: death.at,
            what: "died".to_owned(),
            by: String::new(),
            why: String::new(),
            text: death.error,
            died: Some(Died {
                death: death.death,
                properties: death.properties,
                body: death.body,
            }),
        });
        if let Some(row) = of.and_then(|id| tables.operations.get_mut(&id)) {
            row.died_again(stage, from, death.at);
        }
        Ok(true)
    }

    async fn arrived(&self, arriving: Arriving) -> Result<Vec<Arrived>, StoreError> {
        let mut tables = self.tables();
        tables
            .arrivals
            .retain(|(_, _, id, _)| !arriving.over.contains(id));
        let of_queue = tables.arrivals.iter();
        let rows: Vec<(Uuid, Uuid)> = of_queue
            .filter(|(queue, ..)| *queue == arriving.queue)
            .map(|(_, print, id, _)| (*print, *id))
            .collect();
        let arrived = arriving.arrived(&rows);
        if arriving.is_calm() {
            let before = arriving.at.0.saturating_sub(KEPT_MS);
            tables
                .arrivals
                .retain(|(queue, _, _, at)| *queue != arriving.queue || at.0 >= before);
        }
        for (one, came) in arrived.iter().zip(&arriving.came) {
            if !one.again {
                let row = (arriving.queue.clone(), came.print, one.id, arriving.at);
                tables.arrivals.push(row);
            }
        }
        Ok(arrived)
    }

    async fn arrivals_of(
        &self,
        letters: Vec<Uuid>,
    ) -> Result<Vec<(Uuid, Option<Uuid>)>, StoreError> {
        let tables = self.tables();
        let found = letters.iter().filter_map(|id| {
            let letter = tables.dead_letters.get(id)?;
            let arrival = letter.properties["arrival"].as_str();
            Some((*id, arrival.and_then(|arrival| arrival.parse().ok())))
        });
        Ok(found.collect())
    }

    async fn give_back(&self, letters: GivingBack) -> Result<usize, StoreError> {
        let mut tables = self.tables();
        let Some(mut row) = tables.operations.get(&letters.operation).cloned() else {
            return Ok(0);
        };
        let (mut back, last) = (0, tables.history.clone());
        for letter in &letters.letters {
            let not_sent = |now: &&mut Standing| {
                now.state == LetterState::Replaying
                    && now.operation == Some(row.id)
                    && now.sent_at.is_none()
            };
            let found = tables.standings.get_mut(letter).filter(not_sent);
            let Some(now) = found else { continue };
            now.state = LetterState::Dead;
            now.replays -= 1;
            now.changed_at = Some(row.takes_until());
            (now.changed_by, now.why, now.action) = (None, None, None);
            // one that was left by another operation is found by that one again
            (now.operation, now.stage) = (row.filter.operation, None);
            let mut all = last.get(letter).into_iter().flatten();
            let last = all.rfind(|one| one.what != NOTED);
            now.outcome = last.map(|one| one.text.clone());
            back += 1;
        }
        letters.apply(&mut row, back);
        tables.operations.insert(row.id, row);
        Ok(back)
    }

    async fn is_any_over(&self, before: Timestamp) -> Result<bool, StoreError> {
        let tables = self.tables();
        let is_over = |now: &Standing| {
            LetterState::SETTLED.contains(&now.state)
                && now.changed_at.is_some_and(|at| at < before)
        };
        Ok(tables.standings.values().any(is_over))
    }

    async fn expire(&self, before: Timestamp, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        let mut tables = self.tables();
        let mut over: Vec<(LetterState, Timestamp, Uuid)> = tables
            .standings
            .iter()
            .filter(|(_, now)| LetterState::SETTLED.contains(&now.state))
            .filter_map(|(id, now)| Some((now.state, now.changed_at?, *id)))
            .filter(|(_, at, _)| *at < before)
            .collect();
        over.sort_unstable();
        over.truncate(limit);
        for (_, _, id) in &over {
            tables.standings.remove(id);
            tables.dead_letters.remove(id);
            tables.history.remove(id);
            tables.edits.retain(|(letter, _), _| letter != id);
        }
        Ok(over.into_iter().map(|(_, _, id)| id).collect())
    }

    async fn begin(&self, row: OperationRow) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let new = !tables.operations.contains_key(&row.id);
        tables.operations.entry(row.id).or_insert(row);
        Ok(new)
    }

    async fn claim(&self, claiming: Claiming) -> Result<Option<Vec<Uuid>>, StoreError> {
        let mut tables = self.tables();
        let found = tables.operations.get(&claiming.operation).cloned();
        let Some(mut row) = found.filter(|row| row.state == OperationState::Running) else {
            return Ok(None);
        };
        let mut taken = Vec::new();
        for letter in &claiming.letters {
            let found = tables.standings.get_mut(letter);
            let Some(now) = found.filter(|now| now.state == LetterState::Dead) else {
                continue;
            };
            now.state = LetterState::Replaying;
            now.replays += 1;
            now.changed_at = Some(claiming.at);
            now.changed_by = Some(row.by.clone());
            now.why = Some(row.reason.clone());
            (now.action, now.operation, now.outcome) = (Some(row.id), Some(row.id), None);
            (now.stage, now.sent_at) = (Some(row.leg), None);
            taken.push(*letter);
        }
        claiming.apply(&mut row, taken.len());
        tables.operations.insert(row.id, row);
        Ok(Some(taken))
    }

    async fn step(&self, id: Uuid, step: OperationStep) -> Result<Option<bool>, StoreError> {
        let mut tables = self.tables();
        Ok(tables.operations.get_mut(&id).map(|row| row.step(&step)))
    }

    async fn on_their_way(
        &self,
        operation: Option<Uuid>,
        before: Timestamp,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let mut found = self.letter_rows();
        let after = after.map(|last| (last.at, last.id));
        found.retain(|row| {
            let now = &row.now;
            now.state == LetterState::Replaying
                && now.sent_at.is_none()
                && now.operation == operation
                && now.changed_at.is_some_and(|at| at < before)
                && after.is_none_or(|last| (row.letter.at, row.letter.id) > last)
        });
        found.sort_by_key(|row| (row.letter.at, row.letter.id));
        found.truncate(limit);
        Ok(found)
    }

    async fn running(&self) -> Result<Vec<OperationRow>, StoreError> {
        let tables = self.tables();
        let is_left = |row: &OperationRow| {
            tables.standings.values().any(|now| {
                now.state == LetterState::Replaying
                    && now.sent_at.is_none()
                    && now.operation == Some(row.id)
            })
        };
        let mut found: Vec<OperationRow> = tables.operations.values().cloned().collect();
        found.retain(|row| row.state == OperationState::Running || is_left(row));
        found.sort_by_key(|row| (row.made_at, row.id));
        Ok(found)
    }
}

fn settle(tables: &mut Tables, settled: &Settling) -> bool {
    let found = tables.standings.get_mut(&settled.letter);
    let by_it = |now: &&mut Standing| {
        now.state == LetterState::Replaying && now.action == Some(settled.action)
    };
    let Some(now) = found.filter(by_it) else {
        return false;
    };
    now.state = settled.ending.state();
    now.replays -= settled.ending.uncounted();
    now.changed_at = Some(settled.at);
    now.outcome = Some(settled.outcome.clone());
    now.sent_at = None;
    if settled.attempt.is_some() {
        now.attempt.clone_from(&settled.attempt);
    }
    let stage = now.stage;
    let what = settled.ending.as_str();
    happened(tables, settled.letter, settled.at, what, &settled.outcome);
    let operation = settled.operation;
    if let Some(row) = operation.and_then(|id| tables.operations.get_mut(&id)) {
        settled.apply(row, stage);
    }
    true
}

fn sent(tables: &mut Tables, sent: Sending) -> bool {
    let found = tables.standings.get_mut(&sent.letter);
    let by_it = |now: &&mut Standing| {
        now.state == LetterState::Replaying
            && now.action == Some(sent.action)
            && now.sent_at.is_none()
    };
    let Some(now) = found.filter(by_it) else {
        return false;
    };
    now.sent_at = Some(sent.at);
    now.attempt = Some(sent.attempt);
    now.outcome = Some(sent.outcome.clone());
    happened(tables, sent.letter, sent.at, "sent", &sent.outcome);
    true
}
