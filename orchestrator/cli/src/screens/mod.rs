//! What is drawn, one file for each screen: from what the API says to lines of a width. Pure, so that every screen is tested at every width.

pub(crate) mod alerts;
pub(crate) mod applied;
pub(crate) mod attempts;
pub(crate) mod audit;
pub(crate) mod cluster;
pub(crate) mod counts;
pub(crate) mod dead;
pub(crate) mod dead_ops;
pub(crate) mod diagnostics;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod fleet;
pub(crate) mod locks;
pub(crate) mod manual;
pub(crate) mod mermaid;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod saga;
pub(crate) mod sagas;
pub(crate) mod schedules;
pub(crate) mod schema;
pub(crate) mod standing;
pub(crate) mod sweep;
pub(crate) mod tokens;
pub(crate) mod top;
pub(crate) mod topology;
pub(crate) mod types;
pub(crate) mod upgrade;
pub(crate) mod work;
pub(crate) mod work_item;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_dead;
#[cfg(test)]
mod golden_sweep;
#[cfg(test)]
mod golden_upgrade;
#[cfg(test)]
mod golden_work;
