//! The hash chain of the audit log.
//!
//! Every line holds the SHA-256 over the hash of the line before and its own bytes, exactly as
//! stored in the file. A changed, inserted, removed or exchanged line therefore breaks the chain at
//! that place. The first line is chained to the *base*: zeros in a new log, later the hash of the
//! last retired line. The *head* is the hash of the last line: anyone who has noted it elsewhere
//! can later check that nothing up to there was rewritten.

use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of a [`Hash`].
pub(super) const HASH_BYTES: usize = 32;

/// SHA-256; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub(super) [u8; HASH_BYTES]);

impl Hash {
    /// The base of a new log.
    pub(super) const ZERO: Hash = Hash([0; HASH_BYTES]);

    /// Returns the hash of a line with these bytes that follows a line with this hash.
    pub(super) fn of_next(self, line: &[u8]) -> Hash {
        let mut sha = Sha256::new();
        sha.update(self.0);
        sha.update(line);
        Hash(sha.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The range of lines and the hashes at its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Number of the oldest line; `last` + 1 if there is none.
    pub first: u64,
    /// Number of the newest line; lines are numbered from 1.
    pub last: u64,
    /// Hash of the line before the first.
    pub base: Hash,
    /// Hash of the last line.
    pub head: Hash,
}

impl Chain {
    /// The chain of a new log.
    pub(super) const NEW: Chain = Chain { first: 1, last: 0, base: Hash::ZERO, head: Hash::ZERO };

    /// Returns how many lines are kept.
    pub fn lines(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

/// Result of verifying every line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Verdict {
    /// No line was changed.
    Whole(Chain),
    /// A line was changed; the lines after it were not checked.
    Broken {
        /// Number of the first changed line.
        line: u64,
        /// The reason.
        why: String,
    },
}

/// Verifies a chain line by line.
pub(super) struct Follower {
    chain: Chain,
    at: u64,
    hash: Hash,
}

impl Follower {
    /// Starts before the first line.
    pub fn new(chain: Chain) -> Self {
        Self { chain, at: chain.first, hash: chain.base }
    }

    /// Verifies the next line; the error names the line and the reason.
    pub fn follow(&mut self, number: u64, stored: Hash, bytes: &[u8]) -> Result<(), Verdict> {
        if number != self.at {
            let why = format!("it is missing; the next one has the number {number}");
            return Err(Verdict::Broken { line: self.at, why });
        }
        let hash = self.hash.of_next(bytes);
        if hash != stored {
            let why = "it, or its hash, is not what was written".to_owned();
            return Err(Verdict::Broken { line: number, why });
        }
        (self.at, self.hash) = (number + 1, hash);
        Ok(())
    }

    /// Verifies the end of the chain, after the last line.
    pub fn end(self) -> Verdict {
        let Self { chain, at, hash } = self;
        if at != chain.last + 1 {
            let why = format!("it and all up to line {} are missing", chain.last);
            Verdict::Broken { line: at, why }
        } else if hash != chain.head {
            let why = "its hash is not the head of the log".to_owned();
            Verdict::Broken { line: chain.last, why }
        } else {
            Verdict::Whole(chain)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Line = (u64, Hash, Vec<u8>);

    fn log(texts: &[&str]) -> (Chain, Vec<Line>) {
        let (mut chain, mut lines) = (Chain::NEW, Vec::new());
        for text in texts {
            chain.head = chain.head.of_next(text.as_bytes());
            chain.last += 1;
            lines.push((chain.last, chain.head, text.as_bytes().to_vec()));
        }
        (chain, lines)
    }

    fn verdict(chain: Chain, lines: &[Line]) -> Verdict {
        let mut follower = Follower::new(chain);
        for (number, hash, bytes) in lines {
            if let Err(broken) = follower.follow(*number, *hash, bytes) {
                return broken;
            }
        }
        follower.end()
    }

    fn broken_at(chain: Chain, lines: &[Line]) -> u64 {
        match verdict(chain, lines) {
            Verdict::Broken { line, .. } => line,
            Verdict::Whole(_) => panic!("nothing was found"),
        }
    }

    #[test]
    fn the_hash_is_sha256_over_the_previous_hash_and_the_line() {
        let (chain, _) = log(&["abc"]);
        // printf '%064d' 0 | xxd -r -p | cat - <(printf abc) | sha256sum
        let expected = Sha256::digest([&[0; 32][..], b"abc"].concat());
        assert_eq!(chain.head, Hash(expected.into()));
        assert_eq!(chain.head.to_string().len(), 64);
    }

    #[test]
    fn every_change_of_a_line_is_found_at_that_line() {
        let (chain, lines) = log(&["a", "b", "c", "d"]);
        assert_eq!(verdict(chain, &lines), Verdict::Whole(chain));
        let changed = |change: fn(&mut Vec<Line>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            broken_at(chain, &lines)
        };
        assert_eq!(changed(|lines| lines[1].2[0] ^= 1), 2);
        assert_eq!(changed(|lines| lines[2].1.0[31] ^= 1), 3);
        assert_eq!(changed(|lines| drop(lines.remove(1))), 2);
        assert_eq!(changed(|lines| drop(lines.pop())), 4);
        assert_eq!(changed(|lines| lines.swap(0, 2)), 1);
        // A line rewritten with a matching hash breaks the next one.
        let rewritten = |lines: &mut Vec<Line>| {
            lines[1] = (2, lines[0].1.of_next(b"x"), b"x".to_vec());
        };
        assert_eq!(changed(rewritten), 3);
        assert_eq!(broken_at(Chain { head: Hash::ZERO, ..chain }, &lines), 4);
    }

    #[test]
    fn a_log_with_retired_first_lines_is_whole() {
        let (chain, lines) = log(&["a", "b", "c"]);
        let rest = Chain { first: 3, base: lines[1].1, ..chain };
        assert_eq!(verdict(rest, &lines[2..]), Verdict::Whole(rest));
        assert_eq!(rest.lines(), 1);
        let none = Chain { first: 4, base: chain.head, ..chain };
        assert_eq!(verdict(none, &[]), Verdict::Whole(none));
        assert_eq!(none.lines(), 0);
    }
}
