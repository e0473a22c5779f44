//! What is typed to decide a work item: one command for each choice, as the API, the alerts and the tool say it. Pure.

use baton_engine::{Choice, WorkItem};
use baton_messages::{SagaId, TaskType};

/// The command of each choice an item was opened with, as alerts carry them.
pub(crate) fn commands(saga: SagaId, item: &WorkItem) -> Vec<String> {
    let choices = item.choices.iter();
    choices
        .map(|choice| command(saga, item, *choice, None, false))
        .collect()
}

/// The command that makes a choice; what stands in capitals is for whoever types it to say. `task` is what a substitute may name,
/// `output` whether what a step returned has to be said.
pub(crate) fn command(
    saga: SagaId,
    item: &WorkItem,
    choice: Choice,
    task: Option<&TaskType>,
    output: bool,
) -> String {
    let step = item.step.as_ref();
    let step = step.map_or_else(|| "STEP".to_owned(), ToString::to_string);
    // some shells take brackets for a pattern of file names
    let step = match step.contains('[') {
        true => format!("'{step}'"),
        false => step,
    };
    let on_step = |words: &str, more: &str| format!("baton {words} {saga} {step}{more} -m WHY");
    match choice {
        Choice::Approve => format!("baton approve {saga} {step}"),
        Choice::Reject => on_step("reject", ""),
        Choice::Retry => on_step("retry", ""),
        Choice::Edit => on_step("edit", " --set PLACE=VALUE"),
        Choice::Substitute => {
            let task = task.map_or("TYPE", TaskType::as_str);
            on_step("edit", &format!(" --task {task} --input JSON"))
        }
        Choice::Skip => on_step("skip", ""),
        Choice::ResolveDone if output => on_step("resolve", " --as done --output JSON"),
        Choice::ResolveDone => on_step("resolve", " --as done"),
        Choice::ResolveUndone => on_step("resolve", " --as undone"),
        Choice::Admit => format!("baton admit {saga} -m WHY"),
        Choice::Cancel => format!("baton cancel {saga} -m WHY"),
        Choice::Acknowledge => format!("baton acknowledge {saga} {}", item.number),
        Choice::Abandon => format!("baton abandon {saga} -m WHY"),
    }
}

/// What a choice does, in a few words.
pub(crate) const fn does(choice: Choice) -> &'static str {
    match choice {
        Choice::Approve => "say yes",
        Choice::Reject => "say no",
        Choice::Retry => "try it again",
        Choice::Edit => "try it with another input",
        Choice::Substitute => "have another task do it",
        Choice::Skip => "go on without it",
        Choice::ResolveDone => "it was done by hand",
        Choice::ResolveUndone => "it was undone by hand",
        Choice::Admit => "let it through all the same",
        Choice::Cancel => "take back what was done",
        Choice::Acknowledge => "seen; nothing more to do",
        Choice::Abandon => "give up, half done as it is",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_choice_is_a_command_that_names_the_step_as_a_shell_takes_it() {
        let item: WorkItem = serde_json::from_value(json!({
            "number": 3, "kind": "undo-failed", "step": "restart[2]", "owner": "ops", "title": "t", "opened_at": 1,
            "choices": ["retry", "substitute", "resolve-undone", "abandon"],
        }))
        .unwrap();
        let saga = SagaId(uuid::Uuid::nil());
        let id = saga.to_string();
        let typed = commands(saga, &item);
        assert_eq!(typed[0], format!("baton retry {id} 'restart[2]' -m WHY"));
        assert_eq!(
            typed[1],
            format!("baton edit {id} 'restart[2]' --task TYPE --input JSON -m WHY")
        );
        assert_eq!(
            typed[2],
            format!("baton resolve {id} 'restart[2]' --as undone -m WHY")
        );
        assert_eq!(typed[3], format!("baton abandon {id} -m WHY"));
        let named = TaskType::new("switch.set-vlan@2").unwrap();
        let other = command(saga, &item, Choice::Substitute, Some(&named), false);
        assert!(other.contains("--task switch.set-vlan@2"), "{other}");
        let read = command(saga, &item, Choice::ResolveDone, None, true);
        assert!(read.contains(" --as done --output JSON -m WHY"), "{read}");
    }
}
