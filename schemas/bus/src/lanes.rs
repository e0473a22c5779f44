//! Publisher lanes: confirming channels on the publishing connection, each lent to one batch at a time.
//!
//! The client numbers a publish and queues it under two separate locks, so two tasks on one channel could swap their
//! confirms; and it hangs a returned message on whichever confirm completes next. Both stay harmless as long as a
//! channel carries one batch of one task at a time: that is what the pool is for.

use std::{sync::Arc, time::Duration};

use deadpool::managed::{Manager, Metrics, Object, Pool, RecycleError, RecycleResult};
use lapin::{Channel, options::ConfirmSelectOptions};
use tokio::sync::watch;
use tracing::warn;

use crate::{
    state::{BusState, Link},
    supervisor::{Cell, Live},
};

/// One confirming channel.
pub(crate) struct Lane {
    pub(crate) channel: Channel,
    live: Arc<Live>,
    /// False while a batch is on it, and for ever when that batch did not end: then some of its confirms or returns may
    /// still come, and would be taken for those of the next batch.
    pub(crate) settled: bool,
}

pub(crate) struct Lanes {
    pub(crate) cell: Cell,
    pub(crate) state: watch::Receiver<BusState>,
    /// Time for the broker to open a channel.
    pub(crate) open_limit: Duration,
}

pub(crate) type LanePool = Pool<Lanes>;
pub(crate) type LentLane = Object<Lanes>;

/// Why there is no lane.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    #[error("the bus is shut down")]
    Closed,
    #[error("the broker did not open a channel in time")]
    NoAnswer,
    #[error("no channel to publish on")]
    Channel(#[source] lapin::Error),
}

impl Lanes {
    /// The publishing connection, once it is there and takes messages.
    async fn flowing(&self) -> Result<Arc<Live>, LaneError> {
        let mut state = self.state.clone();
        loop {
            state
                .wait_for(|now| matches!(now.publishing, Link::Up { .. }))
                .await
                .map_err(|_| LaneError::Closed)?;
            let live = self.cell.borrow().clone();
            match live.filter(|live| live.is_connected() && !live.is_blocked()) {
                Some(live) => return Ok(live),
                // up, and already gone or blocked again: the state follows in a moment
                None => state.changed().await.map_err(|_| LaneError::Closed)?,
            }
        }
    }
}

impl Manager for Lanes {
    type Type = Lane;
    type Error = LaneError;

    async fn create(&self) -> Result<Lane, LaneError> {
        let live = self.flowing().await?;
        let opening = async {
            let channel = live.connection.create_channel().await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            lapin::Result::Ok(channel)
        };
        let Ok(opened) = tokio::time::timeout(self.open_limit, opening).await else {
            // A broker that has just started may hold a channel for ever whose queue had no leader yet; it then reads
            // no further on the whole connection, though its heartbeats go on. Another connection is all that helps.
            if !live.is_blocked() {
                warn!(
                    epoch = live.epoch,
                    "the broker opens no channel on the publishing connection; it is cut"
                );
                live.socket.cut();
            }
            return Err(LaneError::NoAnswer);
        };
        let channel = opened.map_err(LaneError::Channel)?;
        Ok(Lane {
            channel,
            live,
            settled: true,
        })
    }

    async fn recycle(&self, lane: &mut Lane, _: &Metrics) -> RecycleResult<LaneError> {
        let fit = lane.settled
            && lane.channel.status().connected()
            && lane.live.is_connected()
            && !lane.live.is_blocked();
        if fit {
            Ok(())
        } else {
            Err(RecycleError::message(
                "the channel is closed, blocked or not settled",
            ))
        }
    }
}
