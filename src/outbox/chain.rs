//! The hash chain of the audit log.
//!
//! Every line holds the SHA-256 over the hash of the line before and its own bytes, exactly as they
//! stand in the file. So a changed, inserted, removed or exchanged line breaks the chain at that
//! place. The first line is chained to the *base*: zeros in a new log, and the hash of the last line
//! that was retired after that. The *head* is the hash of the last line: who noted it elsewhere can
//! tell later that nothing up to there was rewritten.

use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of a [`Hash`].
pub(super) const HASH_BYTES: usize = 32;

/// SHA-256; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub(super) [u8; HASH_BYTES]);

impl Hash {
    /// What the first line of a new log is chained to.
    pub(super) const ZERO: Hash = Hash([0; HASH_BYTES]);

    /// The hash of a line with these bytes, behind a line with this hash.
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

/// Which lines there are, and what they are chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Number of the oldest line that is kept; one more than `last` while there is none.
    pub first: u64,
    /// Number of the newest line; lines are numbered from 1.
    pub last: u64,
    /// Hash of the line before the first.
    pub base: Hash,
    /// Hash of the last line.
    pub head: Hash,
}

impl Chain {
    /// Of a log that nothing was ever written to.
    pub(super) const NEW: Chain = Chain { first: 1, last: 0, base: Hash::ZERO, head: Hash::ZERO };

    /// How many lines are kept.
    pub fn lines(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

/// What a look at every line found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Verdict {
    /// Every line is as it was written.
    Whole(Chain),
    /// One is not; those behind it were not looked at.
    Broken {
        /// The first of them.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Follows a chain line by line.
pub(super) struct Follower {
    chain: Chain,
    at: u64,
    hash: Hash,
}

impl Follower {
    /// Begins before the first line.
    pub fn new(chain: Chain) -> Self {
        Self { chain, at: chain.first, hash: chain.base }
    }

    /// Looks at the next line; the error says what is wrong with which one.
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

    /// After the last line.
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
    fn a_chain_is_sha256_over_the_hash_before_and_the_line() {
        let (chain, _) = log(&["abc"]);
        // printf '%064d' 0 | xxd -r -p | cat - <(printf abc) | sha256sum
        let expected = Sha256::digest([&[0; 32][..], b"abc"].concat());
        assert_eq!(chain.head, Hash(expected.into()));
        assert_eq!(chain.head.to_string().len(), 64);
    }

    #[test]
    fn whatever_was_done_to_a_line_is_found_there() {
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
        // A line rewritten with a fitting hash breaks the one behind it.
        let rewritten = |lines: &mut Vec<Line>| {
            lines[1] = (2, lines[0].1.of_next(b"x"), b"x".to_vec());
        };
        assert_eq!(changed(rewritten), 3);
        assert_eq!(broken_at(Chain { head: Hash::ZERO, ..chain }, &lines), 4);
    }

    #[test]
    fn a_log_whose_first_lines_were_retired_is_whole() {
        let (chain, lines) = log(&["a", "b", "c"]);
        let rest = Chain { first: 3, base: lines[1].1, ..chain };
        assert_eq!(verdict(rest, &lines[2..]), Verdict::Whole(rest));
        assert_eq!(rest.lines(), 1);
        let none = Chain { first: 4, base: chain.head, ..chain };
        assert_eq!(verdict(none, &[]), Verdict::Whole(none));
        assert_eq!(none.lines(), 0);
    }
}
