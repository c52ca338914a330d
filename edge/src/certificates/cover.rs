//! How long visitors are served over HTTPS if nothing can be renewed from now on: pure.

use super::keyring::{Held, Review};
use super::name_set::NameSet;
use serde::Serialize;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::clock::UnixTime;

/// A certificate of which less than 30 % is left should have been renewed by the third issuer long ago.
const ALARM_PERCENT: u64 = 30;

/// What there is of what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cover {
    /// Certificates that the region is to have.
    pub wanted_count: usize,
    /// Of these, valid now.
    pub valid_count: usize,
    /// Of these, there, but over or not begun.
    pub invalid_count: usize,
    /// Of these, valid, with the key on this node.
    pub here_count: usize,
    /// Of these, valid, with less than 30 % of their life left: nobody renews them.
    pub alarm_count: usize,
    /// What is left of the valid one that ends first; none if none is valid.
    pub least_remaining_s: Option<u64>,
}

impl Cover {
    /// Looks at the certificates in use for `wanted`.
    #[must_use]
    pub fn of<'a>(
        review: &Review,
        wanted: impl IntoIterator<Item = &'a NameSet>,
        now: UnixTime,
    ) -> Self {
        let mut cover = Self::default();
        for names in wanted {
            cover.wanted_count += 1;
            if let Some(held) = review.held.get(names) {
                cover.add(held, now);
            }
        }
        cover
    }

    fn add(&mut self, held: &Arc<Held>, now: UnixTime) {
        let Some(remaining) = held.remaining(now) else {
            self.invalid_count += 1;
            return;
        };
        self.valid_count += 1;
        self.here_count += usize::from(held.certificate.is_some());
        self.alarm_count += usize::from(held.is_overdue(now));
        let remaining = remaining.as_secs();
        let least = self.least_remaining_s.unwrap_or(remaining);
        self.least_remaining_s = Some(least.min(remaining));
    }

    /// For people; none where nothing is wanted.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        if self.wanted_count == 0 || self.valid_count + self.invalid_count == 0 {
            return None;
        }
        let mut line = format!(
            "certificates {} of {} valid",
            self.valid_count, self.wanted_count
        );
        if let Some(seconds) = self.least_remaining_s {
            let days = seconds / 86_400;
            write!(line, ", an outage of {days} days does no harm").ok()?;
        }
        if self.alarm_count > 0 {
            let count = self.alarm_count;
            write!(
                line,
                "; {count} should have been renewed: see `verge cert list`"
            )
            .ok()?;
        }
        if self.invalid_count > 0 {
            let count = self.invalid_count;
            write!(line, "; {count} EXPIRED: see `verge cert list`").ok()?;
        }
        Some(line)
    }

    /// The figures, for Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        let least = self.least_remaining_s.unwrap_or(0);
        let mut text = String::new();
        for (name, help, value) in [
            (
                "verge_certificate_remaining_seconds",
                "What is left of the certificate in use that ends first.",
                least,
            ),
            (
                "verge_certificates_wanted",
                "Certificates that the region is to have.",
                count(self.wanted_count),
            ),
            (
                "verge_certificates_valid",
                "Of these, valid now.",
                count(self.valid_count),
            ),
            (
                "verge_certificates_overdue",
                "Of these, with less than 30 % of their life left.",
                count(self.alarm_count),
            ),
        ] {
            let row = format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
            text.push_str(&row);
        }
        text
    }
}

impl Held {
    /// What is left of it; none if it is not valid.
    #[must_use]
    pub fn remaining(&self, now: UnixTime) -> Option<Duration> {
        let leaf = &self.leaf;
        let is_valid = leaf.not_before <= now && now <= leaf.not_after;
        is_valid.then(|| leaf.not_after.since(now))
    }

    /// Whether it should have been renewed long ago.
    #[must_use]
    pub fn is_overdue(&self, now: UnixTime) -> bool {
        let life = self.leaf.not_after.since(self.leaf.not_before).as_secs();
        let left = self.leaf.not_after.since(now).as_secs();
        left.saturating_mul(100) < life.saturating_mul(ALARM_PERCENT)
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{CertificateBody, Leaf, Purpose};
    use std::collections::BTreeSet;
    use verge_sync::Digest;
    use verge_sync::id::{NodeId, RecordId};

    fn held(host: &str, (from, until): (i64, i64)) -> (NameSet, Arc<Held>) {
        let names = NameSet::one(host).unwrap();
        let (not_before, not_after) = (UnixTime(from), UnixTime(until));
        let held = Held {
            record: RecordId::from_bytes([1; 32]),
            author: NodeId::from_bytes([2; 32]),
            body: CertificateBody {
                purpose: Purpose::Ordered(names.clone()),
                directory: "d".to_owned(),
                bundle: Digest::of(b""),
                bundle_bytes: 1,
                not_before,
                not_after,
            },
            leaf: Leaf {
                names: names.clone(),
                not_before,
                not_after,
            },
            recipients: BTreeSet::new(),
            certificate: None,
        };
        (names, Arc::new(held))
    }

    #[test]
    fn what_is_valid_overdue_and_over_is_counted() {
        let certificates = [
            held("young.example", (0, 1_000)),
            held("old.example", (0, 100)),
            held("over.example", (0, 50)),
            held("later.example", (90, 1_000)),
        ];
        let review = Review {
            held: certificates.into_iter().collect(),
            ..Review::default()
        };
        let missing = NameSet::one("missing.example").unwrap();
        let wanted: Vec<&NameSet> = review.held.keys().chain([&missing]).collect();
        let cover = Cover::of(&review, wanted, UnixTime(71));
        let expected = Cover {
            wanted_count: 5,
            valid_count: 2,
            invalid_count: 2,
            here_count: 0,
            alarm_count: 1,
            least_remaining_s: Some(29),
        };
        assert_eq!(cover, expected);
        assert!(
            cover
                .metrics()
                .contains("verge_certificate_remaining_seconds 29\n")
        );
        assert!(cover.line().unwrap().contains("2 of 5 valid"));
        // 30 % and more are no alarm.
        let one = review
            .held
            .get(&NameSet::one("old.example").unwrap())
            .unwrap();
        assert!(!one.is_overdue(UnixTime(70)));
    }

    #[test]
    fn a_region_without_certificates_says_nothing() {
        let cover = Cover::of(&Review::default(), [], UnixTime(0));
        assert_eq!(cover.line(), None);
    }
}
