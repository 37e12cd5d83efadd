//! How long each stage of a request takes: `cargo bench`. Medians of the portraits in
//! `tests/portraits`, and of a search among 10,000 random templates.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use doorward::evaluate::FaceChoice;
use doorward::face::{Analyzer, EMBEDDING_LEN, Embedding};
use doorward::gallery::{EnrolMode, Enrolment, Gallery, Settings};
use doorward::picture::{self, Limits};
use std::path::Path;
use std::time::Instant;

const ROUNDS: usize = 15;
const SUBJECTS: usize = 10_000;

/// Median, fastest and slowest of [`ROUNDS`] runs in milliseconds.
fn measure<T>(name: &str, mut work: impl FnMut() -> T) -> T {
    let mut last = work();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            last = work();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{name:<40} {:>8.3} ms   ({:.3} to {:.3})",
        times[ROUNDS / 2],
        times[0],
        times[ROUNDS - 1]
    );
    last
}

fn main() {
    let analyzer = measure("load the models", || Analyzer::load().unwrap());
    let portraits = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/portraits");
    for name in ["obama.jpg", "obama2.jpg"] {
        let bytes = std::fs::read(portraits.join(name)).unwrap();
        let limits = Limits::default();
        let picture =
            measure(&format!("{name}: decode"), || picture::decode(&bytes, &limits).unwrap());
        let size = format!("{}x{}", picture.width(), picture.height());
        let found =
            measure(&format!("{name}: detect in {size}"), || analyzer.detect(&picture).unwrap());
        let face = FaceChoice::Largest.pick(&found.faces, &picture).unwrap();
        measure(&format!("{name}: quality"), || {
            analyzer.portrait(&picture, face).unwrap().quality()
        });
        measure(&format!("{name}: liveness"), || {
            analyzer.portrait(&picture, face).unwrap().liveness().unwrap()
        });
        measure(&format!("{name}: embed"), || {
            analyzer.portrait(&picture, face).unwrap().embedding().unwrap()
        });
    }
    let folder = std::env::temp_dir().join(format!("doorward-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    search(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
}

fn search(folder: &Path) {
    let settings = Settings { model_id: "random".into(), store_images: false };
    let gallery = Gallery::open(&folder.join("gallery.redb"), settings).unwrap();
    // xorshift64: the templates need no quality, only the same values each time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        let values: [f32; EMBEDDING_LEN] = std::array::from_fn(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        });
        Embedding::normalized(values).unwrap()
    };
    for subject in 0..SUBJECTS {
        let enrolment = Enrolment {
            subject_id: format!("subject-{subject}"),
            mode: EnrolMode::Replace,
            embedding: random(),
            image: None,
            allow_grouped: false,
            max_templates: 1,
            time: 0.0,
        };
        gallery.enroll(enrolment).unwrap();
    }
    let probe = random();
    measure(&format!("search among {SUBJECTS}, limit 1"), || gallery.search(&probe, 1));
    measure(&format!("search among {SUBJECTS}, limit 10"), || gallery.search(&probe, 10));
}
