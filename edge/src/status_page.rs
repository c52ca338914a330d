//! How node and region are, under the region's admin zone: the last bytes that were made of it, ready
//! to be sent. Whoever serves a visitor waits for nobody who works on records.

use crate::host::Host;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;

/// The page; nothing is at its name before [`StatusPage::stand_at`] and [`StatusPage::show`].
#[derive(Debug, Default)]
pub struct StatusPage {
    host: ArcSwapOption<Host>,
    json: ArcSwap<Bytes>,
    metrics: ArcSwap<Bytes>,
}

impl StatusPage {
    /// Where it is to be had.
    pub const PATH: &str = "/status";
    /// Where figures for Prometheus are to be had.
    pub const METRICS_PATH: &str = "/metrics";

    /// Answers to `host` from now on; none where the zone is no name that a visitor can ask for.
    pub fn stand_at(&self, host: Option<Host>) {
        self.host.store(host.map(Into::into));
    }

    /// Says `json`, and `metrics`, from now on.
    pub fn show(&self, json: String, metrics: String) {
        self.json.store(Bytes::from(json).into());
        self.metrics.store(Bytes::from(metrics).into());
    }

    /// Whether `host` is the name of this page.
    #[must_use]
    pub fn is_at(&self, host: &Host) -> bool {
        self.host.load().as_deref() == Some(host)
    }

    /// The figures.
    #[must_use]
    pub fn metrics(&self) -> Bytes {
        Bytes::clone(&self.metrics.load())
    }

    /// What it says.
    #[must_use]
    pub fn json(&self) -> Bytes {
        Bytes::clone(&self.json.load())
    }
}
