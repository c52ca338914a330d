//! From contents and the version before to a manifest: what is reused, moved, made, carried.

use crate::content::{Distinct, Hashed};
use crate::error::BuildError;
use crate::previous::Previous;
use crate::problems;
use crate::report::{Problem, Totals};
use crate::represent::{Lies, Stock, Stored};
use crate::staging::Staging;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use verge_sync::SitePath;
use verge_sync::clock::UnixTime;
use verge_sync::digest::Digest;
use verge_sync::manifest::{
    BlobRef, Carried, Coding, Content, ContentPath, Delivery, Entry, Location, Manifest,
    Representation,
};
use verge_sync::pack::{Fate, Occupancy, fates};

/// How long a hashed asset stays reachable after the tree lost it: the longest that a visitor's
/// open page is expected to ask for it.
pub const CARRIED_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The delivery section of problems.
pub const PROBLEMS_TAG: u32 = 1;

/// What stays from the version before and what has to be made.
pub(crate) struct Plan<'a> {
    previous: Option<&'a Previous>,
    /// Contents that have to be made.
    pub(crate) new: Vec<Distinct>,
    /// Contents of the tree that are there already.
    reused: BTreeSet<Digest>,
    carried: BTreeMap<SitePath, Carried>,
    fates: Vec<Fate>,
}

/// What leaves a pack that is written anew, in the order in which it lies: the content, which of
/// its representations, and that.
type Moving = BTreeMap<(u32, u64), (Digest, usize, Representation)>;

impl<'a> Plan<'a> {
    /// Decides, and reads what would be moved: a blob that is found damaged is not used at all, so
    /// that as much as possible of it is made anew.
    pub(crate) fn sound(
        hashed: &Hashed,
        previous: Option<&'a mut Previous>,
        time: UnixTime,
    ) -> Self {
        let Some(previous) = previous else {
            return Self::new(hashed, None, time);
        };
        // Every round loses a blob, so this ends; the plan of the next may move others.
        while let Some(blob_index) = Plan::new(hashed, Some(previous), time).find_damage() {
            previous.forget(blob_index);
        }
        Self::new(hashed, Some(previous), time)
    }

    /// Decides, from digests and lengths alone.
    fn new(hashed: &Hashed, previous: Option<&'a Previous>, time: UnixTime) -> Self {
        let carried = previous.map_or_else(BTreeMap::new, |previous| {
            carried(previous, &hashed.content, time)
        });
        let mut plan = Self {
            previous,
            new: Vec::new(),
            reused: BTreeSet::new(),
            carried,
            fates: Vec::new(),
        };
        for item in &hashed.distinct {
            let found = previous.and_then(|p| p.reusable(&item.identity, item.compressible));
            if found.is_some() {
                plan.reused.insert(item.identity);
            } else {
                plan.new.push(item.clone());
            }
        }
        plan.fates = plan.pack_fates();
        plan
    }

    /// Whether the version before has the content of this digest, ready to use.
    pub(crate) fn is_reused(&self, identity: &Digest) -> bool {
        self.reused.contains(identity)
    }

    /// Contents that stay: those of the tree, then those that are only carried.
    fn kept(&self) -> BTreeMap<Digest, &'a [Representation]> {
        let new: BTreeSet<Digest> = self.new.iter().map(|item| item.identity).collect();
        let carried = self.carried.values().map(|carried| carried.path.identity);
        let wanted = self.reused.iter().copied().chain(carried);
        let wanted = wanted.filter(|identity| !new.contains(identity));
        wanted
            .filter_map(|identity| Some((identity, self.previous?.representations(&identity)?)))
            .collect()
    }

    fn pack_fates(&self) -> Vec<Fate> {
        let Some(previous) = self.previous else {
            return Vec::new();
        };
        let pack_count = usize::try_from(previous.manifest.pack_count()).unwrap_or(usize::MAX);
        let packs = previous.manifest.blobs().take(pack_count);
        let mut occupancy: Vec<Occupancy> = packs
            .map(|pack| Occupancy {
                bytes: pack.bytes,
                alive_bytes: 0,
            })
            .collect();
        for representation in self.kept().into_values().flatten() {
            let pack = representation.location.and_then(|place| {
                occupancy.get_mut(usize::try_from(place.blob_index).unwrap_or(usize::MAX))
            });
            if let Some(pack) = pack {
                pack.alive_bytes = pack.alive_bytes.saturating_add(representation.length);
            }
        }
        fates(&occupancy)
    }

    /// Moves what is alive out of the packs that are written anew, in the order in which it lies.
    pub(crate) fn move_kept(&self, staging: &mut Staging) -> Result<Stock, BuildError> {
        let Some(previous) = self.previous else {
            return Ok(Stock::new());
        };
        let kept = self.kept().into_iter();
        let mut stock: Stock = kept
            .map(|(identity, list)| (identity, list.iter().map(before).collect()))
            .collect();
        for (identity, at, representation) in self.moving().into_values() {
            let place = staging.pack(&previous.read(&representation)?)?;
            let stored = stock.get_mut(&identity).and_then(|list| list.get_mut(at));
            if let Some(stored) = stored {
                stored.lies = Lies::Packed(place);
            }
        }
        Ok(stock)
    }

    fn moving(&self) -> Moving {
        let mut moving = Moving::new();
        for (identity, representations) in self.kept() {
            for (at, representation) in representations.iter().enumerate() {
                let leaves = |place: &Location| self.fate(place.blob_index) == Fate::Rewrite;
                if let Some(place) = representation.location.filter(leaves) {
                    let key = (place.blob_index, place.offset);
                    moving.insert(key, (identity, at, *representation));
                }
            }
        }
        moving
    }

    /// The first blob out of which something to be moved cannot be read as it should be.
    fn find_damage(&self) -> Option<u32> {
        let previous = self.previous?;
        let mut moving = self.moving().into_iter();
        moving.find_map(|((blob_index, _), (_, _, representation))| {
            previous
                .read(&representation)
                .is_err()
                .then_some(blob_index)
        })
    }

    fn fate(&self, blob_index: u32) -> Fate {
        let index = usize::try_from(blob_index).unwrap_or(usize::MAX);
        self.fates.get(index).copied().unwrap_or(Fate::Keep)
    }

    /// Puts everything together. `packs` are the new ones, in order.
    pub(crate) fn assemble(
        &self,
        hashed: &Hashed,
        stock: &Stock,
        packs: &[BlobRef],
        found: &[Problem],
        time: UnixTime,
    ) -> Result<Manifest, BuildError> {
        let blobs = Blobs::gather(self.previous, stock, packs)?;
        let mut delivery = Delivery {
            previous: self.previous.map(|previous| previous.manifest.version()),
            blobs: blobs.list.clone(),
            pack_count: blobs.pack_count,
            carried: self.carried.clone(),
            ..Delivery::default()
        };
        for (identity, stored) in stock {
            let list = stored.iter().map(|stored| blobs.representation(stored));
            let list = list.collect::<Option<Vec<_>>>();
            let list = list.ok_or_else(|| inconsistent("a representation without its blob"))?;
            delivery.representations.insert(*identity, list);
        }
        for (path, file) in &hashed.content.paths {
            let seen = self
                .previous
                .and_then(|p| seen_before(&p.manifest, path, file));
            delivery
                .first_seen
                .insert(path.clone(), seen.unwrap_or(time));
        }
        if !found.is_empty() {
            delivery
                .sections
                .insert(PROBLEMS_TAG, problems::encode(found));
        }
        Ok(Manifest::decode(delivery.encode(&hashed.content)?)?)
    }

    /// The numbers of the report.
    pub(crate) fn totals(&self, hashed: &Hashed, stock: &Stock) -> Totals {
        let mut totals = Totals::default();
        for file in hashed.content.paths.values() {
            totals.files += 1;
            totals.bytes = totals.bytes.saturating_add(file.length);
            totals.files_reused += u64::from(self.is_reused(&file.identity));
        }
        for coding in Coding::ALL {
            for stored in stock.values() {
                let identity_bytes = stored.first().map_or(0, |identity| identity.length);
                for found in stored.iter().filter(|stored| stored.coding == coding) {
                    totals.count(coding, found.length, identity_bytes);
                }
            }
        }
        totals.carried = self.carried.values().fold(0, |count, _| count + 1);
        totals
    }
}

/// Hashed assets of the versions before that the tree does not have, for [`CARRIED_FOR`] each.
fn carried(previous: &Previous, content: &Content, time: UnixTime) -> BTreeMap<SitePath, Carried> {
    let lost = (0_u32..).zip(previous.manifest.paths());
    let lost = lost.filter(|(position, _)| previous.hashed.contains(*position));
    let lost = lost.map(|(_, entry)| (entry, time));
    let older = previous.manifest.carried().filter_map(|entry| {
        let since = entry.seen().carried_since?;
        (time.since(since) <= CARRIED_FOR).then_some((entry, since))
    });
    lost.chain(older)
        .filter(|(entry, _)| previous.representations(&entry.identity_digest()).is_some())
        .filter_map(|(entry, since)| {
            Some((SitePath::new(entry.path()).ok()?, carry(&entry, since)))
        })
        .filter(|(path, _)| !content.paths.contains_key(path))
        .collect()
}

fn carry(entry: &Entry<'_>, since: UnixTime) -> Carried {
    Carried {
        path: ContentPath {
            identity: entry.identity_digest(),
            length: entry.length(),
            media_type: entry.media_type().to_owned(),
        },
        first_seen: entry.seen().first,
        since,
    }
}

/// When this content first appeared at this path, if the version before already had it there.
fn seen_before(previous: &Manifest, path: &SitePath, file: &ContentPath) -> Option<UnixTime> {
    let entry = previous.find(path.as_str())?;
    (entry.identity_digest() == file.identity).then(|| entry.seen().first)
}

fn before(representation: &Representation) -> Stored {
    Stored {
        coding: representation.coding,
        digest: representation.digest,
        sha256: representation.sha256,
        length: representation.length,
        lies: representation.location.map_or(Lies::Nowhere, Lies::Before),
    }
}

/// The version's list of blobs: kept packs, new packs, kept big blobs, new big blobs.
struct Blobs {
    list: Vec<BlobRef>,
    pack_count: u32,
    /// New index of each kept blob of the version before, by its old index.
    kept: BTreeMap<u32, u32>,
    first_new_pack: u32,
    alone: BTreeMap<Digest, u32>,
}

impl Blobs {
    fn gather(
        previous: Option<&Previous>,
        stock: &Stock,
        packs: &[BlobRef],
    ) -> Result<Self, BuildError> {
        let mut kept: BTreeMap<u32, u32> = BTreeMap::new();
        let mut alone: BTreeMap<Digest, u32> = BTreeMap::new();
        let mut new_alone: Vec<BlobRef> = Vec::new();
        for stored in stock.values().flatten() {
            match stored.lies {
                Lies::Before(place) => drop(kept.insert(place.blob_index, 0)),
                Lies::Alone(blob) => new_alone.push(blob),
                Lies::Nowhere | Lies::Packed(_) => {}
            }
        }
        let old_packs = previous.map_or(0, |previous| previous.manifest.pack_count());
        let mut list = Vec::new();
        let mut keep = |list: &mut Vec<BlobRef>, is_pack: bool| {
            for (old, new) in kept
                .iter_mut()
                .filter(|(old, _)| (**old < old_packs) == is_pack)
            {
                let blob = previous.and_then(|previous| previous.manifest.blob(*old));
                *new = count(list)?;
                list.push(blob.ok_or_else(|| inconsistent("a kept blob is not listed"))?);
            }
            Ok::<(), BuildError>(())
        };
        keep(&mut list, true)?;
        let first_new_pack = count(&list)?;
        list.extend_from_slice(packs);
        let pack_count = count(&list)?;
        keep(&mut list, false)?;
        for blob in new_alone {
            alone.insert(blob.digest, count(&list)?);
            list.push(blob);
        }
        Ok(Self {
            list,
            pack_count,
            kept,
            first_new_pack,
            alone,
        })
    }

    fn representation(&self, stored: &Stored) -> Option<Representation> {
        let location = match stored.lies {
            Lies::Nowhere => None,
            Lies::Before(place) => Some(Location {
                blob_index: *self.kept.get(&place.blob_index)?,
                offset: place.offset,
            }),
            Lies::Packed(place) => Some(Location {
                blob_index: self.first_new_pack.checked_add(place.pack_index)?,
                offset: place.offset,
            }),
            Lies::Alone(blob) => Some(Location {
                blob_index: *self.alone.get(&blob.digest)?,
                offset: 0,
            }),
        };
        Some(Representation {
            coding: stored.coding,
            digest: stored.digest,
            sha256: stored.sha256,
            length: stored.length,
            location,
        })
    }
}

fn count(list: &[BlobRef]) -> Result<u32, BuildError> {
    u32::try_from(list.len()).map_err(|_too_many| inconsistent("too many blobs"))
}

fn inconsistent(what: &str) -> BuildError {
    BuildError::Inconsistent(what.to_owned())
}
