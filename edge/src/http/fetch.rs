//! The bytes that a planned answer needs: from memory if its file is small, else as they are taken.

use super::body::{self, Content, PIECES_BYTES, Pieces, Segment};
use super::multipart::{self, Section};
use super::plan::{Payload, Plan};
use super::range::Span;
use super::room::{Claim, Need, Room, in_room};
use super::{Door, Reply};
use crate::sites::{CACHED_BODY_BYTES_MAX, LoadError, Sites};
use bytes::Bytes;
use std::sync::Arc;
use verge_sync::manifest::{Manifest, Representation};

/// The answer to HEAD: no bytes.
pub(super) fn head(plan: Plan) -> Reply {
    let worth = plan.worth();
    match plan.payload {
        Payload::OurPage => Reply::explained(plan.head),
        _ => Reply {
            worth,
            ..Reply::empty(plan.head)
        },
    }
}

/// The bytes that a plan needs, in room of `claim`.
pub(super) async fn read(
    door: &Door,
    manifest: &Manifest,
    plan: Plan,
    claim: &Claim,
) -> Result<Reply, LoadError> {
    let mut worth = plan.worth();
    let mut head = plan.head;
    let shelf = Shelf {
        sites: &door.sites,
        manifest,
    };
    let needed = |whole: &Representation, length: u64| {
        let is_small = whole.length <= CACHED_BODY_BYTES_MAX;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let need = if is_small {
            Need::Whole(length)
        } else {
            Need::Pieces(PIECES_BYTES)
        };
        async move { door.rooms.take(need, claim).await.ok_or(LoadError::NoRoom) }
    };
    let content = match plan.payload {
        Payload::OurPage => return Ok(Reply::explained(head)),
        Payload::Nothing => Content::Nothing,
        Payload::Bytes(whole, span) => {
            let room = needed(&whole, span.map_or(whole.length, |span| span.length)).await?;
            shelf.fetch(&whole, span, room).await?
        }
        Payload::Parts(whole, spans) => {
            let sections = multipart::wrap(&mut head, &whole, &spans);
            if let Some(worth) = &mut worth {
                worth.parts = Some(multipart::parts(&sections));
            }
            let length = sections.iter().map(Section::length).sum();
            let room = needed(&whole, length).await?;
            shelf.fetch_parts(&whole, sections, room).await?
        }
    };
    Ok(Reply {
        head,
        content,
        worth,
    })
}

/// Where the bytes of one version lie.
struct Shelf<'a> {
    sites: &'a Arc<Sites>,
    manifest: &'a Manifest,
}

impl Shelf<'_> {
    /// The bytes of a representation or of a part of it: from memory if it is small.
    async fn fetch(
        &self,
        representation: &Representation,
        span: Option<Span>,
        room: Arc<Room>,
    ) -> Result<Content, LoadError> {
        if representation.length <= CACHED_BODY_BYTES_MAX {
            let whole = self.sites.body(self.manifest, representation).await?;
            let bytes = span.map_or(whole.clone(), |span| slice(&whole, span));
            return Ok(Content::Whole(in_room(bytes, &room)));
        }
        let Some(place) = body::place(self.manifest, representation) else {
            return Ok(Content::Nothing);
        };
        let (place, check) = match span {
            None => (place, Some(representation.digest)),
            Some(span) => {
                self.sites
                    .check_large(self.manifest, representation)
                    .await?;
                (place.part(span.start, span.length), None)
            }
        };
        let segment = std::iter::once(Segment::Stored(place, check));
        let blobs = self.sites.blobs();
        let pieces = Pieces::open(blobs, place.length, Box::new(segment), room).await?;
        Ok(Content::Pieces(pieces))
    }

    /// Several parts of a representation, each between texts.
    async fn fetch_parts(
        &self,
        whole: &Representation,
        sections: Vec<Section>,
        room: Arc<Room>,
    ) -> Result<Content, LoadError> {
        if whole.length <= CACHED_BODY_BYTES_MAX {
            let whole = self.sites.body(self.manifest, whole).await?;
            let pieces = sections.into_iter().map(|section| match section {
                Section::Text(text) => text,
                Section::Bytes(span) => slice(&whole, span),
            });
            let pieces: Vec<Bytes> = pieces.collect();
            return Ok(Content::Whole(in_room(pieces.concat().into(), &room)));
        }
        let Some(place) = body::place(self.manifest, whole) else {
            return Ok(Content::Nothing);
        };
        self.sites.check_large(self.manifest, whole).await?;
        let length = sections.iter().map(Section::length).sum();
        let segments = sections.into_iter().map(move |section| match section {
            Section::Text(text) => Segment::Text(text),
            Section::Bytes(span) => Segment::Stored(place.part(span.start, span.length), None),
        });
        let blobs = self.sites.blobs();
        let pieces = Pieces::open(blobs, length, Box::new(segments), room).await?;
        Ok(Content::Pieces(pieces))
    }
}

/// A part of bytes in memory, by reference; `span` lies inside by construction.
fn slice(whole: &Bytes, span: Span) -> Bytes {
    let length = whole.len();
    let index = |offset: u64| usize::try_from(offset).unwrap_or(length).min(length);
    let start = index(span.start);
    whole.slice(start..index(span.start.saturating_add(span.length)).max(start))
}
