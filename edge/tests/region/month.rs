//! A region that counts money, and a month that can be over: what the tests of its close share.

use crate::harness::{Node, Publisher, VERGE, page, text};
use crate::probes::change_config;
use crate::scene::{Region, nothing_pending, sign_pending, wait};
use std::path::{Path, PathBuf};
use std::process::Command;
use verge_edge::accounting::calendar::{Day, Month};
use verge_sync::clock::Clock;

pub(crate) const DAY_S: u64 = 86_400;
const TRUSTED: (&str, &str) = ("clock = \"checked\"", "clock = \"trusted\"");
const POLICY: &str = "[statement]\ncurrency = \"EUR\"\n";
/// An account, and its site.
const SITES: [(&str, &str); 2] = [("ana", "garden"), ("ben", "bakery")];

/// A region that counts in euros, with two accounts, and a month that can be over.
pub(crate) struct Street {
    pub(crate) region: Region,
    pub(crate) month: Month,
    /// Seconds from now to an hour after its end.
    pub(crate) ahead_s: u64,
}

impl Street {
    /// Every node has the seals of so many days, with their rows.
    pub(crate) fn all_have_seals(&self, count: u64) {
        for node in &self.region.nodes {
            has_seals(node, count);
        }
    }

    /// A region of `count` providers, each account with a published site.
    pub(crate) fn of(count: usize) -> Self {
        let mut street = Self::in_this_month(Region::of(count));
        street.restart(|data| change_config(data, &[TRUSTED]));
        street.agree(POLICY);
        for (account, site) in SITES {
            let node = &street.region.nodes[0];
            let publisher = Publisher::with_site(node, account, site);
            publisher.write("index.html", format!("<p>{site}"));
            publisher.commit("one");
            publisher.push_ok(node, site, "main");
        }
        street.region.all_in_step();
        street
    }

    /// The same of nodes in houses of their own, where the sites are published without git; each
    /// starts with `more` changed in its configuration.
    pub(crate) fn in_houses(region: Region, more: &[(&str, &str)]) -> Self {
        let mut street = Self::in_this_month(region);
        let settings = [&[TRUSTED], more].concat();
        street.restart_together(|data| change_config(data, &settings));
        street.region.all_in_step();
        street.agree(POLICY);
        let node = &street.region.nodes[0];
        for (account, site) in SITES {
            let _publisher = Publisher::with_site(node, account, site);
            let pages = street.region.new_data(&format!("pages-{site}"));
            std::fs::create_dir(&pages).unwrap();
            std::fs::write(pages.join("index.html"), format!("<p>{site}")).unwrap();
            node.verge_ok(&["deploy", "--site", site, pages.to_str().unwrap()]);
        }
        street.region.all_in_step();
        street
    }

    fn in_this_month(region: Region) -> Self {
        let now_s = u64::try_from(Clock::System.now().0).unwrap();
        let month = Day::of_time(now_s).month();
        let end_s = u64::from(month.last_day().next().number()) * DAY_S;
        Self {
            region,
            month,
            ahead_s: end_s + 3_600 - now_s,
        }
    }

    /// A policy with the votes of more than half.
    fn agree(&self, policy: &str) {
        let file = self.file("policy.toml", policy);
        let nodes = &self.region.nodes;
        nodes[0].verge_ok(&["region", "propose", "--policy", &file]);
        if nodes.len() > 2 {
            for node in nodes.iter().skip(1).take(nodes.len() / 2) {
                sign_pending(node);
            }
        }
        nodes.iter().for_each(nothing_pending);
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.region.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A file of fees with salts.
    pub(crate) fn fees(&self, name: &str, ana: &str) -> String {
        let plain = format!("owner,amount\nana,{ana}\nben,0\n");
        let plain = self.file(&format!("plain-{name}"), &plain);
        let salted = Command::new(VERGE)
            .args(["statement", "salt", &plain])
            .output();
        self.file(name, &text(&salted.unwrap().stdout))
    }

    /// Visitors at every node, each enough for a row of its own.
    pub(crate) fn visits(&self, visits: &[(usize, usize)]) {
        for (number, count) in visits {
            let node = &self.region.nodes[*number];
            wait(node, |status| status["here_count"] == 2);
            for _ in 0..*count {
                let garden = page(node, "garden.sites.localhost", "/");
                assert_eq!(garden.unwrap(), b"<p>garden");
            }
        }
    }

    /// The month ends: every node starts again with a clock that is ahead, and seals its days.
    pub(crate) fn month_ends(&mut self) {
        let ahead_s = self.ahead_s;
        self.restart(|data| put_ahead(data, ahead_s));
        let count = self.region.nodes.len() as u64;
        for node in &self.region.nodes {
            believes_its_clock(node);
            has_seals(node, count);
        }
    }

    /// From here on it is about the month after this one.
    pub(crate) fn next_month(&mut self) {
        self.month = self.month.last_day().next().month();
        let (first, last) = (self.month.first_day(), self.month.last_day());
        self.ahead_s += u64::from(last.next().number() - first.number()) * DAY_S;
    }

    /// The month ends for nodes that keep their addresses, whoever hears whom.
    pub(crate) fn month_ends_in_houses(&mut self) {
        let ahead_s = self.ahead_s;
        self.restart_together(|data| put_ahead(data, ahead_s));
        self.region.nodes.iter().for_each(believes_its_clock);
    }

    /// With other settings, all at once.
    pub(crate) fn restart_together(&mut self, change: impl Fn(&Path)) {
        for node in &mut self.region.nodes {
            node.stop();
            change(node.data());
        }
        self.region.nodes.iter_mut().for_each(Node::restart);
    }

    /// With other settings; one after the other, since each tells the others where it is now.
    fn restart(&mut self, change: impl Fn(&Path)) {
        for number in 0..self.region.nodes.len() {
            let node = &mut self.region.nodes[number];
            node.stop();
            change(node.data());
            node.restart();
            self.region.all_in_step();
        }
    }

    /// A command about the month.
    pub(crate) fn ask(&self, number: usize, act: &str, fees: &str) -> std::process::Output {
        let month = self.month.to_string();
        let arguments = ["statement", act, &month, "--fees", fees];
        self.region.nodes[number].verge(&arguments)
    }

    pub(crate) fn ask_ok(&self, number: usize, act: &str, fees: &str) -> String {
        let output = self.ask(number, act, fees);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    pub(crate) fn ask_refused(&self, number: usize, act: &str, fees: &str) -> String {
        let output = self.ask(number, act, fees);
        assert!(!output.status.success(), "{}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Writes the statement at a node; gives its folder and what was said.
    pub(crate) fn statement(&self, number: usize, name: &str, fees: &str) -> (PathBuf, String) {
        let folder = self.region.folder.path().join(format!("{name}-{number}"));
        let month = self.month.to_string();
        let out = folder.to_str().unwrap();
        let arguments = ["statement", &month, "--fees", fees, "--out", out];
        let said = self.region.nodes[number].verge_ok(&arguments);
        (folder, said)
    }

    /// Waits until a node knows the close of which another said that.
    pub(crate) fn knows(&self, number: usize, said: &str) {
        let (_, statement) = said.split_once(", statement ").unwrap();
        let statement = statement.lines().next().unwrap();
        wait(&self.region.nodes[number], |status| {
            let mut months = status["months"].as_array().unwrap().iter();
            months.any(|of| of["statement"] == statement)
        });
    }

    /// Waits until a node knows a close with so many votes.
    pub(crate) fn has_votes(&self, number: usize, count: usize) {
        let month = self.month.to_string();
        wait(&self.region.nodes[number], |status| {
            let months = status["months"].as_array().unwrap().iter();
            let of = months.filter(|of| of["month"] == month.as_str());
            let votes = of.map(|of| of["voters"].as_array().unwrap().len());
            votes.max() == Some(count)
        });
    }
}

/// The clock of a test region's node is ahead from its next start on.
pub(crate) fn put_ahead(data: &Path, seconds: u64) {
    let path = data.join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let before = config.lines();
    let before = before.filter(|line| !line.starts_with("test_ahead_s"));
    let config: String = before.map(|line| format!("{line}\n")).collect();
    let line = format!("[time]\ntest_ahead_s = {seconds}\n");
    std::fs::write(&path, config.replacen("[time]\n", &line, 1)).unwrap();
}

pub(crate) fn believes_its_clock(node: &Node) {
    wait(node, |status| status["clock"]["is_believed"] == true);
}

/// The seals of so many days, with their rows.
pub(crate) fn has_seals(node: &Node, count: u64) {
    wait(node, |status| {
        let accounting = &status["accounting"];
        accounting["seal_count"].as_u64() >= Some(count) && accounting["waiting_count"] == 0
    });
}

/// What verifying a folder says; it must succeed.
pub(crate) fn verified(folder: &Path) -> String {
    let output = verify(folder);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn verify(folder: &Path) -> std::process::Output {
    let mut command = Command::new(VERGE);
    command.args(["statement", "verify"]).arg(folder);
    command.output().unwrap()
}

pub(crate) fn statement_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("statement.txt")).unwrap()
}
