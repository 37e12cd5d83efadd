//! Tests networks that have run before: they allocate only their result, give the same bits for the
//! same picture after any other picture and on any thread, and nearly the same on every CPU level.
//!
//! Memory is counted per thread, so the tests may run in parallel.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(unsafe_code, reason = "an allocator that counts")]

use doorward::face::{
    Analyzer, Cores, Detection, Detector, Embedder, MiniFasNet, SHIPPED, Trunk, aligned_crop,
};
use doorward::nn::{Level, Weights};
use doorward::picture::{self, Limits, Picture};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

struct Counting;

thread_local! {
    static ALLOCATED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

// SAFETY: passes every call unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter.
        let _ = ALLOCATED.try_with(|counter| {
            let (count, bytes) = counter.get();
            counter.set((count + 1, bytes + layout.size()));
        });
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts allocations and bytes of `work` on this thread; also returns its result.
fn allocated<T>(work: impl FnOnce() -> T) -> ((usize, usize), T) {
    let before = ALLOCATED.get();
    let result = work();
    let after = ALLOCATED.get();
    ((after.0 - before.0, after.1 - before.1), result)
}

struct Networks {
    detector: Detector,
    embedder: Embedder,
    liveness: [MiniFasNet; 2],
}

impl Networks {
    fn load(level: Level) -> Self {
        let weights = |file| Weights::read_for(file, level).unwrap();
        let liveness = [SHIPPED.minifasnet_v2, SHIPPED.minifasnet_v1se];
        Self {
            detector: Detector::load(&weights(SHIPPED.yunet)).unwrap(),
            embedder: Embedder::load(&weights(SHIPPED.sface)).unwrap(),
            liveness: liveness.map(|file| MiniFasNet::load(&weights(file)).unwrap()),
        }
    }

    fn best() -> Self {
        Self::load(Level::detect().unwrap())
    }

    /// Returns all outputs of the networks for a picture, as numbers.
    fn all(&self, picture: &Picture) -> Vec<f32> {
        let face = self.detector.detect(picture, 0.6).unwrap()[0];
        let mut said = vec![face.x, face.y, face.width, face.height, face.score];
        said.extend(face.landmarks.iter().flatten());
        said.extend(self.of(picture, &face));
        said
    }

    fn of(&self, picture: &Picture, face: &Detection) -> Vec<f32> {
        let trunk = self.embedder.trunk(&aligned_crop(picture, face).unwrap()).unwrap();
        let mut said = self.embedder.embed(&trunk).unwrap().values().to_vec();
        for network in &self.liveness {
            said.extend(network.logits(&network.crop(picture, face).unwrap()).unwrap());
        }
        said
    }
}

fn portrait(name: &str) -> Picture {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/portraits").join(name);
    let picture = picture::decode(&std::fs::read(file).unwrap(), &Limits::default()).unwrap();
    picture.resized(240, 320)
}

fn grey(width: u32, height: u32) -> Picture {
    Picture::new(width, height, vec![128; (width * height * 3) as usize]).unwrap()
}

#[test]
fn two_cores_give_the_same_bits_as_one() {
    let [one, two] = [Cores::One, Cores::Two].map(|cores| Analyzer::load().unwrap().on(cores));
    for name in ["obama.jpg", "obama2.jpg", "biden.jpg"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/portraits").join(name);
        let picture = picture::decode(&std::fs::read(file).unwrap(), &Limits::default()).unwrap();
        let [on_one, on_two] = [&one, &two].map(|analyzer| {
            let faces = analyzer.detect(&picture).unwrap().faces;
            let portrait = analyzer.portrait(&picture, &faces[0]).unwrap();
            let judged = (portrait.attributes().unwrap(), portrait.liveness().unwrap());
            (judged, portrait.embedding().unwrap(), faces)
        });
        assert_eq!(on_one, on_two, "{name}");
    }
}

#[test]
fn warm_detector_allocates_nothing() {
    let networks = Networks::best();
    // Without a face there is no result: every allocation is from the pass itself. The sizes
    // alternate, as with a camera's frame and the faces in it.
    let pictures = [grey(320, 240), grey(96, 160), grey(101, 33)];
    for picture in &pictures {
        networks.detector.detect(picture, 0.6).unwrap();
    }
    for picture in pictures.iter().rev() {
        let (allocated, found) = allocated(|| networks.detector.detect(picture, 0.6).unwrap());
        assert!(found.is_empty());
        assert_eq!(allocated, (0, 0), "{picture:?}");
    }
}

#[test]
fn warm_liveness_networks_allocate_nothing() {
    let networks = Networks::best();
    for network in &networks.liveness {
        let crop = grey(80, 80);
        let cold = network.logits(&crop).unwrap();
        let (allocated, warm) = allocated(|| network.logits(&crop).unwrap());
        assert_eq!(allocated, (0, 0));
        assert_eq!(cold, warm);
    }
}

#[test]
fn warm_embedder_allocates_only_its_result() {
    let networks = Networks::best();
    let crop = grey(112, 112);
    let trunk = || networks.embedder.trunk(&crop).unwrap();
    trunk();
    let ((_, bytes), trunk): (_, Trunk) = allocated(trunk);
    let result = (14 * 14 * 512 + 7 * 7 * 1024) * size_of::<f32>();
    assert!((result..result + 4096).contains(&bytes), "{bytes} bytes for a result of {result}");
    let (allocated, _) = allocated(|| networks.embedder.embed(&trunk).unwrap());
    assert!(allocated.0 <= 2 && allocated.1 <= 2048, "{allocated:?}");
}

#[test]
fn the_same_picture_gives_the_same_bits() {
    let networks = Networks::best();
    let bits = |picture: &Picture| -> Vec<u32> {
        networks.all(picture).into_iter().map(f32::to_bits).collect()
    };
    let (one, other) = (portrait("obama.jpg"), portrait("biden.jpg"));
    let first = bits(&one);
    // The contents that another picture of another size left in the maps must have no effect.
    networks.all(&other.resized(288, 384));
    assert_eq!(bits(&one), first);
    std::thread::scope(|scope| {
        let passes: Vec<_> = (0..4).map(|_| scope.spawn(|| bits(&one))).collect();
        for pass in passes {
            assert_eq!(pass.join().unwrap(), first);
        }
    });
}

#[test]
fn every_cpu_level_gives_nearly_the_same_numbers() {
    let picture = portrait("obama2.jpg");
    let expected = Networks::load("portable".parse().unwrap()).all(&picture);
    for level in Level::available() {
        let said = Networks::load(level).all(&picture);
        assert_eq!(said.len(), expected.len());
        for (index, (a, b)) in said.iter().zip(&expected).enumerate() {
            // Pixels, cosines and logits are all below a few hundred.
            assert!((a - b).abs() <= 1e-3, "{level}: number {index} is {a}, portable {b}");
        }
    }
}
