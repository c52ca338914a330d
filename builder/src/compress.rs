//! The compression rules, their number, and the proof that each result decodes to its source.
//!
//! Everything here is a pure function of bytes and recipe: one thread per file, no timestamps, no
//! names, `brotli` with portable floats. A change to any constant, or to what a library writes, is a
//! new [`RECIPE`].

use std::io::{self, BufReader, Read, Write};
use verge_sync::digest::{Digest, Digester};
use verge_sync::manifest::Coding;

/// The number of these rules; a manifest and a deploy record carry it.
pub const RECIPE: u32 = 1;
/// The codings that are tried, in the order of the tables.
pub(crate) const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// 11: a file is compressed once and sent many times, over home uplinks.
const BROTLI_QUALITY: i32 = 11;
/// The largest window of RFC 7932: 4 MiB less 16 bytes.
const BROTLI_WINDOW_LOG_MAX: i32 = 22;
const BROTLI_WINDOW_LOG_MIN: i32 = 10;
/// 19: the highest level without long windows.
const ZSTD_LEVEL: i32 = 19;
/// 8 MiB: what every browser accepts (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const GZIP_LEVEL: u32 = 9;
/// "Unknown" in RFC 1952: the bytes must not depend on the machine.
const GZIP_SYSTEM: u8 = 255;

/// Shorter files are left alone: with its head a response of 256 bytes is one packet either way.
const LENGTH_MIN: u64 = 256;
/// A coding is kept if it saves at least one byte in 16 ...
const SAVED_SHARE: u64 = 16;
/// ... and at least 64 bytes: less than its own row in the manifest (88 bytes) and a third of what
/// its response head weighs.
const SAVED_BYTES_MIN: u64 = 64;
/// The trial of an unknown type looks at so much of its beginning.
pub(crate) const TRIAL_BYTES: usize = 64 << 10;
/// 3: quick, and close enough to say whether there is anything to gain.
const TRIAL_LEVEL: i32 = 3;

/// The first seven bits of a stream with a window that RFC 7932 does not have.
const BROTLI_LARGE_WINDOW: u8 = 0x11;
/// What the brotli decoder reads at a time.
const BROTLI_BUFFER_BYTES: usize = 4096;
/// What is decoded at a time.
const PIECE_BYTES: usize = 32 << 10;

/// Whether `length` bytes are long enough to be compressed at all.
pub(crate) fn is_long_enough(length: u64) -> bool {
    length >= LENGTH_MIN
}

/// Whether a coding saves bytes worth its disk.
pub(crate) fn is_worth(identity_bytes: u64, coded_bytes: u64) -> bool {
    let saved = identity_bytes.saturating_sub(coded_bytes);
    saved >= SAVED_BYTES_MIN && saved >= identity_bytes / SAVED_SHARE
}

/// Whether a quick trial on the first [`TRIAL_BYTES`] of an unknown type promises anything.
pub(crate) fn trial(beginning: &[u8]) -> io::Result<bool> {
    let coded = zstd::stream::encode_all(beginning, TRIAL_LEVEL)?;
    Ok(is_worth(length_of(beginning), length_of(&coded)))
}

/// Writes the `length` bytes of `from` to `to` in `coding`.
pub(crate) fn encode(
    coding: Coding,
    length: u64,
    from: &mut dyn Read,
    to: &mut dyn Write,
) -> io::Result<()> {
    match coding {
        Coding::Identity => io::copy(from, to).map(drop),
        Coding::Brotli => brotli(length, from, to),
        Coding::Zstd => zstd(length, from, to),
        Coding::Gzip => gzip(from, to),
    }
}

fn brotli(length: u64, mut from: &mut dyn Read, mut to: &mut dyn Write) -> io::Result<()> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: window_log(length),
        size_hint: usize::try_from(length).unwrap_or(usize::MAX),
        ..brotli::enc::BrotliEncoderParams::default()
    };
    brotli::BrotliCompress(&mut from, &mut to, &params).map(drop)
}

/// The smallest window that holds all of `length`: a larger one only costs memory on both sides.
fn window_log(length: u64) -> i32 {
    let fits = |log: &i32| (1_u64 << log) - 16 >= length;
    (BROTLI_WINDOW_LOG_MIN..BROTLI_WINDOW_LOG_MAX)
        .find(fits)
        .unwrap_or(BROTLI_WINDOW_LOG_MAX)
}

fn zstd(length: u64, from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(to, ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(length))?;
    encoder.include_contentsize(true)?;
    encoder.include_checksum(false)?;
    io::copy(from, &mut encoder)?;
    encoder.finish().map(drop)
}

fn gzip(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let builder = flate2::GzBuilder::new()
        .mtime(0)
        .operating_system(GZIP_SYSTEM);
    let mut encoder = builder.write(to, flate2::Compression::new(GZIP_LEVEL));
    io::copy(from, &mut encoder)?;
    encoder.finish().map(drop)
}

/// The digest of what `from` decodes to, in no more memory than a window.
pub(crate) fn decoded_digest(coding: Coding, from: &mut dyn Read) -> io::Result<Digest> {
    let mut digest = Digester::new();
    decode(coding, from, &mut |piece| {
        digest.update(piece);
        Ok(())
    })?;
    Ok(digest.digest())
}

/// Gives `take` what `from` decodes to, piece by piece, in no more memory than a window; its error
/// ends the decoding.
///
/// Strict, since what one decoder leaves unread another may show: `from` is exactly one stream of
/// the coding, as [`encode`] writes it, with a window that every browser has.
pub(crate) fn decode(
    coding: Coding,
    mut from: &mut dyn Read,
    take: &mut Take<'_>,
) -> io::Result<()> {
    match coding {
        Coding::Identity => pour(&mut from, take),
        Coding::Brotli => unbrotli(from, take),
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(from)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            pour(&mut decoder, take)?;
            at_end(&mut decoder.finish())
        }
        Coding::Gzip => {
            let mut decoder = flate2::bufread::GzDecoder::new(BufReader::new(from));
            pour(&mut decoder, take)?;
            at_end(&mut decoder.into_inner())
        }
    }
}

/// Takes a piece of decoded bytes.
pub(crate) type Take<'t> = dyn FnMut(&[u8]) -> io::Result<()> + 't;

/// The library takes "large windows" of up to 1 GiB too, which are not RFC 7932 and no browser's: a
/// stream that has one begins so.
fn unbrotli(from: &mut dyn Read, take: &mut Take<'_>) -> io::Result<()> {
    let mut first = [0];
    from.read_exact(&mut first)?;
    if first.map(|byte| byte & 0x7f) == [BROTLI_LARGE_WINDOW] {
        return Err(invalid("its window is larger than browsers take"));
    }
    let whole = first.as_slice().chain(from);
    let mut decoder = brotli::Decompressor::new(whole, BROTLI_BUFFER_BYTES);
    pour(&mut decoder, take)?;
    // Asked once more, it says whether its own buffer has anything left.
    at_end(&mut decoder)?;
    at_end(&mut decoder.into_inner())
}

fn at_end(from: &mut dyn Read) -> io::Result<()> {
    match from.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(invalid("something follows its end")),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn pour(from: &mut dyn Read, take: &mut Take<'_>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = from.read(&mut piece)?;
        match piece.get(..count) {
            None | Some([]) => return Ok(()),
            Some(read) => take(read)?,
        }
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(coding, length_of(bytes), &mut &*bytes, &mut out).unwrap();
        out
    }

    /// If this fails after an update of a library, the recipe needs a new number.
    #[test]
    fn recipe_1_writes_these_bytes() {
        let text: String = (0..2000)
            .map(|n| format!("<p>{}</p>\n", n * 7919 % 1009))
            .collect();
        let digests = CODINGS.map(|coding| {
            let bytes = encoded(coding, text.as_bytes());
            (coding.name(), bytes.len(), Digest::of(&bytes).to_string())
        });
        let lines = digests.map(|(name, length, digest)| format!("{name} {length} {digest}"));
        assert_eq!(
            lines.join("\n"),
            include_str!("../tests/golden/recipe-1.txt").trim_end()
        );
    }

    #[test]
    fn gzip_has_neither_name_nor_time() {
        let head = &encoded(Coding::Gzip, b"x")[..10];
        assert_eq!(head, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    }

    #[test]
    fn worth() {
        let rows = [
            (1000, 936, true),
            (1000, 937, false),
            (10_000, 9_375, true),
            (10_000, 9_376, false),
            (300, 236, true),
            (300, 400, false),
            (0, 0, false),
        ];
        for (identity, coded, expected) in rows {
            assert_eq!(is_worth(identity, coded), expected, "{identity} {coded}");
        }
    }

    #[test]
    fn windows_fit_their_files() {
        let rows = [
            (0, 10),
            (1008, 10),
            (1009, 11),
            (1 << 20, 21),
            (1 << 22, 22),
            (1 << 30, 22),
        ];
        for (length, expected) in rows {
            assert_eq!(window_log(length), expected, "{length}");
        }
    }

    #[test]
    fn the_trial_tells_text_from_noise() {
        let noise: Vec<u8> = (0..200_u32)
            .flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes())
            .collect();
        assert!(!trial(&noise).unwrap());
        assert!(trial(&b"some words ".repeat(100)).unwrap());
    }

    /// What follows the end of a stream is ignored by some decoders and shown by others: a second
    /// member of gzip, a second frame of zstd, anything at all.
    #[test]
    fn nothing_may_follow_the_end_of_a_stream() {
        for coding in CODINGS {
            let page = encoded(coding, &b"a page ".repeat(100));
            let other = encoded(coding, b"another page");
            for length in [1, 3, 4096, 100_000] {
                let more = other.iter().copied().cycle().take(length);
                let bytes: Vec<u8> = page.iter().copied().chain(more).collect();
                let decoded = decoded_digest(coding, &mut &*bytes);
                assert!(decoded.is_err(), "{coding:?} and {length} bytes");
            }
            let half = &page[..page.len() - 1];
            assert!(decoded_digest(coding, &mut &*half).is_err(), "{coding:?}");
            assert!(decoded_digest(coding, &mut &[][..]).is_err(), "{coding:?}");
        }
    }

    /// A window of 16 MiB is the last of RFC 7932; the library would take one of 1 GiB.
    #[test]
    fn windows_that_browsers_refuse_are_refused() {
        let brotli = |lgwin, large_window| {
            let params = brotli::enc::BrotliEncoderParams {
                quality: 1,
                lgwin,
                large_window,
                ..brotli::enc::BrotliEncoderParams::default()
            };
            let mut out = Vec::new();
            brotli::BrotliCompress(&mut &b"a page"[..], &mut out, &params).unwrap();
            decoded_digest(Coding::Brotli, &mut &*out).ok()
        };
        assert_eq!(brotli(24, false), Some(Digest::of(b"a page")));
        assert_eq!(brotli(25, true), None);
        let zstd = |window_log| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window_log).unwrap();
            encoder.write_all(b"a page").unwrap();
            decoded_digest(Coding::Zstd, &mut &*encoder.finish().unwrap()).ok()
        };
        assert_eq!(zstd(ZSTD_WINDOW_LOG_MAX), Some(Digest::of(b"a page")));
        assert_eq!(zstd(ZSTD_WINDOW_LOG_MAX + 1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_coding_decodes_to_its_source(bytes in prop::collection::vec(0_u8..9, 0..5000)) {
            for coding in Coding::ALL {
                let coded = encoded(coding, &bytes);
                let digest = decoded_digest(coding, &mut &*coded).unwrap();
                prop_assert_eq!(digest, Digest::of(&bytes));
            }
        }

        #[test]
        fn foreign_bytes_never_decode_to_a_panic(bytes: Vec<u8>) {
            for coding in Coding::ALL {
                drop(decoded_digest(coding, &mut &*bytes));
            }
        }
    }
}
