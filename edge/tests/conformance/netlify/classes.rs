//! Why Netlify's matcher answers otherwise: each class is one sentence, and one way to ask or read
//! the matcher after which it answers as Verge does. A difference without such a way is a fault.

use super::answers::{Answer, Place, decode, encode, pairs};
use super::oracle::Ruling;
use super::questions::{Line, Question};
use unicode_normalization::UnicodeNormalization;
use verge_builder::rules::Redirects;

pub(super) struct Class {
    /// As in `docs/http.md`.
    pub(super) sentence: &'static str,
    pub(super) repair: Repair,
}

/// How the matcher is brought to the same answer.
pub(super) enum Repair {
    /// It is asked otherwise.
    Ask(fn(&mut Question)),
    /// What it says is read otherwise.
    Ruling(fn(&Question, &mut Ruling)),
    /// Whatever it says, this is the answer.
    Answer(fn(&Question, Answer) -> Answer),
}

/// In the order in which they are applied.
pub(super) const CLASSES: [Class; 20] = [
    Class {
        sentence: "A line that is skipped here, and reported, is a rule there.",
        repair: Repair::Ask(skip_lines),
    },
    Class {
        sentence: "A line with `Language=` and no status is void there, and a 301 here.",
        repair: Repair::Ask(write_status),
    },
    Class {
        sentence: "A redirect with `*` is passed over there where the address begins as its target does, so that nobody goes in circles; here the push reports it.",
        repair: Repair::Ask(lead_elsewhere),
    },
    Class {
        sentence: "In a target, `:xy` is `:x` with a `y` behind it there, if the line has `:x`; here a name is all its letters, digits and `_`.",
        repair: Repair::Ask(end_names),
    },
    Class {
        sentence: "What a name stands for is put into the target decoded there, so a visitor can add a query, a fragment or another name; here it is encoded for its place.",
        repair: Repair::Ask(encode_captures),
    },
    Class {
        sentence: "There the address is decoded and the line is not, so `/a%20b` in a line is never met; here both are, and are compared in NFC.",
        repair: Repair::Ask(spell_alike),
    },
    Class {
        sentence: "Runs of slashes are parts without a text there, and one slash here.",
        repair: Repair::Ask(join_slashes),
    },
    Class {
        sentence: "Of a parameter that stands twice the last counts there, the first here.",
        repair: Repair::Ask(keep_first_parameters),
    },
    Class {
        sentence: "A parameter without `=` is not there for Netlify, and empty here.",
        repair: Repair::Ask(write_equals),
    },
    Class {
        sentence: "A value `..` climbs out of the target's folder there; here the rule does not match it.",
        repair: Repair::Ask(drop_climbing),
    },
    Class {
        sentence: "`Language=` is compared with the language that stands first there, whatever its `q`; here with the one that is wanted most.",
        repair: Repair::Ask(choose_language),
    },
    Class {
        sentence: "A visitor without `Accept-Language` is English there; here no `Language=` matches.",
        repair: Repair::Ask(name_no_language),
    },
    Class {
        sentence: "Of the visitor's language only two letters count there, so `Language=de-AT` matches nobody.",
        repair: Repair::Ask(compare_regions),
    },
    Class {
        sentence: "The first rule that matches decides there, and yields to a file; here a later one with `!` still wins over the file.",
        repair: Repair::Ask(keep_forced),
    },
    Class {
        sentence: "A space in a parameter's value becomes `+` in the target's path there, which is a plus; here it is `%20`.",
        repair: Repair::Ruling(read_spaces),
    },
    Class {
        sentence: "A target that ends in `?` keeps the visitor's query there; here its query is its own, and empty.",
        repair: Repair::Ruling(drop_query),
    },
    Class {
        sentence: "A target can begin with two slashes there, and leads to another host; here always with one.",
        repair: Repair::Ruling(begin_with_one_slash),
    },
    Class {
        sentence: "An address with `..` or an encoded slash or backslash is answered with 400 here, before every rule.",
        repair: Repair::Answer(refuse_bad),
    },
    Class {
        sentence: "The node's own addresses are answered before every rule here.",
        repair: Repair::Answer(reserve),
    },
    Class {
        sentence: "Where a rewrite leads to a page, an address in another spelling is sent to the usual one first here.",
        repair: Repair::Answer(respell),
    },
];

fn skip_lines(question: &mut Question) {
    let is_rule = |line: &Line| {
        !Redirects::read(line.text().as_bytes(), &mut |_told| {})
            .0
            .is_empty()
    };
    question.rules.retain(is_rule);
}

fn write_status(question: &mut Question) {
    for line in &mut question.rules {
        if line
            .options
            .first()
            .is_some_and(|word| word.starts_with("Language="))
        {
            line.options.insert(0, "301".to_owned());
        }
    }
}

/// What stands before a target of this site, so that the matcher takes it for another's.
pub(super) const HERE: &str = "https://here.example";

fn lead_elsewhere(question: &mut Question) {
    for line in &mut question.rules {
        if line.from.ends_with('*') && line.to.starts_with('/') {
            line.to.insert_str(0, HERE);
        }
    }
}

/// Gives every name an end that no other has within it; what stands for nothing stays text.
fn end_names(question: &mut Question) {
    for line in &mut question.rules {
        let names: Vec<String> = line.names().into_iter().map(str::to_owned).collect();
        let texts = line.conditions.iter_mut();
        for text in texts.chain([&mut line.from, &mut line.to]) {
            let mut out = String::new();
            let mut rest = text.as_str();
            while let Some((before, behind)) = rest.split_once(':') {
                let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let (name, after) = behind.split_at(end.unwrap_or(behind.len()));
                let is_name = name != "splat" && names.iter().any(|known| known == name);
                let end = if is_name { "_end" } else { "" };
                out.push_str(&format!("{before}:{name}{end}"));
                rest = after;
            }
            *text = out + rest;
        }
    }
}

/// What may be spelled in several ways in a line.
fn is_spelled(c: char) -> bool {
    !c.is_ascii() || c == ' '
}

/// What means something in a target.
fn is_syntax(c: char) -> bool {
    "?#%&:".contains(c)
}

fn encode_captures(question: &mut Question) {
    question.path = encode_twice(&question.path, is_syntax);
}

/// After [`encode_captures`], whose escapes are left alone.
fn spell_alike(question: &mut Question) {
    for line in &mut question.rules {
        if line.from.starts_with('/') {
            let parts = line.from.split('/').map(|part| match part {
                "*" => part.to_owned(),
                _ if part.starts_with(':') => part.to_owned(),
                _ => encode(&composed(part)),
            });
            line.from = parts.collect::<Vec<_>>().join("/");
        }
    }
    question.path = encode_twice(&question.path, is_spelled);
}

fn composed(part: &str) -> String {
    decode(part).nfc().collect()
}

/// The matcher gets a path that is decoded once, and so these characters encoded.
fn encode_twice(path: &str, which: fn(char) -> bool) -> String {
    let parts = path.split('/').map(|part| {
        let letters = composed(part);
        let letters = letters.chars().map(|c| match c {
            c if which(c) => encode(&encode(&c.to_string())),
            c if c.is_ascii_graphic() && !"/\\%?#".contains(c) => c.to_string(),
            c => encode(&c.to_string()),
        });
        letters.collect::<String>()
    });
    parts.collect::<Vec<_>>().join("/")
}

fn join_slashes(question: &mut Question) {
    while question.path.contains("//") {
        question.path = question.path.replace("//", "/");
    }
}

fn change_query(question: &mut Question, change: impl Fn(&[&str]) -> Vec<String>) {
    if let Some(query) = &mut question.query {
        *query = change(&query.split('&').collect::<Vec<_>>()).join("&");
    }
}

fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

fn keep_first_parameters(question: &mut Question) {
    change_query(question, |pairs| {
        let mut kept: Vec<String> = Vec::new();
        for pair in pairs {
            if !kept.iter().any(|known| name_of(known) == name_of(pair)) {
                kept.push((*pair).to_owned());
            }
        }
        kept
    });
}

fn write_equals(question: &mut Question) {
    change_query(question, |pairs| {
        let full = |pair: &&str| {
            if pair.contains('=') {
                (*pair).to_owned()
            } else {
                format!("{pair}=")
            }
        };
        pairs.iter().map(full).collect()
    });
}

fn drop_climbing(question: &mut Question) {
    let values = question
        .query
        .as_deref()
        .and_then(pairs)
        .unwrap_or_default();
    question.rules.retain(|line| {
        let mut names = line.conditions.iter().filter_map(|c| c.split_once("=:"));
        let path = line.to.split(['?', '#']).next().unwrap_or_default();
        !names.any(|(parameter, name)| {
            let value = values.iter().find(|(known, _)| known == parameter);
            let climbs = value.is_some_and(|(_, value)| value == "..");
            climbs && path.split('/').any(|part| part == format!(":{name}"))
        })
    });
}

fn choose_language(question: &mut Question) {
    let Some(line) = &question.language else {
        return;
    };
    let mut best: Option<(f32, &str)> = None;
    for element in line.split(',') {
        let (name, weight) = element.split_once(";q=").unwrap_or((element, "1"));
        let weight: f32 = weight.parse().unwrap();
        let is_better = best.is_none_or(|(known, _)| weight > known);
        if name.trim() != "*" && weight > 0.0 && is_better {
            best = Some((weight, name.trim()));
        }
    }
    question.language = best.map(|(_, name)| name.to_owned());
}

/// A language that no line names.
const NO_LANGUAGE: &str = "zz";

fn name_no_language(question: &mut Question) {
    question
        .language
        .get_or_insert_with(|| NO_LANGUAGE.to_owned());
}

fn compare_regions(question: &mut Question) {
    let first = question
        .language
        .as_deref()
        .and_then(|line| line.split([',', ';']).next());
    let first = first.unwrap_or("en").to_ascii_lowercase();
    let short = first.get(..2).unwrap_or(&first);
    for word in question.rules.iter_mut().flat_map(|line| &mut line.options) {
        if let Some(wanted) = word.strip_prefix("Language=") {
            let mut wanted = wanted.split(',').map(str::to_ascii_lowercase);
            let suits = wanted.any(|wanted| first == wanted || first.starts_with(&(wanted + "-")));
            *word = format!("Language={}", if suits { short } else { "yy" });
        }
    }
}

fn keep_forced(question: &mut Question) {
    if question.has_file {
        let is_forced = |line: &Line| line.options.iter().any(|word| word.ends_with('!'));
        question.rules.retain(is_forced);
    }
}

fn read_spaces(question: &Question, ruling: &mut Ruling) {
    let query = question.query.as_deref().unwrap_or_default();
    if query.contains('+') || query.contains("%20") {
        let (path, rest) = ruling
            .to
            .split_at(ruling.to.find(['?', '#']).unwrap_or(ruling.to.len()));
        ruling.to = path.replace('+', "%20") + rest;
    }
}

fn drop_query(_question: &Question, ruling: &mut Ruling) {
    ruling.drops_query = ruling.to.ends_with('?');
}

fn begin_with_one_slash(_question: &Question, ruling: &mut Ruling) {
    if ruling.to.starts_with("//") {
        ruling.to = format!("/{}", ruling.to.trim_start_matches('/'));
    }
}

fn refuse_bad(question: &Question, answer: Answer) -> Answer {
    let is_bad = |part: String| part == ".." || part.contains(['/', '\\']);
    if question.path.split('/').map(decode).any(is_bad) {
        return Answer::Bad;
    }
    answer
}

/// Whether the node answers an address itself.
pub(super) fn is_reserved(path: &str) -> bool {
    ["acme-challenge/", "verge/"].iter().any(|name| {
        let rest = path.strip_prefix("/.well-known/");
        rest.is_some_and(|rest| rest.starts_with(name))
    })
}

fn reserve(question: &Question, answer: Answer) -> Answer {
    if is_reserved(&question.path) {
        return Answer::Reserved;
    }
    answer
}

fn respell(question: &Question, answer: Answer) -> Answer {
    let is_page = matches!(answer, Answer::Page(200, Some(_)));
    if !is_page || is_usual(&question.path) {
        return answer;
    }
    let mut usual = question.clone();
    join_slashes(&mut usual);
    let path = usual.path.split('/').skip(1).map(composed).collect();
    Answer::Redirect(
        308,
        Place {
            origin: String::new(),
            path,
            query: question.query.as_deref().and_then(pairs),
            fragment: None,
        },
    )
}

/// Whether a path is spelled as RFC 3986 section 6.2.2 wants it, in NFC.
fn is_usual(path: &str) -> bool {
    let mut escapes = path.split('%').skip(1).filter_map(|rest| rest.get(..2));
    let is_needed =
        |digits: &str| encode(&decode(&format!("%{digits}"))) != decode(&format!("%{digits}"));
    let is_upper = |digits: &str| digits == digits.to_ascii_uppercase();
    let is_composed = path.split('/').all(|part| composed(part) == decode(part));
    is_composed
        && !path.contains("//")
        && escapes.all(|digits| is_upper(digits) && is_needed(digits))
}
