//! The lines of the page `API.md` do what it says: they are run by a shell against a running orchestrator.

use std::process::Command;

use crate::stage::Stage;

/// Every line of `sh` on the page, in its order.
fn lines() -> String {
    let page = include_str!("../../API.md");
    let mut text = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_page_works() {
    let mut stage = Stage::new().await;
    let _worker = stage.worker();
    stage.await_type("test.echo@1").await;
    let api = stage.api().await;
    let folder = stage.data("page");
    std::fs::create_dir(&folder).unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-eu", "-c", &lines()])
        .current_dir(&folder)
        .env("URL", &api.url)
        .env("TOKEN", &api.token);
    let done = tokio::task::spawn_blocking(move || shell.output().unwrap());
    let done = done.await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{wrong}");
    for expected in [
        r#""name":"admin","role":"admin""#,
        r#""ok":true"#,
        r#""output":{"said":"hello"}"#,
        r#""next":3"#,
        r#""host":"web-1""#,
        r#""task_type":"test.echo@1""#,
        "event: end",
        "urn:baton:problem:no-token",
        "did you mean `status`?",
    ] {
        assert!(
            said.contains(expected),
            "no {expected} in:\n{said}\n{wrong}"
        );
    }
    let problems = said.matches("urn:baton:problem").count();
    assert_eq!(problems, 2, "only where the page shows them:\n{said}");
}
