//! The signals by which a node is asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears SIGTERM and SIGINT from the moment when it is made: one that comes between two waits is not
/// lost, as it was when each wait began to listen anew.
pub(super) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Ends when the node is, or has been, asked to stop.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[tokio::test]
    async fn a_signal_that_comes_between_two_waits_is_heard() {
        let mut stop = StopSignal::new().unwrap();
        tokio::select! {
            biased;
            () = stop.asked() => panic!("nobody has asked"),
            () = std::future::ready(()) => {}
        }
        kill_process(getpid(), Signal::TERM).unwrap();
        stop.asked().await;
    }
}
