//! What members say of certificates that is not so, and what a stolen node opens.

use crate::harness::{Node, Publisher, block_on};
use crate::town::{LONG_S, Owner, Town, asked, authority, change, id_of, until};
use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use verge_edge::certificates::{
    Authorities, Bundle, CertificateBody, Context, Keyring, NameSet, OpenError, Purpose,
};
use verge_edge::node_keys::NodeKeys;
use verge_edge::region::RegionView;
use verge_sync::Digest;
use verge_sync::clock::{Clock, UnixTime, stopwatch};
use verge_sync::id::{NodeId, RecordId};
use verge_sync::net::row;
use verge_sync::record::{Draft, Effect, Envelope, Kind, LogId, Record};
use verge_sync::store::{LocalDisk, Store};

/// A member that writes what its release never would: its keys and its disk, while it is stopped.
struct Rogue {
    store: Store,
    view: RegionView,
    keys: NodeKeys,
    directory: String,
    /// What it has said since it turned bad.
    said: RefCell<Vec<Record>>,
}

/// Bundles that have to come to the others before it is known that they do no harm.
type Bundles = Vec<Digest>;

impl Rogue {
    fn on(data: &Path, directory: String) -> Self {
        let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
        let keys = || NodeKeys::read(data).unwrap();
        Self {
            view: RegionView::open(store.clone(), keys(), |_effect, _slot| {}).unwrap(),
            keys: keys(),
            store,
            directory,
            said: RefCell::default(),
        }
    }

    fn effect(&self) -> Arc<Effect> {
        self.view.effect()
    }

    /// All members, and what is sealed to them.
    fn members(&self) -> BTreeMap<NodeId, [u8; 32]> {
        let effect = self.effect();
        let members = effect.nodes.iter().filter(|(_, node)| node.is_member);
        members
            .map(|(id, node)| (*id, node.body.sealing_key))
            .collect()
    }

    fn seal(&self, host: &str, made: &Made, to: &BTreeMap<NodeId, [u8; 32]>) -> Vec<u8> {
        let context = Context {
            region: self.effect().region,
            subject: names(host).subject(&self.directory),
            author: self.keys.node(),
        };
        let (chain, key) = (made.chain.as_bytes(), made.key.as_bytes());
        Bundle::seal(&context, chain, key, to).unwrap().encode()
    }

    /// Says that `bundle` is for `host`, and lasts as `made` does.
    fn say(&self, host: &str, bundle: &[u8], made: &Made) -> Digest {
        self.store.blobs().put(bundle).unwrap();
        let body = CertificateBody {
            purpose: Purpose::Ordered(names(host)),
            directory: self.directory.clone(),
            bundle: Digest::of(bundle),
            bundle_bytes: bundle.len().try_into().unwrap(),
            not_before: made.life.0,
            not_after: made.life.1,
        };
        let me = self.keys.node();
        let subject = [*body.subject().as_bytes(), *me.as_bytes()].concat();
        let last = self.last(&subject);
        let envelope = Envelope {
            region: self.effect().region,
            kind: Kind::CERTIFICATE,
            subject,
            author: me.into(),
            log: LogId([9; 8]),
            n: u64::try_from(self.said.borrow().len()).unwrap() + 1,
            epoch: 0,
            sequence: last.map_or(1, |(_, sequence)| sequence + 1),
            predecessors: last.iter().map(|(id, _)| *id).collect(),
        };
        let draft = Draft {
            envelope,
            body: body.encode(),
        };
        let record = draft.sign(&self.keys.seed.record_key()).unwrap();
        let rows = vec![row(&record)];
        block_on(self.store.records().put(rows).unwrap()).unwrap();
        self.said.borrow_mut().push(record);
        body.bundle
    }

    /// What it has said last of a subject, before and since.
    fn last(&self, subject: &[u8]) -> Option<(RecordId, u32)> {
        let (effect, said) = (self.effect(), self.said.borrow());
        let all = effect.records().map(Arc::as_ref).chain(said.iter());
        let own = all.filter(|record| {
            let envelope = record.envelope();
            envelope.kind == Kind::CERTIFICATE && envelope.subject == subject
        });
        let own = own.map(|record| (record.id(), record.envelope().sequence));
        own.max_by_key(|(_, sequence)| *sequence)
    }
}

/// A chain and its key, in PEM form.
struct Made {
    chain: String,
    key: String,
    life: (UnixTime, UnixTime),
}

/// What lasts longer than anything in use, so that it would be preferred.
fn made(host: &str, issuer: &Issuer<'_, KeyPair>) -> Made {
    const BEGIN: UnixTime = UnixTime(1_735_689_600);
    const END: UnixTime = UnixTime(2_366_841_600);
    let key = KeyPair::generate().unwrap();
    let mut params: CertificateParams = asked(host);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2045, 1, 1);
    Made {
        chain: params.signed_by(&key, issuer).unwrap().pem(),
        key: key.serialize_pem(),
        life: (BEGIN, END),
    }
}

fn names(host: &str) -> NameSet {
    NameSet::one(host).unwrap()
}

fn host(number: usize) -> String {
    format!("site{number}.sites.test")
}

const LIES: usize = 8;
const ORDERED: &str = "ordered = true";
const NOT_ORDERED: &str = "ordered = false";

/// One that has never ordered says all that an issuer may say, and it is whole.
fn speak_out_of_turn(data: &Path, town: &Town) {
    let rogue = Rogue::on(data, town.pebble.url());
    for number in 0..LIES {
        let made = made(&host(number), &town.owners.0);
        let bundle = rogue.seal(&host(number), &made, &rogue.members());
        rogue.say(&host(number), &bundle, &made);
    }
}

/// An issuer says something of each host: never what is right.
fn lie(data: &Path, town: &Town) -> Bundles {
    let rogue = Rogue::on(data, town.pebble.url());
    let all = rogue.members();
    let me = rogue.keys.node();
    let own = BTreeMap::from([(me, all[&me])]);
    let locked = all.keys().map(|id| (*id, all[&me])).collect();
    let mut strangers = all.clone();
    strangers.insert(NodeId::from_bytes([7; 32]), all[&me]);
    let good = |number: usize| made(&host(number), &town.owners.0);
    let say = |number: usize, made: &Made, to: &BTreeMap<_, _>| {
        let bundle = rogue.seal(&host(number), made, to);
        rogue.say(&host(number), &bundle, made)
    };
    let mixed = Made {
        key: good(0).key,
        ..good(0)
    };
    let mut bundles = vec![
        // Another's key, another's host, an authority that nobody knows.
        say(0, &mixed, &all),
        say(1, &good(5), &all),
        say(2, &made(&host(2), &authority().0), &all),
        // For itself alone; for all, and nobody can open it; for a stranger too.
        say(3, &good(3), &own),
        say(4, &good(4), &locked),
        say(5, &good(5), &strangers),
        // No bundle at all.
        rogue.say(&host(6), &[0xa5; 3_000], &good(6)),
    ];
    // So many that what this node has ordered before is none of its last.
    for _number in 0..5 {
        bundles.push(say(7, &made(&host(7), &authority().0), &all));
    }
    // Older ones of these are brought by nobody.
    bundles.drain(7..9);
    bundles
}

/// Five nodes, of which one that orders and one that does not turn bad (`docs/threat-model.md`).
#[test]
fn nobody_drops_a_certificate_that_works_for_what_rogue_members_say() {
    let mut town = Town::of(5, LONG_S);
    let _publisher = Publisher::with_site(&town.region.nodes[0], "ana", "site0");
    for number in 1..LIES {
        let name = format!("site{number}");
        town.region.nodes[0].verge_ok(&["site", "create", &name, "--owner", "ana"]);
    }
    town.region.nodes[0].verge_ok(&["site", "create", "garden", "--owner", "ana"]);
    town.set_up(&["Corner", "P4"]);
    town.all_certified(LIES + 2);
    let before: Vec<_> = (0..LIES)
        .map(|number| town.shown(0, &host(number)))
        .collect();
    assert!(before.iter().all(Option::is_some));

    for rogue in [3, 4] {
        town.region.nodes[rogue].stop();
    }
    speak_out_of_turn(town.region.nodes[3].data(), &town);
    let bundles = lie(town.region.nodes[4].data(), &town);
    // Its program would mend what it can.
    change(town.region.nodes[4].data(), ORDERED, NOT_ORDERED);
    for rogue in [3, 4] {
        town.region.nodes[rogue].restart();
    }
    town.region.all_in_step();
    for number in 0..3 {
        let blobs = town.region.nodes[number].data().join("blobs");
        until(|| {
            bundles
                .iter()
                .all(|bundle| blobs.join(bundle.to_string()).exists())
        });
    }
    // What comes after it shows that all have looked at it.
    let owner = Owner::new();
    owner.has("garden.sites.test", &town.owners.0);
    owner.import_ok(&town.region.nodes[0]);
    let is_there = |number: usize| town.shown(number, "garden.sites.test") == Some(owner.leaf());
    until(|| (0..4).all(is_there));
    let is_as_before = |number: usize| {
        let mut hosts = before.iter().enumerate();
        hosts.all(|(site, before)| town.shown(number, &host(site)) == *before)
    };
    assert!((0..4).all(is_as_before));
    // Nor after a start, from the disk alone.
    town.region.nodes[1].kill();
    town.region.nodes[1].restart();
    let shown: Vec<_> = (0..LIES)
        .map(|number| town.shown(1, &host(number)))
        .collect();
    assert_eq!(shown, before);
}

/// How long it takes from the command that writes a bundle's record until all five nodes show it.
#[test]
fn all_five_nodes_use_a_bundle_as_soon_as_there_is_a_record_of_it() {
    let town = Town::of(5, LONG_S);
    let _publisher = Publisher::with_site(&town.region.nodes[0], "ana", "garden");
    town.region.all_in_step();
    for _round in 0..5 {
        let owner = Owner::new();
        owner.has("garden.sites.test", &town.owners.0);
        let leaf: CertificateDer<'_> = owner.leaf();
        let begun = stopwatch();
        owner.import_ok(&town.region.nodes[0]);
        let written = begun.elapsed();
        for number in 0..5 {
            until(|| town.shown(number, "garden.sites.test").as_ref() == Some(&leaf));
        }
        let (written, all) = (written.as_millis(), begun.elapsed().as_millis());
        println!(
            "a bundle sealed and its record written: {written} ms; all five nodes serve it: {all} ms"
        );
    }
}

/// Whoever carries a node away has its seed and its disk.
#[test]
fn a_stolen_node_opens_what_it_was_admitted_to_and_nothing_else() {
    let mut town = Town::of(2, LONG_S);
    let corner = &town.region.nodes[0];
    let _publisher = Publisher::with_site(corner, "ana", "garden");
    corner.verge_ok(&["site", "create", "shed", "--owner", "ana"]);
    corner.verge_ok(&["site", "set", "shed", "--admit", &id_of(corner)]);
    town.set_up(&[]);
    let has = |node: &Node, count: u64| {
        crate::scene::wait(node, |status| status["certificates"]["here_count"] == count);
    };
    has(&town.region.nodes[0], 3);
    has(&town.region.nodes[1], 2);
    town.region.all_in_step();

    town.region.nodes[1].stop();
    let data = town.region.nodes[1].data();
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let thief = NodeKeys::read(data).unwrap();
    let view = RegionView::open(store.clone(), NodeKeys::read(data).unwrap(), |_, _| {}).unwrap();
    let effect = view.effect();
    let roots = [std::fs::read(town.root.path()).unwrap()];
    let authorities = Authorities::new(&roots).unwrap();
    let keyring = Keyring::new(store.clone(), &thief.seed, authorities);
    let review = keyring.review(&effect, Clock::System.now());
    let mut opened = Vec::new();
    for (names, held) in &review.held {
        // Its bundle is here all the same, sealed.
        let bundle = store.blobs().read_verified(&held.body.bundle, 300 << 10);
        let bundle = Bundle::decode(&bundle.unwrap().unwrap()).unwrap();
        let context = Context {
            region: effect.region,
            subject: held.body.subject(),
            author: held.author,
        };
        let open = |place| bundle.open(&context, place, &thief.seed.sealing_key());
        match open(thief.node()) {
            Ok(_key) => opened.push(names.names().join(" ")),
            Err(error) => {
                assert_eq!(error, OpenError::NotForUs);
                let mut others = bundle.recipients().into_iter();
                assert!(others.all(|other| open(other).err() == Some(OpenError::Damaged)));
            }
        }
        assert_eq!(
            keyring.secret(&effect, held).is_some(),
            held.certificate.is_some()
        );
    }
    assert_eq!(review.held.len(), 3);
    assert_eq!(opened, ["garden.sites.test", "nodes.test"]);
    // Nor the account at the authority.
    assert!(keyring.accounts(&effect, &town.pebble.url()).is_empty());
}
