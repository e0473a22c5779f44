//! What is done at the broker itself goes past the orchestrator. Where one is reachable it is written into its audit log all the same, before it is done and after; where none is, that is
//! said, and it is done: the broker has to be set right, or emptied, also where nothing else runs.

use serde_json::{Value, json};

use crate::args::Global;
use crate::client::Client;
use crate::error::CliError;
use crate::out::Out;

/// What a look at the broker is called in the audit log.
pub(crate) const PEEK: &str = "peek-messages";

/// Where it is written down; none: nobody can be asked.
pub(crate) struct Noted {
    client: Client,
    what: &'static str,
    on: String,
}

impl Noted {
    /// Writes down that it is about to be begun; none where no orchestrator can be asked, which is said.
    ///
    /// # Errors
    /// An orchestrator is there and refuses it: then nothing is begun.
    pub(crate) async fn begins(
        global: &Global,
        what: &'static str,
        on: &str,
        out: &mut Out,
    ) -> Result<Option<Self>, CliError> {
        let noted = match Client::new(global) {
            Ok(client) => Self {
                client,
                what,
                on: on.to_owned(),
            },
            Err(CliError::NoToken { .. }) => return Ok(nobody(out)),
            Err(error) => return Err(error),
        };
        match noted.says(None).await {
            Ok(_) => Ok(Some(noted)),
            Err(CliError::Unreachable { .. } | CliError::NoToken { .. }) => Ok(nobody(out)),
            Err(error) if is_of_before(what, &error) => Ok(nobody(out)),
            Err(error) => Err(error),
        }
    }

    /// Writes down what came of it. It is done; where that cannot be written any more it is said.
    pub(crate) async fn ended(self, outcome: &str, out: &mut Out) {
        if self.says(Some(outcome)).await.is_err() {
            out.note("what came of it is not in the audit log: the orchestrator does not answer any more");
        }
    }

    async fn says(&self, outcome: Option<&str>) -> Result<Value, CliError> {
        let body = json!({ "what": self.what, "on": self.on, "outcome": outcome });
        self.client
            .post("/v1/audit/broker-actions", &body, None)
            .await
    }
}

/// Whether this is said by an orchestrator of before, which keeps no such row at all, or does not know this word. Whatever else it refuses is refused.
fn is_of_before(what: &str, error: &CliError) -> bool {
    match error.status() {
        Some(404) => true,
        Some(400 | 422) => what == PEEK && error.to_string().contains(what),
        Some(_) | None => false,
    }
}

fn nobody(out: &mut Out) -> Option<Noted> {
    out.note("no orchestrator can be asked, so this is not in its audit log");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_does_not_know_the_word_is_of_before() {
        let says = |status, detail: &str| CliError::Problem {
            status,
            detail: detail.to_owned(),
            next: None,
            document: Box::default(),
        };
        let unknown = "Failed to deserialize the JSON body into the target type: what: unknown variant `peek-messages`, expected `apply-topology` or `move-messages` at line 1 column 41";
        let long = "`on` has 1 to 255 characters, `outcome` at most 500";
        assert!(is_of_before(PEEK, &says(404, "there is nothing here")));
        assert!(is_of_before(PEEK, &says(422, unknown)));
        assert!(!is_of_before(PEEK, &says(400, long)));
        assert!(!is_of_before("move-messages", &says(400, long)));
        assert!(!is_of_before(PEEK, &says(403, unknown)));
    }
}
