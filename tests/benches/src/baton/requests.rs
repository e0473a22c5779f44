//! Asks for sagas the way an outside service with many of them does: `starts@1` on `baton.inbox`, persistent and confirmed.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use baton_messages::batch::STARTS_MAX;
use baton_messages::headers::{APP_ID, JSON, VERSION, VERSION_HEADER};
use baton_messages::{InboxKey, InboxMessage, StartBatch, topology};
use baton_store::Layout;
use futures::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use uuid::Uuid;

use super::definition;

/// AMQP's delivery mode of a message that is kept on disk.
const PERSISTENT: u8 = 2;

/// A publisher of requests.
pub(super) struct Requests {
    connection: Connection,
    channel: Channel,
    layout: Layout,
    payload_bytes: usize,
}

impl Requests {
    /// A publisher that knows which inbox belongs to which saga, so that no request has to be sent on.
    pub(super) async fn open(amqp: &str, payload_bytes: usize, layout: Layout) -> Result<Self> {
        let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            connection,
            channel,
            layout,
            payload_bytes,
        })
    }

    /// Asks for so many sagas; returns when the broker has all of the requests.
    pub(super) async fn ask_for(&self, count: usize) -> Result<()> {
        let starts = (0..count).map(|_| definition::start(self.payload_bytes));
        let mut of_inbox = BTreeMap::<u8, Vec<_>>::new();
        for start in starts {
            let partition = self.layout.of(start.saga);
            of_inbox.entry(partition).or_default().push(start);
        }
        let mut bodies = Vec::with_capacity(count.div_ceil(STARTS_MAX) + of_inbox.len());
        let batches = of_inbox.into_iter().flat_map(|(partition, starts)| {
            let batches: Vec<Vec<_>> = starts.chunks(STARTS_MAX).map(<[_]>::to_vec).collect();
            batches.into_iter().map(move |starts| (partition, starts))
        });
        for (partition, starts) in batches {
            let message = match <[_; 1]>::try_from(starts) {
                Ok([start]) => InboxMessage::Start(start),
                Err(starts) => InboxMessage::Starts(StartBatch { starts }),
            };
            let properties = BasicProperties::default()
                .with_message_id(Uuid::now_v7().to_string().into())
                .with_type(message.kind().into())
                .with_app_id(APP_ID.into())
                .with_content_type(JSON.into())
                .with_headers(version_header())
                .with_delivery_mode(PERSISTENT);
            let inbox = InboxKey::of(partition);
            bodies.push((inbox, serde_json::to_vec(&message)?, properties));
        }
        let publishing = bodies.iter().map(|(inbox, body, properties)| {
            self.channel.basic_publish(
                topology::INBOX.into(),
                inbox.as_str().into(),
                BasicPublishOptions {
                    mandatory: true,
                    ..BasicPublishOptions::default()
                },
                body,
                properties.clone(),
            )
        });
        for confirm in try_join_all(publishing).await? {
            let confirm = confirm.await?;
            ensure!(
                matches!(confirm, Confirmation::Ack(None)),
                "the broker did not take a request: {confirm:?}"
            );
        }
        Ok(())
    }

    pub(super) async fn close(self) -> Result<()> {
        if let Err(error) = self.connection.close(200, "done".into()).await {
            bail!("cannot close the connection: {error}");
        }
        Ok(())
    }
}

fn version_header() -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(VERSION_HEADER.into(), AMQPValue::LongUInt(VERSION));
    headers
}
