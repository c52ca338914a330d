//! Members look whether the others serve what they hold.
//!
//! At irregular moments each node asks each other node for a random file of a site, as a visitor
//! would (`visit`), or for the proof of a random piece of it over the members' connection
//! ([`verge_sync::net::Piece`]). What came is counted in memory (`tally`); when a day is over, one
//! record for each node that was looked at says it to all ([`observation`]). Nothing is written
//! of a day without a look, or while the clock is not believed.
//!
//! [`Watch`] owns the counts; its task and the looks under way end with the node, and a crash loses
//! what was counted since midnight. At most `PROBES_MAX` looks at once, 10 s and 1 MiB each.

mod chance;
mod judge;
mod month;
pub mod observation;
mod plan;
mod probe;
mod sample;
mod show;
mod tally;
mod visit;

pub(crate) use month::{heard, order};
pub use show::Watched;

use crate::belief::Belief;
use crate::region::RegionView;
use chance::Chance;
use month::Month;
use plan::{Plan, Sight, Way};
use probe::Look;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tally::{Outcome, Tally};
use tokio::sync::watch;
use tokio::task::JoinSet;
use verge_sync::clock::Clock;
use verge_sync::content::Sources as _;
use verge_sync::id::{NodeId, SiteId};
use verge_sync::net::Network;
use verge_sync::record::Effect;
use verge_sync::store::Store;
use verge_sync::store::scrub::Damage;

/// Looks at once.
const PROBES_MAX: usize = 2;
/// In a region of so many others everybody is connected with everybody: who is not is away.
const OTHERS_ALL_CONNECTED_MAX: usize = 8;
/// While the clock is not believed it is asked again so often.
const BETWEEN_CLOCK_LOOKS: Duration = Duration::from_secs(10);
/// At least, so that nothing makes a storm of it.
const REST_MIN: Duration = Duration::from_millis(50);

/// What a node watches others with.
pub struct Tools {
    /// Where the versions are that others are compared with.
    pub store: Store,
    /// Who the others are, and what they ought to serve.
    pub region: Arc<RegionView>,
    /// How they are asked; none at a node that stays alone.
    pub network: Option<Arc<Network>>,
    /// What the node thinks of its clock.
    pub clock: watch::Receiver<(u64, Belief)>,
    /// Nodes that this one has nothing to do with.
    pub blocked: watch::Receiver<BTreeSet<NodeId>>,
    /// Blobs that turn out to be damaged here.
    pub damaged: Box<dyn Fn(&Damage) + Send + Sync>,
}

/// What was seen of the others.
pub struct Watch {
    tools: Tools,
    tally: Mutex<Tally>,
    /// Grows with every look.
    changes: watch::Sender<u64>,
    /// What the records of one state say, with its day.
    month: Mutex<(Weak<Effect>, u32, Arc<Month>)>,
}

impl Watch {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        Self {
            tools,
            tally: Mutex::default(),
            changes: watch::Sender::new(0),
            month: Mutex::default(),
        }
    }

    /// A number that changes with every look.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Looks at the others until the task is dropped, `mean` apart on average for each of them; not
    /// at all if that is nothing.
    pub async fn run(self: Arc<Self>, mean: Duration) {
        let mut seed = [0; 32];
        if mean.is_zero() || getrandom::fill(&mut seed).is_err() {
            tracing::info!("this node does not look at the others");
            return;
        }
        let (mut plan, mut chance) = (Plan::default(), Chance::new(seed));
        let mut looks = JoinSet::new();
        let mut effects = self.tools.region.watch();
        loop {
            effects.mark_unchanged();
            let rest = self.step(&mut plan, &mut chance, mean, &mut looks).await;
            tokio::select! {
                () = tokio::time::sleep(rest.max(REST_MIN)) => {}
                Some(_ended) = looks.join_next() => {}
                changed = effects.changed() => if changed.is_err() { return },
            }
        }
    }

    /// What is due now; gives how long there is nothing to do.
    async fn step(
        self: &Arc<Self>,
        plan: &mut Plan,
        chance: &mut Chance,
        mean: Duration,
        looks: &mut JoinSet<()>,
    ) -> Duration {
        let Some(now_s) = self.believed_s() else {
            return BETWEEN_CLOCK_LOOKS;
        };
        self.write_ended(now_s, chance).await;
        let effect = self.tools.region.effect();
        let others = self.others(&effect);
        let now_ms = self.tools.region.replica().now_ms();
        for node in plan.due(&others, (now_ms, mean), chance) {
            if looks.len() < PROBES_MAX {
                self.look(&effect, (node, others.len()), (plan, chance), looks);
            }
        }
        let next = plan.next_ms().map(|at| at.saturating_sub(now_ms));
        let midnight = tally::left_of_day_s(now_s).saturating_mul(1_000);
        Duration::from_millis(next.unwrap_or(midnight).min(midnight))
    }

    /// The wall clock, if it is believed.
    fn believed_s(&self) -> Option<u64> {
        let (_, belief) = *self.tools.clock.borrow();
        let now = u64::try_from(Clock::System.now().0).ok()?;
        belief.holds().then_some(now)
    }

    async fn write_ended(&self, now_s: u64, chance: &mut Chance) {
        let ended = {
            let mut tally = self.tally();
            tally.turn(now_s);
            tally.ended(chance)
        };
        if ended.is_empty() {
            return;
        }
        match self.tools.region.observe(&ended).await {
            Ok(()) => {
                self.tally().forget_ended();
                self.tell();
            }
            Err(error) => tracing::warn!(%error, "what was seen of other nodes is not written yet"),
        }
    }

    /// The nodes that are looked at: all, unless this one is no member, or hears of none of several
    /// and may be cut off itself.
    fn others(&self, effect: &Effect) -> BTreeSet<NodeId> {
        let me = self.tools.region.keys().node();
        let is_member = |id: &NodeId| effect.nodes.get(id).is_some_and(|node| node.is_member);
        let Some(network) = self.tools.network.as_ref().filter(|_| is_member(&me)) else {
            return BTreeSet::new();
        };
        let blocked = self.tools.blocked.borrow();
        let nodes = effect.nodes.keys().filter(|id| is_member(id));
        let others = nodes.filter(|id| **id != me && !blocked.contains(id));
        let others: BTreeSet<NodeId> = others.copied().collect();
        if others.len() > 1 && network.peers().is_empty() {
            return BTreeSet::new();
        }
        others
    }

    /// Begins a look at `node`, one of so many others.
    fn look(
        self: &Arc<Self>,
        effect: &Effect,
        (node, others_count): (NodeId, usize),
        (plan, chance): (&mut Plan, &mut Chance),
        looks: &mut JoinSet<()>,
    ) {
        let sight = self.sight(effect, node);
        let way = plan.way(node, &sight);
        let Some(site) = plan::site(&sight, chance) else {
            return;
        };
        let Some(way) = way else {
            if others_count <= OTHERS_ALL_CONNECTED_MAX {
                self.note((node, site), Outcome::Silent);
            }
            return;
        };
        let Some(look) = Look::new(effect, (node, site), chance.bytes()) else {
            return;
        };
        let watch = Arc::clone(self);
        looks.spawn(async move {
            let outcome = match way {
                Way::Visit => watch.visit(look).await,
                Way::Piece => watch.piece(look).await,
            };
            if let Some(outcome) = outcome {
                watch.note((node, site), outcome);
            }
        });
    }

    fn sight(&self, effect: &Effect, node: NodeId) -> Sight {
        let (Some(network), Some(known)) = (&self.tools.network, effect.nodes.get(&node)) else {
            return Sight::default();
        };
        let shelf = self.tools.store.shelf();
        let is_plain = |place: &String| match place.parse() {
            Ok(address) => self.may_ask(node, &address),
            // A name is looked up when it is asked.
            Err(_name) => true,
        };
        let mut sight = Sight {
            is_connected: network.peers().iter().any(|peer| peer.node == node),
            can_be_visited: known.body.visitors.iter().any(is_plain),
            ..Sight::default()
        };
        for (id, site) in &effect.sites {
            let head = site.head().map(|head| head.body().version);
            let Some(head) = head.filter(|head| !site.ended && shelf.holds(head)) else {
                continue;
            };
            if !effect.serves(&known.slot.provider, id) {
                continue;
            }
            if network.holders(&head).contains(&node) {
                sight.held.push(*id);
            } else {
                sight.owed.push(*id);
            }
        }
        sight
    }

    /// Counts what came, if the clock is believed.
    fn note(&self, at: (NodeId, SiteId), outcome: Outcome) {
        if let Some(now_s) = self.believed_s() {
            self.tally().note(now_s, at, outcome);
            self.tell();
        }
    }

    fn tell(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts are whole after every statement.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
