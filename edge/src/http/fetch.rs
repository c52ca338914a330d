//! The bytes that a planned answer needs: from memory if its file is small, else as they are taken.

use super::body::{self, Content, Pieces, Segment};
use super::multipart::{self, Section};
use super::plan::{Payload, Plan};
use super::range::Span;
use super::{Door, Reply};
use crate::sites::{CACHED_BODY_BYTES_MAX, LoadError, Sites};
use bytes::Bytes;
use std::sync::Arc;
use verge_sync::manifest::{Manifest, Representation};

/// The bytes that a plan needs.
pub(super) async fn read(
    door: &Door,
    manifest: &Manifest,
    plan: Plan,
    is_head: bool,
) -> Result<Reply, LoadError> {
    let mut head = plan.head;
    let content = match plan.payload {
        Payload::OurPage => return Ok(Reply::explained(head)),
        Payload::Nothing => Content::Nothing,
        _ if is_head => Content::Nothing,
        Payload::Bytes(whole, span) => fetch(&door.sites, manifest, &whole, span).await?,
        Payload::Parts(whole, spans) => {
            let sections = multipart::wrap(&mut head, &whole, &spans);
            fetch_parts(&door.sites, manifest, &whole, sections).await?
        }
    };
    Ok(Reply { head, content })
}

/// The bytes of a representation or of a part of it: from memory if it is small.
async fn fetch(
    sites: &Arc<Sites>,
    manifest: &Manifest,
    representation: &Representation,
    span: Option<Span>,
) -> Result<Content, LoadError> {
    if representation.length <= CACHED_BODY_BYTES_MAX {
        let whole = sites.body(manifest, representation).await?;
        return Ok(Content::Whole(
            span.map_or(whole.clone(), |span| slice(&whole, span)),
        ));
    }
    let Some(place) = body::place(manifest, representation) else {
        return Ok(Content::Nothing);
    };
    let (place, check) = match span {
        None => (place, Some(representation.digest)),
        Some(span) => {
            sites.check_large(manifest, representation).await?;
            (place.part(span.start, span.length), None)
        }
    };
    let segment = std::iter::once(Segment::Stored(place, check));
    let pieces = Pieces::open(sites.blobs(), place.length, Box::new(segment)).await?;
    Ok(Content::Pieces(pieces))
}

/// Several parts of a representation, each between texts.
async fn fetch_parts(
    sites: &Arc<Sites>,
    manifest: &Manifest,
    whole: &Representation,
    sections: Vec<Section>,
) -> Result<Content, LoadError> {
    if whole.length <= CACHED_BODY_BYTES_MAX {
        let whole = sites.body(manifest, whole).await?;
        let pieces = sections.into_iter().map(|section| match section {
            Section::Text(text) => text,
            Section::Bytes(span) => slice(&whole, span),
        });
        let pieces: Vec<Bytes> = pieces.collect();
        return Ok(Content::Whole(pieces.concat().into()));
    }
    let Some(place) = body::place(manifest, whole) else {
        return Ok(Content::Nothing);
    };
    sites.check_large(manifest, whole).await?;
    let length = sections.iter().map(Section::length).sum();
    let segments = sections.into_iter().map(move |section| match section {
        Section::Text(text) => Segment::Text(text),
        Section::Bytes(span) => Segment::Stored(place.part(span.start, span.length), None),
    });
    let pieces = Pieces::open(sites.blobs(), length, Box::new(segments)).await?;
    Ok(Content::Pieces(pieces))
}

/// A part of bytes in memory, by reference; `span` lies inside by construction.
fn slice(whole: &Bytes, span: Span) -> Bytes {
    let length = whole.len();
    let index = |offset: u64| usize::try_from(offset).unwrap_or(length).min(length);
    let start = index(span.start);
    whole.slice(start..index(span.start.saturating_add(span.length)).max(start))
}
