//! What must hold of a service whoever looks after it.

use baton_worker::Probe;

use crate::stage::Stage;

/// The service is stopped at first, and in the end.
pub(crate) async fn hold_for(stage: &Stage) {
    // start: twice, found out, taken back twice
    let start = stage.start.step();
    assert_eq!(start.probe().await.unwrap(), Probe::DidNot);
    let up = start.run().await.unwrap();
    assert!(up.running && up.changed && up.instance.is_some(), "{up:?}");
    assert_eq!(
        start.run().await.unwrap(),
        up,
        "the second run tells another story"
    );
    assert_eq!(start.probe().await.unwrap(), Probe::Happened(up.clone()));

    // a start of what runs changes nothing, and its undo neither
    let again = stage.start.step();
    let same = again.run().await.unwrap();
    assert!(!same.changed && same.instance == up.instance);
    again.undo().await.unwrap();
    let now = stage.start.step().run().await.unwrap();
    assert_eq!(now.instance, up.instance, "an undo of nothing stopped it");

    // restart: another run of it, once for a step however often it is tried
    let restart = stage.restart.step();
    let other = restart.run().await.unwrap();
    assert!(other.changed && other.running && other.instance != up.instance);
    assert_eq!(
        restart.run().await.unwrap(),
        other,
        "restarted twice for one step"
    );
    assert_eq!(
        restart.probe().await.unwrap(),
        Probe::Happened(other.clone())
    );
    restart.undo().await.unwrap();
    let now = stage.start.step().run().await.unwrap();
    assert_eq!(now.instance, other.instance, "it ran before: it runs");

    // stop: twice, found out, and up again
    let stop = stage.stop.step();
    assert_eq!(stop.probe().await.unwrap(), Probe::DidNot);
    let down = stop.run().await.unwrap();
    assert!(!down.running && down.changed);
    assert_eq!(stop.run().await.unwrap(), down);
    assert_eq!(stop.probe().await.unwrap(), Probe::Happened(down));
    for _ in 0..2 {
        stop.undo().await.unwrap();
        assert_eq!(stop.probe().await.unwrap(), Probe::DidNot);
    }

    for _ in 0..2 {
        start.undo().await.unwrap();
        assert_eq!(start.probe().await.unwrap(), Probe::DidNot);
    }

    // restart of what does not run starts it; taken back, it is stopped again
    let restart = stage.restart.step();
    assert_eq!(restart.probe().await.unwrap(), Probe::DidNot);
    assert!(restart.run().await.unwrap().running);
    for _ in 0..2 {
        restart.undo().await.unwrap();
        assert_eq!(restart.probe().await.unwrap(), Probe::DidNot);
    }
}

/// One that dies at once is never said to have been started.
pub(crate) async fn a_failing_one_is_not_started(stage: &Stage) {
    let step = stage.start.step();
    let error = step.run().await.unwrap_err();
    assert!(!error.nothing_changed(), "{error}");
    assert_eq!(error.code(), "service-did-not");
    step.undo().await.unwrap();
    let stopped = stage.stop.step().run().await.unwrap();
    assert!(!stopped.changed, "its undo did not stop it");
}

/// What nobody looks after is refused without a touch.
pub(crate) async fn an_unknown_one_is_refused(stage: &Stage) {
    let error = stage.restart.step().run().await.unwrap_err();
    assert!(error.nothing_changed(), "{error}");
}
