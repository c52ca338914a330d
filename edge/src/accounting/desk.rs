//! What the parts of a node share of accounting: the counters, the ledger, and how both are.

use super::books::Figures;
use super::calendar::Day;
use super::ledger::{Ledger, Review};
use super::meter::Meter;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::watch;
use verge_sync::store::Store;

/// The counters, the ledger, and what was last seen of them.
#[derive(Debug)]
pub struct Desk {
    /// Where what visitors get is counted.
    pub meter: Arc<Meter>,
    /// The seals of all nodes.
    pub ledger: Ledger,
    standing: watch::Sender<Standing>,
    reviews: watch::Sender<Arc<Review>>,
}

/// How the books of this node are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of the journal; none while it cannot be opened.
    pub figures: Option<Figures>,
    /// Whether all that was taken over is on the disk.
    pub is_synced: bool,
    /// Why what was served is not on the disk, or a day not sealed, as it should be.
    pub trouble: Option<String>,
    /// The last day that this node has sealed.
    pub sealed_until: Option<Day>,
    /// The first day that waits to be sealed.
    pub first_open_day: Option<Day>,
}

/// What `verge status` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AccountingLine {
    /// The number of this start; none while the journal cannot be opened.
    pub epoch: Option<u32>,
    /// The last day that this node has sealed.
    pub sealed_until: Option<String>,
    /// Days that wait to be sealed, today among them.
    pub open_days: usize,
    /// What was counted in them: responses.
    pub open_requests: u64,
    /// Credit bytes.
    pub open_credit_bytes: u64,
    /// Body bytes.
    pub open_body_bytes: u64,
    /// Whether all of it is on the disk.
    pub is_synced: bool,
    /// Bytes of the journal that were damaged when it was opened.
    pub damaged_bytes: usize,
    /// What keeps it from the disk, or a day from being sealed.
    pub trouble: Option<String>,
    /// Days of all nodes whose seals are here.
    pub seal_count: usize,
    /// Seals whose rows are not here yet.
    pub waiting_count: usize,
    /// Seals that later ones name and that nobody has brought.
    pub gap_count: usize,
    /// Days of which a node signed different seals, as `NODE DAY`.
    pub contradicted: Vec<String>,
    /// Records that are no seals, though they say so, and why.
    pub refused: Vec<String>,
}

impl Desk {
    /// Nothing is counted yet, and nothing known.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            meter: Arc::default(),
            ledger: Ledger::new(store),
            standing: watch::Sender::default(),
            reviews: watch::Sender::default(),
        }
    }

    /// How the books are, and every change.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Says how the books are.
    pub fn tell(&self, standing: Standing) {
        self.standing.send_if_modified(|before| {
            let is_new = *before != standing;
            *before = standing;
            is_new
        });
    }

    /// The seals of all nodes as they were last looked at, and every change.
    #[must_use]
    pub fn reviews(&self) -> watch::Receiver<Arc<Review>> {
        self.reviews.subscribe()
    }

    /// Says how the seals of all nodes are.
    pub fn show(&self, review: Review) {
        self.reviews.send_if_modified(|before| {
            let is_new = **before != review;
            *before = Arc::new(review);
            is_new
        });
    }

    /// For `verge status`.
    #[must_use]
    pub fn line(&self) -> AccountingLine {
        let (standing, review) = (self.standing.borrow(), self.reviews.borrow());
        let figures = standing.figures.clone().unwrap_or_default();
        let refused = review.refused.iter().map(|refused| {
            let (node, day) = (refused.node.short(), refused.day);
            format!("{node} {day}: {}", refused.why)
        });
        let contradicted = review.contradicted();
        AccountingLine {
            epoch: standing.figures.as_ref().map(|figures| figures.epoch),
            sealed_until: standing.sealed_until.map(|day| day.to_string()),
            open_days: figures.open_days,
            open_requests: figures.open.requests,
            open_credit_bytes: figures.open.credit.0,
            open_body_bytes: figures.open.body.0,
            is_synced: standing.is_synced,
            damaged_bytes: figures.damaged_bytes,
            trouble: standing.trouble.clone(),
            seal_count: review.days.len(),
            waiting_count: review.waiting.len(),
            gap_count: review.gaps.len(),
            contradicted: contradicted
                .map(|(node, day)| format!("{} {day}", node.short()))
                .collect(),
            refused: refused.collect(),
        }
    }
}

impl AccountingLine {
    /// For people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let sealed = self.sealed_until.as_deref().unwrap_or("none yet");
        let mut lines = vec![format!(
            "accounting sealed until {sealed}; {} responses and {} bytes of content wait to be sealed; seals of {} days of all nodes are here",
            self.open_requests, self.open_body_bytes, self.seal_count
        )];
        let more = [
            (
                self.damaged_bytes,
                "bytes of the journal of what was served were damaged at the start: what they counted is lost",
            ),
            (
                self.waiting_count,
                "seals wait for their rows, which are being fetched",
            ),
            (
                self.gap_count,
                "seals are missing that later ones of their nodes name",
            ),
        ];
        for (count, words) in more {
            if count > 0 {
                lines.push(format!("accounting {count} {words}"));
            }
        }
        if let Some(trouble) = &self.trouble {
            lines.push(format!("accounting IN TROUBLE: {trouble}"));
        }
        for of in &self.contradicted {
            lines.push(format!("accounting {of}: the node signed different seals; of each figure the smaller counts"));
        }
        for of in &self.refused {
            lines.push(format!("accounting a seal does not count: {of}"));
        }
        lines
    }
}
