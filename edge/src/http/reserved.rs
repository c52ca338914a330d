//! What the node answers itself, before every rule of the site: its health, and taking sites out.

use super::body::{Content, Pieces};
use super::respond::Head;
use super::route::Reserved;
use super::takeout::{Stream, Takeout};
use super::{Door, Reply, health, respond};
use crate::sites::{LoadError, SiteAt, SiteManifest};
use http::header::CONTENT_LENGTH;
use http::{Method, Request, StatusCode};
use std::sync::Arc;

/// Answers GET or HEAD for a path of the node's own.
pub(super) async fn answer<B>(
    door: &Door,
    site: SiteAt,
    loaded: &Arc<SiteManifest>,
    reserved: Reserved,
    request: &Request<B>,
) -> Result<Reply, LoadError> {
    match reserved {
        Reserved::Health => {
            let body = health::body(&door.assurances, &site, request.uri().query());
            Ok(body.map_or_else(
                || Reply::page(StatusCode::BAD_REQUEST),
                |body| Reply {
                    head: respond::json(),
                    content: Content::Whole(body.into()),
                },
            ))
        }
        Reserved::TakeoutList if site.takeout_public => {
            take_out(door, loaded, respond::json(), Takeout::list, request).await
        }
        Reserved::TakeoutArchive if site.takeout_public => {
            take_out(door, loaded, respond::archive(), Takeout::archive, request).await
        }
        Reserved::AcmeChallenge
        | Reserved::TakeoutList
        | Reserved::TakeoutArchive
        | Reserved::Other => Ok(Reply::page(StatusCode::NOT_FOUND)),
    }
}

async fn take_out<B>(
    door: &Door,
    loaded: &Arc<SiteManifest>,
    mut head: Head,
    form: fn(&Takeout) -> Stream,
    request: &Request<B>,
) -> Result<Reply, LoadError> {
    let site = Arc::clone(loaded);
    let lay_out = move || form(&Takeout::gather(site));
    let stream = tokio::task::spawn_blocking(lay_out).await;
    let stream = stream.map_err(|_panicked| LoadError::Thread)?;
    head.headers.insert(CONTENT_LENGTH, stream.length.into());
    let content = if *request.method() == Method::HEAD {
        Content::Nothing
    } else {
        let blobs = door.sites.blobs();
        Content::Pieces(Pieces::open(blobs, stream.length, stream.segments).await?)
    };
    Ok(Reply { head, content })
}
