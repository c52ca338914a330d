//! What a steward asks about providers, nodes, steps and records.

use super::api::{Api, ApiError, Log, say};
use super::{NodeRequest, ProviderRequest, RecordRequest, RegionRequest};
use crate::accounting::desk::Desk;
use crate::belief::Belief;
use crate::certificates::{Cover, Review, wanted};
use crate::membership::{Asking, Porter, six_words};
use crate::region::{
    Added, RegionView, Standing, Status, StepChange, WriteError, author_name, check_policy,
    find_node, pending_steps, provider_name, signed_deploy,
};
use crate::signing::{SignedLine, ToSignLine};
use crate::watch::Watch;
use crate::witness::Witnessing;
use data_encoding::BASE32_NOPAD;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;
use verge_sync::clock::Clock;
use verge_sync::content::Thrift;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::keys::ProviderKey;
use verge_sync::record::body::{Body, Provider, Takedown};
use verge_sync::record::{Draft, Effect, Kind, Record};
use verge_sync::store::{MetaValue, Store, StoreError};

/// The `meta` key of the nodes that this one has nothing to do with.
const META_BLOCKED: &str = "blocked";
/// Records that one look lists.
const LOG_COUNT_MAX: usize = 10_000;

/// Who belongs to the region, and what this node thinks of it.
pub struct Membership {
    /// Tickets and newcomers.
    pub porter: Arc<Porter>,
    /// What the node thinks of its clock, and what that shows.
    pub clock: watch::Receiver<(u64, Belief)>,
    store: Store,
    thrift: Arc<Thrift>,
    blocked: watch::Sender<BTreeSet<NodeId>>,
    watched: Arc<Watch>,
    witnessing: Arc<Witnessing>,
    reviews: watch::Receiver<Arc<Review>>,
    accounting: Arc<Desk>,
}

impl Membership {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        (store, thrift, accounting): (Store, Arc<Thrift>, Arc<Desk>),
        porter: Arc<Porter>,
        (clock, reviews): (watch::Receiver<(u64, Belief)>, watch::Receiver<Arc<Review>>),
        (blocked, watched, witnessing): (
            watch::Sender<BTreeSet<NodeId>>,
            Arc<Watch>,
            Arc<Witnessing>,
        ),
    ) -> Self {
        Self {
            porter,
            clock,
            store,
            thrift,
            blocked,
            watched,
            witnessing,
            reviews,
            accounting,
        }
    }

    /// What was served, and what was sealed of it.
    #[must_use]
    pub fn accounting(&self) -> &Arc<Desk> {
        &self.accounting
    }

    /// Changes of the certificates in use.
    #[must_use]
    pub fn reviews(&self) -> watch::Receiver<Arc<Review>> {
        self.reviews.clone()
    }

    /// The nodes that were blocked when the node last ran.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read_blocked(store: &Store) -> Result<BTreeSet<NodeId>, StoreError> {
        Ok(match store.records().meta(META_BLOCKED)? {
            Some(MetaValue::Bytes(bytes)) => {
                let (ids, _) = bytes.as_chunks::<32>();
                ids.iter().copied().map(NodeId::from_bytes).collect()
            }
            _ => BTreeSet::new(),
        })
    }

    /// How node and region are.
    pub async fn status(&self, region: &RegionView) -> Status {
        let (wall_s, belief) = *self.clock.borrow();
        let effect = region.effect();
        let seen = |node: &NodeId| self.watched.of(&effect, node);
        let mut status = region.status((wall_s, belief), seen).await;
        let asking = self.porter.asking().into_iter();
        let unsigned = self.porter.unsigned().into_iter();
        let unsigned = unsigned.map(|(node, _)| {
            let name = node.name;
            format!("the node {name}, with this provider's signature: see `verge node list`")
        });
        status.given_up_count = self.thrift.given_up().len();
        let wanted = wanted(&effect);
        let names = wanted.iter().map(|wanted| &wanted.names);
        status.certificates = Cover::of(&self.reviews.borrow(), names, Clock::System.now());
        status.accounting = self.accounting.line();
        let (line, findings) = self.witnessing.line(&effect);
        status.witnesses = line;
        status.evidence.extend(findings);
        status.asking = asking
            .map(|asking| format!("{} ({})", asking.provider.name, asking.words))
            .chain(unsigned)
            .collect();
        status
    }

    /// What this node does as a witness, and its own witnesses.
    #[must_use]
    pub fn witnessing(&self) -> &Witnessing {
        &self.witnessing
    }

    /// What was seen of the other nodes.
    #[must_use]
    pub fn watched(&self) -> &Watch {
        &self.watched
    }

    async fn block(&self, node: NodeId, lift: bool) -> Result<(), ApiError> {
        let mut blocked = self.blocked.borrow().clone();
        if lift {
            blocked.remove(&node);
        } else {
            blocked.insert(node);
        }
        let bytes = blocked.iter().flat_map(|node| *node.as_bytes()).collect();
        let value = MetaValue::Bytes(bytes);
        self.store.records().put_meta(META_BLOCKED, value)?.await?;
        self.blocked.send_replace(blocked);
        Ok(())
    }
}

impl Api {
    pub(super) async fn provider(
        &self,
        request: ProviderRequest,
        log: &Log,
    ) -> Result<(), ApiError> {
        match request {
            ProviderRequest::Invite => self.invite(false, log).await,
            ProviderRequest::Void => {
                self.membership.porter.void_tickets().await?;
                say(log, "every ticket of this node is void".to_owned()).await;
                Ok(())
            }
            ProviderRequest::List => self.list_providers(log).await,
            ProviderRequest::Show { who } => self.show_candidate(&who, log).await,
            ProviderRequest::Approve { who } => self.approve(&who, log).await,
            ProviderRequest::Leave { reason } => {
                self.region.leave(&reason).await?;
                let text = "this provider has left the region: its nodes are members no more; \
                            the others may take it off their list with `verge region propose --remove`";
                say(log, text.to_owned()).await;
                Ok(())
            }
            ProviderRequest::ForgetKey => {
                self.region.forget_provider_key();
                say(
                    log,
                    "the node goes on without the provider's key".to_owned(),
                )
                .await;
                Ok(())
            }
        }
    }

    async fn invite(&self, for_own_node: bool, log: &Log) -> Result<(), ApiError> {
        let ticket = self.membership.porter.invite(for_own_node).await?;
        for row in ticket.square() {
            say(log, row).await;
        }
        say(log, ticket.to_string()).await;
        Ok(())
    }

    async fn list_providers(&self, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        for provider in &effect.chain.current().body.providers {
            let nodes = effect.nodes.values();
            let nodes = nodes.filter(|n| n.is_member && n.slot.provider == provider.id);
            let left = if effect.left.contains(&provider.id.into()) {
                "  has left"
            } else {
                ""
            };
            let text = format!(
                "{}  {}  {} nodes  {}{left}",
                provider.id.short(),
                provider.name,
                nodes.count(),
                provider.contact
            );
            say(log, text).await;
        }
        for asking in self.candidates(&effect) {
            let provider = asking.provider;
            let text = format!(
                "{}  {}  asks to join ({}): verge provider approve {}",
                provider.id.short(),
                provider.name,
                asking.words,
                provider.id.short()
            );
            say(log, text).await;
        }
        Ok(())
    }

    /// Who asks here, and whom others have proposed.
    fn candidates(&self, effect: &Effect) -> Vec<Asking> {
        let mut found = self.membership.porter.asking();
        let current = &effect.chain.current().body;
        for proposal in &effect.chain.proposals {
            for provider in &proposal.step.body.providers {
                let is_new = current.provider(&provider.id).is_none();
                if is_new && found.iter().all(|known| known.provider.id != provider.id) {
                    found.push(Asking {
                        provider: provider.clone(),
                        words: six_words(&effect.region, &provider.id),
                    });
                }
            }
        }
        found
    }

    fn candidate(&self, who: &str) -> Result<Asking, ApiError> {
        let effect = self.region.effect();
        let is_meant = |provider: &Provider| {
            provider.name == who || (who.len() >= 4 && provider.id.to_string().starts_with(who))
        };
        let mut found = self.candidates(&effect);
        found.retain(|asking| is_meant(&asking.provider));
        match <[Asking; 1]>::try_from(found) {
            Ok([asking]) => Ok(asking),
            Err(none) if none.is_empty() => Err(ApiError::Wrong(format!(
                "nobody called {who} asks to join: see `verge provider list`"
            ))),
            Err(_several) => Err(ApiError::Wrong(format!(
                "several are called {who}: give the beginning of the id, see `verge provider list`"
            ))),
        }
    }

    async fn show_candidate(&self, who: &str, log: &Log) -> Result<(), ApiError> {
        let asking = self.candidate(who)?;
        say(log, format!("provider  {}", asking.provider.name)).await;
        say(log, format!("contact   {}", asking.provider.contact)).await;
        say(log, format!("key       {}", asking.provider.id)).await;
        say(log, format!("words     {}", asking.words)).await;
        Ok(())
    }

    async fn approve(&self, who: &str, log: &Log) -> Result<(), ApiError> {
        let asking = self.candidate(who)?;
        let name = asking.provider.name.clone();
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| ApiError::Wrong(error.to_string()))?;
        let paper = ProviderKey::from_bytes(&secret);
        let proposed = self
            .region
            .admit_provider(asking.provider, Some(&paper))
            .await;
        let effect = self.region.effect();
        let own_paper = Some(*paper.provider().as_bytes());
        let proposals = effect.chain.proposals.iter().map(|p| &p.step);
        let mut steps = effect.chain.steps().iter().chain(proposals);
        let names_paper = match &proposed {
            // The step goes with the line that is to be signed; asked for again it has another paper.
            Err(WriteError::ToSign(draft)) => names_paper(draft, own_paper),
            _ => steps.any(|step| step.body.recovery_key == own_paper),
        };
        if names_paper {
            say(log, "A region of two has a paper key: with it either provider can act if the other is lost.".to_owned()).await;
            say(
                log,
                "Write it down now, keep it away from both nodes; it is shown only once:"
                    .to_owned(),
            )
            .await;
            say(log, paper_text(&secret)).await;
        }
        let standing = proposed?;
        self.say_standing(
            &standing,
            &format!("{name} is a provider of the region"),
            log,
        )
        .await;
        Ok(())
    }

    async fn say_standing(&self, standing: &Standing, done: &str, log: &Log) {
        let text = if standing.is_current {
            done.to_owned()
        } else {
            let id = standing.step.short();
            format!(
                "{} of {} votes: it takes effect with more; the others vote with `verge region sign {id}`",
                standing.vote_count, standing.needed
            )
        };
        say(log, text).await;
    }

    pub(super) async fn node(&self, request: NodeRequest, log: &Log) -> Result<(), ApiError> {
        match request {
            NodeRequest::Add => self.invite(true, log).await,
            NodeRequest::List => self.list_nodes(log).await,
            NodeRequest::Withdraw { who } => {
                let node = find_node(&self.region.effect(), &who)?.id;
                self.region.withdraw_node(node).await?;
                say(log, format!("node {} is no member any more", node.short())).await;
                Ok(())
            }
            NodeRequest::Block { who, lift } => {
                let node = find_node(&self.region.effect(), &who)?.id;
                self.membership.block(node, lift).await?;
                let word = if lift {
                    "is heard again"
                } else {
                    "is blocked here"
                };
                say(log, format!("node {} {word}", node.short())).await;
                Ok(())
            }
        }
    }

    async fn list_nodes(&self, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let status = self.membership.status(&self.region).await;
        let blocked = self.membership.blocked.borrow().clone();
        for node in effect.nodes.values() {
            let peer = status
                .peers
                .iter()
                .find(|p| p.node.id == node.id.to_string());
            let state = match peer {
                _ if blocked.contains(&node.id) => "blocked here",
                _ if !node.is_member => "no member any more",
                None => "this node",
                Some(peer) if peer.connected_s.is_none() => "not connected",
                Some(peer) if peer.is_in_step == Some(true) => "connected, in step",
                Some(_) => "connected",
            };
            let seen = self.membership.watched.of(&effect, &node.id).words();
            let seen = seen.map_or_else(String::new, |words| format!("  {words}"));
            let text = format!(
                "{}  {}  of {} (place {})  {}  {state}{seen}",
                node.id.short(),
                node.body.name,
                provider_name(&effect, node.slot.provider),
                node.slot.number,
                node.body.addresses.join(" ")
            );
            say(log, text).await;
        }
        let porter = &self.membership.porter;
        let mut unsigned = porter.unsigned();
        let reached = porter.reached();
        if !reached.nodes.is_empty()
            && let Err(WriteError::ToSign(draft)) = self.region.announce_addresses(&reached).await
            && let Ok(Body::Node(node)) = Body::decode(draft.envelope.kind, &draft.body)
        {
            unsigned.push((node, *draft));
        }
        for (node, draft) in unsigned {
            let text = format!(
                "{}  {}  at {}: the provider's key has to sign this first, `verge provider sign`, then `verge record add`:",
                node.id.short(),
                node.name,
                node.addresses.join(" ")
            );
            say(log, text).await;
            say(log, ToSignLine(draft).to_string()).await;
        }
        Ok(())
    }

    pub(super) async fn chain(&self, request: RegionRequest, log: &Log) -> Result<(), ApiError> {
        match request {
            RegionRequest::Status => self.show_chain(log).await,
            RegionRequest::Propose { change } => self.propose(&change, log).await,
            RegionRequest::Sign { step, paper } => {
                let id = self.region.proposal(&step)?;
                let standing = match paper {
                    Some(text) => {
                        let secret = paper_secret(&text)?;
                        let key = ProviderKey::from_bytes(&secret);
                        self.region.vote_on_paper(id, &key).await?
                    }
                    None => self.region.vote(id).await?,
                };
                self.say_standing(&standing, "the step holds now", log)
                    .await;
                Ok(())
            }
        }
    }

    async fn propose(&self, change: &StepChange, log: &Log) -> Result<(), ApiError> {
        if let Some(policy) = &change.policy {
            check_policy(policy).map_err(|error| ApiError::Wrong(error.to_string()))?;
        }
        let standing = self.region.propose_change(change).await?;
        self.say_standing(&standing, "the step holds now", log)
            .await;
        Ok(())
    }

    async fn show_chain(&self, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let step = effect.chain.current();
        let body = &step.body;
        let limits = body.limits;
        let mut lines = vec![
            format!("region     {} ({})", body.name, effect.region),
            format!("step       {} ({})", body.number, step.id),
            format!("format     {}", body.format),
            format!(
                "zones      {} and {}",
                body.zones.site_zone, body.zones.admin_zone
            ),
            format!(
                "limits     {} accounts and {} sites a provider, {} bytes a site, {} bytes an account",
                limits.account_allowance,
                limits.site_allowance,
                limits.site_bytes_max,
                limits.account_bytes_max
            ),
            format!(
                "votes      {} of {} providers",
                body.votes_needed(),
                body.providers.len()
            ),
        ];
        if body.recovery_key.is_some() {
            lines.push("paper key  counts as a third provider".to_owned());
        }
        for provider in &body.providers {
            lines.push(format!(
                "provider   {} ({})",
                provider.name,
                provider.id.short()
            ));
        }
        for gone in body.removed.keys() {
            lines.push(format!("removed    {}", author_name(&effect, *gone)));
        }
        for missing in &effect.missing_lists {
            let text = "a removal does not bind yet: its list is being fetched";
            lines.push(format!("waiting    {text} ({missing})"));
        }
        for pending in pending_steps(&effect) {
            lines.extend(pending.lines());
        }
        for text in lines {
            say(log, text).await;
        }
        Ok(())
    }

    pub(super) async fn take_down(
        &self,
        target: &str,
        reason: String,
        lift: bool,
        log: &Log,
    ) -> Result<(), ApiError> {
        let body = Takedown {
            active: !lift,
            reason,
        };
        self.region.take_down(target, body).await?;
        let text = if lift {
            format!("the nodes of this provider serve {target} again")
        } else {
            format!("the nodes of this provider do not serve {target} any more")
        };
        say(log, text).await;
        Ok(())
    }

    pub(super) async fn record(&self, request: RecordRequest, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        match request {
            RecordRequest::Show { id } => {
                let found = effect.records();
                let found: Vec<_> = found
                    .filter(|record| record.id().to_string().starts_with(&id))
                    .take(2)
                    .collect();
                let [record] = found.as_slice() else {
                    return Err(ApiError::Wrong(format!(
                        "no single record begins with {id}: see `verge record log`"
                    )));
                };
                for text in record_lines(&effect, record) {
                    say(log, text).await;
                }
            }
            RecordRequest::Log { kind, count } => {
                let wanted = kind.as_deref().map(kind_number).transpose()?;
                let mut records: Vec<_> = effect
                    .records()
                    .filter(|record| wanted.is_none_or(|kind| record.envelope().kind == kind))
                    .collect();
                records.sort_unstable_by_key(|record| {
                    let envelope = record.envelope();
                    (
                        envelope.kind,
                        envelope.epoch,
                        envelope.sequence,
                        record.id(),
                    )
                });
                let surplus = records.len().saturating_sub(count.min(LOG_COUNT_MAX));
                for record in records.iter().skip(surplus) {
                    say(log, record_line(&effect, record)).await;
                }
            }
            RecordRequest::Add { line } => self.add_record(&line, log).await?,
        }
        Ok(())
    }

    async fn add_record(&self, line: &str, log: &Log) -> Result<(), ApiError> {
        let line: Result<SignedLine, _> = line.parse();
        let record = line.map_err(|error| ApiError::Wrong(error.to_string()))?.0;
        if let Some((site, _)) = signed_deploy(&record) {
            let published = self.publishing.put_signed(&record, None).await?;
            for text in self.last_lines(site, &published).await {
                say(log, text).await;
            }
            return Ok(());
        }
        let added = self.region.add_record(record.clone()).await?;
        let text = match added {
            Added::Known => "the record was here before".to_owned(),
            Added::New => "the record is here now".to_owned(),
            Added::Named(name) => format!("account {name} added, with its name"),
            Added::Nameless(why) => format!(
                "the account is here now and has no name yet: {why}. Finish it with `verge account add NAME` and the same --ssh-key, with another name if this one is not to be had"
            ),
        };
        say(log, text).await;
        let step = match record.envelope().kind {
            Kind::REGION => Some(record.id()),
            Kind::VOTE => {
                let target = record.envelope().subject.first_chunk();
                target.map(|target| RecordId::from_bytes(*target))
            }
            _ => None,
        };
        match step.map(|step| self.region.standing(step)) {
            Some(Ok(standing)) => {
                self.say_standing(&standing, "the step holds now", log)
                    .await;
            }
            Some(Err(_)) if record.envelope().kind == Kind::REGION => {
                let text = "the region has gone on to another step meanwhile: propose it again";
                say(log, text.to_owned()).await;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a step that is to be signed has `paper` as its paper key.
fn names_paper(draft: &Draft, paper: Option<[u8; 32]>) -> bool {
    let body = Body::decode(draft.envelope.kind, &draft.body);
    matches!(body, Ok(Body::Region(step)) if step.recovery_key == paper)
}

/// The kinds by their names in `docs/format.md`.
const KIND_NAMES: [(Kind, &str); 16] = [
    (Kind::REGION, "region"),
    (Kind::VOTE, "vote"),
    (Kind::NODE, "node"),
    (Kind::LEAVE, "leave"),
    (Kind::ACCOUNT, "account"),
    (Kind::SITE, "site"),
    (Kind::NAME, "name"),
    (Kind::DEPLOY, "deploy"),
    (Kind::TAKEDOWN, "takedown"),
    (Kind::TOMBSTONE, "tombstone"),
    (Kind::CERTIFICATE, "certificate"),
    (Kind::SEAL, "seal"),
    (Kind::SNAPSHOT, "snapshot"),
    (Kind::CHECKPOINT, "checkpoint"),
    (Kind::OBSERVATION, "observation"),
    (Kind::CLOSE, "close"),
];

fn kind_number(name: &str) -> Result<Kind, ApiError> {
    let found = KIND_NAMES.iter().find(|(_, known)| *known == name);
    found.map(|(kind, _)| *kind).ok_or_else(|| {
        let names: Vec<&str> = KIND_NAMES.iter().map(|(_, name)| *name).collect();
        ApiError::Wrong(format!("{name} is no kind of record: {}", names.join(", ")))
    })
}

fn kind_name(kind: Kind) -> String {
    let found = KIND_NAMES.iter().find(|(known, _)| *known == kind);
    found.map_or_else(
        || format!("kind {}", kind.0),
        |(_, name)| (*name).to_owned(),
    )
}

fn record_line(effect: &Effect, record: &Record) -> String {
    let envelope = record.envelope();
    format!(
        "{}  {}  {}.{}  by {}",
        record.id().short(),
        kind_name(envelope.kind),
        envelope.epoch,
        envelope.sequence,
        author_name(effect, envelope.author)
    )
}

fn record_lines(effect: &Effect, record: &Record) -> Vec<String> {
    let envelope = record.envelope();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let mut lines = vec![
        format!("id            {}", record.id()),
        format!("kind          {}", kind_name(envelope.kind)),
        format!("subject       {}", hex(&envelope.subject)),
        format!(
            "author        {} ({})",
            author_name(effect, envelope.author),
            hex(envelope.author.as_bytes())
        ),
        format!(
            "log           {} number {}",
            hex(&envelope.log.0),
            envelope.n
        ),
        format!(
            "place         epoch {}, sequence {}",
            envelope.epoch, envelope.sequence
        ),
    ];
    for before in &envelope.predecessors {
        lines.push(format!("follows       {before}"));
    }
    lines.push(format!("signed by     {}", hex(record.signer())));
    lines.push(format!("bytes         {}", record.bytes().len()));
    match record.body() {
        Ok(Body::Foreign) => {
            lines.push("body          of a kind that this release passes on".to_owned())
        }
        Ok(body) => {
            let text = format!("{body:#?}");
            lines.extend(text.lines().map(|line| format!("  {line}")));
        }
        Err(error) => lines.push(format!(
            "body          cannot be read by this release: {error}"
        )),
    }
    lines
}

/// A paper key as people write it down: groups of four capital letters and digits.
fn paper_text(secret: &[u8; 32]) -> String {
    let letters = BASE32_NOPAD.encode(secret);
    let groups = letters.as_bytes().chunks(4);
    let groups: Vec<&str> = groups
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join("-")
}

fn paper_secret(text: &str) -> Result<[u8; 32], ApiError> {
    let letters = text.chars().filter(char::is_ascii_alphanumeric);
    let letters: String = letters.map(|c| c.to_ascii_uppercase()).collect();
    let bytes = BASE32_NOPAD.decode(letters.as_bytes()).ok();
    let secret = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    secret.ok_or_else(|| {
        let text = "this is no paper key: it has 52 letters and digits, in groups of four";
        ApiError::Wrong(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paper_key_is_read_as_people_type_it() {
        let secret = [0xa7; 32];
        let text = paper_text(&secret);
        assert_eq!(text.len(), 64);
        assert_eq!(paper_secret(&text).unwrap(), secret);
        let typed = text.to_lowercase().replace('-', " ");
        assert_eq!(paper_secret(&typed).unwrap(), secret);
        assert!(paper_secret(&text[..60]).is_err());
        assert!(paper_secret("").is_err());
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for (kind, name) in KIND_NAMES {
            assert_eq!(kind_number(name).unwrap(), kind);
            assert_eq!(kind_name(kind), name);
        }
        assert!(kind_number("letter").is_err());
        assert_eq!(kind_name(Kind(99)), "kind 99");
    }
}
