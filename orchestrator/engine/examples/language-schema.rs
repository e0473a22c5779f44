//! Prints the JSON Schema of the language, for `deploy/generate`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", baton_engine::definition::json_schema())
}
