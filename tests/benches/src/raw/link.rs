//! How a process of the reference reaches the broker: one connection, or two, with a channel to consume and one to publish.

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    PublisherConfirm,
};

use super::{PREFETCH, RESULTS, TASKS};

/// AMQP's delivery mode of a message that is kept on disk.
const PERSISTENT: u8 = 2;

/// Connections and channels of one process.
pub(crate) struct Link {
    connections: Vec<Connection>,
    /// To consume and acknowledge.
    pub(super) consuming: Channel,
    publishing: Channel,
}

impl Link {
    /// Opens one connection, or two. The publishing channel confirms.
    pub(crate) async fn open(url: &str, connections: usize) -> Result<Self> {
        let mut made = Vec::new();
        for _ in 0..connections {
            let opening = Connection::connect(url, ConnectionProperties::default());
            made.push(opening.await.context("cannot connect to the broker")?);
        }
        let (Some(first), Some(last)) = (made.first(), made.last()) else {
            bail!("a link needs at least one connection");
        };
        let consuming = first.create_channel().await?;
        let publishing = last.create_channel().await?;
        consuming
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await?;
        publishing
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            connections: made,
            consuming,
            publishing,
        })
    }

    /// Makes both queues, empty.
    pub(crate) async fn make_queues(&self) -> Result<()> {
        self.remove_queues().await?;
        for queue in [TASKS, RESULTS] {
            let mut arguments = FieldTable::default();
            arguments.insert(
                "x-queue-type".into(),
                AMQPValue::LongString("quorum".into()),
            );
            self.consuming
                .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn remove_queues(&self) -> Result<()> {
        for queue in [TASKS, RESULTS] {
            self.consuming
                .queue_delete(queue.into(), QueueDeleteOptions::default())
                .await?;
        }
        Ok(())
    }

    pub(super) async fn consume(&self, queue: &str) -> Result<Consumer> {
        let options = BasicConsumeOptions::default();
        let consuming =
            self.consuming
                .basic_consume(queue.into(), "".into(), options, FieldTable::default());
        Ok(consuming.await?)
    }

    /// Publishes the same body `count` times, all at once; the confirms come later.
    pub(super) async fn publish(
        &self,
        queue: &str,
        body: &[u8],
        count: usize,
    ) -> Result<Vec<PublisherConfirm>> {
        let publishing = (0..count).map(|_| {
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            let options = BasicPublishOptions::default();
            self.publishing
                .basic_publish("".into(), queue.into(), options, body, properties)
        });
        Ok(try_join_all(publishing).await?)
    }

    pub(crate) async fn close(self) -> Result<()> {
        for connection in self.connections {
            connection.close(200, "done".into()).await?;
        }
        Ok(())
    }
}

/// Waits until the broker has every one of them.
pub(super) async fn confirmed(confirms: Vec<PublisherConfirm>) -> Result<()> {
    for confirm in confirms {
        match confirm.await? {
            Confirmation::Ack(None) => {}
            other => bail!("the broker did not take a message: {other:?}"),
        }
    }
    Ok(())
}
