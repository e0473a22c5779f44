//! One service and the three automations on it, as several attempts and directions meet them.

use std::path::{Path, PathBuf};

use baton_fleet::automations::{ServiceInput, ServiceRestart, ServiceStart, ServiceStop, Services};
use baton_fleet::process::{Processes, ProcessesConfig};
use baton_worker::Automation;
use baton_worker::testing::UnderTest;

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

impl<A: Automation<Input = ServiceInput> + Clone> Kind<A> {
    pub(crate) fn step(&self) -> UnderTest<A> {
        let service = self.service.clone();
        UnderTest::new(self.automation.clone(), ServiceInput { service })
    }
}
