//! Netlify's own matcher (`netlify-redirector`, a wasm package) beside Verge, on rules and addresses
//! at random (http.md section 2).
//!
//! Verge answers over a socket. Where the two differ in meaning, one of the [`classes`] has to say
//! why, and to bring the matcher to Verge's answer; `docs/http.md` has the same sentences.

mod answers;
mod classes;
mod oracle;
mod questions;

use crate::support::edge::{Setup, TestEdge, site_at};
use crate::support::effort::count;
use crate::support::sample::{Blobs, File, file};
use crate::support::visitor::{Via, Visitor};
use answers::{Answer, PAGE_MARK, Place, encode, pairs};
use classes::{CLASSES, Repair, is_reserved};
use oracle::{Oracle, Ruling};
use questions::{Question, Questions, text_of};
use std::collections::HashMap;
use verge_builder::rules::RuleFiles;
use verge_sync::Version;

const WITH_RULES: &str = "garden.example";
const WITHOUT: &str = "plain.example";

/// Files of rules for one edge: as much as its folder of blobs should hold.
const ROUND: usize = 1_000;

/// Differences that are shown before the test gives up.
const SHOWN_MAX: usize = 5;

#[tokio::test]
async fn netlify_s_matcher_answers_alike_or_for_a_known_reason() {
    let (mut questions, mut tally) = (Questions::new(), Tally::default());
    let count = count("VERGE_ORACLE_CASES", 1_000);
    for begin in (0..count).step_by(ROUND) {
        let mut sides = Sides::start().await;
        for _file in begin..count.min(begin + ROUND) {
            sides.compare(questions.next(), &mut tally).await;
        }
    }
    tally.check();
}

#[test]
fn the_documentation_has_each_reason() {
    let page = include_str!("../../../docs/http.md");
    let (_, section) = page
        .split_once("## Where Netlify's own matcher answers otherwise")
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let told: Vec<&str> = rows
        .skip(1)
        .filter_map(|row| row.split(" | ").next())
        .collect();
    let known: Vec<&str> = CLASSES.iter().map(|class| class.sentence).collect();
    assert_eq!(told, known);
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    asked: usize,
    /// Of the answers on which both agree: by a rule, by kind.
    moved: usize,
    rewritten: usize,
    refused: usize,
    agreed: usize,
    /// By class: differences that need it.
    explained: [usize; CLASSES.len()],
    unexplained: Vec<String>,
}

impl Tally {
    fn agree(&mut self, answer: &Answer, by_rule: bool) {
        self.agreed += 1;
        match answer {
            Answer::Redirect(..) if by_rule => self.moved += 1,
            Answer::Page(200, _) if by_rule => self.rewritten += 1,
            Answer::Page(404 | 410 | 451, Some(_)) if by_rule => self.refused += 1,
            _ => {}
        }
    }

    fn fail(&mut self, difference: String) {
        self.unexplained.push(difference);
        if self.unexplained.len() == SHOWN_MAX {
            self.check();
        }
    }

    fn check(&self) {
        assert!(
            self.unexplained.is_empty(),
            "{}",
            self.unexplained.join("\n")
        );
        assert!(self.agreed * 2 > self.asked, "most is alike: {self:?}");
        for by_rule in [self.moved, self.rewritten, self.refused] {
            assert!(
                by_rule * 200 > self.asked,
                "each kind is compared: {self:?}"
            );
        }
        for (class, count) in CLASSES.iter().zip(self.explained) {
            assert!(count > 0, "never seen: {}", class.sentence);
        }
    }
}

/// Both who are asked.
struct Sides {
    oracle: Oracle,
    edge: TestEdge,
    blobs: Blobs,
    visitor: Visitor,
    bare: Version,
    /// What the site answers without rules, by target.
    known: HashMap<String, Answer>,
}

fn files() -> [File; 4] {
    ["index.html", "t.html", "b/t.html", "d/index.html"]
        .map(|path| file(path, format!("{PAGE_MARK}{path}")))
}

impl Sides {
    async fn start() -> Self {
        let blobs = Blobs::new();
        let bare = blobs.publish(&files());
        let setup = Setup {
            hosts: vec![WITH_RULES, WITHOUT],
            ..Setup::default()
        };
        let edge = setup.start(&blobs, bare);
        edge.forget_certificates();
        let visitor = Visitor::connect(&edge, Via::Plain, WITH_RULES).await;
        Self {
            oracle: Oracle::start(),
            edge,
            blobs,
            visitor,
            bare,
            known: HashMap::new(),
        }
    }

    fn publish(&self, redirects: String) {
        let rules = RuleFiles {
            headers: None,
            redirects: Some(redirects.into()),
        };
        let version = self.blobs.publish_with(&files(), &rules);
        let sites = [(WITH_RULES, version), (WITHOUT, self.bare)];
        let sites = sites.map(|(host, version)| (host.parse().unwrap(), site_at(version)));
        self.edge.sites.replace(HashMap::from(sites));
    }

    async fn compare(&mut self, mut questions: Vec<Question>, tally: &mut Tally) {
        self.publish(text_of(&questions[0].rules));
        for question in &mut questions {
            question.has_file = !self.bare(&question.path).await.is_nothing();
        }
        let rulings = self.oracle.ask(&questions.iter().collect::<Vec<_>>());
        for (question, ruling) in questions.iter().zip(rulings) {
            tally.asked += 1;
            let ours = self.ask(question).await;
            let by_rule = ruling.is_some();
            if self.read(question, ruling).await == ours {
                tally.agree(&ours, by_rule);
                continue;
            }
            match self.reasons(question, &ours).await {
                Some(reasons) => reasons
                    .iter()
                    .for_each(|class| tally.explained[*class] += 1),
                None => tally.fail(self.shown(question, &ours).await),
            }
        }
    }

    /// What Verge says.
    async fn ask(&mut self, question: &Question) -> Answer {
        let language = question.language.iter();
        let headers: Vec<(&str, &str)> = language
            .map(|line| ("accept-language", line.as_str()))
            .collect();
        let target = question.target();
        let received = self.visitor.ask("GET", WITH_RULES, &target, &headers).await;
        let ours = Answer::of(&received);
        if is_reserved(&question.path) && ours == self.bare(&target).await {
            return Answer::Reserved;
        }
        ours
    }

    /// What Verge says of the site without its rules.
    async fn bare(&mut self, target: &str) -> Answer {
        if let Some(known) = self.known.get(target) {
            return known.clone();
        }
        let answer = Answer::of(&self.visitor.ask("GET", WITHOUT, target, &[]).await);
        self.known.insert(target.to_owned(), answer.clone());
        answer
    }

    /// The file at a place of the site.
    async fn page(&mut self, place: &Place) -> Option<String> {
        let mut path = place.path.clone();
        for _hop in 0..2 {
            let parts: Vec<String> = path.iter().map(|part| encode(part)).collect();
            match self.bare(&format!("/{}", parts.join("/"))).await {
                Answer::Page(200, page) => return page,
                Answer::Redirect(_, place) => path = place.path,
                _ => return None,
            }
        }
        None
    }

    /// What a ruling means for a site that answers where no rule does.
    async fn read(&mut self, question: &Question, ruling: Option<Ruling>) -> Answer {
        let ruling = ruling.filter(|ruling| ruling.force || !question.has_file);
        let Some(ruling) = ruling else {
            let answer = self.bare(&question.target()).await;
            return if is_reserved(&question.path) {
                Answer::Reserved
            } else {
                answer
            };
        };
        let mut place = Place::read(&ruling.to);
        if (301..400).contains(&ruling.status) {
            if place.query.is_none() && !ruling.drops_query {
                place.query = question.query.as_deref().and_then(pairs);
            }
            return Answer::Redirect(ruling.status, place);
        }
        match (ruling.status, self.page(&place).await) {
            (200, None) => Answer::Page(404, None),
            (status, page) => Answer::Page(status, page),
        }
    }

    /// What the matcher says if it is asked and read as these classes have it.
    async fn repaired(&mut self, question: &Question, classes: &[usize]) -> Answer {
        let mut asked = question.clone();
        let repairs = || classes.iter().map(|class| &CLASSES[*class].repair);
        for repair in repairs() {
            if let Repair::Ask(change) = repair {
                change(&mut asked);
            }
        }
        let mut ruling = self.oracle.ask(&[&asked]).remove(0);
        for repair in repairs() {
            if let (Repair::Ruling(change), Some(ruling)) = (repair, &mut ruling) {
                change(question, ruling);
            }
        }
        let mut answer = self.read(question, ruling).await;
        for repair in repairs() {
            if let Repair::Answer(change) = repair {
                answer = change(question, answer);
            }
        }
        answer
    }

    /// The classes that it takes to bring the matcher to our answer; none is without need.
    async fn reasons(&mut self, question: &Question, ours: &Answer) -> Option<Vec<usize>> {
        let mut asked = question.clone();
        let changes = |class: &usize| match CLASSES[*class].repair {
            Repair::Ask(change) => {
                let before = asked.clone();
                change(&mut asked);
                asked != before
            }
            Repair::Ruling(_) | Repair::Answer(_) => true,
        };
        let mut needed: Vec<usize> = (0..CLASSES.len()).filter(changes).collect();
        if self.repaired(question, &needed).await != *ours {
            return None;
        }
        for class in needed.clone() {
            let others = needed.iter().copied().filter(|other| *other != class);
            let others: Vec<usize> = others.collect();
            if self.repaired(question, &others).await == *ours {
                needed = others;
            }
        }
        Some(needed)
    }

    async fn shown(&mut self, question: &Question, ours: &Answer) -> String {
        let theirs = self.repaired(question, &[]).await;
        let all: Vec<usize> = (0..CLASSES.len()).collect();
        let repaired = self.repaired(question, &all).await;
        format!(
            "\n{}GET {} {:?}\n  Verge:    {ours:?}\n  Netlify:  {theirs:?}\n  repaired: {repaired:?}",
            text_of(&question.rules),
            question.target(),
            question.language,
        )
    }
}
