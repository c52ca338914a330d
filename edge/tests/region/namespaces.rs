//! Five nodes on a network that is cut, loses packets and loses nodes: they come to the same.

use crate::harness::{Node, Publisher, count};
use crate::scene::{Region, status, wait};
use crate::street::Street;
use std::path::Path;

/// A site at each node, published without git: what is pushed over SSH is another test's.
struct Sites {
    folder: tempfile::TempDir,
    published_count: u64,
}

impl Sites {
    fn new(region: &Region) -> Self {
        let publisher = Publisher::new();
        let key = publisher.public_key();
        region.nodes[0].verge_ok(&["account", "add", "ana", "--ssh-key", &key]);
        region.all_in_step();
        Self {
            folder: tempfile::tempdir().unwrap(),
            published_count: 0,
        }
    }

    /// A new site at the node, with a version.
    fn publish(&mut self, node: &Node) {
        self.published_count += 1;
        let name = format!("site{}", self.published_count);
        let page = format!("<p>{name}");
        std::fs::write(self.folder.path().join("index.html"), page).unwrap();
        node.verge_ok(&["site", "create", &name, "--owner", "ana"]);
        node.verge_ok(&["deploy", "--site", &name, path(self.folder.path())]);
    }

    /// Waits until every node holds every deploy.
    fn are_everywhere(&self, region: &Region) {
        for node in &region.nodes {
            wait(node, |status| {
                status["published_count"] == self.published_count
            });
        }
        region.all_in_step();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn five_nodes_agree_after_cuts_loss_and_kills() {
    let street = Street::of(5);
    let mut region = street.region();
    let mut sites = Sites::new(&region);
    for round in 0..count("VERGE_CUTS", 1) {
        // Two on one side, three on the other: both publish, only the larger can change the step.
        street.cut(&[0, 1]);
        sites.publish(&region.nodes[0]);
        wait(&region.nodes[1], |status| {
            status["published_count"] == sites.published_count
        });
        sites.publish(&region.nodes[3]);
        // Both sides take the same name: the one with most of the providers settles it.
        let name = format!("same{round}");
        for taker in [0, 3] {
            region.nodes[taker].verge_ok(&["site", "create", &name, "--owner", "ana"]);
        }
        let before = status(&region.nodes[0])["step"]["number"].as_u64().unwrap();
        let said = region.nodes[0].verge_ok(&["region", "propose", "--name=Minority"]);
        assert!(said.contains("1 of 3 votes"), "{said}");
        let title = format!("--name=Majority {round}");
        region.nodes[2].verge_ok(&["region", "propose", &title]);
        for voter in [3, 4] {
            let node = &region.nodes[voter];
            let pending = wait(node, |status| {
                status["pending_steps"].to_string().contains("Major")
            });
            let id = pending["pending_steps"][0]["id"]
                .as_str()
                .unwrap()
                .to_owned();
            node.verge_ok(&["region", "sign", &id[..10]]);
        }
        wait(&region.nodes[2], |status| {
            status["step"]["number"] == before + 1
        });
        assert_eq!(status(&region.nodes[1])["step"]["number"], before);
        street.heal();
        sites.are_everywhere(&region);
        let listed = |node: &Node| node.verge_ok(&["site", "list"]);
        let agreed = |node: &Node| {
            let sites = listed(node);
            let renamed = sites
                .lines()
                .filter(|line| line.starts_with(&format!("{name}-")));
            let held = sites
                .lines()
                .filter(|line| line.starts_with(&format!("{name} ")));
            renamed.count() == 1 && held.count() == 1
        };
        for node in &region.nodes {
            wait(node, |_| agreed(node));
            assert_eq!(status(node)["step"]["number"], before + 1);
            assert_eq!(status(node)["evidence"].as_array().unwrap().len(), 0);
        }

        // One hears nobody, and is heard.
        street.deafen(4);
        sites.publish(&region.nodes[0]);
        street.heal();
        sites.are_everywhere(&region);

        // Packets are lost, a few and many.
        for percent in [2, 30] {
            street.lose(percent);
            sites.publish(&region.nodes[1]);
            sites.publish(&region.nodes[2]);
            sites.are_everywhere(&region);
        }
        street.heal();

        // A node is killed while the others write, and comes back.
        region.nodes[3].kill();
        sites.publish(&region.nodes[0]);
        region.nodes[3].restart();
        sites.publish(&region.nodes[3]);
        sites.are_everywhere(&region);
    }
}
