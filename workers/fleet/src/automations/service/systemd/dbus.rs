//! What is said to systemd on the bus: the part of `org.freedesktop.systemd1` that is used here, and what its errors mean for an attempt.

use zbus::names::ErrorName;
use zbus::{DBusError as _, OwnedObjectPath, proxy};

use baton_worker::TaskError;

/// The manager of all units.
#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Manager {
    /// Has it tell this connection of jobs.
    fn subscribe(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: zbus::ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

/// Whether the call that failed would have changed something, had it reached systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// It only looks.
    Looks,
    /// It changes something.
    Changes,
}

/// What a failed call means. A refusal is systemd's word that it has done nothing; where no word came, nobody knows.
pub(super) fn refused(error: &zbus::Error, unit: &str, asked: &str, call: Call) -> TaskError {
    let said = said(error);
    let what = format!("systemd was asked to {asked} {unit}: {said}");
    match name_of(error).as_deref() {
        Some("org.freedesktop.systemd1.NoSuchUnit") => {
            TaskError::failed("service-unknown", what).retryable()
        }
        Some(
            "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
            | "org.freedesktop.DBus.Error.AuthFailed",
        ) => TaskError::failed(
            "access-denied",
            format!(
                "{what}; let polkit or the bus's policy allow it to the user of this worker (org.freedesktop.systemd1.manage-units)"
            ),
        ),
        Some("org.freedesktop.systemd1.UnitMasked") => TaskError::failed("service-masked", what),
        Some(
            "org.freedesktop.DBus.Error.ServiceUnknown"
            | "org.freedesktop.DBus.Error.NameHasNoOwner",
        ) => TaskError::failed("systemd-unreachable", what).retryable(),
        Some(name) if name.starts_with("org.freedesktop.systemd1.") => {
            TaskError::failed("service-refused", what).retryable()
        }
        Some(_) | None if call == Call::Looks => {
            TaskError::failed("systemd-unreachable", what).retryable()
        }
        Some(_) | None => TaskError::unknown("systemd-unreachable", what),
    }
}

/// Whether systemd says that it has no such unit loaded.
pub(super) fn is_no_such_unit(error: &zbus::Error) -> bool {
    name_of(error).as_deref() == Some("org.freedesktop.systemd1.NoSuchUnit")
}

/// The error's name on the bus; none when it never was on it.
fn name_of(error: &zbus::Error) -> Option<String> {
    let name: ErrorName<'_> = match error {
        zbus::Error::MethodError(name, _, _) => name.as_ref(),
        zbus::Error::FDO(known) if !matches!(**known, zbus::fdo::Error::ZBus(_)) => known.name(),
        _ => return None,
    };
    Some(name.to_string())
}

/// What it says, without the name.
fn said(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(name, text, _) => text.clone().unwrap_or_else(|| name.to_string()),
        zbus::Error::FDO(known) => known
            .description()
            .map_or_else(|| error.to_string(), str::to_owned),
        other => other.to_string(),
    }
}
