//! What sagas take before their first step: which worlds have it, the usher between the disk and the loop, and what must hold of it at every moment.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::{Input, ReservationKind, SagaState};
use baton_messages::SagaId;

use crate::event::Event;
use crate::fault::Fault;
use crate::plan::{SagaPlan, StepPlan};
use crate::rng::Rng;
use crate::world::World;

/// Of a thousand rough worlds, so many have sagas that take something.
const RESERVING: u64 = 300;
/// How often the usher looks whatever happened.
const USHER_MS: u64 = 30_000;
/// Of a thousand nudges and words of the usher, so many are lost.
const LOST: u64 = 200;
/// Locks of one world: few, so that sagas want the same.
const LOCKS: u64 = 3;
/// How much longer a saga may take that waits for others: each of them may take as long as it may alone, one after the other.
const TURN_MS: u64 = 60 * 60 * 1000;

impl World {
    /// Whether this world has sagas that take something; drawn from a chance of its own.
    pub(crate) fn draw_reserving(&mut self, rng: &mut Rng) {
        self.reserving = !self.mood.quiet && rng.per_mille(RESERVING);
        if self.reserving {
            self.after(USHER_MS, Event::Usher);
        }
    }

    /// Gives a saga locks, and now and then a limit.
    pub(crate) fn with_reservations(&self, rng: &mut Rng, plan: &mut SagaPlan) {
        if !self.reserving || rng.per_mille(300) {
            return;
        }
        let locks: BTreeSet<u64> = (0..rng.range(1, 2)).map(|_| rng.below(LOCKS)).collect();
        let locks: Vec<String> = locks.into_iter().map(|n| format!("lock-{n}")).collect();
        let mut keys = format!("locks: [{}]\n", locks.join(", "));
        if rng.per_mille(300) {
            keys.push_str("concurrency: { max: 1, key: \"${ input.never }\" }\n");
        }
        if rng.per_mille(200) {
            keys.push_str("blast_radius: { max: 1, per: 2m }\n");
        }
        plan.yaml = plan
            .yaml
            .replacen("steps:\n", &format!("{keys}steps:\n"), 1);
    }

    /// The same for what children are made of.
    pub(crate) fn reserve_kin(&mut self, rng: &mut Rng) {
        let mut kin = std::mem::take(&mut self.kin);
        for plan in kin.values_mut() {
            self.with_reservations(rng, plan);
        }
        self.kin = kin;
    }

    /// A commit has changed what is wanted or held: the usher may hear of it.
    pub(crate) fn reserved(&mut self) {
        // one saga that is there alone: nothing is drawn of what nobody contends for
        if self.scene.is_some() {
            self.after(10, Event::Nudge);
        } else if self.reserving && !self.rng.per_mille(LOST) {
            let soon = self.rng.range(1, 50);
            self.after(soon, Event::Nudge);
        }
    }

    /// The usher looks, and will again.
    pub(crate) fn usher(&mut self) {
        self.admit();
        let every = if self.all_ended() {
            crate::world::IDLE_MS
        } else {
            USHER_MS
        };
        self.after(every, Event::Usher);
    }

    /// The usher looks: whom the disk admits is told, unless the word is lost.
    pub(crate) fn admit(&mut self) {
        // by whoever has the first partition
        self.focus(0);
        let (now, mut after) = (self.clock(), None);
        loop {
            let found = {
                let mut disk = self.store.disk();
                if self.fault == Some(Fault::LockGivenTwice) {
                    // as if all who hold something had ended
                    disk.reservations.tidy(|_| false);
                }
                disk.reservations.admit(now, after)
            };
            let admitted = found.admitted.into_iter();
            let told = admitted.map(|(saga, fences)| (saga, Input::Admitted { fences }));
            let held = found.held_back.into_iter();
            let told: Vec<_> = told
                .chain(held.map(|saga| (saga, Input::HeldBack)))
                .collect();
            for (saga, input) in told {
                let asked = |request: &&crate::world::Request| {
                    request.saga == saga && request.input.kind() == input.kind()
                };
                let pending = self.requests.values().any(|request| asked(&request));
                let lost = self.reserving && !self.calm && self.rng.per_mille(LOST);
                if !pending && !lost {
                    self.request(saga, input);
                }
            }
            after = found.next;
            if after.is_none() {
                return;
            }
        }
    }

    /// How much longer a saga may take because others have what it wants.
    pub(crate) fn waits_for_others_ms(&self) -> u64 {
        if !self.reserving {
            return 0;
        }
        let plans = self.plans.values().chain(self.kin.values());
        let waits = plans.map(|plan| plan.steps.iter().map(StepPlan::idle_ms).sum::<u64>());
        waits.map(|ms| ms + TURN_MS).sum()
    }

    /// No two have one lock, and no more than there may be of anything; looked at after whatever was written.
    pub(crate) fn look_at_reservations(&mut self) {
        if !self.reserving {
            return;
        }
        let wrong = {
            let disk = self.store.disk();
            for (saga, state) in &disk.mirror {
                if state.status.ended() {
                    self.let_go.insert(*saga);
                }
            }
            wrong(&disk.mirror, &self.let_go)
        };
        if let Some(wrong) = wrong {
            self.breaks(wrong);
        }
    }
}

/// Sagas that were admitted and have not ended since; of late evidence one goes on again, and holds nothing.
fn wrong(sagas: &BTreeMap<SagaId, SagaState>, let_go: &BTreeSet<SagaId>) -> Option<String> {
    let mut locks: BTreeMap<&str, BTreeSet<SagaId>> = BTreeMap::new();
    let mut running: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for (id, state) in sagas {
        let Some(taken) = state.reservation.as_deref() else {
            continue;
        };
        if taken.admitted_at.is_none() {
            continue;
        }
        let root = state.parent.as_ref().map_or(*id, |parent| parent.root);
        let over = let_go.contains(id);
        for want in &taken.wants {
            match want.kind {
                ReservationKind::Lock if !(over && let_go.contains(&root)) => {
                    locks.entry(&want.name).or_default().insert(root);
                }
                ReservationKind::Concurrency if !over => {
                    let count = running.entry(&want.name).or_insert((0, want.max));
                    count.0 += 1;
                }
                _ => {}
            }
        }
    }
    let twice = locks.into_iter().find(|(_, roots)| roots.len() > 1);
    let twice = twice.map(|(lock, roots)| format!("{} sagas have {lock} at once", roots.len()));
    twice.or_else(|| {
        let many = running.into_iter().find(|(_, (count, max))| count > max);
        many.map(|(name, (count, max))| format!("{count} of {name} run at once, {max} may"))
    })
}
