//! What every automation of a scene does, as the naive reference reads it: the plans of its sagas, with the script of the scene's trouble in the
//! one that it befalls.

use std::collections::BTreeMap;

use baton_messages::{Direction, StepId};

use super::scene::{Scene, Target, Turn};
use super::tree::{Above, StepPath};
use super::trouble::Trouble;
use crate::plan::{Comes, Decides, Idle, OnError, Play, SagaPlan, Script, StepPlan};

/// The plan of each saga; one that is a step of another stands in that one's plan as well.
pub(super) fn scripted(scene: &Scene) -> BTreeMap<Above, SagaPlan> {
    let mut all: BTreeMap<Above, SagaPlan> = BTreeMap::new();
    // what lies within comes first
    for (above, part) in scene.setting.parts.iter().rev() {
        let mut plan = part.plan.clone();
        for step in &mut plan.steps {
            let at = StepPath::new(above, &step.id);
            if step.idle == Idle::Child {
                step.within = all.get(&at.within()).cloned().map(Box::new);
            }
            if let Some(target) = &scene.target {
                of_step(scene, target, &at, step);
            }
        }
        all.insert(above.clone(), plan);
    }
    all
}

fn of_step(scene: &Scene, target: &Target, at: &StepPath, step: &mut StepPlan) {
    let turn = target.turn.as_ref();
    let here = *at == target.at;
    let script = script(scene, target, at);
    let fails = matches!(turn, Some(Turn::Fails(of) | Turn::FailsLater(of)) if of == at);
    if let Some(fan) = &mut step.fan {
        for (n, item) in fan.scripts.iter_mut().enumerate() {
            if n == 0 || fails || turn == Some(&Turn::Doubtful) && here {
                *item = script.clone();
            }
            // what makes a saga turn back is in that of every item
            if turns_within(turn, at) {
                item.forward = vec![Play::FailFinal];
            }
        }
    }
    let never = scene.trouble == Trouble::Never && here
        || matches!(turn, Some(Turn::Never(of)) if of == at);
    let no = scene.trouble == Trouble::Rejected && here
        || matches!(turn, Some(Turn::Rejected(of)) if of == at);
    match &mut step.idle {
        Idle::Wait { comes, .. } if never => *comes = Comes::Never,
        Idle::Approve {
            decides,
            on_timeout,
            ..
        } if never => {
            *decides = Decides::Never;
            step.on_error = *on_timeout;
        }
        Idle::Approve { decides, .. } if no => {
            *decides = Decides::No;
            step.on_error = OnError::Compensate;
        }
        _ => {}
    }
    step.script = script;
}

/// Whether what turns a saga back lies within this step.
fn turns_within(turn: Option<&Turn>, at: &StepPath) -> bool {
    let of = match turn {
        Some(Turn::Fails(of) | Turn::FailsLater(of) | Turn::Rejected(of) | Turn::Never(of)) => of,
        Some(Turn::Cancelled | Turn::Doubtful) | None => return false,
    };
    of.above.starts_with(&at.within())
}

fn script(scene: &Scene, target: &Target, at: &StepPath) -> Script {
    let turn = target.turn.as_ref();
    let mut script = Script::default();
    if matches!(turn, Some(Turn::Fails(of) | Turn::FailsLater(of)) if of == at) {
        script.forward = vec![Play::FailFinal];
    }
    if *at != target.at {
        return script;
    }
    if turn == Some(&Turn::Doubtful) {
        script.forward = vec![Play::UnknownActed];
        script.asking = vec![Play::UnknownIdle];
    }
    let plays = scene.trouble.plays(scene.setting.forever(at, target.way));
    match target.way {
        Direction::Do => script.forward = plays,
        Direction::Undo => script.backward = plays,
        Direction::Probe => {
            script.forward = vec![Play::UnknownActed, Play::Succeed];
            script.asking = plays;
        }
    }
    script
}

/// Whether anything on the way from the saga at the top to a step is tolerated when it fails: then what comes of the whole is another question.
pub(super) fn tolerated_above(scene: &Scene, above: &[StepId]) -> bool {
    let mut ways = (0..above.len()).filter_map(|n| above.split_at_checked(n));
    ways.any(|(way, rest)| {
        let step = rest.first().map(|step| StepPath::new(way, step));
        let step = step.and_then(|at| scene.setting.step(&at));
        step.is_some_and(|step| {
            let fan = step.fan.as_ref().is_some_and(|fan| fan.tolerate > 0);
            fan || step.on_error == OnError::Continue
        })
    })
}
