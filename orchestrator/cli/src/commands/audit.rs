//! `baton audit`: what operators did, searched, exported, and verified here: the orchestrator's word is not taken for it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::path::Path;

use baton_messages::{AuditCheck, AuditFault, AuditHead, AuditRow};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{items, more, typed_items};
use crate::args::{Audit, AuditCommand, AuditExport, AuditLs, AuditVerify};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::{Out, Tone};
use crate::screens::audit;
use crate::time;

/// Rows of one request: as many as the API gives.
const ROWS: usize = 500;

pub(crate) async fn audit(client: &Client, which: &Audit, out: &mut Out) -> Result<Exit, CliError> {
    match &which.command {
        None => ls(client, &which.list, out).await,
        Some(AuditCommand::Ls(list)) => ls(client, list, out).await,
        Some(AuditCommand::Verify(asked)) => verify(Some(client), asked, out).await,
        Some(AuditCommand::Export(asked)) => export(client, asked, out).await,
        Some(AuditCommand::Head) => {
            out.line(client.get("/v1/audit/head", &[]).await?.to_string());
            Ok(Exit::Ok)
        }
    }
}

async fn ls(client: &Client, which: &AuditLs, out: &mut Out) -> Result<Exit, CliError> {
    let now = time::now_ms();
    let instant = |text: &Option<String>, what: &str| {
        let at = text.as_deref().map(|text| time::when(text, what, now));
        Ok::<_, CliError>(at.transpose()?.map(|at| at.to_string()))
    };
    let asked = [
        ("who", which.who.clone()),
        ("action", which.action.clone()),
        ("object", which.object.clone()),
        ("phase", which.phase.clone()),
        ("since", instant(&which.since, "--since")?),
        ("until", instant(&which.until, "--until")?),
        ("all", which.all.then(|| "true".to_owned())),
    ];
    let mut query = which.page.query();
    let given = asked.into_iter();
    query.extend(given.filter_map(|(name, value)| Some((name, value?))));
    let answer = client.get("/v1/audit", &query).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let table = audit::table(items(&answer, "items"), now, out.screen.width());
    out.table(&table, "(none)");
    more(&answer, &repeated(which), &which.page, out);
    Ok(Exit::Ok)
}

/// The command with its filters, for the next page.
fn repeated(which: &AuditLs) -> String {
    let mut text = "audit ls".to_owned();
    let options = [
        ("--who", &which.who),
        ("--action", &which.action),
        ("--object", &which.object),
        ("--phase", &which.phase),
        ("--since", &which.since),
        ("--until", &which.until),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            text.push_str(&format!(" {name} {}", super::dead::quoted(value)));
        }
    }
    if which.all {
        text.push_str(" --all");
    }
    text
}

/// Follows the chain of the orchestrator, or that of an export, for which no orchestrator is needed.
pub(crate) async fn verify(
    client: Option<&Client>,
    which: &AuditVerify,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let heads: Vec<AuditHead> = match &which.head {
        Some(path) => lines(path)?,
        None => Vec::new(),
    };
    let known = heads.len();
    let mut check = AuditCheck::new(heads);
    let found = match (&which.export, client) {
        (Some(path), _) => exported(path, &mut check)?,
        (None, Some(client)) => followed(client, &mut check).await?,
        (None, None) => Ok(()),
    };
    let found = found.and_then(|()| check.end());
    if out.wants_json() {
        let seq = found.as_ref().err().map(AuditFault::seq);
        out.value(&json!({
            "ok": found.is_ok(), "rows": check.rows(), "hash": check.hash(), "heads": known,
            "wrong_row": seq, "fault": found.as_ref().err().map(ToString::to_string),
        }));
    } else {
        said(&check, &found, known, out);
    }
    Ok(if found.is_ok() { Exit::Ok } else { Exit::Error })
}

fn said(check: &AuditCheck, found: &Result<(), AuditFault>, heads: usize, out: &mut Out) {
    match found {
        Ok(()) => {
            let rows = match check.rows() {
                1 => "1 row hangs together".to_owned(),
                rows => format!("{rows} rows hang together"),
            };
            let heads = match heads {
                0 => "; held against no head, so that the newest rows could be gone: --head FILE"
                    .to_owned(),
                1 => ", and are what the head that was exported says".to_owned(),
                n => format!(", and are what {n} heads that were exported say"),
            };
            out.words(0, &format!("{rows}{heads}"), Tone::Good);
            out.words(
                0,
                &format!("last: {} {}", check.rows(), check.hash()),
                Tone::Faint,
            );
        }
        Err(fault) => {
            out.words(0, &fault.to_string(), Tone::Bad);
            let good = format!(
                "the {} rows that were followed before it hang together",
                check.rows()
            );
            out.words(0, &good, Tone::Faint);
            let around = fault.seq().saturating_sub(2);
            out.next(
                "look at it",
                &format!("baton audit export --after {around} | head -n 3"),
            );
        }
    }
}

type Followed = Result<(), AuditFault>;

async fn followed(client: &Client, check: &mut AuditCheck) -> Result<Followed, CliError> {
    let mut after = 0;
    while let Some(next) = after_rows(client, after, |row| check.row(row)).await? {
        match next {
            Ok(next) => after = next,
            Err(fault) => return Ok(Err(fault)),
        }
    }
    Ok(Ok(()))
}

/// One page behind a row, each row handed on; where the next one begins.
async fn after_rows<E>(
    client: &Client,
    after: u64,
    mut with: impl FnMut(AuditRow) -> Result<(), E>,
) -> Result<Option<Result<u64, E>>, CliError> {
    let query = [("after", after.to_string()), ("limit", ROWS.to_string())];
    let answer = client.get("/v1/audit/rows", &query).await?;
    let rows: Vec<AuditRow> = typed_items(&answer, "items")?;
    let Some(last) = rows.last().map(|row| row.seq) else {
        return Ok(None);
    };
    for row in rows {
        if let Err(error) = with(row) {
            return Ok(Some(Err(error)));
        }
    }
    // a number that does not grow would ask for ever
    Ok((last > after).then_some(Ok(last)))
}

fn exported(path: &Path, check: &mut AuditCheck) -> Result<Followed, CliError> {
    let mut found = Ok(());
    each_line::<AuditRow>(path, |row| {
        found = check.row(row);
        found.is_ok()
    })?;
    Ok(found)
}

/// Every line of a file, as JSON.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, CliError> {
    let mut all = Vec::new();
    each_line(path, |read| {
        all.push(read);
        true
    })?;
    Ok(all)
}

/// Each line of a file, as JSON, one in memory at a time, until `with` has enough.
fn each_line<T: DeserializeOwned>(
    path: &Path,
    mut with: impl FnMut(T) -> bool,
) -> Result<(), CliError> {
    let failed = |source| input::unread(path, source);
    for (number, line) in (1..).zip(BufReader::new(File::open(path).map_err(failed)?).lines()) {
        let line = line.map_err(failed)?;
        if line.trim().is_empty() {
            continue;
        }
        let read = serde_json::from_str(&line).map_err(|error| {
            CliError::usage(format!("{} line {number}: {error}", path.display()))
        })?;
        if !with(read) {
            break;
        }
    }
    Ok(())
}

async fn export(client: &Client, which: &AuditExport, out: &mut Out) -> Result<Exit, CliError> {
    let mut written = 0_u64;
    let mut into: Box<dyn Write> = match &which.output {
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).open(path);
            Box::new(BufWriter::new(file.map_err(|source| {
                CliError::NotMade {
                    path: path.display().to_string(),
                    source,
                }
            })?))
        }
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let mut after = which.after;
    let gone = |source: std::io::Error| match source.kind() {
        // whoever reads has enough
        std::io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        _ => Err(CliError::Unwritten { source }),
    };
    loop {
        let page = after_rows(client, after, |row| {
            written += 1;
            serde_json::to_writer(&mut into, &row)?;
            into.write_all(b"\n")
        });
        match page.await? {
            None => break,
            Some(Ok(next)) => after = next,
            Some(Err(source)) => return gone(source),
        }
    }
    if let Err(source) = into.flush() {
        return gone(source);
    }
    if let Some(path) = &which.output {
        out.note(format!("{written} rows are in {}", path.display()));
        out.next(
            "verify it",
            &format!("baton audit verify --export {}", path.display()),
        );
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_none_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heads");
        std::fs::write(&path, "{\"seq\":1,\"hash\":\"a\",\"at\":1}\n\nnothing\n").unwrap();
        let error = lines::<AuditHead>(&path).unwrap_err();
        assert!(error.whole().contains("line 3"), "{}", error.whole());
        let value: Vec<serde_json::Value> = {
            std::fs::write(&path, "{\"seq\":1}\n").unwrap();
            lines(&path).unwrap()
        };
        assert_eq!(value, [json!({ "seq": 1 })]);
    }
}
