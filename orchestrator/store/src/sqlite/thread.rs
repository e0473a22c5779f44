//! The one thread that holds the writing connection. Work is done in the order it was sent; when the last sender is gone what was
//! sent is finished, the file closed, the lock given up.

use baton_driver::StoreError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::columns::failed;
use super::commit::Writer;
use super::lock::FileLock;

/// Requests under way: the driver has one at a time, an abandoned future leaves one more. Beyond that the caller waits.
const REQUESTS_MAX: usize = 16;

type Work = Box<dyn FnOnce(&mut Writer) + Send>;

/// The store's thread is gone: what it was doing may or may not have happened.
#[derive(Debug, thiserror::Error)]
#[error("the store's thread has ended. Restart the process; its log says what ended it")]
pub(crate) struct ThreadLost;

/// Why a store did not close in order.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// SQLite refuses.
    #[error("close store")]
    Sqlite {
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The thread ended before.
    #[error("close store: its thread had ended before. The process's log says what ended it")]
    ThreadLost,
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct StoreThread {
    requests: mpsc::Sender<Work>,
    closed: oneshot::Receiver<Result<(), rusqlite::Error>>,
}

impl StoreThread {
    /// Starts it; from here on it alone has the connection.
    pub(crate) fn start(conn: Connection, lock: FileLock) -> std::io::Result<Self> {
        let (requests, mut taken) = mpsc::channel::<Work>(REQUESTS_MAX);
        let (tell_closed, closed) = oneshot::channel();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let mut writer = Writer::new(conn);
                while let Some(work) = taken.blocking_recv() {
                    work(&mut writer);
                }
                let ended = writer
                    .into_connection()
                    .close()
                    .map_err(|(_, source)| source);
                drop(lock);
                // nobody may be waiting: the store was dropped, not closed
                let _ = tell_closed.send(ended);
            })?;
        Ok(Self { requests, closed })
    }

    /// Has `work` done on the thread. When the caller goes away the work is done all the same.
    pub(crate) async fn call<T, F>(&self, work: F) -> Result<T, ThreadLost>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writer) -> T + Send + 'static,
    {
        call(&self.requests, work).await
    }

    /// A way to the thread that does not keep it alive.
    pub(crate) fn weak(&self) -> WeakThread {
        WeakThread(self.requests.downgrade())
    }

    /// Ends the thread after all that was sent.
    pub(crate) async fn close(self) -> Result<(), CloseError> {
        let Self { requests, closed } = self;
        drop(requests);
        closed
            .await
            .map_err(|_| CloseError::ThreadLost)?
            .map_err(|source| CloseError::Sqlite { source })
    }
}

/// A way to the thread for those beside the driver; the thread ends without waiting for them.
#[derive(Debug, Clone)]
pub(crate) struct WeakThread(mpsc::WeakSender<Work>);

impl WeakThread {
    /// As [`StoreThread::call`]; an error once the store is closed.
    pub(crate) async fn call<T, F>(&self, work: F) -> Result<T, ThreadLost>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writer) -> T + Send + 'static,
    {
        let requests = self.0.upgrade().ok_or(ThreadLost)?;
        call(&requests, work).await
    }

    /// As [`WeakThread::call`], with the connection alone; `what` says in an error what it was about.
    pub(crate) async fn on_connection<T, F>(
        &self,
        what: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        match self.call(move |writer| work(writer.connection())).await {
            Ok(answer) => answer.map_err(failed(what)),
            Err(lost) => Err(StoreError {
                what: what.to_owned(),
                source: Box::new(lost),
            }),
        }
    }
}

async fn call<T, F>(requests: &mpsc::Sender<Work>, work: F) -> Result<T, ThreadLost>
where
    T: Send + 'static,
    F: FnOnce(&mut Writer) -> T + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let work: Work = Box::new(move |writer| {
        // nobody may be waiting: the caller dropped its future
        let _ = reply.send(work(writer));
    });
    requests.send(work).await.map_err(|_| ThreadLost)?;
    answer.await.map_err(|_| ThreadLost)
}
