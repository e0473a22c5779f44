//! Whether a service is looked after by runit. A folder's `supervise/ok` and `supervise/stat` appear a moment before
//! `runsv` reads what it is asked, and `sv` fails in that moment; so only `sv` itself can tell.

use std::path::Path;
use std::process::Command;

/// Whether a `runsv` answers for the service of this folder.
pub fn is_supervised(service: &Path) -> bool {
    let asked = Command::new("sv").arg("status").arg(service).output();
    let said = asked.expect("sv of runit can be run").stdout;
    let said = String::from_utf8_lossy(&said);
    said.starts_with("run:") || said.starts_with("down:") || said.starts_with("finish:")
}
