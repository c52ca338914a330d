//! One thing at a time for each site.
//!
//! Owns a mutex per site that somebody holds or waits for, and none for the others. Turns are
//! given in the order in which they were asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OwnedMutexGuard;
use verge_sync::SiteId;

/// Whose turn it is, site by site.
#[derive(Debug, Default)]
pub(crate) struct SiteTurns {
    turns: Mutex<HashMap<SiteId, Weak<tokio::sync::Mutex<()>>>>,
}

/// A site's turn; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct SiteTurn {
    _guard: OwnedMutexGuard<()>,
}

impl SiteTurns {
    /// Waits until nobody has this site's turn.
    pub(crate) async fn turn(&self, site: SiteId) -> SiteTurn {
        SiteTurn {
            _guard: self.of(site).lock_owned().await,
        }
    }

    /// The site's turn, if nobody has it.
    pub(crate) fn try_turn(&self, site: SiteId) -> Option<SiteTurn> {
        let guard = self.of(site).try_lock_owned().ok();
        guard.map(|guard| SiteTurn { _guard: guard })
    }

    fn of(&self, site: SiteId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let known = turns.get(&site).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(site, Arc::downgrade(&turn));
            turn
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_site_waits_for_itself_and_for_no_other() {
        let turns = SiteTurns::default();
        let [garden, shed] = [1, 2].map(|byte| SiteId::from_bytes([byte; 32]));
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(first) = pin!(turns.turn(garden)).poll(&mut context) else {
            panic!("nobody has it");
        };
        let mut second = pin!(turns.turn(garden));
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(turns.try_turn(garden).is_none() && turns.try_turn(shed).is_some());
        assert!(pin!(turns.turn(shed)).poll(&mut context).is_ready());
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_ready());
        assert_eq!(turns.turns.lock().unwrap().len(), 2);
        drop(pin!(turns.turn(garden)).poll(&mut context));
        assert_eq!(turns.turns.lock().unwrap().len(), 1, "only what is used");
    }
}
