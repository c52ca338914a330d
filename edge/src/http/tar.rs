//! Heads of a tar archive: ustar, with a pax record before a name that ustar cannot hold
//! (POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header").

use std::fmt::Write;
use verge_sync::clock::UnixTime;

const BLOCK_BYTES: usize = 512;
const NAME_BYTES: usize = 100;
/// The largest number of eleven octal digits.
const OCTAL_MAX: u64 = 0o777_7777_7777;

/// Two empty blocks end an archive.
pub(super) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// What stands before a file's bytes.
pub(super) fn head(path: &str, length: u64, modified: UnixTime) -> Vec<u8> {
    let modified = u64::try_from(modified.0).unwrap_or(0).min(OCTAL_MAX);
    let mut records = String::new();
    if path.len() > NAME_BYTES || !path.is_ascii() {
        records.push_str(&record("path", path));
    }
    if length > OCTAL_MAX {
        records.push_str(&record("size", &length.to_string()));
    }
    let mut out = Vec::with_capacity(BLOCK_BYTES);
    if !records.is_empty() {
        let bytes = u64::try_from(records.len()).unwrap_or(u64::MAX);
        out.extend_from_slice(&block("PaxHeaders/file", b'x', bytes, modified));
        out.extend_from_slice(records.as_bytes());
        out.resize(out.len() + padding(bytes), 0);
    }
    out.extend_from_slice(&block(path, b'0', length.min(OCTAL_MAX), modified));
    out
}

/// How many zeros follow a file's bytes.
pub(super) fn padding(length: u64) -> usize {
    let over = usize::try_from(length % 512).unwrap_or(0);
    (BLOCK_BYTES - over) % BLOCK_BYTES
}

/// `LENGTH key=value\n`, where the length counts itself.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

fn block(path: &str, kind: u8, length: u64, modified: u64) -> [u8; BLOCK_BYTES] {
    let mut text = String::with_capacity(BLOCK_BYTES);
    field(&mut text, path, NAME_BYTES);
    // Mode, user, group.
    text.push_str("0000644\0");
    text.push_str("0000000\0");
    text.push_str("0000000\0");
    // Writing to a string cannot fail.
    let _infallible = write!(text, "{length:011o}\0{modified:011o}\0        ");
    text.push(char::from(kind));
    field(&mut text, "", NAME_BYTES);
    text.push_str("ustar\0");
    text.push_str("00");
    field(&mut text, "", 64);
    text.push_str("0000000\0");
    text.push_str("0000000\0");
    let mut block = [0; BLOCK_BYTES];
    for (byte, value) in block.iter_mut().zip(text.bytes()) {
        *byte = value;
    }
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let checksum = format!("{sum:06o}\0 ");
    for (byte, value) in block.iter_mut().skip(148).zip(checksum.bytes()) {
        *byte = value;
    }
    block
}

/// ASCII text, cut or filled with zeros; what is not ASCII has its record.
fn field(out: &mut String, text: &str, width: usize) {
    let shown = |c: char| if c.is_ascii() { c } else { '_' };
    let end = out.len() + width;
    out.extend(text.chars().take(width).map(shown));
    while out.len() < end {
        out.push('\0');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in (0..12).chain(85..100).chain(980..1_000) {
            let text = record("path", &"y".repeat(length));
            let expected = format!("{} path=y", text.len());
            assert!(length == 0 || text.starts_with(&expected), "{text}");
            assert!(text.ends_with('\n'));
        }
    }

    #[test]
    fn every_head_is_whole_blocks() {
        let names = [
            "a",
            &"n".repeat(100),
            &"n".repeat(101),
            &"n/".repeat(2_000),
            "caf\u{e9}",
        ];
        for (name, blocks) in names.iter().zip([1, 1, 3, 10, 3]) {
            let head = head(name, 5, UnixTime(7));
            assert_eq!(head.len(), blocks * BLOCK_BYTES, "{name}");
        }
        for (length, expected) in [(0, 0), (1, 511), (512, 0), (513, 511)] {
            assert_eq!(padding(length), expected);
        }
    }
}
