//! `verge demo`: the main job, from nothing to pages in a visitor's hands, with real parts: this
//! binary as the nodes of three providers, the real `git` and `ssh` as the publisher, real TLS as
//! the visitor. Then what the region is for: a node is cut off, one dies, one loses its disk, and
//! nothing is lost; and its month is closed, with the same statement on every node.

mod month;
mod pages;
mod publisher;
mod street;

use super::client::{Protocol, Visitor};
use super::manual;
use anyhow::{Context, ensure};
use clap::Args;
use month::Closing;
use pages::{CODINGS, Page, Row, pages, visit_all};
use publisher::Publisher;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use street::{House, join};
use verge_sync::clock::stopwatch;

/// `verge demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// The folder to publish.
    #[arg(
        long,
        default_value = "fixtures/sites/neighbourhood",
        value_name = "DIR"
    )]
    site: PathBuf,
    /// End by itself after the table, with exit status 0 only if all of it was right.
    #[arg(long)]
    once: bool,
    /// The HTTPS port of the first node on 127.0.0.1; 0 for any free one.
    #[arg(long, default_value_t = 8443)]
    https_port: u16,
    /// The SSH port of the first node on 127.0.0.1; 0 for any free one.
    #[arg(long, default_value_t = 2222)]
    ssh_port: u16,
}

const SITE: &str = "neighbourhood";
const HOST: &str = "neighbourhood.sites.localhost";
/// The site that says what visitors get.
const MANUAL: &str = "manual";
const MANUAL_HOST: &str = "manual.sites.localhost";
/// The page that Ana changes.
const NOTE: &str = "notes.txt";
/// What does not come about by then goes wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a page that is to change.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

impl Demo {
    /// Carries it out.
    ///
    /// # Errors
    /// The first step that went wrong.
    pub fn run(self) -> anyhow::Result<()> {
        let source = self.site.canonicalize().with_context(|| {
            format!(
                "read {}: name a folder with a website by --site",
                self.site.display()
            )
        })?;
        let folder = tempfile::Builder::new().prefix("verge-demo-").tempdir()?;
        let mut story = Story::begin(folder.path(), self.https_port, self.ssh_port)?;
        let mut right = super::block_on(story.tell(&source))?;
        right &= story.close_the_month(folder.path())?;
        story.show();
        if !self.once {
            story.closing(folder.path()).put_clocks_right()?;
        }
        story.say_where_to_look();
        ensure!(right, "some answers were not what was published");
        if self.once {
            return story.stop();
        }
        say("Press Ctrl-C to end.");
        super::block_on(async { Ok(tokio::signal::ctrl_c().await?) })?;
        story.stop()
    }
}

#[expect(clippy::print_stdout, reason = "the demo's story")]
fn say(line: &str) {
    println!("{line}");
}

fn step(line: &str) {
    say(&format!("\n== {line}"));
}

/// The region, its publisher, and what came of each step.
struct Story {
    a: House,
    b: House,
    c: House,
    ana: Publisher,
    results: Vec<Outcome>,
}

/// A line of the last table.
struct Outcome {
    what: &'static str,
    /// For A, B and C: how many pages were right, of how many; none for a node that is away.
    nodes: [Option<(usize, usize)>; 3],
    took: Duration,
}

impl Story {
    fn begin(folder: &Path, https_port: u16, ssh_port: u16) -> anyhow::Result<Self> {
        step("A: the Corner Workshop makes a node and founds a region: verge init, verge serve");
        let a = House::found(&folder.join("a"), https_port, ssh_port)?;
        step(
            "B and C: the Bakery and the Library join: verge provider invite, init --join, approve",
        );
        let b = join(&folder.join("b"), "Bakery", &[&a])?;
        let c = join(&folder.join("c"), "Library", &[&a, &b])?;
        step("Ana makes an SSH key; the steward of A adds her and her site");
        let ana = Publisher::new(folder)?;
        a.run(&["account", "add", "ana", "--ssh-key", &ana.public_key()])?;
        let named = ["--owner", "ana", "--host", "commonground.localhost"];
        a.run(&[&["site", "create", SITE], &named[..]].concat())?;
        Ok(Self {
            a,
            b,
            c,
            ana,
            results: Vec::new(),
        })
    }

    async fn tell(&mut self, source: &Path) -> anyhow::Result<bool> {
        let mut right = self.first_pages(source).await?;
        right &= self.an_outage().await?;
        right &= self.a_death().await?;
        right &= self.a_lost_disk().await?;
        Ok(right)
    }

    fn closing(&mut self, folder: &Path) -> Closing<'_> {
        let houses = [&mut self.a, &mut self.b, &mut self.c];
        Closing::new(houses, folder)
    }

    /// Who served what is divided, closed, and the same everywhere.
    fn close_the_month(&mut self, folder: &Path) -> anyhow::Result<bool> {
        let begun = stopwatch();
        let right = self.closing(folder).tell()?;
        let took_ms = begun.elapsed().as_millis();
        say(&format!(
            "  the month was closed and its statement verified in {took_ms} ms"
        ));
        Ok(right)
    }

    /// What is pushed to A is at B and C.
    async fn first_pages(&mut self, source: &Path) -> anyhow::Result<bool> {
        self.ana.take(source)?;
        self.ana.write(NOTE, "one")?;
        step("Ana publishes at A: git push");
        let begun = stopwatch();
        self.ana.push(&self.a, "First pages")?;
        self.see(&[&self.b, &self.c], "one").await?;
        let took = begun.elapsed();
        step("Visitors fetch every page, in every coding, over HTTP/1.1 and HTTP/2, from A");
        let mut right = self.table(&self.a).await?;
        step("Ana publishes a folder without git: verge deploy manual --site manual");
        self.ana.deploy_manual(&self.a)?;
        right &= self.others().await?;
        right &= self
            .compare("pushed to A, fetched from all", [true; 3], took)
            .await?;
        Ok(right)
    }

    /// C is cut off while Ana pushes; then it is not.
    async fn an_outage(&mut self) -> anyhow::Result<bool> {
        step("C is cut off from the others; Ana pushes a change to A");
        self.c.cut(&[&self.a, &self.b], true)?;
        self.ana.write(NOTE, "two")?;
        self.ana.push(&self.a, "While C is away")?;
        self.see(&[&self.a, &self.b], "two").await?;
        let kept = self.note(&self.c).await?;
        say(&format!("  C serves what it has: {NOTE} says {kept:?}"));
        step("The line is back");
        let begun = stopwatch();
        self.c.cut(&[&self.a, &self.b], false)?;
        self.see(&[&self.c], "two").await?;
        let took = begun.elapsed();
        let right = self
            .compare("C was cut off, and is back", [true; 3], took)
            .await?;
        Ok(right && kept == "one")
    }

    /// A dies; the same history goes on at B.
    async fn a_death(&mut self) -> anyhow::Result<bool> {
        step("A is killed; Ana pushes to B");
        self.a.kill()?;
        self.ana.write(NOTE, "three")?;
        let begun = stopwatch();
        self.ana.push(&self.b, "Without A")?;
        self.see(&[&self.b, &self.c], "three").await?;
        let took = begun.elapsed();
        self.compare("A is dead, pushed to B", [false, true, true], took)
            .await
    }

    /// C loses everything but its seed; A comes back as well.
    async fn a_lost_disk(&mut self) -> anyhow::Result<bool> {
        step("A is started again; C loses its disk, all but the node's seed, and is restored");
        self.a.start()?;
        self.see(&[&self.a], "three").await?;
        let begun = stopwatch();
        self.c.wipe()?;
        self.c.restore(&self.b)?;
        self.see(&[&self.c], "three").await?;
        let took = begun.elapsed();
        self.compare("C lost its disk, and is restored", [true; 3], took)
            .await
    }

    /// Waits until these nodes show what Ana wrote last.
    async fn see(&self, houses: &[&House], text: &str) -> anyhow::Result<()> {
        let begun = stopwatch();
        for house in houses {
            while self.note(house).await.ok().as_deref() != Some(text) {
                let waited = begun.elapsed();
                ensure!(waited < PATIENCE, "{} does not show it", house.letter());
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        }
        Ok(())
    }

    async fn note(&self, house: &House) -> anyhow::Result<String> {
        let url = format!("/{NOTE}");
        let visitor = house.visitor()?;
        let answer = visitor.get(Protocol::Http2, HOST, &url, "identity").await?;
        ensure!(answer.head.status == 200, "{}", answer.head.status);
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    async fn table(&self, house: &House) -> anyhow::Result<bool> {
        let (visitor, pages) = (house.visitor()?, pages(self.ana.work())?);
        say("  protocol  asked for  pages  right    bytes sent  bytes of pages       time");
        let mut all_right = true;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            for coding in CODINGS {
                let row = visit_all(&visitor, protocol, (HOST, coding), &pages).await?;
                all_right &= row.right == pages.len();
                say(&row.show(protocol, coding, pages.len()));
            }
        }
        Ok(all_right)
    }

    /// The second site, and a page that is not there.
    async fn others(&self) -> anyhow::Result<bool> {
        let visitor = self.a.visitor()?;
        let manual = visitor.get(Protocol::Http2, MANUAL_HOST, "/", "br").await?;
        let is_right = manual.head.status == 200 && manual.body == manual::page().as_bytes();
        say(&format!("  the second site: {}", manual.head.status));
        let missing = visitor
            .get(Protocol::Http2, HOST, "/no-such-page", "br")
            .await?;
        let status = missing.head.status;
        say(&format!("  a page that is not there: {status}"));
        Ok(is_right && status == 404)
    }

    /// Every page in every coding from every node that is there.
    async fn compare(
        &mut self,
        what: &'static str,
        are_there: [bool; 3],
        took: Duration,
    ) -> anyhow::Result<bool> {
        let pages = pages(self.ana.work())?;
        let mut nodes = [None; 3];
        let houses = [&self.a, &self.b, &self.c];
        for ((house, is_there), result) in houses.iter().zip(are_there).zip(&mut nodes) {
            if is_there {
                *result = Some(fetched(&house.visitor()?, &pages).await?);
            }
        }
        let all_right = nodes.iter().flatten().all(|(right, all)| right == all);
        let outcome = Outcome { what, nodes, took };
        say(&format!("  {}", outcome.line()));
        self.results.push(outcome);
        Ok(all_right)
    }

    fn show(&self) {
        step("Pages that were right, in four codings, from A, B and C; and how long it took");
        self.results
            .iter()
            .for_each(|outcome| say(&format!("  {}", outcome.line())));
    }

    fn say_where_to_look(&self) {
        step("Look yourself");
        for house in [&self.a, &self.b, &self.c] {
            let port = house.https().map_or(443, |address| address.port());
            say(&format!("  {}: https://{HOST}:{port}/", house.letter()));
        }
        let port = self.a.https().map_or(443, |address| address.port());
        say(&format!(
            "  https://{MANUAL_HOST}:{port}/ (what visitors get, and how to write rules)"
        ));
        let ca = self.a.data().join("local-ca.pem");
        say(&format!("  (the test CA of A is {})", ca.display()));
    }

    fn stop(self) -> anyhow::Result<()> {
        for house in [self.a, self.b, self.c] {
            house.stop()?;
        }
        Ok(())
    }
}

/// How many answers were right, of how many.
async fn fetched(visitor: &Visitor, pages: &[Page]) -> anyhow::Result<(usize, usize)> {
    let mut right = 0;
    for coding in CODINGS {
        let row: Row = visit_all(visitor, Protocol::Http2, (HOST, coding), pages).await?;
        right += row.right;
    }
    Ok((right, pages.len() * CODINGS.len()))
}

impl Outcome {
    fn line(&self) -> String {
        let nodes = self.nodes.map(|node| match node {
            Some((right, all)) => format!("{right}/{all}"),
            None => "away".to_owned(),
        });
        let [a, b, c] = nodes;
        let (what, took_ms) = (self.what, self.took.as_millis());
        format!("{what:<34} A {a:>8}  B {b:>8}  C {c:>8}  {took_ms:>6} ms")
    }
}

/// How long something has to wait at most.
fn is_overdue(begun: Instant) -> bool {
    begun.elapsed() > PATIENCE
}
