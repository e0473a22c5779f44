//! Dead letters after their intake, in memory.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use uuid::Uuid;

use super::MemoryStore;
use crate::group::group_of;
use crate::letters::{
    Claiming, EditRow, Imported, LetterRow, LetterState, Letters, Move, OperationRow,
    OperationState, OperationStep, Settling, Standing,
};

impl MemoryStore {
    /// Every letter with where it stands, by id.
    pub(super) fn letter_rows(&self) -> Vec<LetterRow> {
        let tables = self.tables();
        let letters = tables.dead_letters.iter().map(|(id, letter)| LetterRow {
            letter: letter.clone(),
            now: tables.standings.get(id).cloned().unwrap_or_default(),
            body_bytes: letter.body.len() as u64,
        });
        letters.collect()
    }
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
        Ok(true)
    }

    async fn note(&self, letter: Uuid, note: String) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let found = tables.standings.get_mut(&letter);
        Ok(found.map(|now| now.note = Some(note)).is_some())
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

    async fn import(
        &self,
        letters: Vec<(LetterRow, Vec<EditRow>)>,
    ) -> Result<Imported, StoreError> {
        let mut tables = self.tables();
        let mut done = Imported::default();
        for (row, edits) in letters {
            let id = row.letter.id;
            if tables.dead_letters.contains_key(&id) {
                done.known += 1;
                continue;
            }
            let group = group_of(&row.letter);
            tables.standings.insert(id, Standing { group, ..row.now });
            tables.dead_letters.insert(id, row.letter);
            let edits = edits.into_iter().map(|edit| ((id, edit.edition), edit));
            tables.edits.extend(edits);
            done.added += 1;
        }
        Ok(done)
    }

    async fn settle(&self, settled: Settling) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let found = tables.standings.get_mut(&settled.letter);
        let by_it = |now: &&mut Standing| {
            now.state == LetterState::Replaying && now.action == Some(settled.action)
        };
        let Some(now) = found.filter(by_it) else {
            return Ok(false);
        };
        now.state = settled.ending.state();
        now.replays -= settled.ending.uncounted();
        now.changed_at = Some(settled.at);
        now.outcome = Some(settled.outcome.clone());
        let operation = settled.operation;
        if let Some(row) = operation.and_then(|id| tables.operations.get_mut(&id)) {
            settled.apply(row);
        }
        Ok(true)
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
        limit: usize,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let mut found = self.letter_rows();
        found.retain(|row| {
            let now = &row.now;
            now.state == LetterState::Replaying
                && now.operation == operation
                && now.changed_at.is_some_and(|at| at < before)
        });
        found.sort_by_key(|row| (row.letter.at, row.letter.id));
        found.truncate(limit);
        Ok(found)
    }

    async fn running(&self) -> Result<Vec<OperationRow>, StoreError> {
        let mut found: Vec<OperationRow> = self.tables().operations.values().cloned().collect();
        found.retain(|row| row.state == OperationState::Running);
        found.sort_by_key(|row| (row.made_at, row.id));
        Ok(found)
    }
}
