//! The certificates that this node holds: what records name, opened.
//!
//! Owns what was opened, by record; nothing of it is written anywhere but in the blobs that hold it
//! sealed, so a start opens them again, from the local disk. A bundle that does not hold is remembered
//! as such, and the one before stays in use; what is in use is pinned, whatever records come after it.

use super::body::CertificateBody;
use super::bundle::{BUNDLE_BYTES_MAX, Bundle, Context};
use super::chain::{Authorities, ChainError, Leaf};
use super::name_set::{NameSet, account_subject};
use super::notices::{Notice, notices};
use super::wanted::is_recipient;
use crate::tls::{Certificate, CertificateError, Validity};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::keys::{SealingKey, Seed};
use verge_sync::record::Effect;
use verge_sync::record::cbor::FieldError;
use verge_sync::store::{BlobPin, Store, StoreError};
use zeroize::Zeroizing;

/// What opens bundles, and remembers those that it opened.
pub struct Keyring {
    node: NodeId,
    key: SealingKey,
    store: Store,
    authorities: Authorities,
    judged: Mutex<HashMap<RecordId, Judged>>,
    used: Mutex<Used>,
}

/// The bundles of the certificates in use: a collection leaves them.
#[derive(Default)]
struct Used {
    bundles: BTreeSet<Digest>,
    _pin: Option<BlobPin>,
}

/// What became of a record's bundle.
#[derive(Debug, Clone)]
enum Judged {
    /// A certificate; its key is here if it is sealed to this node.
    Holds(Arc<Held>),
    /// It is wrong, and will not become right.
    Refused,
}

/// A certificate of the region that holds.
#[derive(Debug)]
pub struct Held {
    /// The record that names it.
    pub record: RecordId,
    /// Who wrote that.
    pub author: NodeId,
    /// What it says.
    pub body: CertificateBody,
    /// What the leaf says.
    pub leaf: Leaf,
    /// The nodes that have the key.
    pub recipients: BTreeSet<NodeId>,
    /// With its key; none if that is not for this node.
    pub certificate: Option<Arc<Certificate>>,
}

/// An account that is sealed to this node. Never shows its secret.
pub struct SealedAccount {
    /// The node that sealed it.
    pub author: NodeId,
    /// All that have it.
    pub recipients: BTreeSet<NodeId>,
    /// The account's stored form.
    pub secret: Zeroizing<Vec<u8>>,
}

/// What a look at all records gave.
#[derive(Debug, Default)]
pub struct Review {
    /// Of each name set the certificate to use: where this node is to have the key, one that it can open;
    /// one that is valid rather than one that is not; then what an owner brought, of that the last to
    /// begin; then the last to end.
    pub held: BTreeMap<NameSet, Arc<Held>>,
    /// Bundles that are not here yet, and how long they are.
    pub missing: BTreeMap<Digest, u64>,
}

/// Why a bundle does not count.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it is no bundle: {0}")]
    Malformed(#[from] FieldError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the certificate is for other hosts, or another time, than the record says")]
    Other,
    #[error("its key does not open for this node, to which it is sealed")]
    Locked,
    #[error(transparent)]
    Key(#[from] CertificateError),
    #[error("it names nodes that are none of the region")]
    Strangers,
}

impl Keyring {
    /// The keyring of the node that has `seed`.
    #[must_use]
    pub fn new(store: Store, seed: &Seed, authorities: Authorities) -> Self {
        Self {
            node: seed.node_id(),
            key: seed.sealing_key(),
            store,
            authorities,
            judged: Mutex::default(),
            used: Mutex::default(),
        }
    }

    /// Looks at what the records name, and opens what is new.
    #[must_use]
    pub fn review(&self, effect: &Effect, now: UnixTime) -> Review {
        let mut review = Review::default();
        let mut seen = BTreeSet::new();
        for notice in notices(effect).into_values().flatten() {
            seen.insert(notice.record);
            let Some(names) = notice.body.purpose.names() else {
                self.look_for(&notice, &mut review);
                continue;
            };
            let is_ours = is_recipient(effect, self.node, names);
            let held = review.held.get(names);
            if held.is_some_and(|held| !may_take_place(&notice.body, held, is_ours, now)) {
                continue;
            }
            match self.judge(effect, &notice) {
                Ok(Some(found)) => review.take_in(names, found, is_ours, now),
                Ok(None) => {}
                Err(missing) => review.missing.extend(missing),
            }
        }
        self.judged().retain(|record, _| seen.contains(record));
        self.pin(&review);
        review
    }

    fn pin(&self, review: &Review) {
        let bundles = review.held.values().map(|held| held.body.bundle).collect();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.bundles != bundles {
            *used = Used {
                _pin: Some(self.store.pin(bundles.iter().copied())),
                bundles,
            };
        }
    }

    /// The accounts at `directory` that members have sealed to this node, the latest of each first;
    /// which of them is the region's is what its step says.
    #[must_use]
    pub fn accounts(&self, effect: &Effect, directory: &str) -> Vec<SealedAccount> {
        let all = notices(effect);
        let of = all.get(&account_subject(directory));
        let open = |notice: &Notice| {
            let bundle = self.read(&notice.body).ok().flatten()?;
            let bundle = Bundle::decode(&bundle).ok()?;
            let secret = bundle.open(&notice.context(effect), self.node, &self.key);
            Some(SealedAccount {
                author: notice.author,
                recipients: bundle.recipients(),
                secret: secret.ok()?,
            })
        };
        let late = of.into_iter().flatten().filter(|notice| notice.is_late);
        late.filter_map(open).collect()
    }

    /// Whether `chain` is one that this node would use.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn check(&self, chain: &[u8]) -> Result<Leaf, ChainError> {
        self.authorities.check(chain)
    }

    /// The private key of a certificate in PEM form, to be sealed to others.
    #[must_use]
    pub fn secret(&self, effect: &Effect, held: &Held) -> Option<Zeroizing<Vec<u8>>> {
        let context = Context {
            region: effect.region,
            subject: held.body.subject(),
            author: held.author,
        };
        let secret = self.bundle(held)?.open(&context, self.node, &self.key);
        secret.ok()
    }

    /// The chain of a certificate in PEM form.
    #[must_use]
    pub fn chain(&self, held: &Held) -> Option<String> {
        String::from_utf8(self.bundle(held)?.chain().to_vec()).ok()
    }

    /// Once more from the disk: it is needed for a renewal only.
    fn bundle(&self, held: &Held) -> Option<Bundle> {
        let bytes = self.read(&held.body).ok().flatten()?;
        Bundle::decode(&bytes).ok()
    }

    fn look_for(&self, notice: &Notice, review: &mut Review) {
        let bundle = notice.body.bundle;
        if notice.is_late && !self.store.blobs().contains(&bundle).unwrap_or(false) {
            review.missing.insert(bundle, notice.body.bundle_bytes);
        }
    }

    /// The certificate that a record names, if it holds; the bundle, if it is not here.
    fn judge(
        &self,
        effect: &Effect,
        notice: &Notice,
    ) -> Result<Option<Arc<Held>>, Option<(Digest, u64)>> {
        if let Some(judged) = self.judged().get(&notice.record) {
            return Ok(judged.held());
        }
        let bytes = match self.read(&notice.body) {
            Ok(Some(bytes)) => bytes,
            Ok(None) if !notice.is_late => return Ok(None),
            Ok(None) => return Err(Some((notice.body.bundle, notice.body.bundle_bytes))),
            Err(error) => {
                tracing::error!(%error, "a certificate's bundle cannot be read");
                return Err(None);
            }
        };
        let judged = match self.open(effect, notice, &bytes) {
            Ok(held) => Judged::Holds(Arc::new(held)),
            Err(why) => {
                let author = notice.author.short();
                tracing::warn!(record = %notice.record.short(), %author, "a certificate does not count: {why}");
                Judged::Refused
            }
        };
        let held = judged.held();
        self.judged().insert(notice.record, judged);
        Ok(held)
    }

    fn open(&self, effect: &Effect, notice: &Notice, bytes: &[u8]) -> Result<Held, Unfit> {
        let bundle = Bundle::decode(bytes)?;
        let leaf = self.authorities.check(bundle.chain())?;
        let body = &notice.body;
        let is_as_said = u64::try_from(bytes.len()) == Ok(body.bundle_bytes)
            && body.purpose.names() == Some(&leaf.names)
            && body.not_before == leaf.not_before
            && body.not_after == leaf.not_after;
        if !is_as_said {
            return Err(Unfit::Other);
        }
        let recipients = bundle.recipients();
        if !recipients
            .iter()
            .all(|node| effect.nodes.contains_key(node))
        {
            return Err(Unfit::Strangers);
        }
        let certificate = if recipients.contains(&self.node) {
            let secret = bundle.open(&notice.context(effect), self.node, &self.key);
            let secret = secret.or(Err(Unfit::Locked))?;
            Some(Arc::new(Certificate::from_pem(bundle.chain(), &secret)?))
        } else {
            None
        };
        Ok(Held {
            record: notice.record,
            author: notice.author,
            body: body.clone(),
            leaf,
            recipients,
            certificate,
        })
    }

    fn read(&self, body: &CertificateBody) -> Result<Option<Vec<u8>>, StoreError> {
        let blobs = self.store.blobs();
        blobs.read_verified(&body.bundle, BUNDLE_BYTES_MAX)
    }

    fn judged(&self) -> MutexGuard<'_, HashMap<RecordId, Judged>> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judged {
    fn held(&self) -> Option<Arc<Held>> {
        match self {
            Self::Holds(held) => Some(Arc::clone(held)),
            Self::Refused => None,
        }
    }
}

impl Review {
    /// A working certificate is never dropped for one that this node is to have and cannot open.
    fn take_in(&mut self, names: &NameSet, found: Arc<Held>, is_ours: bool, now: UnixTime) {
        let works = |held: &Held| is_ours && held.certificate.is_some();
        let is_taken = self.held.get(names).is_none_or(|held| {
            if works(held) == works(&found) {
                is_better(&found.body, &held.body, now)
            } else {
                works(&found)
            }
        });
        if is_taken {
            self.held.insert(names.clone(), found);
        }
    }

    /// What handshakes of this node can use.
    pub fn certificates(&self) -> impl Iterator<Item = Arc<Certificate>> {
        let own = self.held.values();
        own.filter_map(|held| held.certificate.as_ref().map(Arc::clone))
    }
}

/// Whether what `body` names can take the place of `held`, if it holds: it is better, or `held` does not
/// open for this node, which is to have one that does.
fn may_take_place(body: &CertificateBody, held: &Held, is_ours: bool, now: UnixTime) -> bool {
    let lacks_key = is_ours && held.certificate.is_none();
    lacks_key || is_better(body, &held.body, now)
}

/// Whether the certificate of `one` is used rather than that of `other`.
fn is_better(one: &CertificateBody, other: &CertificateBody, now: UnixTime) -> bool {
    let rank = |body: &CertificateBody| {
        let validity = Validity::of(body.not_before, body.not_after, now);
        let is_valid = validity == Validity::Valid;
        let is_brought = is_valid && body.directory.is_empty();
        // An owner who brings another wants it used, however long the one before lasts.
        let begun = if is_brought {
            body.not_before
        } else {
            UnixTime(0)
        };
        (is_valid, is_brought, begun, body.not_after)
    };
    rank(one) > rank(other)
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::body::Purpose;
    use crate::certificates::scene::{Ca, Issued};
    use crate::certificates::wanted;
    use crate::region::scene::Scene;
    use std::time::Duration;
    use verge_sync::record::body::Actors;
    use verge_sync::store::LocalDisk;

    const DIRECTORY: &str = "https://ca.example/dir";
    const NOW: UnixTime = UnixTime(1_800_000_000);
    const LIFE: Duration = Duration::from_hours(24 * 90);

    /// Three nodes, of which node 0 orders; and the keyring of node 1.
    struct Street {
        scene: Scene,
        ca: Ca,
        store: Store,
        keyring: Keyring,
        _folder: tempfile::TempDir,
    }

    impl Street {
        fn new() -> Self {
            let scene = Scene::ordering(3, DIRECTORY);
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path(), Arc::new(LocalDisk)).unwrap();
            let ca = Ca::new();
            let authorities = Authorities::new(&[ca.root.clone().into_bytes()]).unwrap();
            let keyring = Keyring::new(store.clone(), &scene.seed(1), authorities);
            Self {
                scene,
                ca,
                store,
                keyring,
                _folder: folder,
            }
        }

        fn issue(&self, from: i64) -> Issued {
            self.ca.issue(&["a.example"], UnixTime(from), LIFE)
        }

        /// What node `author` says of `issued`, sealed to `nodes`; `change` is what it lies.
        fn say(
            &mut self,
            author: u8,
            issued: &Issued,
            nodes: &[u8],
            change: impl FnOnce(&mut CertificateBody),
        ) -> Vec<u8> {
            let effect = self.scene.effect();
            let names = NameSet::one("a.example").unwrap();
            let all = wanted::recipients(&effect, &Actors::All);
            let of = |node: &u8| (self.scene.node(*node), all[&self.scene.node(*node)]);
            let context = Context {
                region: effect.region,
                subject: names.subject(DIRECTORY),
                author: self.scene.node(author),
            };
            let leaf = super::super::chain::read_chain(issued.chain.as_bytes()).unwrap();
            let leaf = super::super::chain::read_leaf(&leaf[0]).unwrap();
            let recipients = nodes.iter().map(of).collect();
            let (chain, key) = (issued.chain.as_bytes(), issued.key.as_bytes());
            let bundle = Bundle::seal(&context, chain, key, &recipients).unwrap();
            let bytes = bundle.encode();
            let mut body = CertificateBody {
                purpose: Purpose::Ordered(names),
                directory: DIRECTORY.to_owned(),
                bundle: Digest::of(&bytes),
                bundle_bytes: bytes.len().try_into().unwrap(),
                not_before: leaf.not_before,
                not_after: leaf.not_after,
            };
            change(&mut body);
            self.scene.certify(author, &body);
            bytes
        }

        fn review(&self, now: i64) -> Review {
            self.keyring.review(&self.scene.effect(), UnixTime(now))
        }

        /// When the certificate that is used ends.
        fn end(&self, now: i64) -> Option<i64> {
            let review = self.review(now);
            let held = review.held.values().next()?;
            assert_eq!(review.certificates().count(), 1);
            Some(held.leaf.not_after.0)
        }
    }

    fn end_of(from: i64) -> Option<i64> {
        Some(from + i64::try_from(LIFE.as_secs()).unwrap())
    }

    #[test]
    fn a_bundle_is_asked_for_and_used_when_it_is_here() {
        let mut street = Street::new();
        let issued = street.issue(NOW.0);
        let bytes = street.say(0, &issued, &[0, 1, 2], |_| {});
        let review = street.review(NOW.0);
        let missing = (Digest::of(&bytes), bytes.len().try_into().unwrap());
        assert_eq!(review.missing, BTreeMap::from([missing]));
        assert!(review.held.is_empty());
        street.store.blobs().put(&bytes).unwrap();
        assert_eq!(street.end(NOW.0), end_of(NOW.0));
        assert!(street.review(NOW.0).missing.is_empty());
    }

    #[test]
    fn what_is_sealed_to_others_is_known_and_not_used() {
        let mut street = Street::new();
        let issued = street.issue(NOW.0);
        let bytes = street.say(0, &issued, &[0, 2], |_| {});
        street.store.blobs().put(&bytes).unwrap();
        let review = street.review(NOW.0);
        assert_eq!(review.held.len(), 1);
        assert_eq!(review.certificates().count(), 0);
    }

    #[test]
    fn a_node_that_is_to_have_a_key_keeps_what_it_can_open() {
        let mut street = Street::new();
        let (early, late) = (NOW.0, NOW.0 + 1_000);
        let good = street.issue(early);
        let bytes = street.say(0, &good, &[0, 1, 2], |_| {});
        street.store.blobs().put(&bytes).unwrap();
        // An issuer seals one that lasts longer to itself alone.
        let selfish = street.issue(late);
        let bytes = street.say(0, &selfish, &[0], |_| {});
        street.store.blobs().put(&bytes).unwrap();
        assert_eq!(street.end(late), end_of(early));
        // When it is given to all, it is used.
        let bytes = street.say(0, &selfish, &[0, 1, 2], |_| {});
        street.store.blobs().put(&bytes).unwrap();
        assert_eq!(street.end(late), end_of(late));
    }

    #[test]
    fn poison_does_not_take_the_place_of_what_works() {
        let mut street = Street::new();
        let good = street.issue(NOW.0);
        let bytes = street.say(0, &good, &[0, 1, 2], |_| {});
        street.store.blobs().put(&bytes).unwrap();
        let later = NOW.0 + 1_000;
        let end = end_of(NOW.0);
        // Of a node that is no issuer.
        let issued = street.issue(later);
        let bytes = street.say(1, &issued, &[0, 1, 2], |_| {});
        street.store.blobs().put(&bytes).unwrap();
        assert_eq!(street.end(later), end);
        // With another's key.
        let mixed = Issued {
            chain: street.issue(later).chain,
            key: street.issue(later).key,
        };
        let bytes = street.say(0, &mixed, &[0, 1, 2], |_| {});
        street.store.blobs().put(&bytes).unwrap();
        assert_eq!(street.end(later), end);
        // Of an authority that nobody knows.
        let foreign = Ca::new().issue(&["a.example"], UnixTime(later), LIFE);
        let bytes = street.say(0, &foreign, &[0, 1, 2], |_| {});
        street.store.blobs().put(&bytes).unwrap();
        assert_eq!(street.end(later), end);
    }

    #[test]
    fn an_issuer_that_turns_bad_hides_nothing_behind_other_records() {
        let mut street = Street::new();
        let good = street.issue(NOW.0);
        let bytes = street.say(0, &good, &[0, 1, 2], |_| {});
        street.store.blobs().put(&bytes).unwrap();
        assert_eq!(street.end(NOW.0), end_of(NOW.0));
        let foreign = Ca::new();
        for number in 1..10 {
            let poison = foreign.issue(&["a.example"], UnixTime(NOW.0 + number), LIFE);
            let bytes = street.say(0, &poison, &[0, 1, 2], |_| {});
            street.store.blobs().put(&bytes).unwrap();
        }
        assert_eq!(street.end(NOW.0), end_of(NOW.0));
        // Neither a collection nor a start changes that.
        let live = crate::certificates::named_bundles(&street.scene.effect()).collect();
        let now = verge_sync::clock::stopwatch();
        let collected = street.store.collect(&live, Duration::ZERO, now).unwrap();
        assert_eq!(collected.removed_count, 6);
        street.keyring = Keyring::new(
            street.store.clone(),
            &street.scene.seed(1),
            Authorities::new(&[street.ca.root.clone().into_bytes()]).unwrap(),
        );
        assert_eq!(street.end(NOW.0), end_of(NOW.0));
    }

    #[test]
    fn a_record_that_lies_about_its_bundle_does_not_count() {
        for lie in [
            (|body| body.not_after.0 += 1) as fn(&mut CertificateBody),
            |body| body.not_before.0 -= 1,
            |body| body.bundle_bytes += 1,
        ] {
            let mut street = Street::new();
            let good = street.issue(NOW.0);
            let bytes = street.say(0, &good, &[0, 1, 2], |_| {});
            street.store.blobs().put(&bytes).unwrap();
            let issued = street.issue(NOW.0 + 1_000);
            let bytes = street.say(0, &issued, &[0, 1, 2], lie);
            street.store.blobs().put(&bytes).unwrap();
            assert_eq!(street.end(NOW.0 + 1_000), end_of(NOW.0));
        }
    }

    #[test]
    fn what_an_owner_brought_last_is_used_while_it_is_valid() {
        let of = |directory: &str, from: i64, until: i64| CertificateBody {
            purpose: Purpose::Account,
            directory: directory.to_owned(),
            bundle: Digest::of(b""),
            bundle_bytes: 1,
            not_before: UnixTime(from),
            not_after: UnixTime(until),
        };
        let now = UnixTime(50);
        // From the worst to the best.
        let ranked = [
            of("", 0, 20),
            of("d", 0, 40),
            of("d", 10, 60),
            of("d", 0, 90),
            of("", 10, 1_000),
            of("", 40, 60),
            of("", 40, 70),
        ];
        for (place, one) in ranked.iter().enumerate() {
            for (other_place, other) in ranked.iter().enumerate() {
                assert_eq!(
                    is_better(one, other, now),
                    place > other_place,
                    "{place} {other_place}"
                );
            }
        }
    }

    #[test]
    fn the_valid_one_is_used_and_if_none_is_the_last_to_end() {
        let mut street = Street::new();
        let (early, late) = (NOW.0, NOW.0 + 10_000);
        for from in [early, late] {
            let issued = street.issue(from);
            let bytes = street.say(0, &issued, &[1], |_| {});
            street.store.blobs().put(&bytes).unwrap();
        }
        // The later has not begun.
        assert_eq!(street.end(early + 1), end_of(early));
        assert_eq!(street.end(late + 1), end_of(late));
        // 1970, and long after: a warning beats no page.
        assert_eq!(street.end(0), end_of(late));
        assert_eq!(street.end(end_of(late).unwrap() + 1), end_of(late));
    }
}
