//! A request becomes an answer: screen -> route -> negotiate -> conditional -> range -> respond.
//!
//! Every step but the last reading of bytes is a pure function with a table test in its own file.
//! Nothing here logs a visitor's address, nor a host that is not ours: attackers choose names.

pub(crate) mod activity;
pub mod blob_file;
mod body;
mod coalesce;
mod conditional;
pub(crate) mod connection;
mod fetch;
pub(crate) mod fields;
mod forwarded;
mod frames;
pub(crate) mod fuzzing;
mod guarded;
mod head_scan;
pub mod health;
mod lan_page;
mod left;
pub mod metering;
mod multipart;
mod negotiate;
mod pace;
pub(crate) mod page;
mod path;
mod plan;
mod range;
pub(crate) mod redirects;
mod reserved;
mod respond;
pub(crate) mod room;
mod route;
pub(crate) mod sample;
mod screen;
mod status_page;
mod takeout;
mod tar;
mod target;

use crate::accounting::figures::NodeTotals;
use crate::accounting::meter::Meter;
use crate::challenges::Challenges;
use crate::lan::Lan;
use crate::listen::Limits;
use crate::sites::{LoadError, SiteAt, Sites};
use crate::status_page::StatusPage;
use crate::tls::TlsResolver;
use blob_file::{Place, place};
use body::{Body, Content};
use fields::Terms;
use health::Assurances;
use http::header::{ACCEPT_LANGUAGE, CONTENT_LENGTH};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use metering::{Served, Worth};
use page::{Address, Page};
use plan::{Asked, Plan, plan_found, plan_refused};
use respond::{Caching, Head};
use room::Rooms;
pub(crate) use route::address;
use route::{Route, Target};
pub(crate) use screen::{Channel, Transport};
use screen::{Screened, Visit};
use std::borrow::Cow;
use std::sync::Arc;
use verge_sync::clock::Clock;
use verge_sync::manifest::Entry;

/// What all connections of an edge serve from.
pub(crate) struct Door {
    pub(crate) sites: Arc<Sites>,
    /// The certificates at hand; without, port 80 serves.
    pub(crate) tls: Option<Arc<TlsResolver>>,
    pub(crate) limits: Limits,
    /// Memory for answers.
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) clock: Clock,
    /// The port that redirects from port 80 name; none: it serves.
    pub(crate) https_port: Option<u16>,
    pub(crate) assurances: Assurances,
    /// The page for the node's own network.
    pub(crate) lan: Option<Arc<Lan>>,
    /// The page of the admin zone.
    pub(crate) status: Option<Arc<StatusPage>>,
    /// What authorities are answered.
    pub(crate) challenges: Arc<Challenges>,
    /// Where what is served is counted.
    pub(crate) meter: Arc<Meter>,
}

/// An answer before it is tied to a connection.
struct Reply {
    head: Head,
    content: Content,
    /// None: not counted.
    worth: Option<Worth>,
}

impl Reply {
    fn empty(head: Head) -> Self {
        Self {
            head,
            content: Content::Nothing,
            worth: None,
        }
    }

    /// One of our own short pages.
    fn page(status: StatusCode) -> Self {
        Self::explained(respond::page(status))
    }

    /// `head` with the sentence that belongs to its status.
    fn explained(head: Head) -> Self {
        let text = respond::page_text(head.status);
        Self {
            head,
            content: Content::Whole(text.into()),
            worth: None,
        }
    }
}

/// Answers one request, and says what the answer is counted as. Never fails: what goes wrong has a
/// status.
async fn answer<B, G>(
    door: &Door,
    transport: &Transport,
    request: &Request<B>,
    held: G,
) -> (Response<Body<G>>, Option<Served>)
where
    B: http_body::Body,
{
    let (mut reply, site) = match screen::screen(door, transport, request) {
        Screened::Answered(reply) => (*reply, None),
        Screened::Visit(visit) => {
            let site = visit.site.site;
            (
                answer_visit(door, transport, visit, request).await,
                Some(site),
            )
        }
    };
    let served = site.zip(reply.worth.take()).map(|(site, worth)| Served {
        site,
        is_bot: transport.agent.is_declared_bot(request.headers()),
        worth,
    });
    if reply.head.status.is_server_error() {
        door.meter.count_totals(NodeTotals {
            errors: 1,
            ..NodeTotals::default()
        });
    }
    if *request.method() == Method::HEAD {
        drop_body(&mut reply);
    }
    let mut response = Response::new(Body::new(reply.content, held));
    *response.status_mut() = reply.head.status;
    *response.headers_mut() = reply.head.headers;
    (response, served)
}

/// All lines of `Accept-Language` as one (RFC 9110 section 5.3).
fn languages(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut lines = headers.get_all(ACCEPT_LANGUAGE).iter();
    let first = Cow::Borrowed(lines.next()?.to_str().ok()?);
    Some(
        lines
            .filter_map(|line| line.to_str().ok())
            .fold(first, |all, line| all + "," + line),
    )
}

/// HEAD: the length of what GET would send, and nothing of it.
fn drop_body(reply: &mut Reply) {
    if let Content::Whole(bytes) = &reply.content {
        let headers = &mut reply.head.headers;
        headers.entry(CONTENT_LENGTH).or_insert(bytes.len().into());
    }
    reply.content = Content::Nothing;
}

/// Answers GET or HEAD for a site of ours.
async fn answer_visit<B>(
    door: &Door,
    transport: &Transport,
    visit: Visit,
    request: &Request<B>,
) -> Reply {
    let (site, version) = (visit.site.site, visit.site.version);
    match try_visit(door, transport, visit, request).await {
        Ok(reply) => reply,
        Err(LoadError::NoRoom) => Reply::explained(respond::busy()),
        Err(error) => {
            // What the disk does has been reported; a line for every request would fill it.
            if !matches!(error, LoadError::Read(_)) {
                tracing::error!(%site, %version, %error, "not served");
            }
            Reply::page(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

async fn try_visit<B>(
    door: &Door,
    transport: &Transport,
    visit: Visit,
    request: &Request<B>,
) -> Result<Reply, LoadError> {
    let terms = terms(door, visit.is_secure);
    let address = Address {
        version: visit.site.version,
        is_secure: visit.is_secure,
        path: request.uri().path(),
    };
    let page = door.sites.pages().get(&address);
    let known = page.and_then(|page| page.plan(request.headers(), &terms));
    let (plan, place) = if let Some(known) = known {
        known
    } else {
        // Boxed: it is rare, and a connection keeps room for an answer that it works on.
        let site = (&visit.site, terms);
        match Box::pin(work_out(door, transport, site, request, address)).await? {
            Worked::Planned(plan, place) => (*plan, place),
            Worked::Answered(reply) => return Ok(*reply),
        }
    };
    if *request.method() == Method::HEAD {
        return Ok(fetch::head(plan));
    }
    fetch::read(door, place, plan, transport).await
}

/// What limits a site's own fields.
fn terms(door: &Door, is_secure: bool) -> Terms {
    let own = door.tls.as_ref().and_then(|tls| tls.guaranteed_life());
    let usual = door.assurances.certificate_life;
    Terms {
        secure: is_secure,
        hsts_max_age: own.map_or(usual, |own| own.min(usual)),
    }
}

/// What came of working an answer out.
enum Worked {
    /// What to answer, and where its bytes lie.
    Planned(Box<Plan>, Option<Place>),
    /// All of it.
    Answered(Box<Reply>),
}

/// Works out what nobody remembers, and remembers it if others who ask will get the same.
async fn work_out<B>(
    door: &Door,
    transport: &Transport,
    (site, terms): (&SiteAt, Terms),
    request: &Request<B>,
    address: Address<'_>,
) -> Result<Worked, LoadError> {
    let loaded = door.sites.manifest(site.version).await?;
    let headers = request.headers();
    let language = languages(headers);
    let target = Target {
        path: address.path,
        query: request.uri().query(),
        language: language.as_deref(),
    };
    let left = left::find(door, site, &loaded, target.path).await;
    let left_asset = left
        .as_ref()
        .and_then(|left| route::asset(left.manifest(), target.path));
    let routed = route::route(loaded.manifest(), left_asset, loaded.redirects(), &target);
    let asked = Asked {
        is_head: *request.method() == Method::HEAD,
        headers,
        now: door.clock.now(),
    };
    // A rule may show a file under a name that proves nothing.
    let is_named = |entry: &Entry<'_>| routed.path.trim_start_matches('/') == entry.path();
    let mut shelf = &loaded;
    let mut plan = match routed.route {
        Route::Found(entry) => {
            let is_immutable = is_named(&entry) && loaded.is_immutable(&entry);
            if routed.is_lasting {
                let (file, said) = ((&entry, is_immutable), (&*routed.path, loaded.fields()));
                let page = Page::of(loaded.manifest(), file, said, &asked, terms);
                page.into_iter()
                    .for_each(|page| door.sites.pages().insert(address.key(), Arc::new(page)));
            }
            plan_found(&entry, is_immutable, &asked)
        }
        Route::Left(entry) => {
            shelf = left.as_ref().unwrap_or(shelf);
            plan_found(&entry, is_named(&entry), &asked)
        }
        Route::Refused(status, page) => plan_refused(page.as_ref(), status, &asked),
        Route::Redirect(to) => Plan::bare(respond::redirect(
            to.status,
            &to.location,
            Caching::Revalidate,
        )),
        Route::Reserved(kind) => {
            let asked = reserved::Asked {
                kind,
                site,
                transport,
            };
            let reply = reserved::answer(door, &loaded, asked, request).await?;
            return Ok(Worked::Answered(Box::new(reply)));
        }
        Route::Bad => {
            let reply = Reply::page(StatusCode::BAD_REQUEST);
            return Ok(Worked::Answered(Box::new(reply)));
        }
    };
    if routed.by_language {
        fields::vary(&mut plan.head.headers, "Accept-Language");
    }
    if plan.is_of_the_site() {
        loaded.fields().apply(&routed.path, &mut plan.head, &terms);
    }
    let place = plan
        .stored()
        .and_then(|stored| place(shelf.manifest(), stored));
    Ok(Worked::Planned(Box::new(plan), place))
}
