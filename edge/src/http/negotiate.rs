//! Which representation a visitor gets (http.md section 4; RFC 9110 sections 12.4.2 and 12.5.3).

use http::HeaderValue;
use std::cmp::Reverse;
use verge_sync::manifest::{Coding, Representation};

/// What `Accept-Encoding` says of the codings that we store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accept {
    listed: [Option<Weight>; 4],
    any: Option<Weight>,
    present: bool,
}

/// A quality value in thousandths, 0 to 1000.
type Weight = u16;

/// How much a coding is wanted; a later variant is wanted more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Identity that nothing names: allowed, after every listed coding.
    Unlisted,
    Listed(Weight),
}

impl Accept {
    /// Reads every `Accept-Encoding` line. An element that breaks the grammar is as if not there;
    /// of two elements for one coding the first counts.
    pub(super) fn parse<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut accept = Self::default();
        for line in lines {
            accept.present = true;
            for element in line.as_bytes().split(|byte| *byte == b',') {
                accept.add(element);
            }
        }
        accept
    }

    fn add(&mut self, element: &[u8]) {
        let Some((name, weight)) = read_element(element) else {
            return;
        };
        let slot = if name == b"*" {
            &mut self.any
        } else {
            let Some(slot) = coding_index(name).and_then(|at| self.listed.get_mut(at)) else {
                return;
            };
            slot
        };
        slot.get_or_insert(weight);
    }

    fn rank(&self, coding: Coding) -> Option<Rank> {
        if !self.present {
            return (coding == Coding::Identity).then_some(Rank::Unlisted);
        }
        let listed = coding_index(coding.name().as_bytes())
            .and_then(|at| self.listed.get(at).copied().flatten());
        match listed.or(self.any) {
            Some(0) => None,
            Some(weight) => Some(Rank::Listed(weight)),
            None => (coding == Coding::Identity).then_some(Rank::Unlisted),
        }
    }
}

/// The offer that is wanted most, the smallest of equals; `None` is a 406.
pub(super) fn negotiate(accept: &Accept, offers: &[Representation]) -> Option<Representation> {
    offers.get(choose(accept, offers)?).copied()
}

/// Its place among the offers.
pub(super) fn choose(accept: &Accept, offers: &[Representation]) -> Option<usize> {
    let ranked = offers.iter().enumerate().filter_map(|(at, offer)| {
        let rank = accept.rank(offer.coding)?;
        Some(((Reverse(rank), offer.length, offer.coding), at))
    });
    ranked.min().map(|(_rank, at)| at)
}

fn coding_index(name: &[u8]) -> Option<usize> {
    // RFC 9110 section 8.4.1.3: x-gzip is gzip.
    let name = if name.eq_ignore_ascii_case(b"x-gzip") {
        b"gzip"
    } else {
        name
    };
    Coding::ALL
        .iter()
        .position(|coding| coding.name().as_bytes().eq_ignore_ascii_case(name))
}

/// `codings [ OWS ";" OWS "q=" qvalue ]`
fn read_element(element: &[u8]) -> Option<(&[u8], Weight)> {
    let element = element.trim_ascii();
    let Some(semicolon) = element.iter().position(|byte| *byte == b';') else {
        return (!element.is_empty()).then_some((element, 1000));
    };
    let (name, rest) = element.split_at(semicolon);
    let parameter = rest.strip_prefix(b";")?.trim_ascii();
    let value = parameter
        .strip_prefix(b"q=")
        .or_else(|| parameter.strip_prefix(b"Q="))?;
    Some((name.trim_ascii_end(), read_weight(value)?))
}

/// `( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`
fn read_weight(value: &[u8]) -> Option<Weight> {
    let (whole, rest) = value.split_first()?;
    let digits = match rest.split_first() {
        None => rest,
        Some((b'.', digits)) if digits.len() <= 3 => digits,
        Some(_) => return None,
    };
    let mut thousandths: Weight = 0;
    for place in 0..3 {
        let digit = digits.get(place).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + Weight::from(digit - b'0');
    }
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verge_sync::Digest;

    fn offer(coding: Coding, length: u64) -> Representation {
        Representation {
            coding,
            digest: Digest::of(coding.name().as_bytes()),
            sha256: [0; 32],
            length,
            location: None,
        }
    }

    fn chosen(lines: &[&str], offers: &[Representation]) -> &'static str {
        let lines: Vec<HeaderValue> = lines.iter().map(|l| l.parse().unwrap()).collect();
        negotiate(&Accept::parse(&lines), offers).map_or("406", |offer| offer.coding.name())
    }

    #[test]
    fn the_best_of_all_four_is_chosen() {
        use Coding::{Brotli, Gzip, Identity, Zstd};
        let offers = [
            offer(Identity, 1000),
            offer(Brotli, 300),
            offer(Zstd, 320),
            offer(Gzip, 350),
        ];
        let rows: &[(&[&str], &str)] = &[
            (&[], "identity"),
            (&[""], "identity"),
            (&["gzip"], "gzip"),
            (&["x-gzip"], "gzip"),
            (&["GZip"], "gzip"),
            (&["gzip, deflate, br, zstd"], "br"),
            (&["gzip, deflate, zstd"], "zstd"),
            (&["gzip", "br"], "br"),
            (&["*"], "br"),
            (&["*;q=0.5"], "br"),
            (&["br;q=0, *"], "zstd"),
            (&["br;q=0.5, gzip;q=0.8"], "gzip"),
            (&["br;q=0.001"], "br"),
            (&["br;q=0"], "identity"),
            (&["identity"], "identity"),
            (&["identity, br"], "br"),
            (&["identity;q=0.9, br;q=0.8"], "identity"),
            (&["identity;q=0.5, br;q=1.0"], "br"),
            (&["gzip;q=0.001, identity;q=0"], "gzip"),
            (&["identity;q=0"], "406"),
            (&["*;q=0"], "406"),
            (&["deflate, *;q=0"], "406"),
            (&["identity;q=0, deflate"], "406"),
            (&["*;q=0, identity"], "identity"),
            (&["*;q=0, identity;q=0.1"], "identity"),
            (&["*;q=0, gzip"], "gzip"),
            (&["identity;q=0, *"], "br"),
            (&["deflate"], "identity"),
            (&["compress, bzip2;q=1"], "identity"),
            (&["gzip ; q=1"], "gzip"),
            (&["gzip\t;\tQ=0.5 ,,, br;q=0.4"], "gzip"),
            (&["gzip;q=1.000"], "gzip"),
            (&["gzip;q=1.001"], "identity"),
            (&["gzip;q=2"], "identity"),
            (&["gzip;q=-1"], "identity"),
            (&["gzip;q=0.1234"], "identity"),
            (&["gzip;q="], "identity"),
            (&["gzip;q=0."], "identity"),
            (&["gzip;q=.5"], "identity"),
            (&["gzip;level=9"], "identity"),
            (&["gzip;q=0, gzip"], "identity"),
            (&["gzip br"], "identity"),
            (&[";q=1"], "identity"),
            (&["br;q=0.5, *;q=0.9"], "zstd"),
            (&["gzip;q=1.0, identity; q=0.5, *;q=0"], "gzip"),
        ];
        for (lines, expected) in rows {
            assert_eq!(chosen(lines, &offers), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_file_that_has_identity_only_is_sent_as_it_is() {
        let offers = [offer(Coding::Identity, 10)];
        let rows: &[(&[&str], &str)] = &[
            (&[], "identity"),
            (&["gzip, br"], "identity"),
            (&["*"], "identity"),
            (&["gzip, identity;q=0"], "406"),
            (&["*;q=0"], "406"),
            (&["*;q=0, gzip"], "406"),
        ];
        for (lines, expected) in rows {
            assert_eq!(chosen(lines, &offers), *expected, "{lines:?}");
        }
    }

    #[test]
    fn ties_go_to_the_smaller_and_then_to_identity() {
        let smaller_gzip = [
            offer(Coding::Identity, 100),
            offer(Coding::Brotli, 60),
            offer(Coding::Gzip, 50),
        ];
        assert_eq!(chosen(&["br, gzip"], &smaller_gzip), "gzip");
        let equal = [offer(Coding::Identity, 100), offer(Coding::Gzip, 100)];
        assert_eq!(chosen(&["*"], &equal), "identity");
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read(bytes in proptest::collection::vec(0x20_u8..0xff, 0..200)) {
            let Ok(line) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let accept = Accept::parse([&line]);
            let offers = [offer(Coding::Identity, 10), offer(Coding::Gzip, 5)];
            let chosen = negotiate(&accept, &offers);
            proptest::prop_assert!(chosen.is_none_or(|chosen| offers.contains(&chosen)));
        }
    }
}
