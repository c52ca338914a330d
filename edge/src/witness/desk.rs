//! What the parts of a node share of its witnessing: the gate, what was found, and how it stands.

use super::gate::{Gate, Wait};
use crate::accounting::seal::Seal;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use verge_sync::id::NodeId;
use verge_sync::record::Effect;

/// Asks of the books for what was counted of the open days, synced.
pub type OpenDays = mpsc::Receiver<oneshot::Sender<Vec<Seal>>>;

/// The gate, what was found, and how it stands.
#[derive(Debug)]
pub struct Witnessing {
    /// Whether this node may seal.
    pub gate: Gate,
    standing: watch::Sender<Standing>,
    books: mpsc::Sender<oneshot::Sender<Vec<Seal>>>,
}

/// How it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What contradicts what, in words.
    pub findings: Vec<String>,
    /// The witnesses of this node.
    pub witnesses: Vec<NodeId>,
    /// Of these, the ones that hold the last snapshot of its open days.
    pub holders: Vec<NodeId>,
    /// Snapshots that this node holds for others.
    pub held_count: usize,
    /// Their files.
    pub held_bytes: u64,
    /// Snapshots of days without a seal that may be taken into a close, as `NODE DAY`.
    pub orphans: Vec<String>,
    /// Why none can be held.
    pub trouble: Option<String>,
}

/// What `verge status` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WitnessLine {
    /// Why nothing is sealed yet; none if nothing is in the way.
    pub sealing_waits: Option<String>,
    /// The witnesses of this node, by name.
    pub witnesses: Vec<String>,
    /// How many of them hold the last snapshot of its open days.
    pub holder_count: usize,
    /// Snapshots that this node holds for others.
    pub held_count: usize,
    /// Their files, all together.
    pub held_bytes: u64,
    /// Snapshots of days without a seal that may be taken into a close, as `NODE DAY`.
    pub orphans: Vec<String>,
    /// Why none can be held.
    pub trouble: Option<String>,
}

impl Witnessing {
    /// Nothing is known yet, and the gate is closed; with the other end of what the books are asked.
    #[must_use]
    pub fn new() -> (Self, OpenDays) {
        // One asks.
        let (books, asked) = mpsc::channel(1);
        let desk = Self {
            gate: Gate::default(),
            standing: watch::Sender::default(),
            books,
        };
        (desk, asked)
    }

    /// What was counted of the open days, as it lies on the disk; none while the books are closed.
    pub async fn open_days(&self) -> Option<Vec<Seal>> {
        let (reply, answer) = oneshot::channel();
        self.books.send(reply).await.ok()?;
        answer.await.ok()
    }

    /// How it stands, and every change.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Says how it stands.
    pub fn tell(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.send_if_modified(|standing| {
            let before = standing.clone();
            change(standing);
            *standing != before
        });
    }

    /// For `verge status`: the line, and what is evidence.
    #[must_use]
    pub fn line(&self, effect: &Effect) -> (WitnessLine, Vec<String>) {
        let standing = self.standing.borrow().clone();
        let wait = *self.gate.watch().borrow();
        let called = |id: &NodeId| {
            let node = effect.nodes.get(id);
            node.map_or_else(|| id.short(), |node| node.body.name.clone())
        };
        let line = WitnessLine {
            sealing_waits: wait.as_ref().map(|wait: &Wait| wait.words(effect)),
            witnesses: standing.witnesses.iter().map(called).collect(),
            holder_count: standing.holders.len(),
            held_count: standing.held_count,
            held_bytes: standing.held_bytes,
            orphans: standing.orphans,
            trouble: standing.trouble,
        };
        (line, standing.findings)
    }
}

impl WitnessLine {
    /// For people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.witnesses.is_empty() {
            lines.push(format!(
                "witnesses  {}; {} of them hold the last snapshot of what is not sealed yet; this node holds {} for others",
                self.witnesses.join(", "),
                self.holder_count,
                self.held_count
            ));
        }
        let orphans = self.orphans.iter();
        lines.extend(orphans.map(|of| {
            format!("witnesses  {of}: no seal, and a countersigned snapshot in its place")
        }));
        let troubles = [&self.sealing_waits, &self.trouble];
        lines.extend(
            troubles
                .into_iter()
                .flatten()
                .map(|words| format!("witnesses  {words}")),
        );
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::Scene;
    use verge_sync::record::body::HostProof;

    #[tokio::test]
    async fn what_is_not_well_is_said() {
        let (desk, mut books) = Witnessing::new();
        let scene = Scene::new(2, HostProof::None);
        let effect = scene.effect();
        let other = scene.node(1);
        desk.tell(|standing| {
            standing.witnesses = vec![other];
            standing.findings = vec!["a finding".to_owned()];
            standing.orphans = vec!["node 1 2026-11-02".to_owned()];
            standing.trouble = Some("the folder cannot be read".to_owned());
        });
        let (line, evidence) = desk.line(&effect);
        assert_eq!(evidence, ["a finding"]);
        let text = line.lines().join("\n");
        for words in [
            "node 1; 0 of them",
            "2026-11-02: no seal",
            "another provider",
            "cannot be read",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        desk.gate.set(None);
        assert_eq!(desk.line(&effect).0.sealing_waits, None);
        assert!(WitnessLine::default().lines().is_empty());
        let asked = tokio::spawn(async move { desk.open_days().await });
        books.recv().await.unwrap().send(Vec::new()).unwrap();
        assert_eq!(asked.await.unwrap(), Some(Vec::new()));
    }
}
