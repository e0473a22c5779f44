//! An orchestrator that is away for a while, as somebody who watches sees it: it is said once, it is asked again for as long as he looks, and it is said
//! when it is back.

use std::time::Duration;

use crate::error::CliError;
use crate::out::Out;

/// Pause before an orchestrator that was lost is asked again.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// Whether it is away.
#[derive(Debug, Default)]
pub(crate) struct Away {
    said: bool,
}

impl Away {
    /// It was lost: waits a moment before it is asked again. What does not pass is the end.
    pub(crate) async fn lost(
        &mut self,
        error: Option<CliError>,
        out: &mut Out,
    ) -> Result<(), CliError> {
        if let Some(error) = error
            && !error.may_pass()
        {
            return Err(error);
        }
        if !self.said {
            self.said = true;
            // what was drawn would be torn by words below it
            out.screen.erase();
            out.note("the orchestrator does not answer; it is asked again until it does");
        }
        tokio::time::sleep(AGAIN).await;
        Ok(())
    }

    /// It answers.
    pub(crate) fn back(&mut self, out: &mut Out) -> bool {
        let was = std::mem::take(&mut self.said);
        if was {
            out.screen.erase();
            out.note("the orchestrator is back");
        }
        was
    }
}
