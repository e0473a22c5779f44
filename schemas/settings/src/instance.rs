//! The name of a process among its like: it names its own queue on the bus, so no two alive may share one.

/// Where Linux says the name of the host.
const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";
/// How much of the host's name is kept; the queue's name has room for more, people do not.
const HOST_CHARS_MAX: usize = 64;

/// The host's name, where it says one.
#[must_use]
pub fn host() -> Option<String> {
    let host = std::fs::read_to_string(HOSTNAME_FILE).ok()?;
    let host = host.trim();
    (!host.is_empty()).then(|| host.to_owned())
}

/// A name from the host's and a part of chance.
#[must_use]
pub fn made() -> String {
    let host = host().unwrap_or_default();
    let host: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .take(HOST_CHARS_MAX)
        .collect();
    let host = if host.is_empty() { "host" } else { &host };
    let chance = uuid::Uuid::new_v4().simple().to_string();
    format!("{host}-{}", chance.get(..8).unwrap_or(&chance))
}
