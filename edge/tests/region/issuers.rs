//! Who orders and when: issuers that do not hear each other, clocks that are wrong, and what a stop
//! leaves to be done.

use crate::ca::Ca;
use crate::harness::{Node, Publisher};
use crate::scene::wait;
use crate::town::{CHECKED, LONG_S, TRUSTED, Town, change, id_of, plain, shown, until};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use verge_edge::certificates::{CertificateBody, NameSet, Purpose};
use verge_edge::node_keys::NodeKeys;
use verge_edge::region::RegionView;
use verge_sync::record::cbor::Fields;
use verge_sync::record::{AuthorId, Kind};
use verge_sync::store::{LocalDisk, Store};

const HOST: &str = "garden.sites.test";

/// A certificate that was ordered: when it begins, and who ordered it.
type Ordered = (i64, AuthorId);

/// All that records name of what was ordered, by the disk of a node that is stopped.
fn ordered(data: &Path) -> BTreeMap<NameSet, Vec<Ordered>> {
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let keys = NodeKeys::read(data).unwrap();
    let view = RegionView::open(store, keys, |_effect, _slot| {}).unwrap();
    let mut all: BTreeMap<NameSet, Vec<Ordered>> = BTreeMap::new();
    for record in view.effect().records() {
        let fields = Fields::read(record.bytes()).unwrap();
        let envelope = record.envelope();
        if envelope.kind != Kind::CERTIFICATE {
            continue;
        }
        let body = CertificateBody::decode(fields.raw(10).unwrap()).unwrap();
        if let Purpose::Ordered(names) = body.purpose {
            let one = (body.not_before.0, envelope.author);
            all.entry(names).or_default().push(one);
        }
    }
    all
}

/// Two issuers order each what is due on their side, so that both sides stay served: of each name two in
/// the time in which one would do, and never more.
#[test]
fn two_sides_of_a_partition_order_one_certificate_too_many_at_most() {
    const LIFE_S: i64 = 40;
    let mut town = Town::on_street(4, LIFE_S.unsigned_abs());
    let _publisher = Publisher::with_site(&town.region.nodes[0], "ana", "garden");
    town.set_up(&["Corner", "P2"]);
    town.all_certified(2);
    let street = town.street.as_ref().unwrap();
    street.part(&[0, 1], &[2, 3]);
    // No node that orders, and the authority asks one of the other side.
    let before = [1, 3].map(|number| town.shown(number, HOST));
    until(|| [1, 3].map(|number| town.shown(number, HOST) != before[number / 2]) == [true; 2]);
    street.heal();
    until(|| {
        let first = town.shown(0, HOST);
        first.is_some() && (1..4).all(|number| town.shown(number, HOST) == first)
    });
    town.region.nodes[0].stop();
    let ordered = ordered(town.region.nodes[0].data());
    assert_eq!(ordered.len(), 2);
    let mut authors = BTreeSet::new();
    for (names, mut all) in ordered {
        all.sort_unstable();
        for three in all.windows(3) {
            // The first issuer renews at 0.45 of a life at the earliest; a second is lost in rounding.
            let between = three[2].0 - three[0].0;
            assert!(between >= LIFE_S * 45 / 100 - 1, "{names:?}: {all:?}");
        }
        authors.extend(all.iter().map(|(_, author)| *author));
    }
    assert_eq!(authors.len(), 2);
}

/// The clock of a machine that has none is at 1970 after a power cut; one that has a wrong one is ahead.
#[test]
fn a_wrong_clock_keeps_no_page_away_and_orders_nothing() {
    // Port 80 leads to HTTPS while the certificate is valid, and serves before.
    for (time, plain_status) in [("1970-01-01 00:05:00", 200), ("+40d", 308)] {
        let mut town = Town::of(1, LONG_S);
        let publisher = Publisher::with_site(&town.region.nodes[0], "ana", "garden");
        town.set_up(&[]);
        town.all_certified(2);
        publisher.write("index.html", "<p>garden");
        publisher.commit("one");
        publisher.push_ok(&town.region.nodes[0], "garden", "main");
        let certificate = shown(&town.region.nodes[0], HOST);

        town.region.nodes[0].stop();
        let data = town.region.nodes[0].data().to_owned();
        change(&data, TRUSTED, CHECKED);
        town.region.nodes[0] = Node::start_at(&data, time);
        let node = &town.region.nodes[0];
        assert_eq!(shown(node, HOST), certificate);
        assert_eq!(town.visit(node, HOST, "/").unwrap(), "<p>garden");
        assert_eq!(plain(node, HOST).0, plain_status);
        node.verge_ok(&["site", "create", "shed", "--owner", "ana"]);
        orders_only_when_it_believes(&town, node);

        town.region.nodes[0].stop();
        change(&data, CHECKED, TRUSTED);
        town.region.nodes[0] = Node::start(&data);
        town.all_certified(3);
        assert_eq!(town.pebble.certificate_count(), 3);
    }
}

/// Where the kernel is kept in step, its word counts, whatever the test tells the process.
fn orders_only_when_it_believes(town: &Town, node: &Node) {
    let certain = wait(node, |status| {
        let is_believed = status["clock"]["is_believed"] == true;
        is_believed == (status["certificates"]["valid_count"] == 3)
            && (is_believed
                || node
                    .verge_ok(&["cert", "list"])
                    .contains("clock is not believed"))
    });
    let count = if certain["clock"]["is_believed"] == true {
        3
    } else {
        2
    };
    assert_eq!(town.pebble.certificate_count(), count, "{certain:#}");
}

/// Two nodes of a town, one of which orders at another authority than the town's, which can be told how
/// to be.
fn at_other_authority() -> (Town, Ca, Publisher) {
    let mut town = Town::of(2, LONG_S);
    let ca = Ca::start();
    let port = town.region.nodes[1].ready().http.unwrap();
    ca.route("", port);
    let mut roots = std::fs::read_to_string(town.root.path()).unwrap();
    roots.push_str(ca.root_pem());
    std::fs::write(town.root.path(), roots).unwrap();
    for number in 0..2 {
        town.region.nodes[number].stop();
        town.region.nodes[number].restart();
        town.region.all_in_step();
    }
    let publisher = Publisher::with_site(&town.region.nodes[0], "ana", "garden");
    town.set_up_at(&ca.url(), &[]);
    town.all_certified(2);
    (town, ca, publisher)
}

/// A certificate whose key a node has that is not to have it any more was revoked by the process that
/// ordered the next one, or by none: a stop after the order left it valid until its end.
#[test]
fn an_exposed_certificate_is_revoked_though_the_issuer_stops_after_its_order() {
    let (mut town, ca, _publisher) = at_other_authority();
    let before = shown(&town.region.nodes[0], HOST);
    ca.switch(|switches| switches.stalls_revocations = true);
    let corner = &town.region.nodes[0];
    corner.verge_ok(&["site", "set", "garden", "--admit", &id_of(corner)]);
    until(|| ca.requests().iter().any(|asked| asked == "POST revoke"));
    town.region.nodes[0].kill();
    let revoked = || {
        let all = ca.certificates().into_iter();
        let revoked = all.filter(|one| one.revoked.is_some());
        revoked
            .map(|one| (one.names, one.revoked))
            .collect::<Vec<_>>()
    };
    assert_eq!(revoked(), []);
    ca.switch(|switches| switches.stalls_revocations = false);
    town.region.nodes[0].restart();
    until(|| !revoked().is_empty());
    // Superseded (RFC 5280 section 5.3.1); and nothing is left to be done.
    assert_eq!(revoked(), [(vec![HOST.to_owned()], Some(4))]);
    assert_ne!(shown(&town.region.nodes[0], HOST), before);
    until(|| left_over(&town) == 0);
    assert_eq!(ca.certificates().len(), 3);
}

/// An order for a host that was given up meanwhile was kept for ever, with its key.
#[test]
fn an_order_for_a_host_that_is_gone_is_forgotten() {
    let (town, ca, _publisher) = at_other_authority();
    let corner = &town.region.nodes[0];
    let finalized = || {
        let requests = ca.requests().into_iter();
        requests
            .filter(|one| one.starts_with("POST finalize"))
            .count()
    };
    let before = finalized();
    ca.switch(|switches| switches.processing_looks = 6);
    corner.verge_ok(&["site", "create", "shed", "--owner", "ana"]);
    until(|| finalized() > before);
    assert_eq!(left_over(&town), 1);
    corner.verge_ok(&["site", "delete", "shed", "--confirm=shed"]);
    until(|| left_over(&town) == 0);
    wait(corner, |status| status["certificates"]["wanted_count"] == 2);
}

/// Orders and revocations that the first node has still to do.
fn left_over(town: &Town) -> usize {
    let files = std::fs::read_dir(town.region.nodes[0].data().join("orders")).unwrap();
    let endings = files.map(|file| file.unwrap().path().extension().unwrap().to_owned());
    let left = endings.filter(|ending| ending == "order" || ending == "revoke");
    left.count()
}
