//! The work of an issuer: it orders what is due, and seals anew what a node lacks.
//!
//! One task, which ends with the node. It owns what it remembers of failures ([`Memory`]) and the
//! folder of orders under way, from which a crash goes on. Nothing waits for it: what it orders comes
//! to every node, its own too, as a record. Limits: so many orders at once, and the budget.

use super::case::{Case, next_of, want, wants_advice};
use super::keyring::{Held, Keyring, Review};
use super::memory::{Complaint, Memory};
use super::name_set::NameSet;
use super::notices::may_import;
use super::order::{Order, OrderError, Tools};
use super::wanted::wanted;
use super::write::Origin;
use crate::acme::plan::{self, Want};
use crate::acme::{Account, AcmeError, Directory, Names, Predecessor, Session};
use crate::belief::Belief;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use verge_sync::clock::UnixTime;
use verge_sync::id::NodeId;
use verge_sync::record::Effect;

/// Orders that are under way at once.
const ORDERS_MAX: usize = 8;
/// Certificates whose renewal advice is asked for in one round.
const ADVICE_MAX: usize = 32;
/// An issuer looks at least so often, since the clock may be set, and at most so often.
const PAUSE_MAX: Duration = Duration::from_mins(10);
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// While nodes have not heard of a new key, and after one that could not be put in force.
const BETWEEN_ROLL_OVER_LOOKS: Duration = Duration::from_secs(1);
const BETWEEN_ROLL_OVERS: Duration = Duration::from_secs(60);
/// A node that has joined gets the keys from the first issuer that sees it; the next waits so long.
const SEALING_TURN: Duration = Duration::from_secs(20);

/// What an issuer works with.
pub struct Issuing {
    /// What it orders with.
    pub tools: Arc<Tools>,
    /// What it can open.
    pub keyring: Arc<Keyring>,
    /// The certificates in use.
    pub reviews: watch::Receiver<Arc<Review>>,
    /// The time of day, and whether it is believed.
    pub clock: watch::Receiver<(u64, Belief)>,
    /// Hosts that somebody wants a new certificate for.
    pub wishes: mpsc::Receiver<String>,
    /// Authorities beside those that browsers trust, for the connection to the directory.
    pub roots: Option<String>,
    /// What goes wrong, for those who ask.
    pub complaints: watch::Sender<Complaints>,
}

/// What goes wrong, in sentences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaints {
    /// With all orders: the directory, the account, the clock.
    pub general: Option<String>,
    /// With single name sets.
    pub of_names: BTreeMap<NameSet, Complaint>,
}

/// The region's account, and who else has it.
pub(super) struct Office {
    pub(super) account: Account,
    /// The same with the key that was in force before, if the step names it and it is here.
    before: Option<Account>,
    sharers: BTreeSet<NodeId>,
    issuers: Vec<NodeId>,
}

impl Issuing {
    /// Works until it is dropped; on a node that is no issuer it waits to become one.
    pub async fn run(mut self) {
        let mut effects = self.tools.scribe.region.watch();
        let mut clock = self.clock.clone();
        let mut memory = Memory::default();
        loop {
            effects.mark_unchanged();
            self.reviews.mark_unchanged();
            let next = self.round(&mut memory).await;
            let complaints = Complaints {
                general: memory.complaint.clone(),
                of_names: memory.complaints(),
            };
            self.complaints.send_if_modified(|known| {
                let is_new = *known != complaints;
                *known = complaints;
                is_new
            });
            let rest = self.rest(next);
            // What changes at once is looked at together.
            tokio::time::sleep(PAUSE_MIN).await;
            let is_lost = self.now().is_none();
            let mut wished = None;
            tokio::select! {
                changed = effects.changed() => if changed.is_err() { return },
                changed = self.reviews.changed() => if changed.is_err() { return },
                changed = clock.wait_for(|(_, belief)| belief.holds()), if is_lost => {
                    if changed.is_err() { return }
                }
                wish = self.wishes.recv() => wished = wish,
                () = tokio::time::sleep(rest) => {}
            }
            if let Some(host) = wished {
                self.wish(&host, &mut memory);
            }
        }
    }

    /// How long nothing is due.
    fn rest(&self, next: Option<UnixTime>) -> Duration {
        let rest = match (next, self.now()) {
            (Some(next), Some(now)) => next.since(now),
            _ => PAUSE_MAX,
        };
        rest.clamp(PAUSE_MIN, PAUSE_MAX)
    }

    fn now(&self) -> Option<UnixTime> {
        let (_, belief) = *self.clock.borrow();
        belief
            .holds()
            .then(|| verge_sync::clock::Clock::System.now())
    }

    fn wish(&self, host: &str, memory: &mut Memory) {
        let effect = self.tools.scribe.region.effect();
        for wanted in wanted(&effect) {
            if wanted.names.names().iter().any(|name| name == host) {
                memory.wish(wanted.names);
            }
        }
    }

    /// Does what is due, and says when something will be.
    async fn round(&self, memory: &mut Memory) -> Option<UnixTime> {
        let effect = self.tools.scribe.region.effect();
        let office = self.office(&effect)?;
        self.share_account(&effect, &office).await;
        if let Some(before) = &office.before
            && !memory.has_rolled_over(&office.account)
        {
            match self.change_key(before, &office).await {
                Ok(true) => memory.rolled_over(&office.account),
                Ok(false) => return self.now().map(|now| now.plus(BETWEEN_ROLL_OVER_LOOKS)),
                Err(error) => {
                    tracing::warn!("the account's new key is not in force yet: {error}");
                    return self.now().map(|now| now.plus(BETWEEN_ROLL_OVERS));
                }
            }
        }
        let Some(now) = self.now() else {
            memory.complaint =
                Some("this node's clock is not believed: see `verge status`".to_owned());
            return None;
        };
        self.forget_unwanted(&effect, &office);
        let cases = self.cases(&effect, &office, memory, now);
        self.seal_anew(&effect, &cases, memory, now).await;
        if let Some(until) = memory.rests_until.filter(|until| *until > now) {
            return Some(until);
        }
        let is_ours = |case: &&Case| !case.is_left_to_its_owner(now) && self.can_prove(case);
        let ours: Vec<&Case> = cases.iter().filter(is_ours).collect();
        let wants: Vec<Want<'_>> = ours.iter().map(|case| want(case, memory)).collect();
        let due = plan::due(&wants, memory.reachable_since, now, ORDERS_MAX);
        let asks_advice = cases.iter().any(|case| wants_advice(case, memory, now));
        let replaced = self.replaced(&effect, &office, memory, now);
        if !due.is_empty() || asks_advice || !replaced.is_empty() {
            let due: BTreeSet<Names> = due.iter().map(|want| want.names.clone()).collect();
            match office.account.connect().await {
                Ok(session) => {
                    memory.reached(now);
                    let session = Arc::new(session);
                    let due = cases.iter().filter(|case| due.contains(&case.names));
                    self.order_all(&session, due.collect(), memory).await;
                    self.revoke_all(&session, &replaced, memory, now).await;
                    advise(&session, &self.keyring, &cases, memory, now).await;
                }
                Err(error) => {
                    tracing::warn!("no certificates can be ordered: {error}");
                    memory.unreachable(&error, now);
                }
            }
            // What failed or came is looked at anew.
            let wants = ours.iter().map(|case| want(case, memory));
            return Some(next_of(wants, memory, now.plus(PAUSE_MAX)));
        }
        let idle = now.plus(PAUSE_MAX);
        Some(next_of(wants.into_iter(), memory, idle))
    }

    /// The account that the region's step names, if this node orders with it.
    fn office(&self, effect: &Effect) -> Option<Office> {
        let step = &effect.chain.current().body;
        let acme = step.acme.as_ref()?;
        let me = self.tools.scribe.region.keys().node();
        let is_member = |node: &NodeId| effect.nodes.get(node).is_some_and(|node| node.is_member);
        let issuers = step.roles.issuers.iter().copied().filter(is_member);
        let issuers: Vec<NodeId> = issuers.collect();
        if !issuers.contains(&me) {
            return None;
        }
        let directory = Directory::new(&acme.directory, self.roots.clone());
        let directory = match directory {
            Ok(directory) => directory,
            Err(error) => {
                tracing::error!("the region's ACME directory: {error}");
                return None;
            }
        };
        let sealed = self.keyring.accounts(effect, &acme.directory).into_iter();
        let mut known: Vec<(Account, BTreeSet<NodeId>)> = sealed
            .filter_map(|sealed| {
                let account = Account::from_secret(&directory, &sealed.secret).ok()?;
                (account.url() == acme.account).then_some((account, sealed.recipients))
            })
            .collect();
        let mut take = |thumbprint: &String| {
            let is_it = |(account, _): &(Account, _)| account.thumbprint() == thumbprint;
            let at = known.iter().position(is_it)?;
            Some(known.swap_remove(at))
        };
        let (account, sharers) = take(acme.thumbprints.first()?)?;
        let before = acme.thumbprints.get(1).and_then(take);
        Some(Office {
            account,
            before: before.map(|(account, _)| account),
            sharers,
            issuers,
        })
    }

    /// Whether the account's new key is in force: the first issuer sees to it, when all that are connected
    /// answer with its thumbprint; nothing is ordered before.
    async fn change_key(&self, before: &Account, office: &Office) -> Result<bool, AcmeError> {
        if office.account.connect().await?.is_in_force().await? {
            return Ok(true);
        }
        let me = self.tools.scribe.region.keys().node();
        if office.issuers.iter().min() != Some(&me) || !self.all_answer_anew().await {
            return Ok(false);
        }
        let session = before.connect().await?;
        session.roll_over(office.account.key()).await?;
        tracing::info!("the account's new key is in force");
        Ok(true)
    }

    /// Whether all nodes that are connected hold what this one holds: they answer with the new
    /// thumbprint.
    async fn all_answer_anew(&self) -> bool {
        let region = &self.tools.scribe.region;
        let now_ms = region.replica().now_ms();
        let core = region.replica().lock().await;
        let own = core.exchange().own_signal(now_ms).fingerprint;
        let mut links = core.links(now_ms);
        links.all(|(_, _, signal)| signal.is_some_and(|signal| signal.fingerprint == own))
    }

    /// Seals the account to exactly the issuers, if this node is the first that has it.
    async fn share_account(&self, effect: &Effect, office: &Office) {
        let issuers: BTreeSet<NodeId> = office.issuers.iter().copied().collect();
        let first = issuers.intersection(&office.sharers).next();
        if issuers == office.sharers || first != Some(&self.tools.scribe.region.keys().node()) {
            return;
        }
        let keys = issuers.iter().filter_map(|node| {
            let body = &effect.nodes.get(node)?.body;
            Some((*node, body.sealing_key))
        });
        let keys = keys.collect();
        let directory = office.account.directory().url().to_owned();
        let secret = office.account.to_secret();
        let shared = self.tools.scribe.account(&directory, &secret, &keys);
        if let Err(error) = shared.await {
            tracing::warn!("the other issuers do not get the ACME account: {error}");
        }
    }

    /// What is wanted, with what there is of it.
    fn cases(
        &self,
        effect: &Effect,
        office: &Office,
        memory: &mut Memory,
        now: UnixTime,
    ) -> Vec<Case> {
        let me = self.tools.scribe.region.keys().node();
        let review = Arc::clone(&self.reviews.borrow());
        let mut cases = Vec::new();
        for wanted in wanted(effect) {
            let names = Names::new(wanted.names.names().iter().map(String::as_str));
            let (Ok(names), held) = (names, review.held.get(&wanted.names)) else {
                continue;
            };
            let Some(rank) = plan::rank(&names, me, &office.issuers) else {
                continue;
            };
            let mut case = Case {
                wanted,
                names,
                held: held.map(Arc::clone),
                since: None,
                rank,
            };
            if case.held.is_none() || case.is_exposed() || case.is_lost_to(&office.issuers) {
                case.since = Some(memory.since(&case.wanted.names, now));
            } else {
                if !case.is_lacking() {
                    memory.content(&case.wanted.names);
                }
            }
            cases.push(case);
        }
        let names = cases.iter().map(|case| case.wanted.names.clone());
        let records = cases.iter().filter_map(|case| case.held.as_ref());
        memory.keep(&names.collect(), &records.map(|held| held.record).collect());
        cases
    }

    /// A wildcard is proved in the zone, by a node that may edit it.
    fn can_prove(&self, case: &Case) -> bool {
        !case.names.has_wildcard() || self.tools.zone.is_some()
    }

    /// Gives the keys that this node has to nodes that are to have them too: the first issuer at once,
    /// the others later, if it did not.
    async fn seal_anew(&self, effect: &Effect, cases: &[Case], memory: &mut Memory, now: UnixTime) {
        for case in cases {
            let lacking = case.held.as_ref().filter(|_| case.is_lacking());
            let lacking = lacking.filter(|held| !memory.has_sealed(&held.record));
            let Some(held) = lacking.filter(|_| !case.is_exposed()) else {
                continue;
            };
            let me = self.tools.scribe.region.keys().node();
            if case.is_brought() && !may_import(effect, me, &case.wanted.names) {
                continue;
            }
            let turn = SEALING_TURN.saturating_mul(case.rank);
            if memory.since(&case.wanted.names, now).plus(turn) > now {
                continue;
            }
            let secret = self.keyring.secret(effect, held);
            let (Some(secret), Some(chain)) = (secret, self.keyring.chain(held)) else {
                continue;
            };
            let origin = match held.body.directory.as_str() {
                "" => Origin::Owner,
                directory => Origin::Directory(directory),
            };
            let recipients = &case.wanted.recipients;
            let sealed = self
                .tools
                .scribe
                .certificate(origin, chain.as_bytes(), &secret, recipients)
                .await;
            match sealed {
                Ok(_record) => {
                    memory.sealed(held.record);
                    memory.content(&case.wanted.names);
                }
                Err(error) => {
                    tracing::warn!("a key is not sealed to a node that lacks it: {error}")
                }
            }
        }
    }

    /// Orders all of them, and notes what became of each.
    async fn order_all(&self, session: &Arc<Session>, due: Vec<&Case>, memory: &mut Memory) {
        let mut orders = JoinSet::new();
        for case in due {
            let order = Order {
                tools: Arc::clone(&self.tools),
                session: Arc::clone(session),
                names: case.names.clone(),
                wanted: case.wanted.clone(),
                before: case.held.as_ref().and_then(|held| self.keyring.chain(held)),
                is_exposed: case.is_exposed(),
                request: None,
            };
            orders.spawn(async move {
                let done = order.run().await;
                (order.wanted.names, done)
            });
        }
        while let Some(ended) = orders.join_next().await {
            let Ok((names, done)) = ended else {
                tracing::error!("an order ended early");
                continue;
            };
            let now = verge_sync::clock::Clock::System.now();
            match done {
                Ok(()) => memory.succeeded(&names),
                Err(OrderError::Acme(error)) => {
                    tracing::warn!(names = ?names.names(), "no certificate: {error}");
                    memory.failed(&names, &error, now);
                }
                Err(OrderError::HandOut(error)) => {
                    tracing::error!(names = ?names.names(), "a certificate is not handed out: {error}");
                    memory.refused(&names, error.to_string(), now, None);
                }
                Err(OrderError::Budget(refusal)) => {
                    tracing::warn!(names = ?names.names(), "no certificate yet: {refusal}");
                    let possible = Some(refusal.possible_at);
                    memory.refused(&names, refusal.to_string(), now, possible);
                }
                Err(OrderError::Obstacles(text)) => {
                    tracing::warn!(names = ?names.names(), "no certificate is asked for: {text}");
                    memory.refused(&names, text, now, None);
                }
                Err(OrderError::Gone) => {}
            }
        }
    }
}

/// Asks when certificates should be renewed.
async fn advise(
    session: &Session,
    keyring: &Keyring,
    cases: &[Case],
    memory: &mut Memory,
    now: UnixTime,
) {
    const ASK_AGAIN: Duration = Duration::from_hours(6);
    let asked: Vec<&Arc<Held>> = cases
        .iter()
        .filter(|case| wants_advice(case, memory, now))
        .filter_map(|case| case.held.as_ref())
        .take(ADVICE_MAX)
        .collect();
    for held in asked {
        let chain = keyring.chain(held);
        let identifier = chain.and_then(|chain| Predecessor::of_chain(&chain).ok().flatten());
        let advice = match identifier {
            Some(identifier) => crate::acme::renewal_info(session, &identifier).await,
            None => Ok(None),
        };
        let (window, next) = match advice {
            Ok(Some(advice)) => (Some(advice.window), advice.ask_again_after),
            Ok(None) => (None, ASK_AGAIN),
            Err(error) => {
                tracing::debug!("no renewal advice: {error}");
                (memory.advice(&held.record), ASK_AGAIN)
            }
        };
        memory.advised(held.record, window, now.plus(next));
    }
}
