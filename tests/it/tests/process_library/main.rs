//! The processes of `orchestrator/sagas`, each run for real: the shipped definition and the shipped worker configuration, on real
//! repositories, folders, services and a real web server; and each of them failing, with everything put back. What an author reads of them
//! stands beside them, case by case, and is run here; what takes several at a time stands here.

mod backup;
mod cases;
mod insert;
mod release;
mod world;

/// Every definition that is shipped has its cases, and every file of cases is run: by the test of its name below.
#[test]
fn every_process_has_its_cases() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../orchestrator/sagas");
    let names = |below: &str| -> std::collections::BTreeSet<String> {
        let files = std::fs::read_dir(folder.join(below)).expect("the library is there");
        let names = files.flatten().map(|file| file.file_name());
        names
            .filter_map(|name| Some(name.to_str()?.strip_suffix(".yaml")?.to_owned()))
            .collect()
    };
    let run = [
        "insert-line-of-code",
        "nightly-backup",
        "release",
        "restart-service",
        "tell-on-call",
    ];
    let run = run.map(str::to_owned).into_iter().collect();
    assert_eq!(names("cases"), run);
    assert_eq!(names(""), run, "a process without cases");
}

#[tokio::test]
async fn the_cases_of_insert_line_of_code() {
    cases::run("insert-line-of-code").await;
}

#[tokio::test]
async fn the_cases_of_nightly_backup() {
    cases::run("nightly-backup").await;
}

#[tokio::test]
async fn the_cases_of_release() {
    cases::run("release").await;
}

#[tokio::test]
async fn the_cases_of_restart_service() {
    cases::run("restart-service").await;
}

#[tokio::test]
async fn the_cases_of_tell_on_call() {
    cases::run("tell-on-call").await;
}
