//! One file of a manifest, read where it lies, and the walk over all of them.

use super::{INVARIANT, Manifest};
use crate::digest::Digest;
use crate::manifest::{Coding, Representation, Seen};

/// One file of a manifest.
#[derive(Clone)]
pub struct Entry<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) path: &'a str,
    pub(super) identity: Digest,
    pub(super) length: u64,
    pub(super) media_type: &'a str,
    pub(super) first_representation: usize,
    pub(super) representation_count: usize,
    pub(super) seen: Seen,
    pub(super) path_index: Option<usize>,
}

impl<'a> Entry<'a> {
    /// Its place among [`Manifest::paths`], by which sections name files; none if it is carried.
    #[must_use]
    pub fn path_index(&self) -> Option<usize> {
        self.path_index
    }

    /// The path inside the site.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// BLAKE3 of the bytes as published.
    #[must_use]
    pub fn identity_digest(&self) -> Digest {
        self.identity
    }

    /// Length of the bytes as published.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// `Content-Type` as it is sent.
    #[must_use]
    pub fn media_type(&self) -> &'a str {
        self.media_type
    }

    /// Since when this content is here, and since when it is only carried.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// The codings at hand, identity first.
    pub fn representations(&self) -> impl Iterator<Item = Representation> + use<'a> {
        let manifest = self.manifest;
        let start = self.first_representation;
        (start..start + self.representation_count).filter_map(|at| manifest.representation(at))
    }

    /// The representation in `coding`, if it is stored.
    #[must_use]
    pub fn representation(&self, coding: Coding) -> Option<Representation> {
        self.representations()
            .find(|representation| representation.coding == coding)
    }

    /// The bytes as published: always stored.
    #[must_use]
    pub fn identity(&self) -> Representation {
        self.manifest
            .representation(self.first_representation)
            .expect(INVARIANT)
    }
}

/// The files of one of a manifest's tables, in order.
pub struct Entries<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) next: usize,
    pub(super) count: usize,
    pub(super) carried: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.next >= self.count {
            return None;
        }
        let at = self.next;
        self.next += 1;
        Some(if self.carried {
            self.manifest.carried_entry(at)
        } else {
            self.manifest.path_entry(at)
        })
    }

    /// In constant time: whoever sends a long list in pieces comes back for one row after another.
    fn nth(&mut self, skipped: usize) -> Option<Entry<'a>> {
        self.next = self.next.saturating_add(skipped).min(self.count);
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count - self.next, Some(self.count - self.next))
    }
}

impl ExactSizeIterator for Entries<'_> {}
