//! `baton apply`: registers definitions. Every file is tried, so that all mistakes are seen at once.

use serde_json::Value;

use crate::args::Apply;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::Out;

pub(crate) async fn apply(client: &Client, apply: &Apply, out: &mut Out) -> Result<Exit, CliError> {
    let mut exit = Exit::Ok;
    let mut all: Vec<Value> = Vec::new();
    for path in &apply.files {
        let text = input::file(path)?;
        match client.put_yaml("/v1/definitions", text).await {
            Ok(answer) => {
                if !out.wants_json() {
                    let name = answer["definition"].as_str().unwrap_or("?");
                    let version = answer["version"].as_u64().unwrap_or(0);
                    out.line(format!("{name}@{version} is registered"));
                }
                all.push(answer);
            }
            Err(CliError::Problem {
                status,
                detail,
                next,
            }) => {
                // lines read `file:line:column: …`, as editors and compilers write them
                let detail: Vec<String> = detail
                    .lines()
                    .map(|line| match line.chars().next() {
                        Some(first) if first.is_ascii_digit() => {
                            format!("{}:{line}", path.display())
                        }
                        _ => line.to_owned(),
                    })
                    .collect();
                out.error(&CliError::Problem {
                    status,
                    detail: detail.join("\n"),
                    next,
                });
                exit = Exit::Error;
            }
            Err(error) => return Err(error),
        }
    }
    if out.wants_json() {
        out.value(&Value::Array(all));
    }
    Ok(exit)
}
