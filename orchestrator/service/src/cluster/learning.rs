//! Whether the loops of this process know the definitions and task types that are kept. Whoever keeps one tells every loop that is there; this is for those that did not
//! hear it, could not read then, or read before it and were not there yet. What was not read by all of them is read again, until it was.

use tokio::task::JoinHandle;

/// What is kept, in numbers that change with it; and how many loops have begun here.
pub(super) type Kept = ([i64; 4], u64);

/// How far the loops here have followed what is kept.
#[derive(Default)]
pub(super) struct Learning {
    /// What all of them know.
    known: Option<Kept>,
    /// What they are reading, and whether all of them could.
    reads: Option<(Kept, JoinHandle<bool>)>,
}

impl Learning {
    /// Has them read anew when they do not know what is kept now, beside whoever calls: `learn` answers whether all of them have. Called again and again; one reading is
    /// under way at a time.
    pub(super) async fn follow(
        &mut self,
        kept: Kept,
        learn: impl Future<Output = bool> + Send + 'static,
    ) {
        if let Some((of, reads)) = self.reads.take() {
            if !reads.is_finished() {
                self.reads = Some((of, reads));
                return;
            }
            if reads.await.unwrap_or(false) {
                self.known = Some(of);
            }
        }
        if self.known != Some(kept) {
            self.reads = Some((kept, tokio::spawn(learn)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Loops that can read, or cannot, and count how often they were asked.
    #[derive(Default)]
    struct Loops {
        learning: Learning,
        asked: Arc<AtomicU32>,
    }

    impl Loops {
        /// One look, whose reading comes to its end; how often they were asked by then.
        async fn look(&mut self, kept: Kept, can: bool) -> u32 {
            let asked = self.asked.clone();
            let learn = async move {
                asked.fetch_add(1, Ordering::Relaxed);
                can
            };
            self.learning.follow(kept, learn).await;
            while let Some((_, reads)) = &self.learning.reads
                && !reads.is_finished()
            {
                tokio::task::yield_now().await;
            }
            self.asked.load(Ordering::Relaxed)
        }
    }

    const ONE: [i64; 4] = [1, 0, 0, 0];
    const TWO: [i64; 4] = [2, 0, 0, 0];

    #[tokio::test]
    async fn what_is_new_is_read_once() {
        let mut loops = Loops::default();
        assert_eq!(loops.look((ONE, 1), true).await, 1, "nothing is known yet");
        assert_eq!(loops.look((ONE, 1), true).await, 1);
        assert_eq!(loops.look((TWO, 1), true).await, 2);
        assert_eq!(loops.look((TWO, 1), true).await, 2);
    }

    #[tokio::test]
    async fn what_could_not_be_read_is_read_again() {
        let mut loops = Loops::default();
        loops.look((ONE, 1), true).await;
        assert_eq!(loops.look((TWO, 1), false).await, 2);
        assert_eq!(loops.look((TWO, 1), false).await, 3);
        assert_eq!(loops.look((TWO, 1), true).await, 4);
        assert_eq!(loops.look((TWO, 1), true).await, 4, "now it is known");
    }

    #[tokio::test]
    async fn a_loop_that_begins_is_asked_too() {
        let mut loops = Loops::default();
        loops.look((ONE, 1), true).await;
        assert_eq!(loops.look((ONE, 2), true).await, 2);
    }

    #[tokio::test]
    async fn one_reading_is_under_way_at_a_time() {
        let mut loops = Loops::default();
        let never = std::future::pending::<bool>();
        loops.learning.follow((ONE, 1), never).await;
        let asked = loops.asked.clone();
        let learn = async move { asked.fetch_add(1, Ordering::Relaxed) > 0 };
        loops.learning.follow((TWO, 1), learn).await;
        tokio::task::yield_now().await;
        assert_eq!(loops.asked.load(Ordering::Relaxed), 0);
    }
}
