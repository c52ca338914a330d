//! When the meter is told: every second while something is on its way, and at the end.

use super::tally::Tally;
use crate::socket::Progress;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// So long a connection that has ended is kept for the last acknowledgements: several round trips
/// over a bad link.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Between two questions to the kernel, which tells nobody of acknowledgements by itself.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(256);

/// A stream of which the kernel tells how much has arrived.
pub(in crate::http) trait Metered {
    fn progress(&self) -> Option<Progress>;
}

/// Looks while a connection lives.
pub(in crate::http) struct Looks {
    tally: Arc<Tally>,
    timer: Option<Pin<Box<Sleep>>>,
    is_set: bool,
}

impl Looks {
    pub(in crate::http) fn new(tally: &Arc<Tally>) -> Self {
        Self {
            tally: Arc::clone(tally),
            timer: None,
            is_set: false,
        }
    }

    /// Called after every poll of the connection.
    pub(in crate::http) fn poll(&mut self, cx: &mut Context<'_>, beneath: &impl Metered) {
        while let Some(due) = self.tally.due() {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if !self.is_set {
                timer.as_mut().reset(due);
                self.is_set = true;
            }
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.is_set = false;
            self.tally.look(beneath.progress());
        }
    }
}

/// Holds a connection's stream open until what it wrote is counted: when dropped, at the latest.
pub(in crate::http) struct Closing<M: Metered> {
    beneath: M,
    tally: Arc<Tally>,
    last: Option<Progress>,
}

impl<M: Metered> Closing<M> {
    pub(in crate::http) fn new(beneath: M, tally: &Arc<Tally>) -> Self {
        Self {
            beneath,
            tally: Arc::clone(tally),
            last: None,
        }
    }

    /// Waits for acknowledgements of what was written last.
    pub(in crate::http) async fn wait(&mut self) {
        let end = Instant::now() + WAIT_MAX;
        let mut pause = PAUSE_MIN;
        loop {
            let progress = self.beneath.progress();
            let Some(now) = progress else {
                return;
            };
            if now.is_all_acknowledged || now.tcp.is_over || Instant::now() >= end {
                self.last = progress;
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl<M: Metered> Drop for Closing<M> {
    fn drop(&mut self) {
        let progress = self.last.take().or_else(|| self.beneath.progress());
        self.tally.close(progress);
    }
}
