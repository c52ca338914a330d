//! The places in which pushes are received, shared out fairly between accounts.
//!
//! An account never has all places while there are two or more: its slow pushes cannot keep
//! everybody else out. A place that is given back goes to the waiting push whose account has the
//! fewest, and among those to the one that waits longest.
//!
//! Owns no task. Who waits is bounded by [`Limits::pushes_waiting`](super::Limits).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{oneshot, watch};
use verge_sync::AccountId;

/// All places of this node.
#[derive(Debug)]
pub(crate) struct PushQueue {
    places: usize,
    state: Mutex<State>,
    taken: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// The account of each place that is taken.
    running: Vec<AccountId>,
    /// In the order of their coming; one that no longer waits has closed its channel.
    waiting: VecDeque<(AccountId, oneshot::Sender<PushPlace>)>,
}

/// A push's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct PushPlace {
    account: AccountId,
    queue: Arc<PushQueue>,
}

impl PushQueue {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places,
            state: Mutex::default(),
            taken: watch::channel(0).0,
        })
    }

    /// Waits for a place.
    pub(crate) async fn place(self: &Arc<Self>, account: AccountId) -> PushPlace {
        let (sender, receiver) = oneshot::channel();
        self.lock().waiting.push_back((account, sender));
        self.hand_out();
        receiver.await.expect("a push that waits stays in the list")
    }

    /// Waits until no place is taken.
    pub(crate) async fn quiet(&self) {
        let mut taken = self.taken.subscribe();
        // The sender is in `self`, so it cannot be gone.
        drop(taken.wait_for(|taken| *taken == 0).await);
    }

    /// Gives free places to those that wait. Never under the lock: a place that nobody takes any
    /// more comes back here through its drop.
    fn hand_out(self: &Arc<Self>) {
        loop {
            let next = self.lock().next(self.places);
            let Some((account, sender)) = next else {
                break;
            };
            let queue = Arc::clone(self);
            drop(sender.send(PushPlace { account, queue }));
        }
        self.tell();
    }

    fn tell(&self) {
        let state = self.lock();
        self.taken.send_replace(state.running.len());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the next place for the push that it is for, if there is one of each.
    fn next(&mut self, places: usize) -> Option<(AccountId, oneshot::Sender<PushPlace>)> {
        self.waiting.retain(|(_, sender)| !sender.is_closed());
        if self.running.len() >= places {
            return None;
        }
        let held_max = places.saturating_sub(1).max(1);
        let held = |account: &AccountId| self.running.iter().filter(|a| *a == account).count();
        let (index, _) = self
            .waiting
            .iter()
            .map(|(account, _)| held(account))
            .enumerate()
            .filter(|(_, held)| *held < held_max)
            .min_by_key(|(_, held)| *held)?;
        let next = self.waiting.remove(index)?;
        self.running.push(next.0);
        Some(next)
    }
}

impl Drop for PushPlace {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        if let Some(index) = state.running.iter().position(|a| *a == self.account) {
            state.running.swap_remove(index);
        }
        drop(state);
        self.queue.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Waiting = Pin<Box<dyn Future<Output = PushPlace>>>;

    fn poll(waiting: &mut Waiting) -> Option<PushPlace> {
        match waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    /// Plays `steps`: a letter asks for a place for that account, `-N` gives back what the N-th
    /// request got, `~N` stops waiting with it. Returns the requests in the order of their turn.
    fn play(places: usize, steps: &str) -> String {
        let queue = PushQueue::new(places);
        let mut requests: Vec<(Option<Waiting>, Option<PushPlace>)> = Vec::new();
        let mut order = Vec::new();
        for step in steps.split(' ') {
            let number = |text: &str| text.parse::<usize>().unwrap();
            if let Some(at) = step.strip_prefix('-') {
                drop(requests[number(at)].1.take().expect("it has a place"));
            } else if let Some(at) = step.strip_prefix('~') {
                requests[number(at)].0 = None;
            } else {
                let account = AccountId::from_bytes([step.as_bytes()[0]; 32]);
                let queue = Arc::clone(&queue);
                let waiting: Waiting = Box::pin(async move { queue.place(account).await });
                requests.push((Some(waiting), None));
            }
            for (index, (waiting, place)) in requests.iter_mut().enumerate() {
                if let Some(got) = waiting.as_mut().and_then(poll) {
                    (*waiting, *place) = (None, Some(got));
                    order.push(index.to_string());
                }
            }
        }
        assert!(queue.lock().running.len() <= places);
        assert_eq!(*queue.taken.borrow(), queue.lock().running.len());
        order.join(" ")
    }

    #[test]
    fn places_are_shared_between_accounts() {
        for (places, steps, order) in [
            (1, "a a b -0 -1", "0 1 2"),
            (2, "a b c", "0 1"),
            (2, "a b c -0", "0 1 2"),
            // One account has one of two places, whoever waits or does not.
            (2, "a a", "0"),
            (2, "a a b", "0 2"),
            (2, "a a a b -0", "0 3 1"),
            (2, "a a b -2", "0 2"),
            (3, "a a a", "0 1"),
            (3, "a a a b c -0", "0 1 3 4"),
            (3, "a a a b c -3", "0 1 3 4"),
            (3, "a a b a c -2", "0 1 2 4"),
            // Who stops waiting gets nothing and holds up nobody.
            (1, "a b c ~1 -0", "0 2"),
            (1, "a b ~1 -0 c", "0 2"),
        ] {
            assert_eq!(play(places, steps), order, "{places}: {steps}");
        }
    }

    #[test]
    fn a_place_sent_to_one_who_left_comes_back() {
        let queue = PushQueue::new(1);
        let account = |byte| AccountId::from_bytes([byte; 32]);
        let ask = |byte| -> Waiting {
            let queue = Arc::clone(&queue);
            Box::pin(async move { queue.place(account(byte)).await })
        };
        let first = poll(&mut ask(1)).expect("it is free");
        let (mut second, mut third) = (ask(2), ask(3));
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
        // The place is on its way to the second, who has not looked.
        drop(first);
        drop(second);
        let third = poll(&mut third).expect("it is free again");
        let mut quiet = Box::pin(queue.quiet());
        let mut context = Context::from_waker(Waker::noop());
        assert!(quiet.as_mut().poll(&mut context).is_pending());
        drop(third);
        assert!(quiet.as_mut().poll(&mut context).is_ready());
    }
}
