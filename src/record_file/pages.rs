//! Reads the intact records of a damaged redb file.
//!
//! redb verifies a file as a whole; a file with a flipped bit is not read at all, or read
//! unverified. This module reads it page by page, from the root in the commit slot down, and trusts
//! a page only if it has the checksum that its parent holds. A record that is found is therefore,
//! to the last bit, part of the last commit: never of an old page that a damaged pointer leads to,
//! which would bring back a deleted subject. Everything below an untrusted page is left out, and
//! the loss is reported.
//!
//! The format is redb's file format 3 (`docs/design.md` and `src/tree_store` of redb 4.5): a header
//! of 64 bytes, two commit slots of 128, pages of 4,096 bytes times a power of two in regions.
//! Checksums are XXH3 of 128 bits. This module never writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use twox_hash::XxHash3_128;

const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];
const FORMAT: u8 = 3;
const PAGE: u64 = 4096;
const SLOTS: [usize; 2] = [64, 192];
const SLOT: usize = 128;
/// Offset of a slot's own checksum.
const SLOT_CHECKSUM: usize = SLOT - 16;
/// Bits of the byte after the magic number.
const PRIMARY_IS_SECOND: u8 = 1;
const RECOVERY_REQUIRED: u8 = 2;
const TWO_PHASE: u8 = 4;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// Kind of a table that is not a multimap.
const NORMAL: u8 = 3;
/// Deeper than any tree of 64-bit size. Checksums cannot form a cycle, but this limit does not
/// depend on that.
const DEEPEST: usize = 64;

/// The root of a tree: its page and the checksum it must have.
#[derive(Clone, Copy)]
struct Root {
    page: u64,
    checksum: u128,
    records: u64,
}

/// A table of the file.
pub(crate) struct Table {
    root: Option<Root>,
    fixed_key: Option<usize>,
    fixed_value: Option<usize>,
    /// Number of committed records.
    pub records: u64,
}

/// A file that is read page by page, each verified.
pub(crate) struct Pages {
    file: File,
    bytes: u64,
    region_header: u64,
    region: u64,
    root: Option<Root>,
}

impl Pages {
    /// Reads the header; `None` if it is not valid.
    pub fn open(file: File) -> io::Result<Option<Self>> {
        let bytes = file.metadata()?.len();
        let mut header = [0; SLOTS[1] + SLOT];
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let read = || -> Option<(Option<Root>, u64, u64)> {
            let flags = header[MAGIC.len()];
            if header[..MAGIC.len()] != MAGIC || u64::from(u32_at(&header, 12)?) != PAGE {
                return None;
            }
            let slots = SLOTS.map(|at| Slot::read(header.get(at..at + SLOT)?));
            let [first, second] = slots;
            let (primary, other) = match flags & PRIMARY_IS_SECOND == 0 {
                true => (first?, second),
                false => (second?, first),
            };
            // The other slot is newer only if a two-phase commit was interrupted between its
            // phases. Otherwise a bit has flipped, and this slot does not belong to the last
            // commit.
            let is_cut_off = flags & RECOVERY_REQUIRED != 0 && flags & TWO_PHASE != 0;
            let is_last = other.is_none_or(|other| other.transaction <= primary.transaction);
            if !is_last && !is_cut_off {
                return None;
            }
            let header_pages = u64::from(u32_at(&header, 16)?);
            let data_pages = u64::from(u32_at(&header, 20)?);
            Some((primary.root, header_pages * PAGE, (header_pages + data_pages) * PAGE))
        };
        Ok(read().map(|(root, region_header, region)| Self {
            file,
            bytes,
            region_header,
            region,
            root,
        }))
    }

    /// Returns the tables by name, and false if there may be more.
    pub fn tables(&self) -> (BTreeMap<String, Table>, bool) {
        let mut tables = BTreeMap::new();
        let root = Table { root: self.root, fixed_key: None, fixed_value: None, records: 0 };
        let mut known = true;
        let whole = self.visit(&root, &mut |name, definition| match (
            str::from_utf8(name),
            Table::read(definition),
        ) {
            (Ok(name), Some(table)) => drop(tables.insert(name.to_owned(), table)),
            _ => known = false,
        });
        (tables, whole && known)
    }

    /// Passes every verified record of a table to `show`; returns false if some are left out.
    pub fn visit(&self, table: &Table, show: &mut impl FnMut(&[u8], &[u8])) -> bool {
        table.root.is_none_or(|root| self.descend(table, root.page, root.checksum, show, 0))
    }

    fn descend(
        &self,
        table: &Table,
        page: u64,
        checksum: u128,
        show: &mut impl FnMut(&[u8], &[u8]),
        depth: usize,
    ) -> bool {
        let Some(page) = self.page(page).filter(|_| depth < DEEPEST) else { return false };
        match page.first() {
            Some(&LEAF) => leaf(table, &page, checksum, show).is_some(),
            Some(&BRANCH) => match branch(table, &page, checksum) {
                Some(children) => {
                    let mut whole = true;
                    for (page, checksum) in children {
                        whole &= self.descend(table, page, checksum, show, depth + 1);
                    }
                    whole
                }
                None => false,
            },
            _ => false,
        }
    }

    /// Reads a page; `None` if the disk cannot read it.
    fn page(&self, number: u64) -> Option<Vec<u8>> {
        let order = (number >> 59) as u32;
        let index = number & (0x000F_FFFF >> order.min(20));
        let region = (number >> 20) & 0x000F_FFFF;
        let size = PAGE.checked_shl(order)?;
        let within = self.region_header.checked_add(index.checked_mul(size)?)?;
        let start = PAGE.checked_add(region.checked_mul(self.region)?)?.checked_add(within)?;
        if start.checked_add(size)? > self.bytes {
            return None;
        }
        let mut page = vec![0; usize::try_from(size).ok()?];
        self.file.read_exact_at(&mut page, start).ok()?;
        Some(page)
    }
}

/// A commit slot.
struct Slot {
    root: Option<Root>,
    transaction: u64,
}

impl Slot {
    fn read(bytes: &[u8]) -> Option<Self> {
        if u128_at(bytes, SLOT_CHECKSUM)? != XxHash3_128::oneshot(&bytes[..SLOT_CHECKSUM])
            || bytes[0] != FORMAT
        {
            return None;
        }
        let root = match bytes[1] {
            0 => None,
            _ => Some(Root::read(bytes.get(8..)?)?),
        };
        Some(Self { root, transaction: u64_at(bytes, 104)? })
    }
}

impl Root {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (page, checksum) = (u64_at(bytes, 0)?, u128_at(bytes, 8)?);
        Some(Self { page, checksum, records: u64_at(bytes, 24)? })
    }
}

impl Table {
    /// Reads a definition: kind, number of records, root, and the widths of keys and values if
    /// fixed.
    fn read(bytes: &[u8]) -> Option<Self> {
        let root = match bytes.get(9)? {
            0 => None,
            _ => Some(Root::read(bytes.get(10..)?)?),
        };
        let width = |at: usize| -> Option<Option<usize>> {
            let width = u32_at(bytes, at + 1)? as usize;
            Some((*bytes.get(at)? != 0).then_some(width))
        };
        (*bytes.first()? == NORMAL).then_some(())?;
        let records = root.map_or(0, |root| root.records);
        Some(Self { root, fixed_key: width(42)?, fixed_value: width(47)?, records })
    }
}

/// Passes the records of a leaf with this checksum to `show`. Layout: 2 bytes for the number of
/// records, the ends of the keys and of the values if not fixed, the keys, the values.
fn leaf(
    table: &Table,
    page: &[u8],
    checksum: u128,
    show: &mut impl FnMut(&[u8], &[u8]),
) -> Option<()> {
    let count = u16_at(page, 2)?;
    let last = count.checked_sub(1)?;
    let value_ends = 4 + if table.fixed_key.is_none() { 4 * count } else { 0 };
    let keys = value_ends + if table.fixed_value.is_none() { 4 * count } else { 0 };
    let end = |fixed: Option<usize>, start: usize, ends: usize, n: usize| match fixed {
        Some(width) => start.checked_add(width.checked_mul(n + 1)?),
        None => Some(u32_at(page, ends + 4 * n)? as usize),
    };
    let values = end(table.fixed_key, keys, 4, last)?;
    let whole = page.get(..end(table.fixed_value, values, value_ends, last)?)?;
    (XxHash3_128::oneshot(whole) == checksum).then_some(())?;
    let (mut key, mut value) = (keys, values);
    for n in 0..count {
        let (key_end, value_end) =
            (end(table.fixed_key, keys, 4, n)?, end(table.fixed_value, values, value_ends, n)?);
        show(page.get(key..key_end)?, page.get(value..value_end)?);
        (key, value) = (key_end, value_end);
    }
    Some(())
}

/// Returns the children of a branch with this checksum. Layout: 2 bytes for the number of keys, a
/// checksum and a page for each child (one child more than keys), the ends of the keys if not
/// fixed, the keys.
fn branch(table: &Table, page: &[u8], checksum: u128) -> Option<Vec<(u64, u128)>> {
    let keys = u16_at(page, 2)?;
    let last = keys.checked_sub(1)?;
    let numbers = 8 + 16 * (keys + 1);
    let behind = numbers + 8 * (keys + 1);
    let end = match table.fixed_key {
        Some(width) => behind.checked_add(width.checked_mul(keys)?)?,
        None => u32_at(page, behind + 4 * last)? as usize,
    };
    (XxHash3_128::oneshot(page.get(..end)?) == checksum).then_some(())?;
    (0..=keys).map(|n| Some((u64_at(page, numbers + 8 * n)?, u128_at(page, 8 + 16 * n)?))).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_file::Opening;
    use redb::TableDefinition;
    use std::fs;

    const WORDS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("words");
    const NUMBERS: TableDefinition<u64, u64> = TableDefinition::new("numbers");
    const EMPTY: TableDefinition<u64, &[u8]> = TableDefinition::new("empty");

    type Records = BTreeMap<Vec<u8>, Vec<u8>>;

    fn read(path: &std::path::Path) -> BTreeMap<String, (Records, bool)> {
        let pages = Pages::open(File::open(path).unwrap()).unwrap();
        let Some(pages) = pages else { return BTreeMap::new() };
        let (tables, _) = pages.tables();
        let read = |(name, table): (String, Table)| {
            let mut records = Records::new();
            let whole = pages.visit(&table, &mut |key, value| {
                records.insert(key.to_vec(), value.to_vec());
            });
            assert!(!whole || records.len() as u64 == table.records);
            (name, (records, whole))
        };
        tables.into_iter().map(read).collect()
    }

    /// Fills a file with branches several levels deep, values of a few bytes and of many pages, and
    /// deleted records.
    fn filled(path: &std::path::Path) -> Records {
        let opening = Opening { cache_bytes: 1 << 20, verify: true };
        let mut expected = Records::new();
        let database = opening.existing_or_made(path, |_| Ok(())).unwrap();
        for round in 0..20u64 {
            let write = crate::record_file::begin_write(&database).unwrap();
            for n in 0..150 {
                let (word, key) = (format!("{}-{round}", "w".repeat(n as usize % 90)), n);
                let value = vec![n as u8; if n % 40 == 0 { 30_000 } else { n as usize * 3 }];
                let key_bytes = <(&str, u64) as redb::Value>::as_bytes(&(word.as_str(), key));
                let mut words = write.open_table(WORDS).unwrap();
                match n % 7 == 0 && round % 2 == 0 {
                    true => drop(words.remove((word.as_str(), key)).unwrap()),
                    false => {
                        words.insert((word.as_str(), key), value.as_slice()).unwrap();
                        expected.insert(key_bytes, value);
                    }
                }
                write.open_table(NUMBERS).unwrap().insert(round * 150 + n, n).unwrap();
            }
            write.open_table(EMPTY).unwrap();
            write.commit().unwrap();
        }
        expected
    }

    #[test]
    fn every_record_of_an_intact_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let expected = filled(&path);
        let mut read = read(&path);
        assert_eq!(read.remove("words").unwrap(), (expected, true));
        let (numbers, whole) = read.remove("numbers").unwrap();
        assert!(whole && numbers.len() == 3000);
        assert_eq!(numbers[&77u64.to_le_bytes().to_vec()], 77u64.to_le_bytes());
        assert_eq!(read.remove("empty").unwrap(), (Records::new(), true));
    }

    /// After any bit flip, every record that is read equals the written one.
    #[test]
    fn a_damaged_file_yields_only_records_that_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let expected = filled(&path);
        let bytes = fs::read(&path).unwrap();
        let damaged = folder.path().join("d");
        let (mut left_out, mut much, mut nothing) = (0, 0, 0);
        for at in (0..320).chain((320..bytes.len()).step_by(1511)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&damaged, &flipped).unwrap();
            let read = read(&damaged);
            let Some((records, whole)) = read.get("words") else {
                nothing += 1;
                continue;
            };
            for (key, value) in records {
                assert_eq!(expected.get(key), Some(value), "byte {at}");
            }
            assert!(!whole || records.len() == expected.len(), "byte {at}");
            left_out += usize::from(!*whole);
            much += usize::from(records.len() < expected.len() / 2);
        }
        println!("{left_out} left something out, {much} of them more than half; {nothing} all");
        // The root of a table is on one page of many.
        assert!(left_out > 100 && much < left_out / 5 && nothing > 50);
    }
}
