//! Measures each stage of a request, in medians: `cargo bench`, or parts of it: `cargo bench --
//! stages` (the portraits in `tests/portraits`), `request` (all checks of a picture, on one core
//! and on two), `frame` (the cost of a camera's frame for the door, with a person and without one,
//! at two sizes), `search` (a gallery of 10,000 random templates, made in 1,000 commits), `million`
//! (a search among 1,000,000, on each level of the processor, in 0.7 GB of memory).
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use doorward::face::{Analyzer, Border, Cores, EMBEDDING_LEN, Embedding};
use doorward::gallery::{EnrolMode, Enrolment, Gallery, Pose, Settings};
use doorward::nn::{Level, Rows};
use doorward::picture::{self, Limits, Picture, yuv};
use doorward_evaluate::FaceChoice;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const ROUNDS: usize = 15;
const SUBJECTS: usize = 1_000;
const POSES: usize = 10;
const MILLION: usize = 1_000_000;

/// Runs the work [`ROUNDS`] times and prints, in milliseconds: the median time with the fastest and
/// slowest, and the median of the CPU time, which a busy machine hardly changes.
fn measure<T>(name: &str, mut work: impl FnMut() -> T) -> T {
    let mut last = work();
    let mut times: Vec<[f64; 2]> = (0..ROUNDS)
        .map(|_| {
            let (started, busy) = (Instant::now(), busy());
            last = work();
            [started.elapsed().as_secs_f64() * 1e3, self::busy() - busy]
        })
        .collect();
    let mut sorted = |kind: usize| {
        times.sort_by(|a, b| a[kind].total_cmp(&b[kind]));
        [0, ROUNDS / 2, ROUNDS - 1].map(|at| times[at][kind])
    };
    let ([fastest, median, slowest], [_, busy, _]) = (sorted(0), sorted(1));
    println!("{name:<40} {median:>8.3} ms   ({fastest:.3} to {slowest:.3})   processor {busy:.3}");
    last
}

/// Returns the CPU time of this process in milliseconds.
fn busy() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1e3 + used.tv_nsec as f64 / 1e6
}

fn main() {
    // Cargo adds an option of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|part| part != "--bench").collect();
    let parts = [
        ("stages", stages as fn()),
        ("request", request),
        ("frame", frame),
        ("search", search),
        ("million", million),
    ];
    for (name, part) in parts {
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

fn request() {
    let portraits = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/portraits");
    let limits = Limits::default();
    let portrait =
        picture::decode(&std::fs::read(portraits.join("obama2.jpg")).unwrap(), &limits).unwrap();
    let picture = seen(&portrait, 640, 480);
    for (name, cores) in [("one core", Cores::One), ("two cores", Cores::Two)] {
        let analyzer = Analyzer::load().unwrap().on(cores);
        measure(&format!("640x480: all that is judged, {name}"), || {
            let found = analyzer.detect(&picture).unwrap();
            let face = FaceChoice::Largest.pick(&found.faces, &picture).unwrap();
            let portrait = analyzer.portrait(&picture, face).unwrap();
            let seen = (portrait.quality(), portrait.attributes().unwrap());
            (seen, portrait.liveness().unwrap(), portrait.embedding().unwrap())
        });
    }
}

/// Returns a portrait as seen by a camera of this size, whose frame has the portrait's height and
/// more than its width.
fn seen(portrait: &Picture, width: u32, height: u32) -> Picture {
    let scale = portrait.height() as f32 / height as f32;
    let left = (portrait.width() as f32 - width as f32 * scale) / 2.0;
    portrait.warped(&[scale, 0.0, left, 0.0, scale, 0.0], width, height, Border::Repeated)
}

/// Returns its green channel as the luma of YUYV, without colour; colour would cost the same.
fn yuyv(picture: &Picture) -> Vec<u8> {
    let luma = picture.rgb().chunks_exact(3).map(|rgb| (u32::from(rgb[1]) * 219 / 255 + 16) as u8);
    luma.flat_map(|luma| [luma, 128]).collect()
}

/// The same as NV12.
fn nv12(picture: &Picture) -> Vec<u8> {
    let mut bytes: Vec<u8> = yuyv(picture).into_iter().step_by(2).collect();
    bytes.resize(bytes.len() * 3 / 2, 128);
    bytes
}

fn frame() {
    let analyzer = Analyzer::load().unwrap();
    let portraits = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/portraits");
    let limits = Limits::default();
    let portrait =
        picture::decode(&std::fs::read(portraits.join("obama2.jpg")).unwrap(), &limits).unwrap();
    for (width, height) in [(640, 480), (1920, 1080)] {
        let person = seen(&portrait, width, height);
        let empty = Picture::new(width, height, vec![90; person.rgb().len()]).unwrap();
        let jpeg = picture::to_jpeg(&person, 90).unwrap();
        let (packed, planes) = (yuyv(&person), nv12(&person));
        let name = |stage: &str| format!("{width}x{height}: {stage}");
        measure(&name("decode MJPG"), || picture::decode(&jpeg, &limits).unwrap());
        measure(&name("decode YUYV"), || yuv::yuyv(width, height, 2 * width, &packed).unwrap());
        measure(&name("decode NV12"), || yuv::nv12(width, height, width, &planes).unwrap());
        let small = measure(&name("resize to 320"), || person.resized(320, 320 * height / width));
        let smaller = measure(&name("resize to 160"), || person.resized(160, 160 * height / width));
        measure(&name("detect at 320"), || analyzer.faces_in_frame(&small).unwrap());
        measure(&name("detect at 160"), || analyzer.faces_in_frame(&smaller).unwrap());
        let found = measure(&name("faces, a person"), || analyzer.faces_in_frame(&person).unwrap());
        measure(&name("faces, no person"), || analyzer.faces_in_frame(&empty).unwrap());
        let face = &found[0];
        println!("{}", name(&format!("the face has {:.0} pixels", face.width)));
        // The saving if a track ran the detector only in a region, as in docs/performance.md.
        measure(&name("faces, in a region at 160"), || {
            let side = 2.5 * face.width.max(face.height);
            let left = (face.x + (face.width - side) / 2.0) as i64;
            let top = (face.y + (face.height - side) / 2.0) as i64;
            let region = person.cropped(left, top, left + side as i64, top + side as i64).unwrap();
            let scale = 160.0 / region.width().max(region.height()) as f32;
            let scaled = |side: u32| (side as f32 * scale) as u32;
            let region = region.resized(scaled(region.width()), scaled(region.height()));
            analyzer.faces_in_frame(&region).unwrap()[0]
        });
        measure(&name("quality"), || analyzer.portrait(&person, face).unwrap().quality());
        measure(&name("liveness"), || {
            analyzer.portrait(&person, face).unwrap().liveness().unwrap()
        });
        measure(&name("embed"), || analyzer.portrait(&person, face).unwrap().embedding().unwrap());
        measure(&name("embed, attributes"), || {
            let portrait = analyzer.portrait(&person, face).unwrap();
            (portrait.embedding().unwrap(), portrait.attributes().unwrap())
        });
        measure(&name("quality, liveness, embed, coverings"), || {
            let portrait = analyzer.portrait(&person, face).unwrap();
            let seen = (portrait.quality(), portrait.liveness().unwrap());
            (seen, portrait.embedding().unwrap(), portrait.coverings().unwrap())
        });
    }
}

/// Returns random faces, the same each time.
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
            by_admin: false,
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
