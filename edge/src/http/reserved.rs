//! What the node answers itself, before every rule of the site: its health, and taking sites out.

use super::body::{Content, PIECES_BYTES, Pieces};
use super::respond::Head;
use super::room::{Claim, Need};
use super::route::Reserved;
use super::screen::Transport;
use super::takeout::{Stream, Takeout};
use super::{Door, Reply, health, respond};
use crate::sites::{LoadError, SiteAt, SiteManifest};
use http::header::CONTENT_LENGTH;
use http::{Method, Request, StatusCode};
use std::sync::Arc;

/// What is asked of the node itself.
pub(super) struct Asked<'a> {
    pub(super) kind: Reserved,
    pub(super) site: &'a SiteAt,
    pub(super) transport: &'a Transport,
}

/// Answers GET or HEAD for a path of the node's own.
pub(super) async fn answer<B>(
    door: &Door,
    loaded: &Arc<SiteManifest>,
    asked: Asked<'_>,
    request: &Request<B>,
) -> Result<Reply, LoadError> {
    let site = asked.site;
    let form: (Head, fn(&Takeout) -> Stream) = match asked.kind {
        Reserved::Health => {
            let body = health::body(&door.assurances, site, request.uri().query());
            return Ok(body.map_or_else(
                || Reply::page(StatusCode::BAD_REQUEST),
                |body| Reply {
                    head: respond::json(),
                    content: Content::Whole(body.into()),
                },
            ));
        }
        Reserved::TakeoutList if site.takeout_public => (respond::json(), Takeout::list),
        Reserved::TakeoutArchive if site.takeout_public => (respond::archive(), Takeout::archive),
        Reserved::AcmeChallenge
        | Reserved::TakeoutList
        | Reserved::TakeoutArchive
        | Reserved::Other => return Ok(Reply::page(StatusCode::NOT_FOUND)),
    };
    let claim = &asked.transport.claim;
    let claim = (*request.method() != Method::HEAD).then_some(claim);
    take_out(door, loaded, form, claim).await
}

/// `claim` is none if only the head is asked for.
async fn take_out(
    door: &Door,
    loaded: &Arc<SiteManifest>,
    (mut head, form): (Head, fn(&Takeout) -> Stream),
    claim: Option<&Claim>,
) -> Result<Reply, LoadError> {
    let site = Arc::clone(loaded);
    let lay_out = move || form(&Takeout::gather(site));
    let stream = tokio::task::spawn_blocking(lay_out).await;
    let stream = stream.map_err(|_panicked| LoadError::Thread)?;
    head.headers.insert(CONTENT_LENGTH, stream.length.into());
    let Some(claim) = claim else {
        return Ok(Reply::empty(head));
    };
    let room = door.rooms.take(Need::Pieces(PIECES_BYTES), claim).await;
    let room = room.ok_or(LoadError::NoRoom)?;
    let blobs = door.sites.blobs();
    let pieces = Pieces::open(blobs, stream.length, stream.segments, room).await?;
    Ok(Reply {
        head,
        content: Content::Pieces(pieces),
    })
}
