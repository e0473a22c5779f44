//! What is said of a task type that is planned, where somebody waits for a worker of it.

use baton_engine::Catalogue;
use baton_messages::TaskType;

/// What is said of a type nobody serves, where it is planned; else nothing.
pub(crate) fn said(task_type: &str) -> &'static str {
    let is_planned = TaskType::new(task_type).is_ok_and(|of| Catalogue::planned().is_planned(&of));
    if is_planned {
        ", which is planned: no worker of this version does it"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_is_said_to_be() {
        assert!(Catalogue::planned().manifests().count() > 0);
        for manifest in Catalogue::planned().manifests() {
            assert!(said(manifest.task_type.as_str()).contains("planned"));
        }
        assert_eq!(said("test.echo@1"), "");
        assert_eq!(said("no task type"), "");
    }
}
