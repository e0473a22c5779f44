//! Relay, process and ledger do to others what tests ask of them, and only that.

use std::time::Duration;

use baton_harness::ledger::{Did, Fault, State};
use baton_harness::{Direction, Launch, Ledger, Proxy, await_until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(90);

/// Sends back what it gets, on a free port.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback is there");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    port
}

async fn round_trip(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await?;
    Ok(back)
}

#[tokio::test]
async fn a_relay_carries_cuts_refuses_and_holds() {
    let proxy = Proxy::to_port(echo().await).await;
    let connect = || TcpStream::connect(("127.0.0.1", proxy.port()));
    let mut one = connect().await.unwrap();
    assert_eq!(round_trip(&mut one, b"hello").await.unwrap(), b"hello");
    assert_eq!((proxy.connections(), proxy.bytes_to_server()), (1, 5));

    proxy.cut();
    assert!(
        round_trip(&mut one, b"x").await.is_err(),
        "the cut connection lives"
    );
    await_until("the cut connection to be gone", SOON, async || {
        proxy.connections() == 0
    })
    .await;

    let mut two = connect().await.unwrap();
    round_trip(&mut two, b"x").await.unwrap();
    proxy.hold(Direction::ToClient);
    two.write_all(b"held").await.unwrap();
    await_until("the bytes to reach the server", SOON, async || {
        proxy.bytes_to_server() == 10
    })
    .await;
    let mut back = [0; 4];
    let early = tokio::time::timeout(Duration::from_millis(200), two.read_exact(&mut back)).await;
    assert!(early.is_err(), "bytes came through a hold");
    proxy.resume();
    two.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"held");

    proxy.cut_after(10_000);
    let whole = round_trip(&mut two, &[7; 100_000]).await;
    assert!(whole.is_err(), "the connection outlived its last byte");

    proxy.refuse();
    let refused = async { round_trip(&mut connect().await?, b"x").await };
    assert!(refused.await.is_err(), "a refused connection works");
    proxy.accept();
    proxy.delay(Duration::from_millis(100));
    let started = std::time::Instant::now();
    round_trip(&mut connect().await.unwrap(), b"slow")
        .await
        .unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));
    // a hundred pieces are on the way side by side: one after another they would take ten seconds
    let started = std::time::Instant::now();
    let many = [7; 400_000];
    round_trip(&mut connect().await.unwrap(), &many)
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_process_is_seen_stopped_and_killed() {
    let script = "trap 'echo bye; exit 3' TERM; echo ready $GREETING; while :; do sleep 0.05; done";
    let mut process = Launch::program("shell", "/bin/sh")
        .args(["-c", script])
        .env("GREETING", "you")
        .start();
    assert_eq!(process.wait_for_line("ready", SOON).await, "ready you");
    let state = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    };
    process.sigstop();
    let pid = process.pid();
    await_until("the process to be frozen", SOON, async || state(pid) == 'T').await;
    process.sigcont();
    await_until("the process to be thawed", SOON, async || state(pid) != 'T').await;
    assert_eq!(process.sigterm_and_wait(SOON).await.code(), Some(3));
    assert!(process.log().ends_with("bye\n"));

    process.start_again();
    await_until("the second start", SOON, async || {
        process.log().matches("ready").count() == 2
    })
    .await;
    let pid = process.pid();
    process.kill9();
    assert!(!process.is_running());
    assert!(
        std::fs::metadata(format!("/proc/{pid}")).is_err(),
        "it is still there"
    );
}

#[tokio::test]
#[should_panic(expected = "ended without printing")]
async fn a_process_that_dies_early_is_not_waited_for() {
    Launch::program("false", "/bin/false")
        .start()
        .wait_for_line("never", Duration::from_secs(600))
        .await;
}

#[tokio::test]
#[should_panic(expected = "in vain for pigs to fly")]
async fn a_wait_says_what_it_waited_for() {
    await_until("pigs to fly", Duration::from_millis(30), async || {
        std::future::pending().await
    })
    .await;
}

async fn call(ledger: &Ledger, body: Value) -> reqwest::Result<u16> {
    let answer = reqwest::Client::new()
        .post(format!("{}/effects", ledger.url()))
        .json(&body)
        .send()
        .await?;
    let status = answer.status().as_u16();
    answer.bytes().await?;
    Ok(status)
}

#[tokio::test]
async fn the_ledger_remembers_through_its_own_death_and_fails_as_told() {
    let mut ledger = Ledger::start().await;
    let key = "saga/7 step";
    assert_eq!(
        call(
            &ledger,
            json!({ "key": key, "direction": "do", "run": "r1", "value": 5 })
        )
        .await
        .unwrap(),
        200
    );
    assert_eq!(
        call(
            &ledger,
            json!({ "key": key, "direction": "do", "run": "r2" })
        )
        .await
        .unwrap(),
        200
    );
    assert_eq!(
        call(&ledger, json!({ "key": key, "direction": "sideways" }))
            .await
            .unwrap(),
        422
    );

    ledger.kill9();
    ledger.start_again().await;
    let effect = ledger.effect(key).await;
    assert_eq!(
        (effect.state, effect.done, effect.repeats, effect.value),
        (State::Applied, 1, 1, json!(5))
    );
    assert_eq!(ledger.calls().await[1].run, "r2");

    let fails = json!({ "key": "b", "direction": "do", "fail": true });
    assert_eq!(call(&ledger, fails).await.unwrap(), 500);
    assert_eq!(ledger.effect("b").await.state, State::Never);
    ledger
        .fault(&Fault {
            key_contains: "b".into(),
            direction: Some(Did::Do),
            times: 1,
            drop_after_effect: true,
            ..Fault::default()
        })
        .await;
    assert!(
        call(&ledger, json!({ "key": "b", "direction": "do" }))
            .await
            .is_err(),
        "it was to break the connection"
    );
    assert_eq!(ledger.effect("b").await.state, State::Applied);
    assert_eq!(
        call(
            &ledger,
            json!({ "key": "b", "direction": "undo", "fail_after_effect": true })
        )
        .await
        .unwrap(),
        500
    );
    let report = ledger.report().await;
    assert_eq!(
        (report.len(), report["b"].state, report["b"].undone),
        (2, State::Reverted, 1)
    );
}
