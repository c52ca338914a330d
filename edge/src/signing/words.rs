//! What a record says, for whoever signs it away from any node: nothing is looked up, so ids stand
//! where a node would know names.

use crate::closing::CloseBody;
use crate::membership::six_words;
use crate::ssh_key::SshKeyDigest;
use verge_sync::id::{AccountId, ProviderId, RegionId};
use verge_sync::record::body::{
    Account, Actors, Body, Deploy, HostProof, Node, Region, Site, Takedown, Tombstone, UserKey,
    Vote,
};
use verge_sync::record::{Draft, Envelope, Kind, Subject};

/// What a draft says, if it can be said: nobody is asked to sign what is not.
#[must_use]
pub fn draft_words(draft: &Draft) -> Option<Vec<String>> {
    let envelope = &draft.envelope;
    if envelope.kind == Kind::CLOSE {
        let close = CloseBody::decode(&draft.body).ok()?;
        let mut lines = words(envelope, &Body::Foreign);
        *lines.first_mut()? = format!("what      closes {}", close.month);
        lines.splice(3..3, close_lines(&close));
        return Some(lines);
    }
    let body = Body::decode(envelope.kind, &draft.body).ok()?;
    (body != Body::Foreign).then(|| words(envelope, &body))
}

fn close_lines(close: &CloseBody) -> Vec<String> {
    let previous = close.previous;
    let previous = previous.map_or_else(|| "no other".to_owned(), |id| format!("the close {id}"));
    let mut lines = vec![
        format!("statement {}", close.statement),
        format!(
            "seals     {}, of the digest {}",
            close.seal_count, close.seals
        ),
        format!(
            "fees      {} of the smallest unit in all, of the root {}",
            close.fees_total.0, close.fees_root
        ),
        format!("policy    {}", close.policy),
        format!(
            "step      {}, whose policy holds for the next month",
            close.step
        ),
        format!("probes    {}", close.probes),
        format!("books     {}, {} bytes", close.books, close.books_bytes),
        format!("after     {previous}"),
    ];
    let snapshots = close.snapshots.iter();
    lines.extend(snapshots.map(|snapshot| format!("snapshot  {snapshot}")));
    lines
}

/// A line each: what it is, of which region, by whom, and all that it says.
#[must_use]
pub fn words(envelope: &Envelope, body: &Body) -> Vec<String> {
    let subject = Subject::decode(envelope.kind, &envelope.subject);
    let region = envelope.region;
    let mut lines = vec![
        format!("what      {}", what(&region, envelope, subject, body)),
        format!("region    {region}"),
        format!("signer    {}", envelope.author.provider()),
    ];
    lines.extend(said(&region, body));
    let place = format!("epoch {}, sequence {}", envelope.epoch, envelope.sequence);
    lines.push(format!("place     {place}"));
    let before = envelope.predecessors.iter();
    lines.extend(before.map(|id| format!("follows   {id}")));
    lines
}

/// The sentence that says what happens.
fn what(region: &RegionId, envelope: &Envelope, subject: Option<Subject>, body: &Body) -> String {
    let is_new = envelope.predecessors.is_empty();
    match (body, subject) {
        (Body::Region(step), _) => format!("step {} of the region {:?}", step.number, step.name),
        (Body::Vote(Vote::For), Some(Subject::Vote(target, _))) => {
            format!("a vote for {target}")
        }
        (Body::Vote(Vote::Withdrawn), Some(Subject::Vote(target, _))) => {
            format!("takes the vote for {target} back")
        }
        (Body::Node(node), Some(Subject::Node(slot))) if node.is_withdrawn => {
            let number = slot.number;
            format!("takes the node {:?} out of place {number}", node.name)
        }
        (Body::Node(node), Some(Subject::Node(slot))) => {
            format!("the node {:?} stands in place {}", node.name, slot.number)
        }
        (Body::Leave(_), _) => "the provider leaves the region, for good".to_owned(),
        (Body::Account(account), Some(subject @ Subject::Account(..))) => {
            let id = AccountId::derive(region, &subject.encode());
            let verb = if is_new { "a new" } else { "changes the" };
            format!("{verb} account {:?} ({id})", account.display_name)
        }
        (Body::Site(_), Some(subject @ Subject::Site(..))) => {
            let id = verge_sync::SiteId::derive(region, &subject.encode());
            let verb = if is_new { "a new" } else { "changes the" };
            format!("{verb} site {id}")
        }
        (Body::Deploy(_), Some(Subject::Deploy(site))) => {
            format!("puts a version of the site {site} in place")
        }
        (Body::Takedown(Takedown { active, .. }), Some(Subject::Takedown(_, target))) => {
            let verb = if *active {
                "takes down"
            } else {
                "serves again"
            };
            format!("{verb} the site or account {target}")
        }
        (Body::Tombstone(_), Some(Subject::Id(id))) => {
            format!("ends the site or account {id}, for ever")
        }
        _ => format!("a record of kind {}", envelope.kind.0),
    }
}

fn said(region: &RegionId, body: &Body) -> Vec<String> {
    match body {
        Body::Region(step) => step_lines(region, step),
        Body::Node(node) => node_lines(node),
        Body::Account(account) => account_lines(account),
        Body::Site(site) => site_lines(site),
        Body::Deploy(deploy) => deploy_lines(deploy),
        Body::Leave(reason)
        | Body::Takedown(Takedown { reason, .. })
        | Body::Tombstone(Tombstone { reason })
            if !reason.is_empty() =>
        {
            vec![format!("reason    {reason:?}")]
        }
        Body::Leave(_) | Body::Takedown(_) | Body::Tombstone(_) | Body::Vote(_) | Body::Foreign => {
            Vec::new()
        }
        // Nothing that a key is asked for; whole, all the same.
        other => vec![format!("says      {other:?}")],
    }
}

fn node_lines(node: &Node) -> Vec<String> {
    vec![
        format!("node      {}", node.id),
        format!("addresses {:?}", node.addresses),
        format!("visitors  {:?}", node.visitors),
    ]
}

fn account_lines(account: &Account) -> Vec<String> {
    let key = |key: &UserKey| match key {
        UserKey::SshLogin(digest) => format!("key       {} (login)", SshKeyDigest(*digest)),
        UserKey::Signing(key) => format!(
            "key       {} (signs for the account)",
            SshKeyDigest::of_ed25519(key)
        ),
        UserKey::Other(kind, _) => format!("key       of the unknown type {kind}"),
    };
    let mut lines: Vec<String> = account.keys.iter().map(key).collect();
    lines.push(format!("acts      {}", actors(&account.acts)));
    lines
}

fn actors(actors: &Actors) -> String {
    match actors {
        Actors::All => "all providers".to_owned(),
        Actors::These(none) if none.is_empty() => "no provider".to_owned(),
        Actors::These(these) => {
            let these: Vec<String> = these.iter().map(ToString::to_string).collect();
            these.join(" ")
        }
    }
}

fn site_lines(site: &Site) -> Vec<String> {
    let base = site.base.map_or("none".to_owned(), |base| base.to_string());
    vec![
        format!("account   {}", site.account),
        format!(
            "epoch     {}, which begins with the deploy {base}",
            site.epoch
        ),
        format!("settings  {site:?}"),
    ]
}

fn deploy_lines(deploy: &Deploy) -> Vec<String> {
    let mut lines = vec![
        format!("account   {}", deploy.account),
        format!("version   {}", deploy.version),
        format!("content   {}", deploy.content),
    ];
    if let Some(git) = &deploy.git {
        let hex = git.commit.iter().map(|byte| format!("{byte:02x}"));
        lines.push(format!("commit    {}", hex.collect::<String>()));
    }
    let (cause, time) = (deploy.cause, deploy.time.0);
    lines.push(format!(
        "cause     {cause:?}, at {time} by the node's clock"
    ));
    lines.push(format!("taken by  a node of provider {}", deploy.provider));
    lines
}

fn step_lines(region: &RegionId, step: &Region) -> Vec<String> {
    let mut lines = Vec::new();
    for provider in &step.providers {
        let words = six_words(region, &provider.id);
        lines.push(format!(
            "provider  {:?} ({:?}), key {} ({words})",
            provider.name, provider.contact, provider.id
        ));
    }
    for (gone, list) in &step.removed {
        let id = gone.provider();
        lines.push(format!(
            "removed   {id}; of its records those of the list {list} stay valid"
        ));
    }
    if let Some(paper) = step.recovery_key {
        let paper = ProviderId::from_bytes(paper);
        lines.push(format!("paper key {paper}"));
    }
    let zones = &step.zones;
    lines.push(format!(
        "zones     {:?} and {:?}",
        zones.site_zone, zones.admin_zone
    ));
    lines.push(format!("limits    {:?}", step.limits));
    lines.push(format!("format    {}", step.format));
    let proof = match step.host_proof {
        HostProof::Dns => "by DNS",
        HostProof::None => "not asked for",
    };
    lines.push(format!("hosts     proof {proof}"));
    for (account, provider) in &step.sponsors {
        lines.push(format!("sponsor   {provider} of the account {account}"));
    }
    let taken_down = step.takedowns.iter();
    lines.extend(taken_down.map(|target| format!("takedown  {target}")));
    if !step.policy.is_empty() {
        lines.push(format!("policy    {:?}", step.policy));
    }
    if step.roles != verge_sync::record::Roles::default() {
        lines.push(format!("roles     {:?}", step.roles));
    }
    if let Some(acme) = &step.acme {
        lines.push(format!("acme      {acme:?}"));
    }
    if step.test {
        lines.push("test      a region for tests".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use verge_sync::digest::Digest;
    use verge_sync::record::{LogId, Slot};

    /// The sentence, and whether `words` are among the rest.
    fn check(kind: Kind, subject: Subject, body: &Body, expected: &str, further: &str) {
        let envelope = Envelope {
            region: RegionId::from_bytes([1; 32]),
            kind,
            subject: subject.encode(),
            author: ProviderId::from_bytes([2; 32]).into(),
            log: LogId([0; 8]),
            n: 1,
            epoch: 0,
            sequence: 1,
            predecessors: Vec::new(),
        };
        let lines = words(&envelope, body);
        let [what, region, ..] = lines.as_slice() else {
            panic!("too few lines: {lines:?}");
        };
        assert!(what.contains(expected), "{what}");
        assert!(region.contains(&envelope.region.to_string()));
        assert!(lines.join("\n").contains(further), "{lines:#?}");
        let is_plain = |line: &String| !line.chars().any(char::is_control);
        assert!(lines.iter().all(is_plain), "{lines:?}");
    }

    #[test]
    fn what_is_signed_is_said_in_words() {
        let id = Digest::from_bytes([3; 32]);
        let provider = ProviderId::from_bytes([2; 32]);
        let slot = Slot {
            provider,
            number: 4,
        };
        let tombstone = Body::Tombstone(Tombstone {
            reason: "over\u{1b}[2J".to_owned(),
        });
        let ends = format!("ends the site or account {id}");
        check(Kind::TOMBSTONE, Subject::Id(id), &tombstone, &ends, "over");
        let leave = Body::Leave(String::new());
        check(
            Kind::LEAVE,
            Subject::Id(id),
            &leave,
            "leaves the region",
            "",
        );
        let target = Subject::Takedown(provider, id);
        for (active, verb) in [(true, "takes down"), (false, "serves again")] {
            let reason = "a complaint".to_owned();
            let body = Body::Takedown(Takedown { active, reason });
            check(Kind::TAKEDOWN, target, &body, verb, "a complaint");
        }
        let account = Body::Account(Account {
            display_name: "ana".to_owned(),
            keys: vec![UserKey::SshLogin([5; 32])],
            acts: Actors::NONE,
        });
        let subject = Subject::Account(slot, 0);
        check(
            Kind::ACCOUNT,
            subject,
            &account,
            "a new account \"ana\"",
            "SHA256:",
        );
        check(Kind::ACCOUNT, subject, &account, "", "no provider");
        let record = verge_sync::RecordId::from_bytes([6; 32]);
        let vote = Subject::Vote(record, Digest::from_bytes([2; 32]));
        let expected = format!("a vote for {record}");
        check(Kind::VOTE, vote, &Body::Vote(Vote::For), &expected, "");
        let mut site = Site::new(AccountId::from_bytes([7; 32]));
        site.epoch = 1;
        let subject = Subject::Site(slot, 0);
        check(
            Kind::SITE,
            subject,
            &Body::Site(site),
            "a new site",
            "epoch     1",
        );
    }
}
