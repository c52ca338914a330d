//! Which `certificate` records may count: pure.

use super::body::{CertificateBody, Purpose};
use super::bundle::Context;
use super::name_set::NameSet;
use std::collections::BTreeMap;
use verge_sync::Digest;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::cbor::Fields;
use verge_sync::record::effect::Actor;
use verge_sync::record::{Effect, Kind, Record};

/// Of each author's records of one subject so many of the last have their bundles brought, in case that
/// the last does not hold. Of those before only what is here already is looked at: so an issuer that
/// turns bad cannot hide the certificates in use, which it has ordered, behind others.
const BROUGHT_MAX: usize = 3;

/// A record that may count, if its bundle holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    /// Its id.
    pub record: RecordId,
    /// The node that wrote it.
    pub author: NodeId,
    /// What it says.
    pub body: CertificateBody,
    /// Whether it is among the last of its author.
    pub is_late: bool,
    place: (u32, u32, RecordId),
}

impl Notice {
    /// What its bundle is bound to.
    #[must_use]
    pub(super) fn context(&self, effect: &Effect) -> Context {
        Context {
            region: effect.region,
            subject: self.body.subject(),
            author: self.author,
        }
    }
}

/// The records that may count, by subject, the last to end first.
#[must_use]
pub(super) fn notices(effect: &Effect) -> BTreeMap<Digest, Vec<Notice>> {
    let mut all: BTreeMap<(Digest, NodeId), Vec<Notice>> = BTreeMap::new();
    let records = effect.records();
    let records = records.filter(|record| record.envelope().kind == Kind::CERTIFICATE);
    for notice in records.filter_map(|record| read(record)) {
        if may_count(effect, &notice) {
            let key = (notice.body.subject(), notice.author);
            all.entry(key).or_default().push(notice);
        }
    }
    let mut by_subject: BTreeMap<Digest, Vec<Notice>> = BTreeMap::new();
    for ((subject, _), mut notices) in all {
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.place));
        for early in notices.iter_mut().skip(BROUGHT_MAX) {
            early.is_late = false;
        }
        by_subject.entry(subject).or_default().extend(notices);
    }
    for notices in by_subject.values_mut() {
        let order = |notice: &Notice| {
            let end = std::cmp::Reverse(notice.body.not_after);
            (end, std::cmp::Reverse(notice.place))
        };
        notices.sort_by_key(order);
    }
    by_subject
}

/// The blobs that the last of them name: what is in use beside is pinned.
pub fn named_bundles(effect: &Effect) -> impl Iterator<Item = Digest> {
    let notices = notices(effect).into_values().flatten();
    let late = notices.filter(|notice| notice.is_late);
    late.map(|notice| notice.body.bundle)
}

fn read(record: &Record) -> Option<Notice> {
    let envelope = record.envelope();
    let fields = Fields::read(record.bytes()).ok()?;
    let body = CertificateBody::decode(fields.raw(10)?).ok()?;
    let author = NodeId::from_bytes(*envelope.author.as_bytes());
    let is_its_subject = envelope.subject.starts_with(body.subject().as_bytes());
    is_its_subject.then_some(Notice {
        record: record.id(),
        author,
        body,
        is_late: true,
        place: (envelope.epoch, envelope.sequence, record.id()),
    })
}

/// Whether its author may say this. A node that was an issuer once keeps its word while it is a member:
/// else a change of roles would take the certificates of all hosts away at once.
fn may_count(effect: &Effect, notice: &Notice) -> bool {
    let node = effect.nodes.get(&notice.author);
    if !node.is_some_and(|node| node.is_member) {
        return false;
    }
    let body = &notice.body;
    let steps = || effect.chain.steps().iter().map(|step| &step.body);
    let is_issuer = || steps().any(|step| step.roles.issuers.contains(&notice.author));
    let directories = || steps().filter_map(|step| step.acme.as_ref());
    match &body.purpose {
        Purpose::Ordered(names) => {
            is_issuer()
                && directories().any(|acme| acme.directory == body.directory)
                && names
                    .names()
                    .iter()
                    .all(|name| is_of_the_region(effect, name))
        }
        // It is there before the step that names it, and is judged by that step when it is opened.
        Purpose::Account => true,
        Purpose::Imported(names) => may_import(effect, notice.author, names),
    }
}

/// Whether there can be a certificate for `name`: for others nothing is looked at.
fn is_of_the_region(effect: &Effect, name: &str) -> bool {
    let zones = &effect.chain.current().body.zones;
    let is_wildcard = name.strip_prefix("*.") == Some(&zones.site_zone);
    is_wildcard || name == zones.admin_zone || effect.site_by_host(name).is_some()
}

/// Whether all names are hosts of one site for whose owner the node may act, and which admits it.
#[must_use]
pub fn may_import(effect: &Effect, author: NodeId, names: &NameSet) -> bool {
    let Some(node) = effect.nodes.get(&author) else {
        return false;
    };
    let sites = names.names().iter().map(|name| effect.site_by_host(name));
    let sites: Option<Vec<_>> = sites.collect();
    let Some([site, others @ ..]) = sites.as_deref() else {
        return false;
    };
    others.iter().all(|other| other.id == site.id)
        && site.body.admit.includes(&node.slot.provider)
        && effect.may_deploy(&site.id, Actor::Node(author))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::Scene;
    use verge_sync::clock::UnixTime;
    use verge_sync::record::body::NameKind;

    const DIRECTORY: &str = "https://ca.example/dir";

    fn body(purpose: Purpose, directory: &str, not_after: i64) -> CertificateBody {
        CertificateBody {
            purpose,
            directory: directory.to_owned(),
            bundle: Digest::of(&not_after.to_be_bytes()),
            bundle_bytes: 9,
            not_before: UnixTime(0),
            not_after: UnixTime(not_after),
        }
    }

    fn ends(scene: &Scene, subject: Digest) -> Vec<i64> {
        let all = notices(&scene.effect());
        let of = all.get(&subject).map(Vec::as_slice).unwrap_or_default();
        let late = of.iter().filter(|notice| notice.is_late);
        late.map(|notice| notice.body.not_after.0).collect()
    }

    #[test]
    fn only_issuers_order_and_only_at_the_directory_of_the_step() {
        let mut scene = Scene::ordering(2, DIRECTORY);
        let set = NameSet::one("a.example").unwrap();
        let ordered = || Purpose::Ordered(set.clone());
        scene.certify(0, &body(ordered(), DIRECTORY, 50));
        scene.certify(1, &body(ordered(), DIRECTORY, 90));
        scene.certify(0, &body(ordered(), "https://staging.example/dir", 90));
        let nobody = NameSet::one("nobody.example").unwrap();
        scene.certify(0, &body(Purpose::Ordered(nobody), DIRECTORY, 90));
        assert_eq!(ends(&scene, set.subject(DIRECTORY)), [50]);
        assert_eq!(notices(&scene.effect()).len(), 1);
    }

    #[test]
    fn of_an_author_the_latest_are_brought_and_of_all_the_last_to_end_comes_first() {
        let mut scene = Scene::ordering(2, DIRECTORY);
        let set = NameSet::one("a.example").unwrap();
        for end in [90, 10, 30, 20] {
            scene.certify(0, &body(Purpose::Ordered(set.clone()), DIRECTORY, end));
        }
        assert_eq!(ends(&scene, set.subject(DIRECTORY)), [30, 20, 10]);
    }

    #[test]
    fn an_owner_brings_a_certificate_through_a_node_that_may_act() {
        let mut scene = Scene::ordering(2, DIRECTORY);
        let other = scene.site(0);
        scene.claim(0, other, NameKind::Host, "b.example");
        let effect = scene.effect();
        let set = |names: &[&str]| NameSet::new(names.iter().map(|n| (*n).to_owned())).unwrap();
        let (own, both) = (set(&["a.example"]), set(&["a.example", "b.example"]));
        assert!(may_import(&effect, scene.node(1), &own));
        assert!(!may_import(&effect, scene.node(1), &both));
        assert!(!may_import(&effect, scene.node(1), &set(&["c.example"])));
        assert!(!may_import(&effect, NodeId::from_bytes([9; 32]), &own));
        scene.certify(1, &body(Purpose::Imported(own.clone()), "", 70));
        assert_eq!(ends(&scene, own.subject("")), [70]);
    }
}
