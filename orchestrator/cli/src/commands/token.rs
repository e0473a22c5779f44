//! `baton token`: who may do what. A token is shown once, when it is made.

use serde_json::json;

use super::items;
use crate::args::{Token, TokenCommand};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::tokens;
use crate::time;

pub(crate) async fn token(client: &Client, token: &Token, out: &mut Out) -> Result<Exit, CliError> {
    match &token.command {
        TokenCommand::Create {
            name,
            role,
            expires,
        } => create(client, name, role.name(), expires.as_deref(), out).await,
        TokenCommand::Ls => ls(client, out).await,
        TokenCommand::Revoke { name, yes } => revoke(client, name, *yes, out).await,
        TokenCommand::Whoami => whoami(client, out).await,
    }
}

async fn create(
    client: &Client,
    name: &str,
    role: &str,
    expires: Option<&str>,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut body = json!({ "name": name, "role": role });
    if let Some(text) = expires {
        baton_engine::definition::duration_ms(text).map_err(|why| {
            CliError::usage(format!("--expires `{text}` {why}; write 12h or 30d"))
        })?;
        body["expires_in"] = json!(text);
    }
    let answer = client.post("/v1/tokens", &body, None).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let secret = answer["token"].as_str().unwrap_or_default();
    // on a line of its own, so that a script may take it
    out.line(secret);
    out.screen.flush();
    for line in tokens::made(name, role, out.side.width()) {
        out.side.line(&line);
    }
    Ok(Exit::Ok)
}

async fn ls(client: &Client, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/tokens", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    out.table(
        &tokens::table(items(&answer, "tokens"), time::now_ms()),
        "(none)",
    );
    Ok(Exit::Ok)
}

async fn revoke(client: &Client, name: &str, yes: bool, out: &mut Out) -> Result<Exit, CliError> {
    if !out.agreed(
        &format!("revoke the token {name}? whoever uses it is refused from now on."),
        yes,
    )? {
        out.note("nothing was done");
        return Ok(Exit::Error);
    }
    match client
        .delete(&format!("/v1/tokens/{}", escaped(name)))
        .await
    {
        Err(error) if error.status() == Some(404) => {
            let answer = client.get("/v1/tokens", &[]).await?;
            let known: Vec<String> = items(&answer, "tokens")
                .iter()
                .filter_map(|row| row["name"].as_str())
                .map(str::to_owned)
                .collect();
            return Err(crate::find::unknown(
                "token",
                name,
                &known,
                "baton token ls",
            ));
        }
        done => done?,
    }
    if out.wants_json() {
        out.value(&json!({ "name": name, "revoked": true }));
    } else {
        out.line(format!("{name} is revoked"));
    }
    Ok(Exit::Ok)
}

async fn whoami(client: &Client, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/me", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    for line in tokens::whoami(&answer, time::now_ms(), out.screen.width()) {
        out.say(&line);
    }
    Ok(Exit::Ok)
}
