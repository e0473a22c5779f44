//! One service and the three automations on it, as several attempts and directions meet them.

use std::path::{Path, PathBuf};

use baton_fleet::automations::{
    ServiceInput, ServiceOutput, ServiceRestart, ServiceStart, ServiceStop, Services,
};
use baton_fleet::process::{Processes, ProcessesConfig};
use baton_worker::testing::TestStep;
use baton_worker::{Asked, Automation, Direction, Done, Probe, TaskError};

pub(crate) struct Stage {
    pub(crate) start: Kind<ServiceStart>,
    pub(crate) stop: Kind<ServiceStop>,
    pub(crate) restart: Kind<ServiceRestart>,
}

/// One automation and the service it is tried on. Each [`Kind::step`] is a step nothing has been done for.
pub(crate) struct Kind<A> {
    automation: A,
    service: String,
}

pub(crate) struct Step<'a, A> {
    kind: &'a Kind<A>,
    step: TestStep,
}

impl Stage {
    /// `entries` as in the configuration; `service` is the one acted on.
    pub(crate) fn new(work: &Path, entries: &str, service: &str) -> Self {
        let config = ProcessesConfig {
            work_folder: Some(work.join("runs")),
            ..ProcessesConfig::default()
        };
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_baton-worker"));
        let processes = Processes::launched_by(&config, launcher);
        let entries = toml::from_str(entries).unwrap();
        let services = Services::new(&entries, &processes).unwrap();
        let service = || service.to_owned();
        Self {
            start: Kind {
                automation: ServiceStart::of(services.clone()),
                service: service(),
            },
            stop: Kind {
                automation: ServiceStop::of(services.clone()),
                service: service(),
            },
            restart: Kind {
                automation: ServiceRestart::of(services),
                service: service(),
            },
        }
    }
}

impl<A> Kind<A>
where
    A: Automation<Input = ServiceInput, Output = ServiceOutput>,
{
    pub(crate) fn step(&self) -> Step<'_, A> {
        Step {
            kind: self,
            step: TestStep::new(),
        }
    }
}

impl<A> Step<'_, A>
where
    A: Automation<Input = ServiceInput, Output = ServiceOutput>,
{
    fn input(&self) -> ServiceInput {
        ServiceInput {
            service: self.kind.service.clone(),
        }
    }

    pub(crate) async fn run(&self) -> Result<ServiceOutput, TaskError> {
        let context = self.step.attempt(Direction::Do).unwrap();
        self.kind.automation.run(&context, self.input()).await
    }

    pub(crate) async fn undo(&self) -> Result<(), TaskError> {
        let context = self.step.attempt(Direction::Undo).unwrap();
        let done = Done {
            input: self.input(),
            output: None,
            before: self.step.before(),
            progress: None,
        };
        self.kind.automation.undo(&context, done).await
    }

    pub(crate) async fn probe(&self) -> Probe<ServiceOutput> {
        let context = self.step.attempt(Direction::Probe).unwrap();
        let asked = Asked {
            input: self.input(),
            before: self.step.before(),
            progress: None,
        };
        self.kind.automation.probe(&context, asked).await.unwrap()
    }
}
