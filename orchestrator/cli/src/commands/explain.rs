//! `baton explain`: what a code of the checker means. Needs no server.

use baton_engine::definition::{Explanation, explain as page_of, explanations};
use serde_json::{Value, json};

use crate::args::Explain;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::explain as screen;

pub(crate) fn explain(which: &Explain, out: &mut Out) -> Result<Exit, CliError> {
    let Some(code) = &which.code else {
        every(out);
        return Ok(Exit::Ok);
    };
    let Some(page) = page_of(code) else {
        let what = format!("there is no code `{code}`");
        let next = "baton explain, which lists them all";
        return Err(CliError::usage_then(what, next));
    };
    if out.wants_json() {
        out.value(&as_json(&page));
    } else {
        for line in screen::page(&page, out.screen.width()) {
            out.say(&line);
        }
    }
    Ok(Exit::Ok)
}

fn as_json(page: &Explanation) -> Value {
    let Explanation {
        code,
        title,
        text,
        wrong,
        mended,
    } = page;
    json!({ "code": code, "title": title, "text": text, "wrong": wrong, "mended": mended })
}

fn every(out: &mut Out) {
    if out.wants_json() {
        let all: Vec<Value> = explanations().map(|page| as_json(&page)).collect();
        out.value(&Value::Array(all));
        return;
    }
    for line in screen::every(explanations(), out.screen.width()) {
        out.say(&line);
    }
}
