//! From a request to a file of the version, by http.md sections 1 and 2: a pure function of the
//! manifest, the site's rules and the request.

use super::path::{self, Asked, BadPath, Change};
use super::redirects::{Question, RedirectIndex, Ruling};
use super::target::push_literal;
use http::StatusCode;
use verge_sync::manifest::{Entry, Manifest};

/// As deep as the builder lets folders lie ([`verge_builder::Limits`]).
const FOLDER_DEPTH_MAX: usize = 64;

/// Twice the longest address that a request may name. A rule may repeat what it was given 24 times,
/// and an answer's header is held, without room of its own, until it is sent.
const LOCATION_BYTES_MAX: usize = 16 << 10;

/// What of a request a route depends on.
pub(super) struct Target<'a> {
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// `Accept-Language`.
    pub language: Option<&'a str>,
}

/// Where a request leads, and what its answer depends on.
pub(super) struct Routed<'m> {
    pub route: Route<'m>,
    /// The decoded path, for the site's own fields.
    pub path: String,
    /// Whether another `Accept-Language` could have led elsewhere.
    pub by_language: bool,
    /// Whether it leads there whatever else a request of this version asks.
    pub is_lasting: bool,
}

/// Where a path leads.
pub(super) enum Route<'m> {
    /// The file to serve.
    Found(Entry<'m>),
    /// A hashed asset of a version that was left.
    Left(Entry<'m>),
    /// One hop to another path of this site, or to where a rule sends.
    Redirect(Redirect),
    /// Nothing is there, or a rule says so: the status, and the site's page for it if it has one.
    Refused(StatusCode, Option<Entry<'m>>),
    /// A path of the node's own.
    Reserved(Reserved),
    /// A path that cannot be.
    Bad,
}

/// A redirect. One of ours is a 307 or 308, path-only, query kept, and only to what resolves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub status: StatusCode,
    /// An absolute path that never starts with two slashes, and the query; or what a rule names.
    pub location: String,
}

/// What the node answers itself, before every rule of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserved {
    /// `/.well-known/acme-challenge/...`.
    AcmeChallenge,
    /// `/.well-known/verge/health`.
    Health,
    /// `/.well-known/verge/manifest.json`: the list of what can be taken out.
    TakeoutList,
    /// `/.well-known/verge/archive.tar`: all of it.
    TakeoutArchive,
    /// The rest of `/.well-known/verge/`.
    Other,
}

/// Which name of the table serves a path, or which path does instead.
enum Place<'m> {
    File(Entry<'m>),
    Left(Entry<'m>),
    Elsewhere(String),
    Nowhere,
}

/// Routes a request: the node's own paths, then rules and files, then what is not there. Where the
/// site has nothing, `left` stands for it as a file that is carried would.
pub(super) fn route<'m>(
    manifest: &'m Manifest,
    left: Option<Entry<'m>>,
    rules: &RedirectIndex,
    target: &Target<'_>,
) -> Routed<'m> {
    let asked = match path::parse(target.path) {
        Ok(asked) => asked,
        Err(BadPath::Form | BadPath::Encoding | BadPath::Forbidden) => {
            return plainly(Route::Bad, String::new());
        }
    };
    let path = asked.path();
    if let Some(reserved) = reserved(&asked.name) {
        return plainly(Route::Reserved(reserved), path);
    }
    let place = match (place(manifest, &asked.name, asked.directory), left) {
        (Place::Nowhere, Some(entry)) => Place::Left(entry),
        (place, _) => place,
    };
    let found = rules.find(&Question {
        path: &path,
        query: target.query,
        language: target.language,
        has_file: !matches!(place, Place::Nowhere),
    });
    let is_lasting = matches!(place, Place::File(_)) && rules.spares_files();
    let route = match found.ruling {
        Some(ruling) => by_rule(manifest, &asked, target.query, ruling),
        None => by_file(manifest, &asked, target.query, place),
    };
    Routed {
        route,
        path,
        by_language: found.by_language,
        is_lasting,
    }
}

fn plainly(route: Route<'_>, path: String) -> Routed<'_> {
    Routed {
        route,
        path,
        by_language: false,
        is_lasting: false,
    }
}

/// What the site has at the path itself.
fn by_file<'m>(
    manifest: &'m Manifest,
    asked: &Asked,
    query: Option<&str>,
    place: Place<'m>,
) -> Route<'m> {
    match (place, asked.change) {
        (Place::File(entry), Change::Nothing) => Route::Found(entry),
        (Place::Left(entry), Change::Nothing) => Route::Left(entry),
        (Place::File(_) | Place::Left(_), change) => {
            redirect(change.status(), asked.canonical.clone(), query)
        }
        (Place::Elsewhere(target), _) => redirect(StatusCode::TEMPORARY_REDIRECT, target, query),
        (Place::Nowhere, _) => nothing_at(manifest, asked),
    }
}

/// What a rule of the site says; where a rewrite leads, no other rule is asked.
fn by_rule<'m>(
    manifest: &'m Manifest,
    asked: &Asked,
    query: Option<&str>,
    ruling: Ruling,
) -> Route<'m> {
    match ruling {
        Ruling::Redirect(_, location) if location.len() > LOCATION_BYTES_MAX => {
            Route::Refused(StatusCode::URI_TOO_LONG, None)
        }
        Ruling::Redirect(status, location) => Route::Redirect(Redirect { status, location }),
        Ruling::Refuse(status, page) => Route::Refused(status, file_at(manifest, &page)),
        Ruling::Rewrite(target) => match (file_at(manifest, &target), asked.change) {
            (Some(entry), Change::Nothing) => Route::Found(entry),
            (Some(_), change) => redirect(change.status(), asked.canonical.clone(), query),
            (None, _) => nothing_at(manifest, asked),
        },
    }
}

fn nothing_at<'m>(manifest: &'m Manifest, asked: &Asked) -> Route<'m> {
    let page = not_found_page(manifest, &asked.name, asked.directory);
    Route::Refused(StatusCode::NOT_FOUND, page)
}

/// The file that a rule names, by its own name, its clean URL, or its folder.
fn file_at<'m>(manifest: &'m Manifest, target: &str) -> Option<Entry<'m>> {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let asked = path::parse(target.get(..end)?).ok()?;
    let page = || manifest.find(&format!("{}.html", asked.name));
    let index = || manifest.find(&join(&asked.name, "index.html"));
    if asked.directory {
        index().or_else(page)
    } else {
        manifest.find(&asked.name).or_else(page).or_else(index)
    }
}

/// Where a file of the version is found with 200 by a visitor who sends nothing but the path;
/// `None` if nobody can have it so.
pub(crate) fn address(manifest: &Manifest, rules: &RedirectIndex, file: &str) -> Option<String> {
    let mut path = file_path(file);
    // Ours are one hop; where a rule sends a visitor is not the file's own address.
    for _hop in 0..2 {
        let target = Target {
            path: &path,
            query: None,
            language: None,
        };
        match route(manifest, None, rules, &target).route {
            Route::Found(entry) => return (entry.path() == file).then_some(path),
            Route::Redirect(to) if to.status == StatusCode::TEMPORARY_REDIRECT => {
                path = to.location;
            }
            _ => return None,
        }
    }
    None
}

/// The file that `manifest` shows at a path, as `asset` of a version that was left.
pub(super) fn asset<'m>(manifest: &'m Manifest, raw_path: &str) -> Option<Entry<'m>> {
    let asked = path::parse(raw_path).ok()?;
    match place(manifest, &asked.name, asked.directory) {
        Place::File(entry) => Some(entry),
        Place::Left(_) | Place::Elsewhere(_) | Place::Nowhere => None,
    }
}

/// The node's own paths, also found by the listener of port 80 before it redirects.
pub(super) fn reserved(name: &str) -> Option<Reserved> {
    let rest = name.strip_prefix(".well-known/")?;
    let (first, rest) = rest.split_once('/').unwrap_or((rest, ""));
    match (first, rest) {
        ("acme-challenge", _) => Some(Reserved::AcmeChallenge),
        ("verge", "health") => Some(Reserved::Health),
        ("verge", "manifest.json") => Some(Reserved::TakeoutList),
        ("verge", "archive.tar") => Some(Reserved::TakeoutArchive),
        ("verge", _) => Some(Reserved::Other),
        _ => None,
    }
}

/// Whether a raw path is under `/.well-known/acme-challenge/`.
pub(super) fn is_acme_challenge(raw_path: &str) -> bool {
    path::parse(raw_path).is_ok_and(|asked| reserved(&asked.name) == Some(Reserved::AcmeChallenge))
}

fn redirect<'m>(status: StatusCode, mut location: String, query: Option<&str>) -> Route<'m> {
    if let Some(query) = query {
        location.push('?');
        query.chars().for_each(|c| push_literal(c, &mut location));
    }
    Route::Redirect(Redirect { status, location })
}

fn place<'m>(manifest: &'m Manifest, name: &str, directory: bool) -> Place<'m> {
    if directory {
        return place_directory(manifest, name);
    }
    let exact = manifest.find(name);
    let target = page_stem(name).and_then(|stem| page_target(manifest, stem, exact.is_some()));
    if let Some(target) = target {
        return Place::Elsewhere(target);
    }
    if let Some(entry) = exact {
        return Place::File(entry);
    }
    if let Some(entry) = manifest.find(&format!("{name}.html")) {
        return match index_directory(name) {
            Some(directory) => Place::Elsewhere(directory_path(directory)),
            None => Place::File(entry),
        };
    }
    if manifest.find(&format!("{name}/index.html")).is_some() {
        return Place::Elsewhere(directory_path(name));
    }
    Place::Nowhere
}

fn place_directory<'m>(manifest: &'m Manifest, name: &str) -> Place<'m> {
    if let Some(entry) = manifest.find(&join(name, "index.html")) {
        return Place::File(entry);
    }
    if name.is_empty() || manifest.find(&format!("{name}.html")).is_none() {
        return Place::Nowhere;
    }
    // `/a/` where only `a.html` is; were `a` a file of its own, `/a` would not be that page.
    match (index_directory(name), manifest.find(name)) {
        (Some(directory), _) => Place::Elsewhere(directory_path(directory)),
        (None, None) => Place::Elsewhere(file_path(name)),
        (None, Some(_)) => Place::Elsewhere(file_path(&format!("{name}.html"))),
    }
}

/// `x` of `x.html`, if the last segment has anything before the extension.
fn page_stem(name: &str) -> Option<&str> {
    name.strip_suffix(".html")
        .filter(|stem| !stem.is_empty() && !stem.ends_with('/'))
}

/// The clean URL of the page `STEM.html`.
fn page_target(manifest: &Manifest, stem: &str, exists: bool) -> Option<String> {
    if exists {
        if let Some(directory) = index_directory(stem) {
            return Some(directory_path(directory));
        }
        // A file without extension of that name owns the clean URL.
        return manifest.find(stem).is_none().then(|| file_path(stem));
    }
    // What `STEM.html.html` is at its clean URL, this is.
    if manifest.find(&format!("{stem}.html.html")).is_some() {
        return None;
    }
    manifest
        .find(&format!("{stem}/index.html"))
        .map(|_index| directory_path(stem))
}

/// The directory whose index `name` (without extension) is.
fn index_directory(name: &str) -> Option<&str> {
    match name.rsplit_once('/') {
        Some((directory, "index")) => Some(directory),
        None if name == "index" => Some(""),
        _ => None,
    }
}

fn directory_path(name: &str) -> String {
    if name.is_empty() {
        return "/".to_owned();
    }
    format!("/{}/", path::encode(name))
}

fn file_path(name: &str) -> String {
    format!("/{}", path::encode(name))
}

fn join(directory: &str, file: &str) -> String {
    if directory.is_empty() {
        file.to_owned()
    } else {
        format!("{directory}/{file}")
    }
}

/// The nearest ancestor's `404.html`, up to the root.
fn not_found_page<'m>(manifest: &'m Manifest, name: &str, directory: bool) -> Option<Entry<'m>> {
    let folder = if directory { Some(name) } else { parent(name) };
    folders(folder?).find_map(|folder| manifest.find(&join(folder, "404.html")))
}

/// `folder` and those around it, from the deepest that a site can have up to the root: a visitor may
/// name thousands.
fn folders(folder: &str) -> impl Iterator<Item = &str> {
    let too_deep = folder.match_indices('/').nth(FOLDER_DEPTH_MAX - 1);
    let end = too_deep.map_or(folder.len(), |(slash, _)| slash);
    std::iter::successors(folder.get(..end), |folder| parent(folder))
}

/// The folder around `name`; the root is the empty name and has none.
fn parent(name: &str) -> Option<&str> {
    if name.is_empty() {
        return None;
    }
    Some(name.rsplit_once('/').map_or("", |(folder, _last)| folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sample;

    const FILES: &[&str] = &[
        "index.html",
        "404.html",
        "about.html",
        "both.html",
        "both/index.html",
        "docs/index.html",
        "docs/404.html",
        "docs/deep/page.html",
        "docs/index/index.html",
        "plain",
        "plain.html",
        "style.css",
        "a b/caf\u{e9}.html",
        "a+b.txt",
        "trap.html/index.html",
        "x.html.html",
        "empty/.html",
        "only.html/index.html",
    ];

    fn shown(manifest: &Manifest, rules: &RedirectIndex, target: &str) -> String {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let target = Target {
            path,
            query,
            language: None,
        };
        match route(manifest, None, rules, &target).route {
            Route::Found(entry) | Route::Left(entry) => format!("200 {}", entry.path()),
            Route::Redirect(to) => format!("{} {}", to.status.as_u16(), to.location),
            Route::Refused(status, page) => {
                format!(
                    "{} {}",
                    status.as_u16(),
                    page.map_or("-", |page| page.path())
                )
            }
            Route::Reserved(reserved) => format!("{reserved:?}"),
            Route::Bad => "400".to_owned(),
        }
    }

    fn check(files: &[&str], rows: &[(&str, &str)]) {
        let manifest = sample::manifest_of(files);
        for (target, expected) in rows {
            let rules = RedirectIndex::default();
            assert_eq!(shown(&manifest, &rules, target), *expected, "{target}");
        }
    }

    /// Answers under `_redirects`.
    fn check_rules(files: &[&str], redirects: &str, rows: &[(&str, &str)]) {
        let manifest = sample::manifest_of(files);
        let rules = sample::rules_of(redirects);
        for (target, expected) in rows {
            assert_eq!(shown(&manifest, &rules, target), *expected, "{target}");
        }
    }

    #[test]
    fn files_and_clean_urls() {
        check(
            FILES,
            &[
                ("/", "200 index.html"),
                ("/about", "200 about.html"),
                ("/about.html", "307 /about"),
                ("/about/", "307 /about"),
                ("/about.html/", "404 404.html"),
                ("/style.css", "200 style.css"),
                ("/style.css/", "404 404.html"),
                ("/style", "404 404.html"),
                ("/docs", "307 /docs/"),
                ("/docs/", "200 docs/index.html"),
                ("/docs.html", "307 /docs/"),
                ("/docs/index.html", "307 /docs/"),
                ("/docs/index", "307 /docs/"),
                ("/docs/index/", "200 docs/index/index.html"),
                ("/docs/deep/page", "200 docs/deep/page.html"),
                ("/docs/deep", "404 docs/404.html"),
                ("/docs/deep/", "404 docs/404.html"),
                ("/index", "307 /"),
                ("/index.html", "307 /"),
                ("/index/", "307 /"),
                ("/both", "200 both.html"),
                ("/both/", "200 both/index.html"),
                ("/both.html", "307 /both"),
                ("/both/index.html", "307 /both/"),
                ("/plain", "200 plain"),
                ("/plain.html", "200 plain.html"),
                ("/plain/", "307 /plain.html"),
                ("/404", "200 404.html"),
                ("/404.html", "307 /404"),
                ("/trap.html", "307 /trap.html/"),
                ("/trap.html/", "200 trap.html/index.html"),
                ("/x.html", "200 x.html.html"),
                ("/x.html.html", "307 /x.html"),
                ("/x", "404 404.html"),
                ("/empty/.html", "200 empty/.html"),
                ("/ABOUT", "404 404.html"),
            ],
        );
    }

    #[test]
    fn the_canonical_spelling_is_one_hop_away() {
        check(
            FILES,
            &[
                ("//about", "308 /about"),
                ("/%61bout", "308 /about"),
                ("/./about", "307 /about"),
                ("/docs//", "308 /docs/"),
                ("//docs", "307 /docs/"),
                ("//about.html?x=1", "307 /about?x=1"),
                ("/%61bout?q=%20//", "308 /about?q=%20//"),
                ("/about.html?", "307 /about?"),
                ("/docs?a=b&c", "307 /docs/?a=b&c"),
                ("//nothing", "404 404.html"),
                ("//evil.example", "404 404.html"),
                ("//docs/..", "400"),
                ("/a%20b/caf%C3%A9", "200 a b/caf\u{e9}.html"),
                ("/a%20b/caf%c3%a9", "308 /a%20b/caf%C3%A9"),
                ("/a%20b/cafe%CC%81", "308 /a%20b/caf%C3%A9"),
                ("/a%20b/caf%C3%A9.html", "307 /a%20b/caf%C3%A9"),
                ("/a+b.txt", "200 a+b.txt"),
                ("/a%2Bb.txt", "200 a+b.txt"),
                ("/a%2bb.txt", "308 /a%2Bb.txt"),
                ("/a%2Fb", "400"),
                ("/%00", "400"),
                ("/%2e%2e/x", "400"),
            ],
        );
    }

    #[test]
    fn the_nearest_page_answers_for_what_is_not_there() {
        check(
            FILES,
            &[
                ("/no", "404 404.html"),
                ("/no/where/at/all/", "404 404.html"),
                ("/docs/no", "404 docs/404.html"),
                ("/docs/deep/er/no", "404 docs/404.html"),
                ("/docsx/no", "404 404.html"),
            ],
        );
        check(
            &["a.txt"],
            &[("/", "404 -"), ("/x/y", "404 -"), ("/index.html", "404 -")],
        );
        check(
            &["docs/404.html"],
            &[("/", "404 -"), ("/docs/", "404 docs/404.html")],
        );
    }

    /// A path of 8 KiB has 4,000 parts; looking for a page in each took 2 ms.
    #[test]
    fn a_deep_path_costs_no_more_lookups_than_the_deepest_folder() {
        let limits = verge_builder::Limits::default();
        assert_eq!(usize::try_from(limits.depth_max), Ok(FOLDER_DEPTH_MAX));
        let deep = |parts: usize| vec!["x"; parts].join("/");
        for (parts, lookups) in [(1, 2), (63, 64), (64, 65), (65, 65), (4_000, 65)] {
            let path = deep(parts);
            let all: Vec<&str> = folders(&path).collect();
            assert_eq!(all.len(), lookups, "{parts} parts");
            assert_eq!(all.first(), Some(&deep(parts.min(64)).as_str()));
            assert_eq!(all.last(), Some(&""));
        }
        assert_eq!(folders("").collect::<Vec<_>>(), [""]);
        let deepest = format!("{}/404.html", deep(64));
        let above = deep(64);
        check(
            &[&deepest, "404.html"],
            &[
                (&format!("/{above}/no"), &format!("404 {deepest}")),
                (&format!("/{above}/x/x/no/"), &format!("404 {deepest}")),
                (&format!("/{}/no", deep(63)), "404 404.html"),
                (&format!("/y/{above}"), "404 404.html"),
            ],
        );
    }

    #[test]
    fn reserved_paths_come_before_the_site() {
        check(
            &[
                ".well-known/acme-challenge/x",
                ".well-known/verge/health",
                ".well-known/a.txt",
            ],
            &[
                ("/.well-known/acme-challenge/x", "AcmeChallenge"),
                ("/.well-known/acme-challenge/", "AcmeChallenge"),
                ("//.well-known/acme-challenge/x", "AcmeChallenge"),
                ("/.well-known/%61cme-challenge/x", "AcmeChallenge"),
                ("/.well-known/verge/health", "Health"),
                ("/.well-known/verge/manifest.json", "TakeoutList"),
                ("/.well-known/verge/archive.tar", "TakeoutArchive"),
                ("/.well-known/verge/x", "Other"),
                ("/.well-known/verge/", "Other"),
                ("/.well-known/a.txt", "200 .well-known/a.txt"),
                ("/.well-known/acme-challengex", "404 -"),
                ("/x/.well-known/verge/health", "404 -"),
            ],
        );
    }

    /// Follows every redirect of every spelling of every path: one hop, then an answer.
    #[test]
    fn no_redirect_leads_to_another_or_to_nothing() {
        let (manifest, rules) = (sample::manifest_of(FILES), RedirectIndex::default());
        for file in FILES {
            let stem = file.trim_end_matches(".html").trim_end_matches("index");
            for name in [file.to_owned(), stem] {
                for tail in ["", "/", ".html", "/index", "/index.html"] {
                    for head in ["/", "//", "/./"] {
                        let target = format!("{head}{}{tail}", path::encode(name));
                        let first = shown(&manifest, &rules, &target);
                        let Some((_, to)) =
                            first.split_once(' ').filter(|(s, _)| s.starts_with('3'))
                        else {
                            continue;
                        };
                        let next = shown(&manifest, &rules, to);
                        assert!(next.starts_with("200"), "{target} {to} {next}");
                        assert!(!to.starts_with("//"), "{target} {to}");
                    }
                }
            }
        }
    }

    #[test]
    fn rules_answer_where_no_file_does() {
        check_rules(
            FILES,
            "/old /about 301\n\
             /about /nowhere 302\n\
             /style.css /other.css 302!\n\
             /blog/:y/:slug /docs/:slug?year=:y#top 307\n\
             /keep /about#part 308\n\
             /own /about?x=1\n\
             /app/* /index.html 200\n\
             /doc/* /docs/:splat 200\n\
             /gone/* /404.html 410\n\
             /law / 451\n\
             /hide /about 404\n\
             /only/* /:splat 302\n\
             /out/* https://other.example/x/:splat 302\n\
             /id id=:id /about/:id 302\n\
             /lang /de/ 302 Language=de\n\
             /.well-known/x /about 302\n",
            &[
                ("/old", "301 /about"),
                ("/old/", "301 /about"),
                ("/old?a=b", "301 /about?a=b"),
                ("//old", "301 /about"),
                ("/older", "404 404.html"),
                ("/about", "200 about.html"),
                ("/about/", "307 /about"),
                ("/style.css", "302 /other.css"),
                ("/blog/2026/a%20b", "307 /docs/a%20b?year=2026#top"),
                (
                    "/blog/2026/caf%C3%A9?q",
                    "307 /docs/caf%C3%A9?year=2026#top",
                ),
                ("/blog/1%262/x", "307 /docs/x?year=1%262#top"),
                ("/blog/2026/", "404 404.html"),
                ("/keep?a", "308 /about?a#part"),
                ("/own?a", "301 /about?x=1"),
                ("/app", "200 index.html"),
                ("/app/a/b", "200 index.html"),
                ("//app/a", "308 /app/a"),
                ("/doc/deep/page", "200 docs/deep/page.html"),
                ("/doc/", "200 docs/index.html"),
                ("/doc/old", "404 404.html"),
                ("/gone/x", "410 404.html"),
                ("/law", "451 index.html"),
                ("/hide", "404 about.html"),
                ("/only//evil.example/a", "302 /evil.example/a"),
                ("/only/%0d%0aset-cookie:x=y", "302 /%0D%0Aset-cookie:x=y"),
                ("/only/%3Fa%23b%25", "302 /%3Fa%23b%25"),
                (
                    "/out/@evil.example",
                    "302 https://other.example/x/@evil.example",
                ),
                ("/out/", "302 https://other.example/x/"),
                (
                    "/id?id=a%2Fb%0d%0ac&x",
                    "302 /about/a%2Fb%0D%0Ac?id=a%2Fb%0d%0ac&x",
                ),
                ("/id?id=..", "404 404.html"),
                ("/id?x=1", "404 404.html"),
                ("/lang", "404 404.html"),
                ("/.well-known/x", "302 /about"),
            ],
        );
    }

    /// Lines that lead in a circle are reported at the push and kept: nobody goes round here.
    #[test]
    fn after_one_hop_no_other_rule_is_asked() {
        check_rules(
            &["page.html", "404.html"],
            "/a /b 200\n/b /a 200\n/c /d\n/d /c\n/e/* /e/x/:splat 200\n/f /page 200\n\
             /g /h 404\n/h /g 410\n/i /i\n",
            &[
                ("/a", "404 404.html"),
                ("/b", "404 404.html"),
                ("/c", "301 /d"),
                ("/d", "301 /c"),
                ("/e/x", "404 404.html"),
                ("/f", "200 page.html"),
                ("/g", "404 -"),
                ("/h", "410 -"),
                ("/i", "301 /i"),
            ],
        );
    }

    #[test]
    fn no_rule_swallows_what_is_the_node_s_own() {
        check_rules(
            &["index.html"],
            "/* /index.html 200!\n",
            &[
                ("/.well-known/acme-challenge/x", "AcmeChallenge"),
                ("/.well-known/verge/health", "Health"),
                ("/.well-known/verge/x", "Other"),
                ("/a/b", "200 index.html"),
                ("/..", "400"),
            ],
        );
    }

    #[test]
    fn a_file_s_address_is_where_it_is_found_with_200() {
        let manifest = sample::manifest_of(FILES);
        let rules = sample::rules_of("/docs/deep/* /404.html 404!\n/style.css /x.css 302!\n");
        let rows = [
            ("index.html", Some("/")),
            ("about.html", Some("/about")),
            ("both.html", Some("/both")),
            ("both/index.html", Some("/both/")),
            ("plain.html", Some("/plain.html")),
            ("404.html", Some("/404")),
            ("a b/caf\u{e9}.html", Some("/a%20b/caf%C3%A9")),
            ("x.html.html", Some("/x.html")),
            ("docs/deep/page.html", None),
            ("style.css", None),
        ];
        for (file, expected) in rows {
            assert_eq!(
                address(&manifest, &rules, file).as_deref(),
                expected,
                "{file}"
            );
        }
    }
}
