//! Many who write at once share one commit: whoever comes while others are written is written with the next ones. One commit is for many where there are many,
//! and for one where there is one: nobody waits for company.
//!
//! Guarantee: each who asks is answered, whoever else goes away meanwhile; none where the writer has ended. The writer ends when nobody can ask any more.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

type Asked<T, A> = (T, oneshot::Sender<A>);

/// Where it is asked for. Clones ask the same writer.
#[derive(Debug)]
pub(crate) struct Desk<T, A> {
    to: mpsc::Sender<Asked<T, A>>,
}

/// Who writes.
#[derive(Debug)]
pub(crate) struct Writer<T, A> {
    asked: mpsc::Receiver<Asked<T, A>>,
    most: usize,
}

/// A desk at which so many wait at most, and its writer, who writes so many together at most.
pub(crate) fn desk<T, A>(waiting_max: usize, together_max: usize) -> (Desk<T, A>, Writer<T, A>) {
    let (to, asked) = mpsc::channel(waiting_max);
    let writer = Writer {
        asked,
        most: together_max,
    };
    (Desk { to }, writer)
}

impl<T, A> Clone for Desk<T, A> {
    fn clone(&self) -> Self {
        Self {
            to: self.to.clone(),
        }
    }
}

impl<T, A> Desk<T, A> {
    /// Has one written; it is when this returns. None: the writer has ended, and whether it was nobody says.
    pub(crate) async fn write(&self, one: T) -> Option<A> {
        let (told, answer) = oneshot::channel();
        self.to.send((one, told)).await.ok()?;
        answer.await.ok()
    }
}

impl<T, A> Writer<T, A> {
    /// Writes until nobody can ask any more. `commit` answers for each, in their order.
    pub(crate) async fn run<F>(mut self, mut commit: impl FnMut(Vec<T>) -> F)
    where
        F: Future<Output = Vec<A>>,
    {
        let mut some = Vec::with_capacity(self.most);
        while self.asked.recv_many(&mut some, self.most).await > 0 {
            let (all, told): (Vec<_>, Vec<_>) = some.drain(..).unzip();
            for (told, answer) in told.into_iter().zip(commit(all).await) {
                // whoever waited may have gone
                let _ = told.send(answer);
            }
        }
    }
}
