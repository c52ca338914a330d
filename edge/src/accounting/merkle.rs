//! Merkle trees as of RFC 6962 section 2.1: SHA-256, leaves and nodes under different prefixes.

use sha2::{Digest as _, Sha256};
use std::fmt;

/// The root of a tree, or the hash of a part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MerkleHash(pub [u8; 32]);

/// Steps of a path in a tree of 2^32 leaves.
const PATH_STEPS_MAX: usize = 32;

impl fmt::Display for MerkleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for MerkleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MerkleHash({self})")
    }
}

fn leaf(bytes: &[u8]) -> MerkleHash {
    let mut hasher = Sha256::new_with_prefix([0]);
    hasher.update(bytes);
    MerkleHash(hasher.finalize().into())
}

fn node(left: &MerkleHash, right: &MerkleHash) -> MerkleHash {
    let mut hasher = Sha256::new_with_prefix([1]);
    hasher.update(left.0);
    hasher.update(right.0);
    MerkleHash(hasher.finalize().into())
}

/// Leaves as they are hashed.
#[must_use]
pub fn leaves<L: AsRef<[u8]>>(rows: impl IntoIterator<Item = L>) -> Vec<MerkleHash> {
    rows.into_iter().map(|row| leaf(row.as_ref())).collect()
}

/// The root over `leaves`.
#[must_use]
pub fn root(leaves: &[MerkleHash]) -> MerkleHash {
    match leaves {
        [] => MerkleHash(Sha256::new().finalize().into()),
        [one] => *one,
        more => {
            let (left, right) = halves(more);
            node(&root(left), &root(right))
        }
    }
}

/// The largest power of two below the count of `leaves` goes left.
fn halves(leaves: &[MerkleHash]) -> (&[MerkleHash], &[MerkleHash]) {
    let last = leaves.len().saturating_sub(1);
    let left = last
        .checked_ilog2()
        .and_then(|bits| 1_usize.checked_shl(bits));
    leaves.split_at(left.unwrap_or(0).min(leaves.len()))
}

/// The hashes beside the way from leaf `index` to the root, the lowest first; none beyond the last.
#[must_use]
pub fn path(leaves: &[MerkleHash], index: usize) -> Option<Vec<MerkleHash>> {
    leaves.get(index)?;
    let (mut part, mut index, mut beside) = (leaves, index, Vec::new());
    while part.len() > 1 {
        let (left, right) = halves(part);
        if let Some(inner) = index.checked_sub(left.len()) {
            beside.push(root(left));
            (part, index) = (right, inner);
        } else {
            beside.push(root(right));
            part = left;
        }
    }
    beside.reverse();
    Some(beside)
}

/// The path of every leaf, and the root: each part of the tree is hashed once.
#[must_use]
pub fn paths(leaves: &[MerkleHash]) -> (MerkleHash, Vec<Vec<MerkleHash>>) {
    let mut paths = vec![Vec::new(); leaves.len()];
    let root = fill(leaves, &mut paths);
    (root, paths)
}

fn fill(leaves: &[MerkleHash], paths: &mut [Vec<MerkleHash>]) -> MerkleHash {
    if leaves.len() < 2 {
        return root(leaves);
    }
    let (left, right) = halves(leaves);
    let (left_paths, right_paths) = paths.split_at_mut(left.len());
    let (left, right) = (fill(left, left_paths), fill(right, right_paths));
    left_paths.iter_mut().for_each(|path| path.push(right));
    right_paths.iter_mut().for_each(|path| path.push(left));
    node(&left, &right)
}

/// The root that a row at `index` of `count` comes to by its path (RFC 9162 section 2.1.3.2); none
/// if the path has another length than such a row's.
#[must_use]
pub fn root_by_path(row: &[u8], index: u64, count: u64, path: &[MerkleHash]) -> Option<MerkleHash> {
    if index >= count || path.len() > PATH_STEPS_MAX {
        return None;
    }
    let (mut place, mut last) = (index, count.checked_sub(1)?);
    let mut hash = leaf(row);
    for beside in path {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            hash = node(beside, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, beside);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// The path as bytes, 32 for each step.
#[must_use]
pub fn path_bytes(path: &[MerkleHash]) -> Vec<u8> {
    path.iter().flat_map(|hash| hash.0).collect()
}

/// Reads such bytes.
#[must_use]
pub fn path_from_bytes(bytes: &[u8]) -> Option<Vec<MerkleHash>> {
    let (steps, rest) = bytes.as_chunks();
    let is_path = rest.is_empty() && steps.len() <= PATH_STEPS_MAX;
    is_path.then(|| steps.iter().copied().map(MerkleHash).collect())
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]
mod tests {
    use super::*;

    /// The rows and roots with which the logs of Certificate Transparency are tested.
    const ROWS: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let rows = ROWS.map(|row| data_encoding::HEXLOWER.decode(row.as_bytes()).unwrap());
        for (count, expected) in ROOTS.iter().enumerate() {
            assert_eq!(
                root(&leaves(&rows[..count])).to_string(),
                *expected,
                "{count}"
            );
        }
    }

    #[test]
    fn a_path_proves_its_row_and_no_other() {
        for count in 1..40_usize {
            let rows: Vec<[u8; 1]> = (0..count).map(|row| [u8::try_from(row).unwrap()]).collect();
            let leaves = leaves(&rows);
            let expected = root(&leaves);
            let all = paths(&leaves);
            assert_eq!(all.0, expected);
            for (index, row) in rows.iter().enumerate() {
                let path = path(&leaves, index).unwrap();
                assert_eq!(all.1[index], path);
                let by_path = |row: &[u8], index: usize, count: usize| {
                    root_by_path(row, index as u64, count as u64, &path)
                };
                assert_eq!(by_path(row, index, count), Some(expected));
                assert_ne!(by_path(&[200], index, count), Some(expected));
                for other in (0..count).filter(|other| *other != index) {
                    assert_ne!(by_path(row, other, count), Some(expected));
                }
                assert_eq!(by_path(row, count, count), None);
                let read = path_from_bytes(&path_bytes(&path)).unwrap();
                assert_eq!(read, path);
            }
            assert_eq!(path(&leaves, count), None);
        }
    }

    #[test]
    fn paths_of_another_length_are_refused() {
        let step = MerkleHash([1; 32]);
        assert_eq!(root_by_path(b"", 0, 1, &[step]), None);
        assert_eq!(root_by_path(b"", 0, 2, &[]), None);
        assert_eq!(
            root_by_path(b"", 0, u64::MAX, &[step; PATH_STEPS_MAX + 1]),
            None
        );
        assert_eq!(path_from_bytes(&[0; 33]), None);
        assert_eq!(path_from_bytes(&[0; 33 * 32]), None);
    }
}
