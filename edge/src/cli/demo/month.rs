//! The end of the story: the month is over, its providers close it, and every node has the same
//! statement of what the demo's own visitors got.

use super::street::House;
use super::{is_overdue, say, step};
use crate::accounting::calendar::Day;
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use verge_sync::clock::{Clock, stopwatch};

const POLICY: &str = "[statement]\ncurrency = \"EUR\"\n";
const FEES: &str = "owner,amount\nana,12.00\n";
const FEES_FILE: &str = "fees.csv";
/// After midnight of the first.
const AFTER_MONTH_S: u64 = 3_600;
const DAY_S: u64 = 86_400;

/// A month of the demo's region.
pub(super) struct Closing<'h> {
    houses: [&'h mut House; 3],
    folder: PathBuf,
    month: String,
    ahead_s: u64,
}

impl<'h> Closing<'h> {
    /// The month that it is today.
    pub(super) fn new(houses: [&'h mut House; 3], folder: &Path) -> Self {
        let now_s = u64::try_from(Clock::System.now().0).unwrap_or(0);
        let month = Day::of_time(now_s).month();
        let end_s = u64::from(month.last_day().next().number()) * DAY_S;
        Self {
            houses,
            folder: folder.to_owned(),
            month: month.to_string(),
            ahead_s: (end_s + AFTER_MONTH_S).saturating_sub(now_s),
        }
    }

    /// Tells it; says whether all statements are the same and hold.
    pub(super) fn tell(&mut self) -> anyhow::Result<bool> {
        step("The providers agree on a policy: verge region propose --policy, region sign");
        self.agree()?;
        step("The month ends (a region for tests has a clock of its own), and its days are sealed");
        self.month_ends()?;
        step("A closes the month, B works it out again and signs: verge statement close, sign");
        self.close()?;
        step("Each node writes the statement, and verifies it: verge statement, statement verify");
        self.statements()
    }

    /// For those who look around afterwards.
    pub(super) fn put_clocks_right(&mut self) -> anyhow::Result<()> {
        self.restart(None)
    }

    fn agree(&self) -> anyhow::Result<()> {
        let [a, b, c] = &self.houses;
        let policy = self.file("policy.toml", POLICY)?;
        a.run(&["region", "propose", "--policy", &policy])?;
        let pending = wait(b, |status| status["pending_steps"][0]["id"].is_string())?;
        let id = pending["pending_steps"][0]["id"].as_str();
        b.run(&["region", "sign", id.context("the proposal's id")?])?;
        let step = b.status()?["step"]["number"].clone();
        for house in [a, c] {
            wait(house, |status| status["step"]["number"] == step)?;
        }
        Ok(())
    }

    fn month_ends(&mut self) -> anyhow::Result<()> {
        self.restart(Some(self.ahead_s))?;
        for house in &self.houses {
            wait(house, |status| {
                let accounting = &status["accounting"];
                let has_seals = accounting["seal_count"].as_u64() >= Some(3);
                let is_believed = status["clock"]["is_believed"] == true;
                has_seals && accounting["waiting_count"] == 0 && is_believed
            })?;
        }
        Ok(())
    }

    /// One after the other, since each tells the others where it is now.
    fn restart(&mut self, ahead_s: Option<u64>) -> anyhow::Result<()> {
        for number in 0..self.houses.len() {
            if let Some(house) = self.houses.get_mut(number) {
                house.pause()?;
                house.put_ahead(ahead_s)?;
                house.start()?;
            }
            for house in &self.houses {
                wait(house, |status| {
                    let peers = status["peers"].as_array().into_iter().flatten();
                    let in_step = peers.filter(|peer| peer["is_in_step"] == true);
                    in_step.count() == 2
                })?;
            }
        }
        Ok(())
    }

    /// C has lost its provider's key with its disk: the others are more than half.
    fn close(&self) -> anyhow::Result<()> {
        let [a, b, _] = &self.houses;
        let plain = self.file("plain.csv", FEES)?;
        let salted = a.ask_without_node(&["statement", "salt", &plain])?;
        let fees = self.file(FEES_FILE, &salted)?;
        a.tell(&["statement", "close", &self.month, "--fees", &fees])?;
        self.has_votes(b, 1)?;
        b.tell(&["statement", "sign", &self.month, "--fees", &fees])?;
        for house in &self.houses {
            self.has_votes(house, 2)?;
        }
        Ok(())
    }

    fn has_votes(&self, house: &House, count: usize) -> anyhow::Result<()> {
        wait(house, |status| {
            let months = status["months"].as_array().into_iter().flatten();
            let mut votes = months.filter_map(|of| of["voters"].as_array().map(Vec::len));
            votes.any(|votes| votes >= count)
        })?;
        Ok(())
    }

    fn statements(&self) -> anyhow::Result<bool> {
        let mut texts = Vec::new();
        for house in &self.houses {
            let out = self.folder.join(format!("statement-{}", house.letter()));
            let out = out.to_str().context("a folder with a name")?;
            let fees = self.folder.join(FEES_FILE);
            let fees = fees.to_str().context("a folder with a name")?;
            let arguments = ["statement", &self.month, "--fees", fees, "--out", out];
            house.ask(&arguments)?;
            let said = house.ask_without_node(&["statement", "verify", out])?;
            for line in said.lines().filter(|line| line.starts_with("closed by")) {
                say(&format!(
                    "  {}: {line}, and every byte is right",
                    house.letter()
                ));
            }
            texts.push(std::fs::read_to_string(
                Path::new(out).join("statement.txt"),
            )?);
        }
        let [first, others @ ..] = texts.as_slice() else {
            bail!("there is no node");
        };
        let shown = first.lines().take_while(|line| !line.starts_with("Policy"));
        shown.for_each(|line| say(&format!("  | {line}")));
        Ok(others.iter().all(|text| text == first))
    }

    fn file(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        let path = path.to_str().context("a folder with a name")?;
        Ok(path.to_owned())
    }
}

/// Looks until the node says what is wanted.
fn wait(house: &House, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let begun = stopwatch();
    loop {
        let status = house.status()?;
        if wanted(&status) {
            return Ok(status);
        }
        ensure!(
            !is_overdue(begun),
            "{} does not come to it: {status:#}",
            house.letter()
        );
        std::thread::park_timeout(super::BETWEEN_LOOKS);
    }
}
