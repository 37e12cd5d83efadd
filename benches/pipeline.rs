//! How long each stage of a request takes: `cargo bench`, or parts of it: `cargo bench -- stages`
//! (medians of the portraits in `tests/portraits`), `search` (a gallery of 10,000 random templates,
//! made in 1,000 commits), `million` (a search among 1,000,000, on each level of the processor, in
//! 0.7 GB of memory).
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use doorward::evaluate::FaceChoice;
use doorward::face::{Analyzer, EMBEDDING_LEN, Embedding};
use doorward::gallery::{EnrolMode, Enrolment, Gallery, Pose, Settings};
use doorward::nn::{Level, Rows};
use doorward::picture::{self, Limits};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const ROUNDS: usize = 15;
const SUBJECTS: usize = 1_000;
const POSES: usize = 10;
const MILLION: usize = 1_000_000;

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
    // Cargo adds an option of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|part| part != "--bench").collect();
    for (name, part) in [("stages", stages as fn()), ("search", search), ("million", million)] {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part();
        }
    }
}

fn stages() {
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
}

/// Random faces, the same each time.
fn faces() -> impl FnMut() -> Embedding {
    // xorshift64: the templates need no quality.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        let values: [f32; EMBEDDING_LEN] = std::array::from_fn(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        });
        Embedding::normalized(values).unwrap()
    }
}

fn search() {
    let folder = std::env::temp_dir().join(format!("doorward-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let settings = Settings { model_id: "random".into(), store_images: false };
    let open = || Gallery::open(&folder.join("gallery.redb"), settings.clone()).unwrap();
    let mut face = faces();
    let gallery = open();
    for subject in 0..SUBJECTS {
        let enrolment = Enrolment {
            subject_id: format!("subject-{subject}"),
            mode: EnrolMode::Replace,
            embedding: face(),
            image: None,
            allow_grouped: false,
            max_templates: POSES,
            time: 0.0,
        };
        let further = (1..POSES).map(|_| Pose { embedding: face(), image: None });
        gallery.enroll_poses(enrolment, further.collect()).unwrap();
    }
    drop(gallery);
    let templates = SUBJECTS * POSES;
    measure(&format!("open a gallery of {templates}"), || drop(open()));
    let gallery = open();
    let probe = face();
    for limit in [1, 10] {
        measure(&format!("search among {templates}, limit {limit}"), || {
            gallery.search(&probe, limit)
        });
    }
    drop(gallery);
    std::fs::remove_dir_all(&folder).unwrap();
}

fn million() {
    for level in Level::available() {
        let mut rows = Rows::new(level);
        let mut face = faces();
        (0..MILLION).for_each(|_| rows.push(face().values()));
        let probe = face();
        measure(&format!("best of {MILLION}, {level}"), || {
            let mut best = f32::NEG_INFINITY;
            rows.search(probe.values(), |_, product| {
                best = best.max(product);
                best
            });
            best
        });
    }
    let bytes = vec![1u64; MILLION * EMBEDDING_LEN / size_of::<u64>()];
    measure("read as many bytes", || {
        black_box(&bytes).iter().fold(0u64, |sum, eight| sum.wrapping_add(*eight))
    });
}
