//! A site's git history is on every node: any of them takes the next push.

use crate::harness::{Node, Publisher, text};
use crate::scene::{Region, wait};
use crate::street::Street;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use verge_sync::clock::stopwatch;

/// Waits until a node has all that another has on disk: of that there is no event.
pub(crate) fn follows(to: &Node, from: &Node) {
    let names = |node: &Node| -> BTreeSet<OsString> {
        let blobs = std::fs::read_dir(node.data().join("blobs")).unwrap();
        blobs.map(|blob| blob.unwrap().file_name()).collect()
    };
    let since = stopwatch();
    while !names(from).is_subset(&names(to)) {
        assert!(since.elapsed() < Duration::from_secs(120), "it comes");
        std::thread::yield_now();
    }
}

fn has_deploys(node: &Node, count: u64) {
    wait(node, |status| status["deploy_count"] == count);
}

fn commit(publisher: &Publisher, words: &str) {
    publisher.write("index.html", words);
    publisher.commit(words);
}

/// The subjects of what a fetch brings, newest first.
fn log(publisher: &Publisher, node: &Node) -> String {
    let url = Publisher::url(node, "garden");
    publisher.git_ok(&["fetch", "-q", &url, "main"]);
    publisher.git_ok(&["log", "--format=%s", "FETCH_HEAD"])
}

#[test]
fn push_goes_on_at_another_node_when_one_is_lost() {
    let mut region = Region::of(2);
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "garden");
    commit(&publisher, "one");
    publisher.push_ok(&region.nodes[0], "garden", "main");
    commit(&publisher, "two");
    publisher.git_ok(&["tag", "v2"]);
    let url = Publisher::url(&region.nodes[0], "garden");
    publisher.git_ok(&["push", "-q", &url, "main", "v2"]);
    // Only stored there, because no page is another; and a tag with which another will not go.
    publisher.commit("same files");
    let stored = publisher.git_ok(&["rev-parse", "HEAD"]);
    publisher.git_ok(&["tag", "v3/draft", "HEAD~1"]);
    publisher.git_ok(&["push", "-q", &url, "main", "v3/draft"]);
    publisher.git_ok(&["reset", "-q", "--hard", "HEAD~1"]);
    publisher.git_ok(&["tag", "-d", "v3/draft"]);
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    has_deploys(b, 2);
    // A clone from nowhere must not take the place of what the region has.
    let stranger = publisher.git_ok(&["commit-tree", "-m", "nowhere", "main^{tree}"]);
    follows(b, a);
    region.nodes[0].stop();
    let b = &region.nodes[1];
    let refused = publisher.push_refused(b, "garden", &format!("{}:main", stranger.trim()));
    assert!(refused.contains("rejected"), "{refused}");
    commit(&publisher, "three");
    publisher.git_ok(&["tag", "v3"]);
    publisher.git_ok(&["push", "-q", &Publisher::url(b, "garden"), "main", "v3"]);
    assert_eq!(log(&publisher, b), "three\ntwo\none\n");
    let tags = publisher.git_ok(&["ls-remote", "--tags", &Publisher::url(b, "garden")]);
    assert!(tags.contains("refs/tags/v2"), "{tags}");

    // The first comes back, learns of the push, and goes on from there.
    region.nodes[0].restart();
    region.all_in_step();
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    has_deploys(a, 3);
    follows(a, b);
    assert_eq!(log(&publisher, a), "three\ntwo\none\n");
    let refs = publisher.git_ok(&["ls-remote", &Publisher::url(a, "garden")]);
    let kept = format!("refs/verge/kept/{}", &stored[..12]);
    assert!(
        refs.contains(&kept) && refs.contains("refs/tags/v3\n"),
        "{refs}"
    );
    assert_eq!(refs.matches("refs/verge/kept/").count(), 2, "{refs}");
    commit(&publisher, "four");
    publisher.push_ok(a, "garden", "main");
}

#[test]
fn pusher_is_told_where_a_history_is_not_here_and_it_is_asked_for() {
    let mut region = Region::of(2);
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "garden");
    commit(&publisher, "one");
    publisher.push_ok(&region.nodes[0], "garden", "main");
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    has_deploys(b, 1);
    follows(b, a);
    region.nodes[0].stop();
    let b = &region.nodes[1];
    // Only a bundle begins so.
    let is_bundle = |blob: &Path| std::fs::read(blob).unwrap().starts_with(b"# v2 git bundle");
    let blobs = std::fs::read_dir(b.data().join("blobs")).unwrap();
    let mut blobs = blobs.map(|blob| blob.unwrap().path());
    std::fs::remove_file(blobs.find(|blob| is_bundle(blob)).unwrap()).unwrap();
    commit(&publisher, "two");
    let refused = publisher.push_refused(b, "garden", "main");
    assert!(refused.contains("is not on this one yet"), "{refused}");
    let url = Publisher::url(b, "garden");
    let fetched = publisher.git(&["fetch", &url, "main"]).output().unwrap();
    let said = text(&fetched.stderr);
    assert!(
        !fetched.status.success() && said.contains("Try again in a minute"),
        "{said}"
    );
    region.nodes[0].restart();
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    follows(b, a);
    publisher.push_ok(b, "garden", "main");
}

/// A publisher in the street: git and ssh run in the house of the node.
struct Guest<'a> {
    street: &'a Street,
    region: &'a Region,
    publisher: &'a Publisher,
}

impl Guest<'_> {
    fn git(&self, house: usize, arguments: &[&str]) -> Output {
        let folder = self.publisher.work();
        let folder = folder.parent().unwrap().display();
        let ssh = format!(
            "{} ssh -F none -i {folder}/key -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.street.runner(house).join(" ")
        );
        let url = Publisher::url(&self.region.nodes[house], "garden");
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|argument| if *argument == "NODE" { &url } else { *argument })
            .collect();
        let mut git = self.publisher.git(&arguments);
        git.env("GIT_SSH_COMMAND", ssh).output().unwrap()
    }

    /// What the publisher sees, on both streams.
    fn sees(&self, house: usize, arguments: &[&str]) -> String {
        let output = self.git(house, arguments);
        let seen = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {seen}");
        seen
    }

    fn id(&self, branch: &str) -> String {
        self.publisher
            .git_ok(&["rev-parse", branch])
            .trim()
            .to_owned()
    }

    fn tip(&self, branch: &str) -> String {
        format!("refs/verge/tips/{}", &self.id(branch)[..12])
    }

    /// Which of two branches visitors see, and the other.
    fn sides<'b>(&self, left: &'b str, right: &'b str) -> (&'b str, &'b str) {
        let refs = self.sees(0, &["ls-remote", "-q", "NODE", "refs/heads/main"]);
        let mut lines = refs.lines();
        let head = lines
            .find(|line| line.ends_with("refs/heads/main"))
            .unwrap();
        match head.starts_with(&self.id(left)) {
            true => (left, right),
            false => (right, left),
        }
    }

    /// Both nodes have come to the same, show the other commit under a name of its own, and say so.
    fn sees_both(&self, head: &str, other: &str) {
        let (id, tip) = (self.id(other), self.tip(other));
        let said = format!("another push to garden, commit {}", &id[..10]);
        let how = format!("`git fetch REMOTE {tip}`");
        let main = format!("{}\trefs/heads/main", self.id(head));
        let named = format!("{id}\t{tip}");
        for house in [0, 1] {
            let refs = self.sees(house, &["ls-remote", "-q", "NODE"]);
            for words in [&main, &named, &said, &how, " by node "] {
                assert!(refs.contains(words), "{words}: {refs}");
            }
            let versions = self.region.nodes[house].verge_ok(&["site", "versions", "garden"]);
            let mut lines = versions.lines();
            let line = lines.find(|line| line.contains("another tip")).unwrap();
            assert!(
                line.contains(&id[..10]) && line.starts_with('+'),
                "{versions}"
            );
        }
    }
}

#[test]
fn two_pushes_in_a_partition_are_both_kept_told_of_and_brought_together() {
    let street = Street::of(2);
    let region = street.region();
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let publisher = Publisher::with_site(a, "ana", "garden");
    region.all_in_step();
    let guest = Guest {
        street: &street,
        region: &region,
        publisher: &publisher,
    };
    commit(&publisher, "base");
    guest.sees(0, &["push", "NODE", "main"]);
    has_deploys(b, 1);
    follows(b, a);
    street.cut(&[0]);
    for (house, branch) in [(0, "left"), (1, "right")] {
        publisher.git_ok(&["checkout", "-q", "-b", branch, "main"]);
        publisher.write(&format!("{branch}.html"), branch);
        publisher.commit(branch);
        guest.sees(house, &["push", "NODE", &format!("{branch}:main")]);
    }
    street.heal();
    for node in [a, b] {
        has_deploys(node, 3);
    }
    follows(b, a);
    follows(a, b);

    let (head, other) = guest.sides("left", "right");
    guest.sees_both(head, other);
    let tip = guest.tip(other);
    // Whoever was on the other side is refused in git's own words, and told how to go on.
    let refused = guest.git(1, &["push", "NODE", &format!("{other}:main")]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(
        said.contains("rejected") && said.contains("non-fast-forward"),
        "{said}"
    );
    assert!(said.contains("the other side of an outage"), "{said}");
    publisher.git_ok(&["checkout", "-q", head]);
    guest.sees(1, &["fetch", "-q", "NODE", &tip]);
    publisher.git_ok(&["merge", "-q", "-m", "both", "FETCH_HEAD"]);
    guest.sees(1, &["push", "NODE", &format!("{head}:main")]);

    // With that it is settled, everywhere.
    has_deploys(a, 4);
    follows(a, b);
    for house in [0, 1] {
        let refs = guest.sees(house, &["ls-remote", "-q", "NODE"]);
        let main = format!("{}\trefs/heads/main", guest.id(head));
        assert!(refs.contains(&main), "{refs}");
        assert!(
            !refs.contains("refs/verge/") && !refs.contains("outage"),
            "{refs}"
        );
        let versions = region.nodes[house].verge_ok(&["site", "versions", "garden"]);
        assert!(!versions.contains("another tip"), "{versions}");
    }
}
