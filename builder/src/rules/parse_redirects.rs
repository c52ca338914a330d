//! Reading `_redirects`: `from [query conditions] to [status][!] [Language=..]`, line by line.
//!
//! A line that cannot be a rule is skipped and reported; it never disables another. What only the
//! lines together show is in [`super::lint_redirects`].

use super::lines::{Wrong, lines, wrong};
use super::lint_redirects::lint;
use super::pattern::{Captures, Pattern, SPLAT, Segment, Star, decode_path, is_name};
use super::redirects::{Action, Piece, QueryCondition, REDIRECTS_MAX, Redirect, Redirects, Target};
use crate::names::{RESERVED, WELL_KNOWN};
use crate::report::Problem;
use crate::select::REDIRECTS;

/// Whether the site answers a decoded path by itself; `None` where its files are not at hand, and
/// nothing is said that depends on them.
pub(super) type HasFile<'a> = Option<&'a dyn Fn(&str) -> bool>;

/// Reads the whole file.
pub(super) fn parse(
    bytes: &[u8],
    has_file: HasFile<'_>,
    problem: &mut dyn FnMut(Problem),
) -> Redirects {
    let mut rules = Redirects::default();
    let mut rule_lines = Vec::new();
    let mut told: Vec<(u32, Wrong)> = Vec::new();
    for (line, text) in lines(bytes) {
        let text = match text {
            Ok(text) => text.trim(),
            Err(wrong) => {
                told.push((line, wrong));
                continue;
            }
        };
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if rules.0.len() == REDIRECTS_MAX {
            let what =
                format!("more than {REDIRECTS_MAX} rules, this and the following are skipped");
            let instead = "write one rule with :name or * for many addresses";
            told.push((line, wrong(what, instead)));
            break;
        }
        match rule(text).and_then(|rule| check(rule, has_file)) {
            Err(wrong) => told.push((line, wrong)),
            Ok(rule) => {
                rules.0.push(rule);
                rule_lines.push(line);
            }
        }
    }
    told.extend(lint(&rules, &rule_lines, has_file));
    told.sort_by_key(|(line, _)| *line);
    for (line, wrong) in told {
        problem(wrong.at(REDIRECTS, line));
    }
    rules
}

fn rule(text: &str) -> Result<Redirect, Wrong> {
    let words = text.split_ascii_whitespace();
    let words: Vec<&str> = words.take_while(|word| !word.starts_with('#')).collect();
    let (from, rest) = words.split_first().ok_or_else(no_target)?;
    let is_target = |word: &&&str| word.starts_with('/') || word.contains("://");
    let to_at = rest
        .iter()
        .position(|word| is_target(&word))
        .ok_or_else(no_target)?;
    let (conditions, rest) = rest.split_at_checked(to_at).ok_or_else(no_target)?;
    let (to, options) = rest.split_first().ok_or_else(no_target)?;

    let from = source(from)?;
    let query = conditions
        .iter()
        .map(|word| condition(word))
        .collect::<Result<Vec<_>, _>>()?;
    let mut options = options.iter().peekable();
    let status = options.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let (action, is_forced) = status.map_or(Ok((Action::Redirect(301), false)), |s| action(s))?;
    let mut languages = Vec::new();
    for word in options {
        languages.extend(language(word)?);
    }
    let mut names = from.names();
    names.extend(query.iter().filter_map(|condition| match &condition.value {
        Piece::Capture(name) => Some(name.as_str()),
        Piece::Literal(_) => None,
    }));
    let to = target(to, &names)?;
    Ok(Redirect {
        from,
        query,
        languages,
        to,
        action,
        is_forced,
    })
}

fn no_target() -> Wrong {
    wrong("no target", "write: /from /to 301")
}

fn source(text: &str) -> Result<Pattern, Wrong> {
    if text.contains("://") {
        let instead = "begin with the path: every host of the site has the same rules";
        return Err(wrong(format!("{text} names a host"), instead));
    }
    // `/a/` and `/a` are one rule.
    let plain = text
        .strip_suffix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(text);
    let pattern =
        Pattern::parse(plain).map_err(|instead| wrong(format!("{text} is no path"), instead))?;
    match &pattern.star {
        Some(star) if *star != Star::default() => {
            let instead = "write it alone as the last part: /from/*";
            Err(wrong(
                format!("the * of {text} is not the last part"),
                instead,
            ))
        }
        _ => Ok(pattern),
    }
}

fn condition(word: &str) -> Result<QueryCondition, Wrong> {
    let pair = word.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| {
        wrong(
            format!("{word:?} is neither a target nor a query condition"),
            "write name=value or name=:name",
        )
    })?;
    let value = match value.strip_prefix(':') {
        Some(capture) if is_name(capture) && capture != SPLAT => Piece::Capture(capture.to_owned()),
        _ => Piece::Literal(value.to_owned()),
    };
    Ok(QueryCondition {
        name: name.to_owned(),
        value,
    })
}

fn action(word: &str) -> Result<(Action, bool), Wrong> {
    let (number, is_forced) = match word.strip_suffix('!') {
        Some(number) => (number, true),
        None => (word, false),
    };
    let action = number.parse().ok().and_then(Action::of);
    let action = action.ok_or_else(|| {
        let instead = "use 200, 301, 302, 303, 307, 308, 404, 410 or 451";
        wrong(format!("status {word} is not supported"), instead)
    })?;
    Ok((action, is_forced))
}

/// `Language=de,fr` in lower case.
fn language(word: &str) -> Result<Vec<String>, Wrong> {
    match word.split_once('=') {
        Some((key, value)) if key.eq_ignore_ascii_case("language") => {
            let is_language = |name: &str| {
                let mut bytes = name.bytes();
                !name.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            // Without a name the rule would be for everybody.
            if !value.split(',').all(is_language) {
                let instead = "write names with commas between them: Language=de,fr";
                return Err(wrong(format!("{word:?} names no languages"), instead));
            }
            Ok(value.split(',').map(str::to_ascii_lowercase).collect())
        }
        Some((key, _)) if key.eq_ignore_ascii_case("country") => Err(wrong(
            "Country= is not supported, because a node does not know where its visitors are",
            "use Language=, or remove the line",
        )),
        _ => Err(wrong(
            format!("{word:?} is not supported"),
            "only Language= may follow the status",
        )),
    }
}

fn target(text: &str, names: &[&str]) -> Result<Target, Wrong> {
    if text.chars().any(|c| c.is_control() || c == '\\') || text.starts_with("//") {
        return Err(wrong(
            format!("{text:?} is no target"),
            "begin with one / or with https://",
        ));
    }
    let (origin, path) = match text.split_once("://") {
        Some((scheme, rest)) if !text.starts_with('/') => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, path) = rest.split_at(end);
            (Some(origin(scheme, host)?), path)
        }
        _ => (None, text),
    };
    // The edge answers nobody with such a target: whoever follows it leaves the folder it names.
    if path_of(path).split('/').any(climbs) {
        return Err(wrong(
            format!("{text:?} has a part that is .."),
            "write the path that it leads to",
        ));
    }
    Ok(Target {
        origin,
        pieces: pieces(path, names)?,
    })
}

fn climbs(part: &str) -> bool {
    part.to_ascii_lowercase().replace("%2e", ".") == ".."
}

fn path_of(target: &str) -> &str {
    let end = target.find(['#', '?']).unwrap_or(target.len());
    target.split_at(end).0
}

fn origin(scheme: &str, host: &str) -> Result<String, Wrong> {
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(wrong(
            format!("{scheme}: is not supported"),
            "begin with /, http:// or https://",
        ));
    }
    let is_host =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    if host.is_empty() || !host.bytes().all(is_host) {
        let instead = "write a plain host name, in its xn-- form if it is not ASCII";
        return Err(wrong(format!("{host:?} is no host"), instead));
    }
    Ok(format!("{scheme}://{host}"))
}

/// Cuts a target at its captures. A colon that does not begin a part and names nothing is text.
fn pieces(path: &str, names: &[&str]) -> Result<Vec<Piece>, Wrong> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = path;
    while let Some((before, behind)) = rest.split_once(':') {
        literal.push_str(before);
        let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, after) = behind.split_at(end.unwrap_or(behind.len()));
        if names.contains(&name) {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Capture(name.to_owned()));
        } else if is_name(name) && (before.ends_with(['/', '=']) || before.is_empty()) {
            let instead =
                "use a :name that the path or the query conditions have, or :splat for the *";
            return Err(wrong(format!(":{name} stands for nothing"), instead));
        } else {
            literal.push(':');
            literal.push_str(name);
        }
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// What only the whole rule shows.
fn check(rule: Redirect, has_file: HasFile<'_>) -> Result<Redirect, Wrong> {
    match (&rule.to.origin, rule.action) {
        (Some(origin), Action::Rewrite) => Err(wrong(
            format!("200 to {origin} would fetch from another host, which is refused"),
            "use 301 or 302 to send the visitor there",
        )),
        (Some(origin), Action::Refuse(status)) => Err(wrong(
            format!("{status} with a page of {origin}"),
            "name a page of this site",
        )),
        _ if is_reserved(&rule.from) => Err(wrong(
            "never reached, because the node answers this address itself",
            "remove it",
        )),
        (None, Action::Rewrite | Action::Refuse(_)) if leads_nowhere(&rule, has_file) => {
            Err(wrong(
                "there is no such page in this site for the target",
                "name a file that is published",
            ))
        }
        (None, Action::Redirect(_)) if leads_to_itself(&rule, has_file) => Err(wrong(
            "the target matches the rule again, without end",
            "name another target, or use 200",
        )),
        _ => Ok(rule),
    }
}

/// Whether the pattern lies below what a node keeps for itself.
fn is_reserved(from: &Pattern) -> bool {
    let literal = |at: usize| match from.head.get(at) {
        Some(Segment::Literal(text)) => text.as_str(),
        _ => "",
    };
    literal(0) == WELL_KNOWN && RESERVED.contains(&literal(1))
}

/// The path of a target that is the same for every request, as it is written.
fn fixed_path(rule: &Redirect) -> Option<String> {
    let is_fixed = |piece: &Piece| matches!(piece, Piece::Literal(_));
    rule.to.pieces.iter().all(is_fixed).then(|| {
        let target = rule.to.fill(&Captures::default(), &str::to_owned);
        path_of(&target).to_owned()
    })
}

fn leads_nowhere(rule: &Redirect, has_file: HasFile<'_>) -> bool {
    let is_there = |path: &str| match has_file {
        Some(has_file) => decode_path(path).is_some_and(|path| has_file(&path)),
        None => true,
    };
    fixed_path(rule).is_some_and(|path| !is_there(&path))
}

/// Whether the visitor would be sent in circles: the target is fixed, matches again, and no file
/// stands there that would win.
fn leads_to_itself(rule: &Redirect, has_file: HasFile<'_>) -> bool {
    if !rule.query.is_empty() || rule.to.has_query() {
        return false;
    }
    let target = fixed_path(rule).and_then(|target| decode_path(&target));
    target.is_some_and(|target| {
        let is_caught = rule.is_forced || has_file.is_some_and(|has_file| !has_file(&target));
        is_caught && rule.from.captures(&target).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (Redirects, Vec<String>) {
        let mut problems = Vec::new();
        let files = ["/there", "/index.html", "/gone.html", "/caf\u{e9}"];
        let has_file = |path: &str| files.contains(&path);
        let rules = parse(text.as_bytes(), Some(&has_file), &mut |problem| {
            problems.push(problem.to_string())
        });
        (rules, problems)
    }

    /// What a request is answered with: status and target.
    fn answer(rules: &str, path: &str) -> Option<String> {
        let (rules, problems) = read(rules);
        assert_eq!(problems, Vec::<String>::new());
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query: Vec<(&str, &str)> = query.split('&').filter_map(|p| p.split_once('=')).collect();
        let found = rules.find(path, &query, &["de-at", "en"], false)?;
        let target = found.rule.to.fill(&found.captures, &str::to_owned);
        Some(format!("{} {target}", found.rule.action.status()))
    }

    #[test]
    fn rules_answer() {
        let rows = [
            ("/a /b", "/a", Some("301 /b")),
            ("/a /b", "/a/", Some("301 /b")),
            ("/a/ /b", "/a", Some("301 /b")),
            ("/a /b 302", "/a", Some("302 /b")),
            ("/a /b", "/A", None),
            ("/foo/* /bar/:splat", "/foo/x/y", Some("301 /bar/x/y")),
            ("/foo/* /bar/:splat", "/foo", Some("301 /bar/")),
            ("/foo/* /bar/:splat", "/foobar", None),
            (
                "/news/:year/:slug /:slug-:year 308",
                "/news/2026/x",
                Some("308 /x-2026"),
            ),
            ("/p id=:id /x/:id", "/p?id=7", Some("301 /x/7")),
            ("/p id=:id /x/:id", "/p", None),
            ("/p a=1 b=:c /x/:c 302", "/p?b=2&a=1", Some("302 /x/2")),
            ("/* /index.html 200", "/any/where", Some("200 /index.html")),
            ("/gone /gone.html 410", "/gone", Some("410 /gone.html")),
            (
                "/out https://example.org:8443/a?b=c",
                "/out",
                Some("301 https://example.org:8443/a?b=c"),
            ),
            (
                "/out/* http://example.org/:splat",
                "/out/1",
                Some("301 http://example.org/1"),
            ),
            (
                "/out/* https://example.org",
                "/out/1",
                Some("301 https://example.org"),
            ),
            ("/a /de 302 Language=de\n/a /en 302", "/a", Some("302 /de")),
            (
                "/a /fr 302 Language=fr,it\n/a /en 302",
                "/a",
                Some("302 /en"),
            ),
            (
                "/x/* /:splat",
                "/x//evil.example",
                Some("301 /evil.example"),
            ),
            ("/a /urn:isbn:1", "/a", Some("301 /urn:isbn:1")),
            ("/a /caf%C3%A9 200", "/a", Some("200 /caf%C3%A9")),
            ("/a /b?x=.. 302", "/a", Some("302 /b?x=..")),
            ("/a /b # a comment", "/a", Some("301 /b")),
            ("\u{feff}/a /b\r\n", "/a", Some("301 /b")),
        ];
        for (rules, path, expected) in rows {
            assert_eq!(answer(rules, path).as_deref(), expected, "{rules:?} {path}");
        }
    }

    #[test]
    fn a_file_at_the_target_ends_the_circle() {
        assert_eq!(answer("/* /there 302", "/x").as_deref(), Some("302 /there"));
        let (rules, problems) = read("/* /there 302!");
        assert_eq!((rules.0.len(), problems.len()), (0, 1));
    }

    #[test]
    fn only_forced_rules_win_over_files() {
        let (rules, _) = read("/a /b\n/a /c 302!\n");
        let found = |has_file| {
            rules
                .find("/a", &[], &[], has_file)
                .map(|f| f.rule.action.status())
        };
        assert_eq!((found(false), found(true)), (Some(301), Some(302)));
    }

    #[test]
    fn bad_lines_are_reported_and_disable_no_other() {
        let rows = [
            ("/a", "no target: write: /from /to 301"),
            ("/a b", "no target: write: /from /to 301"),
            ("a /b", "a is no path: a path begins with /"),
            ("/a?x=1 /b", "/a?x=1 is no path: a path has neither ? nor #"),
            (
                "https://x.example/a /b",
                "https://x.example/a names a host: begin with the path: every host of the site has the same rules",
            ),
            (
                "/a/*/b /c",
                "the * of /a/*/b is not the last part: write it alone as the last part: /from/*",
            ),
            (
                "/*.jpg /c",
                "the * of /*.jpg is not the last part: write it alone as the last part: /from/*",
            ),
            (
                "/a /b 299",
                "status 299 is not supported: use 200, 301, 302, 303, 307, 308, 404, 410 or 451",
            ),
            (
                "/a /b 302 Country=au",
                "Country= is not supported, because a node does not know where its visitors are: use Language=, or remove the line",
            ),
            (
                "/a /b 302 Role=admin",
                "\"Role=admin\" is not supported: only Language= may follow the status",
            ),
            (
                "/api/* https://api.example/:splat 200",
                "200 to https://api.example would fetch from another host, which is refused: use 301 or 302 to send the visitor there",
            ),
            (
                "/a https://b.example/404.html 404",
                "404 with a page of https://b.example: name a page of this site",
            ),
            (
                "/a /b/:c",
                ":c stands for nothing: use a :name that the path or the query conditions have, or :splat for the *",
            ),
            (
                "/a //b.example",
                "\"//b.example\" is no target: begin with one / or with https://",
            ),
            (
                "/a ftp://b.example/",
                "ftp: is not supported: begin with /, http:// or https://",
            ),
            (
                "/a https://b_/",
                "\"b_\" is no host: write a plain host name, in its xn-- form if it is not ASCII",
            ),
            (
                "/* /nothing",
                "the target matches the rule again, without end: name another target, or use 200",
            ),
            (
                "/a noise /b",
                "\"noise\" is neither a target nor a query condition: write name=value or name=:name",
            ),
            (
                "/ok /x",
                "never reached, because line 1 has the same address: remove one of the two",
            ),
        ];
        let more = [
            (
                "/a /b/../c",
                "\"/b/../c\" has a part that is ..: write the path that it leads to",
            ),
            (
                "/a https://x.example/%2E./c",
                "\"https://x.example/%2E./c\" has a part that is ..: write the path that it leads to",
            ),
            (
                "/a /b 302 Language=",
                "\"Language=\" names no languages: write names with commas between them: Language=de,fr",
            ),
            (
                "/a /b 302 Language=de,,fr",
                "\"Language=de,,fr\" names no languages: write names with commas between them: Language=de,fr",
            ),
            (
                "/a /b/:splat",
                ":splat stands for nothing: use a :name that the path or the query conditions have, or :splat for the *",
            ),
            (
                "/caf%C3%A9s /caf\u{e9}s",
                "the target matches the rule again, without end: name another target, or use 200",
            ),
            (
                "/a /nothing 200",
                "there is no such page in this site for the target: name a file that is published",
            ),
            (
                "/.well-known/verge/* /b",
                "never reached, because the node answers this address itself: remove it",
            ),
        ];
        for (line, expected) in rows.into_iter().chain(more) {
            let (rules, problems) = read(&format!("/ok /fine\n{line}\n/last /fine\n"));
            assert_eq!(problems, [format!("_redirects:2: {expected}")], "{line}");
            assert_eq!(
                rules.0.first().map(|r| r.action),
                Some(Action::Redirect(301))
            );
            assert!(rules.find("/last", &[], &[], false).is_some(), "{line}");
        }
    }

    #[test]
    fn limits() {
        let line = |n: usize| format!("/{n} /x\n");
        let (rules, problems) = read(&(0..REDIRECTS_MAX).map(line).collect::<String>());
        assert_eq!((rules.0.len(), problems.len()), (REDIRECTS_MAX, 0));
        let (rules, problems) = read(&(0..REDIRECTS_MAX + 5).map(line).collect::<String>());
        assert_eq!((rules.0.len(), problems.len()), (REDIRECTS_MAX, 1));
        assert!(problems[0].starts_with("_redirects:1001: more than 1000 rules"));
        let long = format!("/a /b\n# {}\n/c /d\n", "x".repeat(64 << 10));
        let (rules, problems) = read(&long);
        assert_eq!(rules.0.len(), 1);
        assert!(
            problems[0].starts_with("_redirects:2: longer than 65536 bytes"),
            "{problems:?}"
        );
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_and_read_back(text in "(/[a:*b/]{0,6} (q=:v )?/[a-c:/]{0,6}( 30[128]!?)?\n){0,8}") {
            let (rules, _) = read(&text);
            prop_assert_eq!(Redirects::decode(&rules.encode()), Some(rules));
        }

        #[test]
        fn no_text_and_no_bytes_panic(text: String, bytes: Vec<u8>, path: String) {
            read(&text);
            parse(&bytes, None, &mut |_| {});
            if let Some(rules) = Redirects::decode(&bytes) {
                drop(rules.find(&path, &[], &[], false));
            }
        }
    }
}
