//! Generated people for the gallery's tests: a seeded generator and unit vectors.

// Each test program uses only a part of this.
use doorward::face::{EMBEDDING_LEN, Embedding};
use doorward::gallery::{EnrolMode, Enrolment, Gallery, OpenError, Settings};
use std::path::Path;
use std::time::{Duration, Instant};

/// SplitMix64: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn embedding(&mut self) -> Embedding {
        let mut vector =
            [(); EMBEDDING_LEN].map(|()| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0);
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
        Embedding(vector)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Opens a gallery with the usual settings.
///
/// Waits for a file that is in use: a process that another test starts holds a copy of every
/// descriptor, and with it the lock of a gallery that has been closed, until it executes its program.
pub fn open(path: &Path) -> Result<Gallery, OpenError> {
    let started = Instant::now();
    loop {
        let settings = Settings { model_id: "model-a".into(), store_images: true };
        match Gallery::open(path, settings) {
            Err(OpenError::InUse { .. }) if started.elapsed() < Duration::from_secs(1) => {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

/// Builds a replacing enrolment without image.
pub fn enrolment(id: &str, embedding: Embedding) -> Enrolment {
    Enrolment {
        subject_id: id.into(),
        mode: EnrolMode::Replace,
        embedding,
        image: None,
        by_admin: false,
        max_templates: 20,
        time: 1_660_185_524.239_292,
    }
}
