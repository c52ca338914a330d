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
    match coding {
        Coding::Identity => hash(from, &mut digest)?,
        Coding::Brotli => hash(&mut brotli::Decompressor::new(from, 4096), &mut digest)?,
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(from)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            hash(&mut decoder, &mut digest)?;
        }
        Coding::Gzip => hash(
            &mut flate2::bufread::GzDecoder::new(BufReader::new(from)),
            &mut digest,
        )?,
    }
    Ok(digest.digest())
}

fn hash(from: &mut dyn Read, digest: &mut Digester) -> io::Result<()> {
    let mut piece = vec![0; 32 << 10];
    loop {
        let count = from.read(&mut piece)?;
        match piece.get(..count) {
            None | Some([]) => return Ok(()),
            Some(read) => digest.update(read),
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
