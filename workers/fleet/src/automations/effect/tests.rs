//! The laws of `test.effect` on a real ledger: run, undo and probe, each twice, and trouble told apart.

use baton_worker::Direction;
use baton_worker::testing::{TestStep, UnderTest};

use super::*;

#[tokio::test]
async fn each_direction_may_be_run_twice_and_the_probe_tells_what_stands() {
    let ledger = baton_harness::Ledger::start().await;
    let effect = TestEffect::on(Ledger::at(ledger.url()).unwrap());
    let case = UnderTest::new(effect, example());
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    // An undo of what never happened is content.
    case.undo().await.unwrap();

    let mut key = String::new();
    for _ in 0..2 {
        key = case.run().await.unwrap().key;
    }
    let happened = Probe::Happened(EffectOutput { key: key.clone() });
    assert_eq!(case.probe().await.unwrap(), happened);
    for _ in 0..2 {
        case.undo().await.unwrap();
    }
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    let counted = ledger.effect(&key).await;
    assert_eq!((counted.done, counted.undone), (1, 1));
}

#[tokio::test]
async fn trouble_before_the_effect_is_failed_and_after_it_unknown() {
    let ledger = baton_harness::Ledger::start().await;
    let effect = TestEffect::on(Ledger::at(ledger.url()).unwrap());
    let run = async |input: EffectInput| {
        let step = TestStep::new();
        let context = step.attempt(Direction::Do).unwrap();
        let key = context.effect_key().to_string();
        let error = effect.run(&context, input).await.unwrap_err();
        (error, ledger.effect(&key).await.done)
    };
    let told = EffectInput {
        fail: Some(Fail::Final),
        ..example()
    };
    let (error, done) = run(told).await;
    assert!(error.nothing_changed() && done == 0);

    let told = EffectInput {
        unknown_after: true,
        ..example()
    };
    let (error, done) = run(told).await;
    assert!(!error.nothing_changed() && done == 1);

    ledger
        .fault(&baton_harness::ledger::Fault {
            drop_after_effect: true,
            times: 1,
            ..Default::default()
        })
        .await;
    let (error, done) = run(example()).await;
    assert!(!error.nothing_changed() && done == 1, "{error}");

    let nobody = TestEffect::on(Ledger::at("http://127.0.0.1:1").unwrap());
    let context = TestStep::new().attempt(Direction::Do).unwrap();
    let error = nobody.run(&context, example()).await.unwrap_err();
    assert!(error.nothing_changed() && error.may_retry(), "{error}");
}
