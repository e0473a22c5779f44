//! Whose work items are and by when: which sagas say so, and what must hold of it.

use baton_engine::{Record, SagaState};
use baton_messages::Timestamp;

use crate::plan::SagaPlan;
use crate::rng::Rng;
use crate::world::World;

/// What is drawn of them has a chance of its own, for each saga: the others stay as they were.
const ITEMS_CHANCE: u64 = 0x6974_656d;
/// Of a thousand sagas, so many say whose their work items are.
const ASSIGNING: u64 = 400;
/// How late an escalation may be at the end, when nobody dies any more.
const LATE_MS: u64 = 10 * 60 * 1000;

impl World {
    /// Says whose a saga's work items are, now and then: soon enough that they go to the next before somebody looks.
    pub(crate) fn with_item_rules(plan: &mut SagaPlan) {
        let (high, low) = plan.id.0.as_u64_pair();
        let mut rng = Rng::new(high ^ low ^ ITEMS_CHANCE);
        if !rng.per_mille(ASSIGNING) {
            return;
        }
        let first = rng.range(100, 30_000);
        let second = first + rng.range(100, 60_000);
        let keys = format!(
            "work_items: {{ assign: net, due: {first}ms, escalate: [ {{ after: {first}ms, to: lead }}, {{ after: {second}ms, to: boss }} ] }}\n"
        );
        plan.yaml = plan
            .yaml
            .replacen("steps:\n", &format!("{keys}steps:\n"), 1);
    }

    /// At the end: what is still open was escalated when it should have been.
    pub(crate) fn judge_items(&mut self, plan: &SagaPlan, state: &SagaState) -> Result<(), String> {
        let entries: u64 = {
            let disk = self.store.disk();
            let records = disk.entries(plan.id);
            let records = records.flat_map(|entry| &entry.records);
            let escalated =
                records.filter(|record| matches!(record, Record::WorkItemEscalated { .. }));
            escalated.count() as u64
        };
        self.report.escalated += entries;
        let now = Timestamp(self.now);
        let late = state.work_items.values().find(|item| {
            let next = item.next_escalation();
            next.is_some_and(|(_, next)| next.at.plus_ms(LATE_MS) < now)
        });
        late.map_or(Ok(()), |item| {
            Err(format!("work item {} was not escalated", item.number))
        })
    }
}
