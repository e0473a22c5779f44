//! Signed requests: what is signed is taken once, and nothing else.

use baton_harness::await_some;
use baton_it::{SOON, Setup, System};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{definition, sagas_of, text};

const SECRET: &str = "a-secret-for-tests-only";

fn signed(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Calls a hook; the status and the body.
pub(super) async fn call(
    system: &System,
    hook: &str,
    headers: &[(&str, String)],
    body: &str,
) -> (u16, Value) {
    let url = format!("{}/v1/hooks/{hook}", system.api.url());
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let mut request = http.post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request
        .body(body.to_owned())
        .send()
        .await
        .expect("it answers");
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap_or_default();
    (
        status,
        serde_json::from_str(&body).unwrap_or(Value::String(body)),
    )
}

fn github(id: &str, body: &str) -> Vec<(&'static str, String)> {
    github_by(SECRET, id, body)
}

/// What a call is signed with, by any secret.
pub(super) fn github_by(secret: &str, id: &str, body: &str) -> Vec<(&'static str, String)> {
    let signature = hex(&signed(secret.as_bytes(), &[body.as_bytes()]));
    vec![
        ("x-github-delivery", id.to_owned()),
        ("x-github-event", "push".to_owned()),
        ("x-hub-signature-256", format!("sha256={signature}")),
    ]
}

fn standard(id: &str, at: u64, body: &str) -> Vec<(&'static str, String)> {
    use base64::Engine as _;
    let stamp = at.to_string();
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", stamp.as_bytes(), b".", body.as_bytes()];
    let signature =
        base64::engine::general_purpose::STANDARD.encode(signed(SECRET.as_bytes(), &parts));
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", stamp),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_takes_what_is_signed_once_and_nothing_else() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), format!("{SECRET}\n")).expect("it is written");
    let file = secret.path().to_string_lossy().into_owned();
    let system = Setup::workers(0)
        .orchestrator("hooks.git.secret_file", &file)
        .orchestrator("hooks.git.scheme", "github")
        .orchestrator("hooks.std.secret_file", &file)
        .orchestrator("hooks.std.scheme", "standard")
        .orchestrator("triggers.hook_body_bytes_max", "1000")
        .orchestrator("triggers.hook_rate_per_minute", "60")
        .start()
        .await;
    let on = "  - hook: push\n    secret: git\n    when: ${ event.githubevent == \"push\" }\n  - hook: pay\n    secret: std\n";
    system.api.apply(&definition("deploy", on)).await;

    let body = json!({ "n": 4 }).to_string();
    let (status, first) = call(&system, "push", &github("d-1", &body), &body).await;
    assert_eq!(status, 202, "{first}");
    let (status, again) = call(&system, "push", &github("d-1", &body), &body).await;
    assert_eq!(
        (status, &again),
        (202, &first),
        "the same delivery is the same event"
    );
    let (status, replayed) = call(&system, "push", &github("d-1-again", &body), &body).await;
    assert_eq!(
        (status, &replayed),
        (202, &first),
        "the id of a delivery is not signed: it makes no other event of the same body"
    );

    let wrong = github("d-2", "something else");
    assert_eq!(call(&system, "push", &wrong, &body).await.0, 401);
    assert_eq!(call(&system, "push", &[], &body).await.0, 401);
    assert_eq!(
        call(&system, "nobody", &github("d-3", &body), &body)
            .await
            .0,
        404
    );
    let large = json!({ "n": 1, "x": "x".repeat(2000) }).to_string();
    assert_eq!(
        call(&system, "push", &github("d-4", &large), &large)
            .await
            .0,
        413
    );

    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is later than 1970")
        .as_secs();
    assert_eq!(
        call(&system, "pay", &standard("p-1", now, &body), &body)
            .await
            .0,
        202
    );
    let old = call(&system, "pay", &standard("p-2", now - 900, &body), &body).await;
    assert_eq!(old.0, 401, "{}", old.1);
    // what is signed by one secret is nothing to a trigger of another
    assert_eq!(
        call(&system, "pay", &github("p-3", &body), &body).await.0,
        401
    );

    let mut refused = 0;
    for number in 0..30 {
        let body = json!({ "n": 100 + number }).to_string();
        let headers = github("many", &body);
        refused += u32::from(call(&system, "push", &headers, &body).await.0 == 429);
    }
    assert!(refused > 0, "thirty at once are too many");
    await_some("the sagas of what was taken", SOON, async || {
        let sagas = sagas_of(&system, "deploy").await;
        (sagas.len() as u32 == 2 + 30 - refused).then_some(())
    })
    .await;

    // who cannot sign is refused before anything is read of what he sends
    let wrong = github("d-5", "something else");
    let unsigned = await_some(
        "tries that nobody signed to be too many",
        SOON,
        async || {
            let (status, problem) = call(&system, "pay", &wrong, &body).await;
            (status == 429).then_some(problem)
        },
    )
    .await;
    assert!(
        text(&unsigned["title"]).contains("nobody signed"),
        "{unsigned}"
    );
    assert_eq!(call(&system, "pay", &[], &large).await.0, 429);
}
