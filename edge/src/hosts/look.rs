//! Looking at many hosts, a few at once.

use super::proof::{Proof, Verdict};
use super::resolver::Resolver;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use verge_sync::id::RecordId;

/// Hosts that are looked at together: a home router's resolver stands that.
pub const AT_ONCE_MAX: usize = 8;

/// A look that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The claim of the host.
    pub claim: RecordId,
    /// What DNS said.
    pub verdict: Verdict,
}

/// Somebody waits for a look at a host.
#[derive(Debug)]
pub struct Wish {
    /// The claim of the host.
    pub claim: RecordId,
    /// Where to say what DNS said.
    pub answer: oneshot::Sender<Verdict>,
}

/// Looks for all of `due`, at most [`AT_ONCE_MAX`] at once.
pub async fn look(resolver: &Arc<dyn Resolver>, due: Vec<(RecordId, Proof)>) -> Vec<Seen> {
    let mut waiting = due.into_iter();
    let mut looking = JoinSet::new();
    let mut seen = Vec::new();
    loop {
        let room = AT_ONCE_MAX.saturating_sub(looking.len());
        for (claim, proof) in waiting.by_ref().take(room) {
            let resolver = Arc::clone(resolver);
            looking.spawn(async move {
                let verdict = proof.look(resolver.as_ref()).await;
                Seen { claim, verdict }
            });
        }
        match looking.join_next().await {
            Some(Ok(look)) => seen.push(look),
            Some(Err(error)) => tracing::error!(%error, "a look at a host ended early"),
            None => return seen,
        }
    }
}

/// Answers the wishes for what was seen; the others go on waiting, unless nobody listens any more.
pub fn answer(wishes: &mut Vec<Wish>, seen: &[Seen]) {
    let waiting = std::mem::take(wishes);
    for wish in waiting.into_iter().filter(|wish| !wish.answer.is_closed()) {
        match seen.iter().find(|seen| seen.claim == wish.claim) {
            // Whoever has just gone away needs no answer.
            Some(seen) => drop(wish.answer.send(seen.verdict.clone())),
            None => wishes.push(wish),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::resolver::{Answer, Caa};
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the hosts that are looked at at once.
    #[derive(Default)]
    struct Counting {
        open: AtomicUsize,
        most: AtomicUsize,
    }

    impl Resolver for Counting {
        fn aliases<'a>(&'a self, _name: &'a str) -> Answer<'a> {
            Box::pin(async move {
                let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
                self.most.fetch_max(open, Ordering::Relaxed);
                tokio::task::yield_now().await;
                self.open.fetch_sub(1, Ordering::Relaxed);
                Ok(Vec::new())
            })
        }

        fn texts<'a>(&'a self, _name: &'a str) -> Answer<'a> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn addresses<'a>(&'a self, _name: &'a str) -> Answer<'a, IpAddr> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn caa<'a>(&'a self, _name: &'a str) -> Answer<'a, Caa> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }
    }

    fn claim(number: u8) -> RecordId {
        RecordId::from_bytes([number; 32])
    }

    #[tokio::test]
    async fn all_are_looked_at_a_few_at_once() {
        let proof = |number: u8| Proof {
            host: format!("h{number}.example.org"),
            targets: Vec::new(),
            text: String::new(),
        };
        for count in [0, 1, 7, 8, 9, 60] {
            let counting = Arc::new(Counting::default());
            let resolver: Arc<dyn Resolver> = Arc::clone(&counting) as Arc<dyn Resolver>;
            let due = (0..count).map(|number| (claim(number), proof(number)));
            let mut seen = look(&resolver, due.collect()).await;
            seen.sort_by_key(|seen| seen.claim);
            let claims: Vec<RecordId> = seen.iter().map(|seen| seen.claim).collect();
            assert_eq!(claims, (0..count).map(claim).collect::<Vec<_>>());
            let most = counting.most.load(Ordering::Relaxed);
            assert_eq!(most, usize::from(count).min(AT_ONCE_MAX));
        }
    }

    #[test]
    fn wishes_wait_for_their_host_and_are_dropped_with_whoever_had_them() {
        let (answer_to, mut answered) = oneshot::channel();
        let (gone, nobody) = oneshot::channel();
        let wish = |number, answer| Wish {
            claim: claim(number),
            answer,
        };
        let mut wishes = vec![wish(1, answer_to), wish(2, gone)];
        drop(nobody);
        let seen = |number| Seen {
            claim: claim(number),
            verdict: Verdict::Proved,
        };
        answer(&mut wishes, &[seen(3)]);
        assert_eq!(wishes.len(), 1);
        answer(&mut wishes, &[seen(3), seen(1)]);
        assert!(wishes.is_empty());
        assert_eq!(answered.try_recv(), Ok(Verdict::Proved));
    }
}
