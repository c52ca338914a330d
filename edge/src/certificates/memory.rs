//! What an issuer remembers between its rounds; lost with the process, and found again by asking.

use super::name_set::NameSet;
use crate::acme::plan::{Trouble, Window};
use crate::acme::{Account, AcmeError, Reaction};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use verge_sync::clock::UnixTime;
use verge_sync::id::RecordId;

/// A server that cannot be used as it is set up is asked again after so long.
const AFTER_STOP: Duration = Duration::from_hours(1);

/// What went wrong with a set of names, for those who wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// In a sentence.
    pub text: String,
    /// When.
    pub at: UnixTime,
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    troubles: BTreeMap<NameSet, (Trouble, Complaint)>,
    since: BTreeMap<NameSet, UnixTime>,
    wished: BTreeSet<NameSet>,
    advice: BTreeMap<RecordId, (Option<Window>, UnixTime)>,
    /// Records whose keys this node has sealed anew: once is enough.
    sealed: BTreeSet<RecordId>,
    /// The thumbprint that is known to be in force.
    in_force: Option<String>,
    /// Since when the server answers again; none while it does not, or was not asked yet.
    pub(super) reachable_since: Option<UnixTime>,
    unreachable_count: u32,
    /// Before this nothing is sent to the server.
    pub(super) rests_until: Option<UnixTime>,
    /// Before this nothing is revoked.
    pub(super) revokes_after: Option<UnixTime>,
    /// Why nothing is sent.
    pub(super) complaint: Option<String>,
}

impl Memory {
    /// Since when `names` want a certificate at once: from now on, if this is the first that is heard of
    /// it.
    pub(super) fn since(&mut self, names: &NameSet, now: UnixTime) -> UnixTime {
        *self.since.entry(names.clone()).or_insert(now)
    }

    /// They want nothing any more.
    pub(super) fn content(&mut self, names: &NameSet) {
        self.since.remove(names);
    }

    /// Forgets all names but these, and advice for all certificates but these.
    pub(super) fn keep(&mut self, names: &BTreeSet<NameSet>, records: &BTreeSet<RecordId>) {
        self.troubles.retain(|of, _| names.contains(of));
        self.since.retain(|of, _| names.contains(of));
        self.wished.retain(|of| names.contains(of));
        self.advice.retain(|of, _| records.contains(of));
        self.sealed.retain(|of| records.contains(of));
    }

    pub(super) fn has_sealed(&self, record: &RecordId) -> bool {
        self.sealed.contains(record)
    }

    pub(super) fn sealed(&mut self, record: RecordId) {
        self.sealed.insert(record);
    }

    /// Somebody wants these anew, whatever happened before.
    pub(super) fn wish(&mut self, names: NameSet) {
        self.troubles.remove(&names);
        self.wished.insert(names);
    }

    pub(super) fn is_wished(&self, names: &NameSet) -> bool {
        self.wished.contains(names)
    }

    pub(super) fn trouble(&self, names: &NameSet) -> Trouble {
        let trouble = self.troubles.get(names);
        trouble.map(|(trouble, _)| *trouble).unwrap_or_default()
    }

    pub(super) fn complaints(&self) -> BTreeMap<NameSet, Complaint> {
        let troubles = self.troubles.iter();
        troubles
            .map(|(names, (_, complaint))| (names.clone(), complaint.clone()))
            .collect()
    }

    pub(super) fn succeeded(&mut self, names: &NameSet) {
        self.troubles.remove(names);
        self.since.remove(names);
        self.wished.remove(names);
    }

    /// Notes that an order failed.
    pub(super) fn failed(&mut self, names: &NameSet, error: &AcmeError, now: UnixTime) {
        let text = error.to_string();
        let after = match error.reaction() {
            Reaction::Retry { after } => after,
            Reaction::Refuse => None,
            Reaction::Stop => {
                self.rests_until = Some(now.plus(AFTER_STOP));
                self.complaint = Some(text.clone());
                None
            }
        };
        self.refused(names, text, now, after.map(|after| now.plus(after)));
    }

    /// Notes that an order was not even begun.
    pub(super) fn refused(
        &mut self,
        names: &NameSet,
        text: String,
        now: UnixTime,
        retry_after: Option<UnixTime>,
    ) {
        let before = self.trouble(names);
        let trouble = Trouble {
            failure_count: before.failure_count.saturating_add(1),
            last: Some(now),
            retry_after,
        };
        self.wished.remove(names);
        let complaint = Complaint { text, at: now };
        self.troubles.insert(names.clone(), (trouble, complaint));
    }

    pub(super) fn has_rolled_over(&self, account: &Account) -> bool {
        self.in_force.as_deref() == Some(account.thumbprint())
    }

    pub(super) fn rolled_over(&mut self, account: &Account) {
        self.in_force = Some(account.thumbprint().to_owned());
    }

    /// The server answers.
    pub(super) fn reached(&mut self, now: UnixTime) {
        if self.unreachable_count > 0 || self.reachable_since.is_none() {
            // What was due while it did not answer is not begun by all issuers at once.
            self.reachable_since = (self.unreachable_count > 0).then_some(now);
        }
        self.unreachable_count = 0;
        self.rests_until = None;
        self.complaint = None;
    }

    /// The server does not.
    pub(super) fn unreachable(&mut self, error: &AcmeError, now: UnixTime) {
        const FIRST: Duration = Duration::from_secs(15);
        const LAST: Duration = Duration::from_mins(10);
        let doubled = FIRST.saturating_mul(1 << self.unreachable_count.min(6));
        let rest = match error.reaction() {
            Reaction::Retry { after } => after.unwrap_or(Duration::ZERO).max(doubled.min(LAST)),
            Reaction::Refuse | Reaction::Stop => AFTER_STOP,
        };
        self.unreachable_count = self.unreachable_count.saturating_add(1);
        self.reachable_since = None;
        self.rests_until = Some(now.plus(rest));
        self.complaint = Some(error.to_string());
    }

    /// What the server advises of a certificate, if it is known.
    pub(super) fn advice(&self, record: &RecordId) -> Option<Window> {
        self.advice.get(record).and_then(|(window, _)| *window)
    }

    /// Whether the server is asked for its advice.
    pub(super) fn wants_advice(&self, record: &RecordId, now: UnixTime) -> bool {
        self.advice.get(record).is_none_or(|(_, next)| *next <= now)
    }

    pub(super) fn advised(&mut self, record: RecordId, window: Option<Window>, next: UnixTime) {
        self.advice.insert(record, (window, next));
    }
}
