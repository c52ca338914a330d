//! The bytes that a planned answer needs: from memory if its file is small, else as they are taken.

use super::blob_file::Place;
use super::body::{Content, Intake, PIECES_BYTES, Pieces, Segment};
use super::multipart::{self, Section};
use super::plan::{Payload, Plan};
use super::range::Span;
use super::room::{Need, Room, in_room};
use super::{Door, Reply, Transport};
use crate::sites::{CACHED_BODY_BYTES_MAX, LoadError, Sites};
use bytes::Bytes;
use std::sync::Arc;
use verge_sync::manifest::Representation;

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

/// A larger body takes room as a download does, although it may lie in memory: what a visitor does not
/// take keeps it there.
const SMALL_BODY_BYTES_MAX: u64 = 64 << 10;

/// The bytes that a plan needs, which lie at `place`, in room of the connection's claim.
pub(super) async fn read(
    door: &Door,
    place: Option<Place>,
    plan: Plan,
    transport: &Transport,
) -> Result<Reply, LoadError> {
    let mut worth = plan.worth();
    let mut head = plan.head;
    let shelf = Shelf {
        sites: &door.sites,
        place,
        intake: transport.channel.intake(),
    };
    let needed = |whole: &Representation, length: u64| {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let need = if whole.length <= SMALL_BODY_BYTES_MAX {
            Need::Whole(length)
        } else if whole.length <= CACHED_BODY_BYTES_MAX {
            Need::Pieces(length)
        } else {
            Need::Pieces(PIECES_BYTES)
        };
        let taken = door.rooms.take(need, &transport.claim);
        async move { taken.await.ok_or(LoadError::NoRoom) }
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

/// Where the bytes of one representation lie; nowhere if it is empty.
struct Shelf<'a> {
    sites: &'a Arc<Sites>,
    place: Option<Place>,
    intake: Intake,
}

impl Shelf<'_> {
    /// The bytes of a representation or of a part of it: from memory if it is small.
    async fn fetch(
        &self,
        representation: &Representation,
        span: Option<Span>,
        room: Room,
    ) -> Result<Content, LoadError> {
        let Some(place) = self.place else {
            return Ok(Content::Nothing);
        };
        if representation.length <= CACHED_BODY_BYTES_MAX {
            let whole = self.sites.body(place, representation.digest).await?;
            let bytes = span.map_or(whole.clone(), |span| slice(&whole, span));
            return Ok(Content::Whole(in_room(bytes, room)));
        }
        let (place, check) = match span {
            None => (place, Some(representation.digest)),
            Some(span) => {
                self.sites.check_large(place, representation.digest).await?;
                (place.part(span.start, span.length), None)
            }
        };
        let segment = std::iter::once(Segment::Stored(place, check));
        let blobs = self.sites.blobs();
        let pieces =
            Pieces::open(blobs, self.intake, place.length, Box::new(segment), room).await?;
        Ok(Content::Pieces(pieces))
    }

    /// Several parts of a representation, each between texts.
    async fn fetch_parts(
        &self,
        whole: &Representation,
        sections: Vec<Section>,
        room: Room,
    ) -> Result<Content, LoadError> {
        let Some(place) = self.place else {
            return Ok(Content::Nothing);
        };
        if whole.length <= CACHED_BODY_BYTES_MAX {
            let whole = self.sites.body(place, whole.digest).await?;
            let pieces = sections.into_iter().map(|section| match section {
                Section::Text(text) => text,
                Section::Bytes(span) => slice(&whole, span),
            });
            let pieces: Vec<Bytes> = pieces.collect();
            return Ok(Content::Whole(in_room(pieces.concat().into(), room)));
        }
        self.sites.check_large(place, whole.digest).await?;
        let length = sections.iter().map(Section::length).sum();
        let segments = sections.into_iter().map(move |section| match section {
            Section::Text(text) => Segment::Text(text),
            Section::Bytes(span) => Segment::Stored(place.part(span.start, span.length), None),
        });
        let blobs = self.sites.blobs();
        let pieces = Pieces::open(blobs, self.intake, length, Box::new(segments), room).await?;
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
