//! Whether a visitor says that it is a machine which reads sites on its own.
//!
//! RFC 9309 section 2.2.1 wants such visitors to have a product token; nearly all of them call
//! themselves "...bot", "...crawler" or "...spider". Three large ones that do not are listed.
//! Whoever does not say it is counted as a visitor. The name is read and forgotten.

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// The other two words, and product tokens of machines whose names do not say it.
const NAMES: [&[u8]; 5] = [
    b"crawler",
    b"spider",
    b"slurp",
    b"ia_archiver",
    b"facebookexternalhit",
];
/// A maker of telephones, whose name is in the user agent of people.
const TELEPHONE: &[u8] = b"cubot";
/// What follows is not read: names stand in front, and it bounds the work.
const READ_BYTES_MAX: usize = 512;

/// Who asks on a connection: nearly always one, so that its name is looked through once. Kept is a
/// hash under a random key, as long as the connection lasts.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    key: RandomState,
    /// Of the last name; in the lowest bit, whether it is a bot's.
    seen: AtomicU64,
}

impl Agent {
    /// Whether one of the request's `User-Agent` lines names a declared bot.
    pub(in crate::http) fn is_declared_bot(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(USER_AGENT).iter();
        let Some(first) = lines.next().map(HeaderValue::as_bytes) else {
            return false;
        };
        let hash = self.key.hash_one(first) | 1;
        let seen = self.seen.load(Ordering::Relaxed);
        let is_bot = if seen | 1 == hash {
            seen & 1 == 1
        } else {
            let is_bot = names_bot(first);
            let verdict = hash ^ u64::from(!is_bot);
            self.seen.store(verdict, Ordering::Relaxed);
            is_bot
        };
        is_bot || lines.any(|line| names_bot(line.as_bytes()))
    }
}

fn names_bot(line: &[u8]) -> bool {
    let line = line.get(..READ_BYTES_MAX).unwrap_or(line);
    let at = |index: usize| line.get(index..).unwrap_or_default();
    let is_bot = |index: usize| {
        starts(at(index), b"bot") && ends_word(at(index + 3)) && !is_telephone(line, index)
    };
    memchr::memchr2_iter(b'b', b'B', line).any(is_bot)
        || NAMES.iter().any(|name| has_word(line, name))
}

fn starts(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn ends_word(rest: &[u8]) -> bool {
    !rest.first().is_some_and(u8::is_ascii_alphabetic)
}

/// `index`: where "bot" stands.
fn is_telephone(line: &[u8], index: usize) -> bool {
    let Some(start) = index.checked_sub(2) else {
        return false;
    };
    let begins = start
        .checked_sub(1)
        .and_then(|before| line.get(before))
        .is_none_or(|byte| !byte.is_ascii_alphanumeric());
    begins && starts(line.get(start..).unwrap_or_default(), TELEPHONE)
}

fn has_word(line: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else {
        return false;
    };
    memchr::memchr2_iter(*first, first.to_ascii_uppercase(), line)
        .any(|index| starts(line.get(index..).unwrap_or_default(), word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&'static str], expected: bool) {
        for line in lines {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(line));
            assert_eq!(
                Agent::default().is_declared_bot(&headers),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn who_says_it_is_a_machine_is_one() {
        let lines = [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Googlebot-Image/1.0",
            "AdsBot-Google (+http://www.google.com/adsbot.html)",
            "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
            "Mozilla/5.0 (compatible; YandexBot/3.0)",
            "Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details/archive.org_bot)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2)",
            "ClaudeBot/1.0",
            "CCBot/2.0 (https://commoncrawl.org/faq/)",
            "mybot2000",
            "bot",
            "Baiduspider+(+http://www.baidu.com/search/spider.htm)",
            "Mozilla/5.0 (Linux; Android 5.0) (compatible; Bytespider; https://x.example)",
            "crawler4j (https://github.com/yasserg/crawler4j/)",
            "SomeCrawler/1.0",
            "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
            "facebookexternalhit/1.1",
            "ia_archiver",
            "Mozilla/5.0 (Linux; CUBOT X19) otherbot/1.0",
        ];
        check(&lines, true);
    }

    #[test]
    fn who_does_not_say_it_is_a_visitor() {
        let lines = [
            "",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 9; CUBOT_X18_Plus) Chrome/126.0",
            "Cubot",
            "curl/7.88.1",
            "Bottle/0.12",
            "robots",
            "Lynx/2.8.9rel.1 libwww-FM/2.14",
        ];
        check(&lines, false);
        assert!(!Agent::default().is_declared_bot(&HeaderMap::new()));
    }

    #[test]
    fn who_calls_itself_otherwise_is_looked_at_again() {
        let agent = Agent::default();
        let named = |name| HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(name))]);
        for _ in 0..2 {
            assert!(agent.is_declared_bot(&named("Examplebot/1.0")));
            assert!(agent.is_declared_bot(&named("Examplebot/1.0")));
            assert!(!agent.is_declared_bot(&named("Firefox/128.0")));
            assert!(!agent.is_declared_bot(&HeaderMap::new()));
        }
        let mut two = named("Firefox/128.0");
        two.append(USER_AGENT, HeaderValue::from_static("Examplebot/1.0"));
        assert!(agent.is_declared_bot(&two));
    }

    #[test]
    fn so_much_of_a_name_is_read() {
        let named = |padding: usize| format!("{}bot", " ".repeat(padding));
        assert!(names_bot(named(READ_BYTES_MAX - 3).as_bytes()));
        let mut headers = HeaderMap::new();
        for (padding, expected) in [(READ_BYTES_MAX - 3, true), (READ_BYTES_MAX - 2, false)] {
            // A space in front of a value is no part of it.
            let name = format!("x{}", named(padding - 1));
            headers.insert(USER_AGENT, HeaderValue::from_str(&name).unwrap());
            assert_eq!(
                Agent::default().is_declared_bot(&headers),
                expected,
                "{padding}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_read(line in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let lower = line.to_ascii_lowercase();
            proptest::prop_assert_eq!(names_bot(&line), names_bot(&lower));
        }
    }
}
