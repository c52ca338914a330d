//! What a node does for a month: works its statement out, writes it to a folder, proposes its close,
//! and signs that of another.

use super::blob::{BYTES_MAX, BooksBlob, digest_of};
use super::books::{Facts, books};
use super::difference::{Side, differences};
use super::error::ClosingError;
use super::fees;
use super::lost;
use super::probes::Probes;
use super::proof::{self, CLOSE_NAME};
use super::signature::{SIGNATURE_NAME, StatementSignature};
use super::{CloseBody, Closes, Proposed};
use crate::accounting::calendar::{Day, Month};
use crate::accounting::desk::Desk;
use crate::accounting::ledger::{Entry, Review};
use crate::attribution::fees::Fees;
use crate::attribution::money::{Cents, FEES_MAX};
use crate::attribution::policy::parse;
use crate::attribution::statement::{Books, SealedDay, Statement, seal_file};
use crate::export::Folder;
use crate::region::RegionView;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verge_sync::Digest;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::Effect;
use verge_sync::store::{Store, StoreError};

/// Closes whose seals are looked through, the last ones: what was sealed of a month before these and is
/// in none of them counts nowhere any more.
const EARLIER_CLOSES_MAX: usize = 12;
/// Days are sealed a quarter of an hour after midnight, and the seals have to reach the others.
const AFTER_MONTH_S: u64 = 20 * 60;
const DAY_S: u64 = 86_400;

/// What works at a month of the region.
#[derive(Clone)]
pub struct Closing {
    /// Its records, and the only way to add to them.
    pub region: Arc<RegionView>,
    /// Rows of seals, and books.
    pub store: Store,
    /// The seals, and what of this node waits to be sealed.
    pub accounting: Arc<Desk>,
    /// The node's data directory.
    pub data: PathBuf,
    /// The time of day.
    pub now_s: u64,
    /// Whether it is believed.
    pub is_believed: bool,
}

/// What came of a proposal or a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The close.
    pub close: RecordId,
    /// Whether it counts now.
    pub is_closed: bool,
    /// Providers that are for it.
    pub vote_count: usize,
    /// How many it takes.
    pub needed: usize,
    /// The digest of the statement.
    pub statement: Digest,
    /// Nodes and days whose seals others name and that are not there.
    pub missing: Vec<String>,
    /// How many seals are in it.
    pub seal_count: usize,
    /// How many of them are snapshots of nodes whose disk died.
    pub snapshot_count: usize,
}

/// A statement that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub folder: PathBuf,
    /// Whether it is closed.
    pub is_closed: bool,
    /// Its digest.
    pub statement: Digest,
    /// Who signed it.
    pub node: NodeId,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Nodes and days whose seals others name and that are not there.
    pub missing: Vec<String>,
}

/// A month that this node can work out.
struct Draft {
    books: Books,
    /// Nodes and days whose rows are not here.
    waiting: Vec<String>,
    previous: Option<RecordId>,
    probes: Digest,
    /// Who sealed what, of all that this node holds, and whose snapshots are records.
    known: BTreeMap<Digest, (NodeId, Day)>,
    /// Those of its seals that are snapshots.
    snapshots: Vec<Digest>,
}

impl Closing {
    /// Writes the statement of `month` to the folder `to`, which must not be there.
    ///
    /// # Errors
    /// [`ClosingError`]; nothing is left then.
    pub async fn write(
        &self,
        month: Month,
        fees: Option<PathBuf>,
        to: PathBuf,
    ) -> Result<Written, ClosingError> {
        self.apart(move |work| work.write_now(month, fees.as_deref(), &to))
            .await
    }

    /// Proposes the close of `month`, or that it is another one than this provider proposed before.
    ///
    /// # Errors
    /// [`ClosingError`]; nothing was written then.
    pub async fn propose(
        &self,
        month: Month,
        fees: Option<PathBuf>,
    ) -> Result<Outcome, ClosingError> {
        let made = self.apart(move |work| work.made(month, fees.as_deref()));
        let (body, missing, seal_count) = made.await?;
        let close = self.region.propose_close(&body).await?;
        Ok(self.outcome(close, &body, (missing, seal_count)))
    }

    /// Signs the close of `month` that is proposed, if this node comes to the same.
    ///
    /// # Errors
    /// [`ClosingError::Differs`] says where it does not; [`ClosingError`]. Nothing was written then.
    pub async fn sign(&self, month: Month, fees: Option<PathBuf>) -> Result<Outcome, ClosingError> {
        let judged = self.apart(move |work| work.judged(month, fees.as_deref()));
        let (close, body, missing, seal_count) = judged.await?;
        self.region.vote_close(close, month).await?;
        Ok(self.outcome(close, &body, (missing, seal_count)))
    }

    /// What needs the disk and the processor, away from whoever else waits for the node.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ClosingError> + Send + 'static,
    ) -> Result<T, ClosingError> {
        let own = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&own));
        done.await
            .map_err(|error| ClosingError::Ended(error.to_string()))?
    }

    fn outcome(
        &self,
        close: RecordId,
        body: &CloseBody,
        (missing, seal_count): (Vec<String>, usize),
    ) -> Outcome {
        let effect = self.region.effect();
        let closes = Closes::read(&effect);
        let is_closed = closes.of(body.month).is_some_and(|of| of.id() == close);
        let open = closes.open(body.month);
        let proposed = open.iter().find(|of| of.id() == close);
        Outcome {
            close,
            is_closed,
            vote_count: proposed.map_or(0, |of| of.voters.len()),
            needed: effect.chain.current().body.majority(),
            statement: body.statement,
            missing,
            seal_count,
            snapshot_count: body.snapshots.len(),
        }
    }

    fn today(&self) -> Day {
        Day::of_time(self.now_s)
    }

    fn check_over(&self, month: Month) -> Result<(), ClosingError> {
        if !self.is_believed {
            return Err(ClosingError::Clock(month));
        }
        let next = month.last_day().next();
        let ends_s = u64::from(next.number()) * DAY_S + AFTER_MONTH_S;
        if self.now_s < ends_s {
            return Err(ClosingError::NotOver(month));
        }
        let open = self.accounting.standing().borrow().first_open_day;
        match open.filter(|day| *day <= month.last_day()) {
            Some(day) => Err(ClosingError::Unsealed(day)),
            None => Ok(()),
        }
    }

    /// What is to be proposed.
    fn made(
        &self,
        month: Month,
        fees: Option<&Path>,
    ) -> Result<(CloseBody, Vec<String>, usize), ClosingError> {
        self.check_over(month)?;
        let effect = self.region.effect();
        let closes = Closes::read(&effect);
        if closes.of(month).is_some() {
            return Err(ClosingError::Closed(month));
        }
        let own = self.own(&effect, &closes, (month, fees))?;
        self.store.blobs().put(&own.blob.encode())?;
        Ok((own.body, own.missing, own.seal_count))
    }

    /// What is to be signed.
    fn judged(
        &self,
        month: Month,
        fees: Option<&Path>,
    ) -> Result<(RecordId, CloseBody, Vec<String>, usize), ClosingError> {
        self.check_over(month)?;
        let effect = self.region.effect();
        let closes = Closes::read(&effect);
        // One that counts takes further signatures.
        let open = closes
            .of(month)
            .map_or_else(|| closes.open(month), |of| vec![of]);
        let Some(first) = open.first() else {
            return Err(ClosingError::NoProposal(month));
        };
        let own = self.own(&effect, &closes, (month, fees))?;
        let same = open.iter().find(|of| is_same(&effect, &of.body, &own.body));
        if let Some(of) = same {
            // So that a node that only had it from its own records keeps it.
            self.store.blobs().put(&own.blob.encode())?;
            return Ok((of.id(), of.body.clone(), own.missing, own.seal_count));
        }
        let theirs = self.blob(&first.body)?;
        let proposed = Side {
            close: &first.body,
            blob: theirs.as_ref(),
        };
        let ours = Side {
            close: &own.body,
            blob: Some(&own.blob),
        };
        let mut said = differences(&proposed, &ours, &own.known);
        if said.is_empty() {
            said.push("the region has had a step with another policy since".to_owned());
        }
        Err(ClosingError::Differs(said))
    }

    /// The close that this node would propose.
    fn own(
        &self,
        effect: &Effect,
        closes: &Closes,
        (month, fees): (Month, Option<&Path>),
    ) -> Result<Own, ClosingError> {
        let mut draft = self.draft(effect, closes, (month, true))?;
        if !draft.waiting.is_empty() {
            return Err(ClosingError::Waiting(draft.waiting.join("; ")));
        }
        let blob = BooksBlob::of(&draft.books);
        let bytes = blob.encode();
        let books_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if books_bytes > BYTES_MAX {
            return Err(ClosingError::TooLarge);
        }
        let (fees, text) = fees::read(&self.data, &draft.books, fees)?;
        draft.books.fees = fees;
        let statement = Statement::of(&draft.books)?;
        let body = CloseBody {
            month,
            step: effect.chain.current().id,
            previous: draft.previous,
            policy: Digest::of(draft.books.policy.as_bytes()),
            seal_count: u32::try_from(blob.seals.len()).unwrap_or(u32::MAX),
            seals: digest_of(&blob.seals),
            snapshots: draft.snapshots,
            probes: draft.probes,
            books: Digest::of(&bytes),
            books_bytes,
            fees_root: draft.books.fees.root(),
            fees_total: total(&draft.books.fees),
            statement: statement.digest(),
        };
        let (missing, seal_count) = (statement.missing().to_vec(), draft.books.seals.len());
        if let Some(text) = text {
            fees::keep(&self.data, month, &text)?;
        }
        Ok(Own {
            body,
            blob,
            missing,
            seal_count,
            known: draft.known,
        })
    }

    /// The books of a month that is not closed, of all that this node holds.
    fn draft(
        &self,
        effect: &Effect,
        closes: &Closes,
        (month, is_closed): (Month, bool),
    ) -> Result<Draft, ClosingError> {
        if let Some(last) = closes.last().filter(|last| *last > month)
            && closes.of(month).is_none()
        {
            return Err(ClosingError::Passed(month, last));
        }
        let previous = closes.before(month);
        let policy = policy(effect, previous).ok_or(ClosingError::NoPolicy(month))?;
        parse(policy)?;
        let (earlier, since) = self.earlier(closes, month)?;
        let review = self.accounting.ledger.review(effect, self.today());
        let days = since..=month.last_day();
        let probes = Probes::read(effect, month);
        let mut known = known(&review);
        known.extend(lost::known(effect));
        let count = counted(&known, &earlier, &days);
        let mut seals = self.seals(&review, |entry| count.contains(&entry.digest))?;
        let lost = self.lost(lost::to_take(effect, &count))?;
        let mut snapshots: Vec<Digest> = lost.days.iter().map(|of| of.digest).collect();
        snapshots.sort_unstable();
        seals.extend(lost.days);
        let waiting = review.waiting.iter().filter(|(_, day)| days.contains(day));
        let waiting = waiting.map(|(node, day)| format!("node {}, {day}", node.short()));
        let facts = Facts {
            month,
            policy,
            probes: &probes,
            seals,
            earlier,
        };
        Ok(Draft {
            books: books(effect, facts, is_closed),
            waiting: waiting.chain(lost.waiting).collect(),
            previous: previous.map(Proposed::id),
            probes: probes.digest(),
            known,
            snapshots,
        })
    }

    /// The seals of earlier statements, and from which day on a seal that is in none of them counts:
    /// before the first close of a region those of the month alone.
    fn earlier(
        &self,
        closes: &Closes,
        month: Month,
    ) -> Result<(BTreeSet<Digest>, Day), ClosingError> {
        let mut seals = BTreeSet::new();
        let mut since = month.first_day();
        for close in closes.earlier(month).take(EARLIER_CLOSES_MAX) {
            let of = close.body.month;
            let blob = self.blob(&close.body)?.ok_or(ClosingError::NoBooks(of))?;
            seals.extend(blob.seals);
            since = of.first_day();
        }
        Ok((seals, since))
    }

    fn seals(
        &self,
        review: &Review,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<SealedDay>, ClosingError> {
        let mut seals = Vec::new();
        let entries = review.days.values().flatten();
        for entry in entries.filter(|entry| wanted(entry)) {
            seals.extend(self.accounting.ledger.read(entry)?);
        }
        Ok(seals)
    }

    /// The blob of a close, if it is here.
    fn blob(&self, close: &CloseBody) -> Result<Option<BooksBlob>, ClosingError> {
        let read = self.store.blobs().read_verified(&close.books, BYTES_MAX);
        let bytes = match read {
            Err(StoreError::Damaged { .. } | StoreError::TooLarge { .. }) => None,
            read => read?,
        };
        let blob = bytes.map(|bytes| BooksBlob::decode(&bytes)).transpose();
        blob.map_err(|error| ClosingError::Blob(close.month, error.into()))
    }

    /// The books of a month that is closed: what the close names, and nothing that came later.
    fn closed(&self, effect: &Effect, close: &Proposed) -> Result<Books, ClosingError> {
        let month = close.body.month;
        let blob = self.blob(&close.body)?;
        let blob = blob.ok_or(ClosingError::NoBooks(month))?;
        let books = blob.books(&close.body);
        let mut books = books.map_err(|error| ClosingError::Blob(month, error))?;
        let review = self.accounting.ledger.review(effect, self.today());
        books.seals = self.seals(&review, |entry| blob.seals.contains(&entry.digest))?;
        let found: BTreeSet<Digest> = books.seals.iter().map(|of| of.digest).collect();
        // A node whose disk was found again may have sealed just what its snapshot said: that has one
        // name, and is there once.
        let lost = close.body.snapshots.iter();
        let lost: Vec<Digest> = lost.filter(|of| !found.contains(*of)).copied().collect();
        books.seals.extend(self.taken(effect, &lost)?);
        let found: BTreeSet<Digest> = books.seals.iter().map(|of| of.digest).collect();
        let count = blob.seals.difference(&found).count();
        if count > 0 {
            return Err(ClosingError::NoSeals { month, count });
        }
        Ok(books)
    }

    fn write_now(
        &self,
        month: Month,
        file: Option<&Path>,
        to: &Path,
    ) -> Result<Written, ClosingError> {
        let effect = self.region.effect();
        let closes = Closes::read(&effect);
        let close = closes.of(month);
        let (mut books, waiting) = match close {
            Some(close) => (self.closed(&effect, close)?, Vec::new()),
            None => {
                let draft = self.draft(&effect, &closes, (month, false))?;
                (draft.books, draft.waiting)
            }
        };
        let (fees, text) = fees::read(&self.data, &books, file)?;
        books.fees = fees;
        if let Some(close) = close {
            check_fees(&close.body, &books.fees)?;
        }
        let statement = Statement::of(&books)?;
        let digest = statement.digest();
        if close.is_some_and(|close| close.body.statement != digest) {
            return Err(ClosingError::Other(month));
        }
        let mut folder = Folder::begin(to, &self.data)?;
        put_statement(&mut folder, &statement, &books)?;
        let seed = &self.region.keys().seed;
        let signed = StatementSignature::by(seed, &effect.region, &digest);
        folder.put(SIGNATURE_NAME, format!("{signed}\n").as_bytes())?;
        if let Some(close) = close {
            folder.put(CLOSE_NAME, proof::lines(&effect, close).as_bytes())?;
        }
        let mut missing = statement.missing().to_vec();
        missing.extend(
            waiting
                .into_iter()
                .map(|of| format!("{of}: its rows are on their way")),
        );
        let written = Written {
            folder: folder.finish()?,
            is_closed: close.is_some(),
            statement: digest,
            node: signed.node,
            notes: statement.notes().to_vec(),
            missing,
        };
        if let Some(text) = text.filter(|_| close.is_some()) {
            fees::keep(&self.data, month, &text)?;
        }
        Ok(written)
    }
}

/// What this node would propose.
struct Own {
    body: CloseBody,
    blob: BooksBlob,
    missing: Vec<String>,
    seal_count: usize,
    known: BTreeMap<Digest, (NodeId, Day)>,
}

/// The policy of a month: that of the step in force when the month before it was closed, which its
/// close names; without one that of the current step.
fn policy<'e>(effect: &'e Effect, previous: Option<&Proposed>) -> Option<&'e str> {
    let steps = effect.chain.steps();
    let named = previous.and_then(|close| steps.iter().find(|step| step.id == close.body.step));
    let policy = named.map_or(&effect.chain.current().body.policy, |step| {
        &step.body.policy
    });
    let table = policy.parse::<toml::Table>().ok()?;
    table.contains_key("statement").then_some(policy)
}

/// Whether two closes say the same; their steps may differ as long as the policy is the same.
fn is_same(effect: &Effect, one: &CloseBody, other: &CloseBody) -> bool {
    let policy = |id: RecordId| {
        let step = effect.chain.steps().iter().find(|step| step.id == id)?;
        Some(&step.body.policy)
    };
    let steps = policy(one.step).is_some_and(|text| Some(text) == policy(other.step));
    let other = CloseBody {
        step: one.step,
        ..other.clone()
    };
    steps && *one == other
}

/// The seals that count in a month: of the days in question those of which no earlier statement has
/// one. A node that signs another seal of a day that is in a statement gains nothing by it.
pub(super) fn counted(
    known: &BTreeMap<Digest, (NodeId, Day)>,
    earlier: &BTreeSet<Digest>,
    days: &RangeInclusive<Day>,
) -> BTreeSet<Digest> {
    let of_earlier = earlier.iter().filter_map(|digest| known.get(digest));
    let settled: BTreeSet<&(NodeId, Day)> = of_earlier.collect();
    let open = known
        .iter()
        .filter(|(_, of)| days.contains(&of.1) && !settled.contains(of));
    open.map(|(digest, _)| *digest).collect()
}

fn known(review: &Review) -> BTreeMap<Digest, (NodeId, Day)> {
    let entries = review.days.values().flatten();
    entries
        .map(|entry| (entry.digest, (entry.node, entry.day)))
        .collect()
}

fn put_statement(
    folder: &mut Folder,
    statement: &Statement<'_>,
    books: &Books,
) -> Result<(), ClosingError> {
    for (name, bytes) in statement.files() {
        folder.put(&name, &bytes)?;
    }
    for sealed in &books.seals {
        let (name, bytes) = seal_file(&sealed.seal);
        folder.put(&name, &bytes)?;
    }
    Ok(())
}

fn total(fees: &Fees) -> Cents {
    let cents = fees.0.values().map(|fee| fee.cents);
    // Their sum is at most that: more is refused when they are read.
    cents.fold(Cents(0), |sum, cents| sum.plus(cents).unwrap_or(FEES_MAX))
}

fn check_fees(close: &CloseBody, fees: &Fees) -> Result<(), ClosingError> {
    if fees.root() == close.fees_root && total(fees) == close.fees_total {
        return Ok(());
    }
    Err(ClosingError::OtherFees {
        month: close.month,
        root: close.fees_root.to_string(),
        total: close.fees_total.0,
    })
}
