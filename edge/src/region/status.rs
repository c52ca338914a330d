//! How the node and its region are: one value, shown as lines or as JSON.

use super::RegionView;
use crate::accounting::desk::AccountingLine;
use crate::belief::Belief;
use crate::certificates::Cover;
use crate::closing::MonthLine;
use crate::watch::Watched;
use crate::witness::WitnessLine;
use serde::Serialize;
use std::collections::BTreeMap;
use verge_sync::id::{NodeId, ProviderId, RecordId};
use verge_sync::net::Signal;
use verge_sync::record::body::{HostProof, Region};
use verge_sync::record::effect::{Evidence, NodeEffect, SiteEffect};
use verge_sync::record::{AuthorId, Effect, Envelope, Kind, Subject};

/// What `verge status` and `/status` show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The region's name and id.
    pub region: Named,
    /// The number and id of the current step.
    pub step: StepLine,
    /// This node.
    pub node: Named,
    /// Its provider.
    pub provider: Named,
    /// Whether the node is a member now.
    pub is_member: bool,
    /// Whether the provider's key is on this node.
    pub has_provider_key: bool,
    /// Under which every site has its label.
    pub site_zone: String,
    /// How many providers there are.
    pub provider_count: usize,
    /// How many records are held, and how many wait for others.
    pub record_count: usize,
    /// Records that came before what they follow.
    pub waiting_count: usize,
    /// Records that this release cannot read.
    pub unreadable_count: usize,
    /// Records that are set aside because applying them crashed.
    pub quarantined: Vec<String>,
    /// Sites that have not ended, and how many of them have a version.
    pub site_count: usize,
    /// Of these, with a version in place.
    pub published_count: usize,
    /// Of these, with the version in place here whole; the others are on their way, or are not to be
    /// here.
    pub here_count: usize,
    /// Sites of which this node has given its copy up for want of room.
    pub given_up_count: usize,
    /// Deploys in effect.
    pub deploy_count: usize,
    /// The other nodes of the region.
    pub peers: Vec<PeerLine>,
    /// Providers that ask at this node to join, with the six words of their keys.
    pub asking: Vec<String>,
    /// Steps that wait for votes.
    pub pending_steps: Vec<PendingStep>,
    /// Months that are closed, and closes that wait for votes.
    pub months: Vec<MonthLine>,
    /// Who contradicted itself, in sentences.
    pub evidence: Vec<String>,
    /// Certificates, and how long they last.
    pub certificates: Cover,
    /// What was served, and what is sealed of it.
    pub accounting: AccountingLine,
    /// Who looks after what this node says of itself.
    pub witnesses: WitnessLine,
    /// The clock.
    pub clock: ClockLine,
}

/// A name and an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// What people call it.
    pub name: String,
    /// Its id.
    pub id: String,
}

/// The current step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepLine {
    /// Its number.
    pub number: u32,
    /// Its id.
    pub id: String,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerLine {
    /// The node.
    pub node: Named,
    /// Its provider's name.
    pub provider: String,
    /// For how long it has been connected; none if it is not.
    pub connected_s: Option<u64>,
    /// Whether it holds the same records; none if it has not said.
    pub is_in_step: Option<bool>,
    /// How many records it holds.
    pub record_count: Option<u32>,
    /// How far its clock is ahead of ours.
    pub clock_ahead_s: Option<i64>,
    /// What was seen of what it serves.
    pub watched: Watched,
}

/// A step that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingStep {
    /// Its id.
    pub id: String,
    /// What it would change, in sentences.
    pub changes: Vec<String>,
    /// Who is for it, by name.
    pub voters: Vec<String>,
    /// How many votes it takes.
    pub needed: usize,
}

/// The clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockLine {
    /// Seconds since 1970.
    pub wall_s: u64,
    /// Whether it is believed.
    pub is_believed: bool,
    /// Why, or why not.
    pub why: String,
}

impl RegionView {
    /// Whether the version in place is here whole, and before visitors.
    fn is_here(&self, site: &SiteEffect) -> bool {
        let shelf = self.store.shelf();
        site.head()
            .is_some_and(|head| shelf.is_shown(&head.body().version))
    }

    /// How things stand; `wall_s` and `belief` are the clock's, `watched` is what was seen of a node.
    pub async fn status(
        &self,
        (wall_s, belief): (u64, Belief),
        watched: impl Fn(&NodeId) -> Watched,
    ) -> Status {
        let core = self.replica.lock().await;
        let holding = core.exchange().holding();
        let effect = std::sync::Arc::clone(holding.effect());
        let now_ms = self.replica.now_ms();
        let links: BTreeMap<NodeId, (u64, Option<Signal>)> = core
            .links(now_ms)
            .map(|(peer, linked, signal)| (peer, (linked.since_ms, signal)))
            .collect();
        let (record_count, waiting_count) = (holding.records().len(), holding.waiting_count());
        let own = core.exchange().own_signal(now_ms);
        let skipped = &holding.parameters().skip;
        let quarantined = skipped.iter().map(ToString::to_string).collect();
        drop(core);
        let others = effect.nodes.values();
        let others = others.filter(|node| node.is_member && node.id != self.keys.node());
        let peers = others.map(|node| {
            let link = links.get(&node.id);
            peer_line(&effect, node, link, (now_ms, own, wall_s), &watched)
        });
        let current = effect.chain.current();
        let sites = effect.sites.values().filter(|site| !site.ended);
        let sites: Vec<&SiteEffect> = sites.collect();
        let node = effect.nodes.get(&self.keys.node());
        Status {
            region: named(&current.body.name, effect.region),
            step: StepLine {
                number: current.body.number,
                id: current.id.to_string(),
            },
            node: named(node.map_or("", |node| &node.body.name), self.keys.node()),
            provider: named(
                &provider_name(&effect, self.slot.provider),
                self.slot.provider,
            ),
            is_member: node.is_some_and(|node| node.is_member),
            has_provider_key: self.has_provider_key(),
            site_zone: current.body.zones.site_zone.clone(),
            provider_count: current.body.providers.len(),
            record_count,
            waiting_count,
            unreadable_count: effect.unreadable.len(),
            quarantined,
            site_count: sites.len(),
            published_count: sites.iter().filter(|site| site.head().is_some()).count(),
            here_count: sites.iter().filter(|site| self.is_here(site)).count(),
            given_up_count: 0,
            deploy_count: sites.iter().map(|site| site.deploys.len()).sum(),
            peers: peers.collect(),
            asking: Vec::new(),
            pending_steps: pending_steps(&effect),
            months: MonthLine::all(&effect),
            evidence: effect
                .evidence
                .iter()
                .map(|evidence| sentence(&effect, evidence))
                .collect(),
            certificates: Cover::default(),
            accounting: AccountingLine::default(),
            witnesses: WitnessLine::default(),
            clock: ClockLine {
                wall_s,
                is_believed: belief.holds(),
                why: belief.to_string(),
            },
        }
    }
}

/// Another node, with the connection to it, as it looks at `now_ms` from a node that says `own`.
fn peer_line(
    effect: &Effect,
    node: &NodeEffect,
    link: Option<&(u64, Option<Signal>)>,
    (now_ms, own, wall_s): (u64, Signal, u64),
    watched: impl Fn(&NodeId) -> Watched,
) -> PeerLine {
    let signal = link.and_then(|(_, signal)| *signal);
    PeerLine {
        node: named(&node.body.name, node.id),
        provider: provider_name(effect, node.slot.provider),
        connected_s: link.map(|(since, _)| now_ms.saturating_sub(*since) / 1000),
        is_in_step: signal.map(|signal| signal.fingerprint == own.fingerprint),
        record_count: signal.map(|signal| signal.record_count),
        clock_ahead_s: signal.map(|signal| {
            let ahead = i128::from(signal.wall_s) - i128::from(wall_s);
            i64::try_from(ahead).unwrap_or(i64::MAX)
        }),
        watched: watched(&node.id),
    }
}

impl Status {
    /// The same with every count of seconds at 0, to be compared with another look.
    #[must_use]
    pub fn without_seconds(&self) -> Self {
        let mut status = self.clone();
        status.clock.wall_s = 0;
        status.certificates.least_remaining_s = None;
        for peer in &mut status.peers {
            peer.connected_s = peer.connected_s.map(|_| 0);
            peer.clock_ahead_s = None;
        }
        status
    }

    /// For everybody: without what tells where an attack is worth it, whose account it is about, or
    /// what a private site is called; of these there are numbers.
    #[must_use]
    pub fn public_json(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("has_provider_key");
            // What is not sealed is nobody else's yet, and names the hour of a visit.
            fields.remove("accounting");
            // Who has to be silenced before a day is lost.
            fields.remove("witnesses");
            let sealed_until = self.accounting.sealed_until.clone();
            fields.insert("sealed_until".to_owned(), sealed_until.into());
            for (listed, count) in [
                ("asking", "asking_count"),
                ("pending_steps", "pending_step_count"),
                ("evidence", "evidence_count"),
                ("months", "month_count"),
            ] {
                let list = fields.remove(listed);
                let length = list.and_then(|list| list.as_array().map(Vec::len));
                fields.insert(count.to_owned(), length.unwrap_or_default().into());
            }
        }
        value.to_string()
    }

    /// A line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("region     {} ({})", self.region.name, self.region.id),
            format!("step       {} ({})", self.step.number, short(&self.step.id)),
            format!("node       {} ({})", self.node.name, self.node.id),
            format!("provider   {} ({})", self.provider.name, self.provider.id),
            format!("site zone  {}", self.site_zone),
            format!("providers  {}", self.provider_count),
            format!(
                "sites      {} ({} published, {} of them here, {} deploys in effect)",
                self.site_count, self.published_count, self.here_count, self.deploy_count
            ),
            format!("records    {}", self.record_count),
        ];
        if self.given_up_count > 0 {
            lines.push(format!(
                "this node has given up its copies of {} sites for want of room (store.bytes_max, or its disk); enough others hold them",
                self.given_up_count
            ));
        }
        if !self.is_member {
            lines.push("this node is no member of the region any more".to_owned());
        }
        if !self.has_provider_key {
            lines.push("provider key is not on this node".to_owned());
        }
        lines.extend(self.peers.iter().map(PeerLine::line));
        lines.extend(self.asking.iter().map(|who| format!("asks       {who}")));
        for step in &self.pending_steps {
            lines.extend(step.lines());
        }
        let months = self.months.iter().map(MonthLine::words);
        lines.extend(months.map(|text| format!("month      {text}")));
        lines.extend(
            self.evidence
                .iter()
                .map(|text| format!("evidence   {text}")),
        );
        if self.waiting_count > 0 {
            lines.push(format!(
                "records that wait for others: {}",
                self.waiting_count
            ));
        }
        if self.unreadable_count > 0 {
            lines.push(format!(
                "records that this release cannot read: {}",
                self.unreadable_count
            ));
        }
        for record in &self.quarantined {
            lines.push(format!(
                "set aside  record {record}: it crashed this release; please report it"
            ));
        }
        lines.extend(self.certificates.line());
        lines.extend(self.accounting.lines());
        lines.extend(self.witnesses.lines());
        lines.push(format!("clock      {}", self.clock.why));
        lines
    }
}

impl PeerLine {
    /// For people.
    #[must_use]
    pub fn line(&self) -> String {
        let state = match (self.connected_s, self.is_in_step) {
            (None, _) => "not connected".to_owned(),
            (Some(seconds), Some(true)) => format!("connected for {seconds} s, in step"),
            (Some(seconds), Some(false)) => format!(
                "connected for {seconds} s, holds {} records, being brought in step",
                self.record_count.unwrap_or_default()
            ),
            (Some(seconds), None) => format!("connected for {seconds} s"),
        };
        let (name, id) = (&self.node.name, short(&self.node.id));
        let seen = self.watched.words();
        let seen = seen.map_or_else(String::new, |words| format!("; {words}"));
        format!(
            "peer       {name} of {} ({id}): {state}{seen}",
            self.provider
        )
    }
}

impl PendingStep {
    /// For people: what it changes, and how it gets a vote.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let id = short(&self.id);
        let mut lines = vec![format!(
            "proposal   {id}: {} of {} votes ({}); to vote for it: verge region sign {id}",
            self.voters.len(),
            self.needed,
            self.voters.join(", ")
        )];
        lines.extend(
            self.changes
                .iter()
                .map(|change| format!("             {change}")),
        );
        lines
    }
}

/// The steps that wait for votes, with what they would change.
#[must_use]
pub fn pending_steps(effect: &Effect) -> Vec<PendingStep> {
    let current = &effect.chain.current().body;
    let proposals = effect.chain.proposals.iter();
    proposals
        .map(|proposal| PendingStep {
            id: proposal.step.id.to_string(),
            changes: changes(effect, current, &proposal.step.body),
            voters: proposal
                .voters
                .iter()
                .map(|voter| provider_name(effect, *voter))
                .collect(),
            needed: current.votes_needed(),
        })
        .collect()
}

/// What a step changes of the one before, in sentences.
#[must_use]
pub fn changes(effect: &Effect, before: &Region, after: &Region) -> Vec<String> {
    let mut found = member_changes(effect, before, after);
    found.extend(setting_changes(before, after));
    for target in after.takedowns.difference(&before.takedowns) {
        found.push(format!("takes down {}", target_name(effect, *target)));
    }
    for target in before.takedowns.difference(&after.takedowns) {
        let target = target_name(effect, *target);
        found.push(format!("lifts the takedown of {target}"));
    }
    for (account, provider) in &after.sponsors {
        if before.sponsors.get(account) != Some(provider) {
            let account = effect.account_name(account);
            let account = account.map_or_else(|| "one without a name".to_owned(), str::to_owned);
            let provider = provider_name(effect, *provider);
            found.push(format!("makes {provider} the sponsor of account {account}"));
        }
    }
    found
}

fn member_changes(effect: &Effect, before: &Region, after: &Region) -> Vec<String> {
    let mut found = Vec::new();
    for provider in &after.providers {
        let name = &provider.name;
        match before.provider(&provider.id) {
            None => {
                let words = crate::membership::six_words(&effect.region, &provider.id);
                found.push(format!("adds provider {name} ({words})"));
            }
            Some(known) if known != provider => {
                found.push(format!("changes what is said of provider {name}"));
            }
            Some(_) => {}
        }
    }
    let gone = before.providers.iter();
    let gone = gone.filter(|provider| after.provider(&provider.id).is_none());
    found.extend(gone.map(|provider| format!("removes provider {}", provider.name)));
    found
}

fn setting_changes(before: &Region, after: &Region) -> Vec<String> {
    let proof = |step: &Region| match step.host_proof {
        HostProof::Dns => "dns".to_owned(),
        HostProof::None => "none".to_owned(),
    };
    let paper = |step: &Region| match step.recovery_key {
        Some(key) => ProviderId::from_bytes(key).short(),
        None => "none".to_owned(),
    };
    let acme = |step: &Region| {
        let account = step.acme.as_ref().map(|acme| acme.account.clone());
        account.unwrap_or_else(|| "none".to_owned())
    };
    let of = |step: &Region| {
        [
            ("name", step.name.clone()),
            ("format", step.format.to_string()),
            ("site zone", step.zones.site_zone.clone()),
            ("admin zone", step.zones.admin_zone.clone()),
            ("host proof", proof(step)),
            ("limits", format!("{:?}", step.limits)),
            ("policy", step.policy.clone()),
            ("roles", format!("{:?}", step.roles)),
            ("certificate account", acme(step)),
            ("paper key", paper(step)),
            ("test region", step.test.to_string()),
        ]
    };
    let pairs = of(before).into_iter().zip(of(after));
    pairs
        .filter(|((_, before), (_, after))| before != after)
        .map(|(_, (what, after))| format!("{what}: {after}"))
        .collect()
}

/// What people call what a provider's record is about; none where its body says it.
#[must_use]
pub fn subject_name(effect: &Effect, envelope: &Envelope) -> Option<String> {
    let target = match Subject::decode(envelope.kind, &envelope.subject)? {
        Subject::Id(id) if envelope.kind == Kind::TOMBSTONE => id,
        Subject::Takedown(_, target) => target,
        subject @ Subject::Site(..) => {
            verge_sync::SiteId::derive(&effect.region, &subject.encode()).digest()
        }
        subject @ Subject::Account(..) => {
            let id = verge_sync::id::AccountId::derive(&effect.region, &subject.encode());
            return effect
                .account_name(&id)
                .map(|name| format!("account {name}"));
        }
        Subject::Vote(target, _) => {
            let mut proposals = effect.chain.proposals.iter();
            let step = &proposals.find(|p| p.step.id == target)?.step.body;
            let current = &effect.chain.current().body;
            return Some(changes(effect, current, step).join("; "));
        }
        _ => return None,
    };
    Some(target_name(effect, target))
}

fn target_name(effect: &Effect, target: verge_sync::Digest) -> String {
    let site = verge_sync::SiteId::from_digest(target);
    let account = verge_sync::id::AccountId::from_digest(target);
    if let Some(host) = effect.hosts_of(&site).first() {
        format!("site {host}")
    } else if let Some(name) = effect.account_name(&account) {
        format!("account {name}")
    } else {
        target.to_string()
    }
}

/// What contradicts what, and what it means.
fn sentence(effect: &Effect, evidence: &Evidence) -> String {
    match evidence {
        Evidence::Equivocation {
            author,
            first,
            second,
        } => format!(
            "{} wrote two records at one place ({} and {}): a copy of its data directory runs, or it lies",
            author_name(effect, *author),
            first.short(),
            second.short()
        ),
        Evidence::RivalSteps(rivals) => {
            let voters = rivals.voters.iter();
            let voters: Vec<String> = voters.map(|v| provider_name(effect, *v)).collect();
            format!(
                "steps {} and {} both count after the same one: {} voted for both",
                rivals.first.short(),
                rivals.second.short(),
                voters.join(", ")
            )
        }
        Evidence::DoubleVote {
            author,
            first,
            second,
        } => format!(
            "{} voted for two claims of one name ({} counts, {} does not)",
            author_name(effect, *author),
            first.short(),
            second.short()
        ),
    }
}

/// What people call the author of a record.
#[must_use]
pub fn author_name(effect: &Effect, author: AuthorId) -> String {
    if let Some(node) = effect.nodes.get(&author.node()) {
        let provider = provider_name(effect, node.slot.provider);
        return format!("node {} of {provider}", node.body.name);
    }
    let steps = effect.chain.steps().iter().rev();
    let provider = steps
        .filter_map(|step| step.body.provider(&author.provider()))
        .next();
    if let Some(provider) = provider {
        return format!("provider {}", provider.name);
    }
    let account = effect.account_name(&author.account());
    account.map_or_else(
        || RecordId::from_bytes(*author.as_bytes()).short(),
        |name| format!("account {name}"),
    )
}

/// What people call a provider of this region, past ones too.
#[must_use]
pub fn provider_name(effect: &Effect, id: ProviderId) -> String {
    let steps = effect.chain.steps().iter().rev();
    let rows = steps.filter_map(|step| step.body.provider(&id));
    let paper = effect.chain.current().body.recovery_key == Some(*id.as_bytes());
    match rows.map(|row| row.name.clone()).next() {
        Some(name) => name,
        None if paper => "the paper key".to_owned(),
        None => id.short(),
    }
}

fn named(name: &str, id: impl ToString) -> Named {
    Named {
        name: name.to_owned(),
        id: id.to_string(),
    }
}

fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}
