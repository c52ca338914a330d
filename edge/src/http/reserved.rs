//! What the node answers itself, before every rule of the site: its health, and taking sites out.

use super::body::{Content, PIECES_BYTES, Pieces};
use super::respond::Head;
use super::room::Need;
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

/// What is to be had at a path of the node's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Health,
    List,
    Archive,
    Nothing,
}

/// A site is taken out by everybody or, here, by nobody.
fn kept_at(kind: Reserved, takeout_public: bool) -> Kept {
    match (kind, takeout_public) {
        (Reserved::Health, _) => Kept::Health,
        (Reserved::TakeoutList, true) => Kept::List,
        (Reserved::TakeoutArchive, true) => Kept::Archive,
        (Reserved::TakeoutList | Reserved::TakeoutArchive, false)
        | (Reserved::AcmeChallenge | Reserved::Other, _) => Kept::Nothing,
    }
}

/// Answers GET or HEAD for a path of the node's own.
pub(super) async fn answer<B>(
    door: &Door,
    loaded: &Arc<SiteManifest>,
    asked: Asked<'_>,
    request: &Request<B>,
) -> Result<Reply, LoadError> {
    let site = asked.site;
    let form: (Head, fn(&Takeout) -> Stream) = match kept_at(asked.kind, site.takeout_public) {
        Kept::Health => {
            let body = health::body(&door.assurances, site, request.uri().query());
            return Ok(body.map_or_else(
                || Reply::page(StatusCode::BAD_REQUEST),
                |body| Reply {
                    head: respond::json(),
                    content: Content::Whole(body.into()),
                    worth: None,
                },
            ));
        }
        Kept::List => (respond::json(), Takeout::list),
        Kept::Archive => (respond::archive(), Takeout::archive),
        Kept::Nothing => return Ok(Reply::page(StatusCode::NOT_FOUND)),
    };
    let transport = (*request.method() != Method::HEAD).then_some(asked.transport);
    take_out(door, loaded, form, transport).await
}

/// `transport` is none if only the head is asked for.
async fn take_out(
    door: &Door,
    loaded: &Arc<SiteManifest>,
    (mut head, form): (Head, fn(&Takeout) -> Stream),
    transport: Option<&Transport>,
) -> Result<Reply, LoadError> {
    let site = Arc::clone(loaded);
    let lay_out = move || form(&Takeout::gather(site));
    let stream = tokio::task::spawn_blocking(lay_out).await;
    let stream = stream.map_err(|_panicked| LoadError::Thread)?;
    head.headers.insert(CONTENT_LENGTH, stream.length.into());
    let Some(Transport { channel, claim, .. }) = transport else {
        return Ok(Reply::empty(head));
    };
    let room = door.rooms.take(Need::Pieces(PIECES_BYTES), claim).await;
    let room = room.ok_or(LoadError::NoRoom)?;
    let (blobs, intake) = (door.sites.blobs(), channel.intake());
    let pieces = Pieces::open(blobs, intake, stream.length, stream.segments, room).await?;
    Ok(Reply {
        head,
        content: Content::Pieces(pieces),
        worth: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::route;

    /// http.md section 1, the rows of `/.well-known/`.
    #[test]
    fn what_is_to_be_had_at_the_node_s_own_paths() {
        let rows = [
            // Path, to everybody where takeout is public, and where it is not.
            ("acme-challenge/token", Kept::Nothing, Kept::Nothing),
            ("verge/health", Kept::Health, Kept::Health),
            ("verge/manifest.json", Kept::List, Kept::Nothing),
            ("verge/archive.tar", Kept::Archive, Kept::Nothing),
            ("verge/", Kept::Nothing, Kept::Nothing),
            ("verge/healthy", Kept::Nothing, Kept::Nothing),
            ("verge/health/x", Kept::Nothing, Kept::Nothing),
            ("verge/archive.tar.gz", Kept::Nothing, Kept::Nothing),
        ];
        for (path, public, private) in rows {
            let kind = route::reserved(&format!(".well-known/{path}")).unwrap();
            assert_eq!(kept_at(kind, true), public, "{path}");
            assert_eq!(kept_at(kind, false), private, "{path}");
        }
    }

    #[test]
    fn what_only_resembles_them_is_the_site_s() {
        for path in [
            ".well-known/security.txt",
            ".well-known/vergex/health",
            ".well-known/acme-challengex",
            "x/.well-known/verge/health",
            "well-known/verge/health",
        ] {
            assert_eq!(route::reserved(path), None, "{path}");
        }
    }
}
