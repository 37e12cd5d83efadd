//! A redb file that is read and never written: writes by redb while it opens the file, such as its
//! recovery after a power cut, stay in memory. Used for a read-only card and for inspecting a file
//! that must not change.

use redb::StorageBackend;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

const BLOCK: u64 = 4096;

/// The file, and the changed blocks.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bytes: u64,
    /// Number of bytes of the file that are still valid.
    of_file: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub fn new(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        let state = State { bytes, of_file: bytes, blocks: BTreeMap::new() };
        Ok(Self { file, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the file; zeros beyond its end.
    fn of_file(&self, state: &State, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = state.of_file.saturating_sub(offset).min(out.len() as u64) as usize;
        let (there, behind) = out.split_at_mut(there);
        behind.fill(0);
        self.file.read_exact_at(there, offset)
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= state.bytes);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.of_file(&state, offset, out)?;
        for (number, block) in state.blocks.range(offset / BLOCK..end.div_ceil(BLOCK)) {
            let start = number * BLOCK;
            let (from, to) = (start.max(offset), (start + BLOCK).min(end));
            let place = (from - offset) as usize..(to - offset) as usize;
            out[place].copy_from_slice(&block[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if len < state.bytes {
            state.of_file = state.of_file.min(len);
            state.blocks.split_off(&len.div_ceil(BLOCK));
            if let Some(last) = state.blocks.get_mut(&(len / BLOCK)) {
                last[(len % BLOCK) as usize..].fill(0);
            }
        }
        state.bytes = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let end = offset.checked_add(data.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        for number in offset / BLOCK..end.div_ceil(BLOCK) {
            let start = number * BLOCK;
            let mut block = match state.blocks.remove(&number) {
                Some(block) => block,
                None => {
                    let mut block = vec![0; BLOCK as usize];
                    self.of_file(&state, start, &mut block)?;
                    block
                }
            };
            let (from, to) = (start.max(offset), (start + BLOCK).min(end));
            let place = (from - start) as usize..(to - start) as usize;
            block[place].copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
            state.blocks.insert(number, block);
        }
        state.bytes = state.bytes.max(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Compares with the same operations on bytes in memory.
    #[test]
    fn reads_return_the_writes_and_the_file_is_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut seed = 7u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        let original: Vec<u8> = (0..50_000).map(|_| random(256) as u8).collect();
        fs::write(&path, &original).unwrap();
        let overlay = Overlay::new(File::open(&path).unwrap()).unwrap();
        let mut expected = original.clone();
        for step in 0..2000 {
            match random(10) {
                0 => {
                    let len = random(80_000);
                    overlay.set_len(len as u64).unwrap();
                    expected.resize(len, 0);
                }
                1..6 if !expected.is_empty() => {
                    let offset = random(expected.len());
                    let data = vec![step as u8; random(9000).min(expected.len() - offset)];
                    overlay.write(offset as u64, &data).unwrap();
                    expected[offset..offset + data.len()].copy_from_slice(&data);
                }
                _ => {
                    let offset = random(expected.len() + 1);
                    let mut out = vec![1; random(12_000).min(expected.len() - offset)];
                    overlay.read(offset as u64, &mut out).unwrap();
                    assert_eq!(out, expected[offset..offset + out.len()], "step {step}");
                }
            }
            assert_eq!(overlay.len().unwrap(), expected.len() as u64);
        }
        assert!(overlay.read(expected.len() as u64, &mut [0]).is_err());
        assert_eq!(fs::read(&path).unwrap(), original);
    }
}
