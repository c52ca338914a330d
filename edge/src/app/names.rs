//! What the node does for names of its own accord: it countersigns claims, and looks for the proofs
//! of hosts.
//!
//! Two tasks, which end with the node; a crash loses how long a claim has waited, and when a host was
//! last looked at.

use crate::config::Dns;
use crate::hosts::look::answer;
use crate::hosts::{DnsResolver, Recheck, Resolver, Wish, look};
use crate::region::RegionView;
use crate::region::vote::Countersigning;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use verge_sync::clock::{Clock, UnixTime, stopwatch};

/// Wishes that are not taken yet; more are dropped, the hosts are looked at soon anyway.
pub(super) const WISHES_MAX: usize = 16;
/// After a vote that could not be written: the disk is full, or the store is busy.
const BEFORE_RETRY: Duration = Duration::from_secs(60);
/// Between two rounds of looks at hosts: at least, so that nothing can make them a storm, and at most,
/// because the clock may be set.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Both tasks; never ends by itself. `wishes` are hosts that somebody waits for.
pub(super) fn look_after(
    region: &Arc<RegionView>,
    dns: &Dns,
    wishes: mpsc::Receiver<Wish>,
) -> impl Future<Output = ()> + use<> {
    let resolver = Arc::new(DnsResolver::new(dns.resolvers.clone()));
    let countersigning = countersign(Arc::clone(region));
    let proving = prove(Arc::clone(region), resolver, wishes);
    async move {
        tokio::join!(countersigning, proving);
    }
}

/// Votes for claims, after every change of the records and when a claim has waited for its rivals.
async fn countersign(region: Arc<RegionView>) {
    let mut waiting = Countersigning::default();
    let mut effects = region.watch();
    loop {
        effects.mark_unchanged();
        if let Err(error) = region.reclaim().await {
            tracing::warn!(%error, "names that lost their place could not be claimed again");
        }
        let due = region.votes_due(&mut waiting, stopwatch());
        let mut next = due.next;
        if !due.claims.is_empty()
            && let Err(error) = region.countersign(&due.claims).await
        {
            tracing::warn!(%error, "names could not be countersigned");
            next = Some(stopwatch() + BEFORE_RETRY);
        }
        tokio::select! {
            changed = effects.changed() => if changed.is_err() { return },
            () = at(next) => {}
        }
    }
}

/// Looks for proofs of hosts, after every change of the records, when one is due and when somebody
/// waits for it.
async fn prove(
    region: Arc<RegionView>,
    resolver: Arc<dyn Resolver>,
    mut wishes: mpsc::Receiver<Wish>,
) {
    let clock = Clock::System;
    let mut checks = Recheck::default();
    let mut waiting = Vec::new();
    let mut effects = region.watch();
    loop {
        effects.mark_unchanged();
        let due = region.hosts_due(&mut checks, clock.now());
        let seen = look(&resolver, due).await;
        let votes = region.note_hosts(&mut checks, &seen, clock.now());
        if !votes.is_empty()
            && let Err(error) = region.say_of_hosts(&votes).await
        {
            tracing::warn!(%error, "what was seen of hosts could not be written");
            checks.not_voted(&votes, clock.now());
        }
        answer(&mut waiting, &seen);
        tokio::select! {
            changed = effects.changed() => if changed.is_err() { return },
            wish = wishes.recv() => match wish {
                Some(wish) => {
                    checks.hurry(wish.claim, clock.now());
                    waiting.push(wish);
                }
                None => return,
            },
            () = tokio::time::sleep(until(checks.next(), clock.now())) => {}
        }
    }
}

/// How long to wait for `next`; the clock may be set meanwhile.
fn until(next: Option<UnixTime>, now: UnixTime) -> Duration {
    let wait = next.map_or(PAUSE_MAX, |next| next.since(now));
    wait.clamp(PAUSE_MIN, PAUSE_MAX)
}

/// Waits until `time`; for ever without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
