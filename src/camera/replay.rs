//! Replays pictures from files instead of a camera, at a set rate: for demonstrations, for tests,
//! and to look again at recorded frames.

use super::container::Container;
use super::device::{Device, Fault, Next, Open, Raw};
use super::pixel_format::{Layout, PixelFormat};
use super::settings::Settings;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The largest picture file that is read.
const MAX_FILE: u64 = 8 << 20;
/// Most files of a folder: two hours of frames.
const MAX_FILES: usize = 100_000;

/// Opens a folder or a file.
pub(super) struct Opener {
    path: PathBuf,
}

impl Opener {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Open for Opener {
    fn open(&mut self, settings: &Settings) -> Result<Box<dyn Device>, Fault> {
        let frames = Recorded::open(&self.path).map_err(|error| unplayable(&self.path, &error))?;
        Ok(Box::new(Replay {
            path: self.path.clone(),
            name: self.path.display().to_string(),
            frames,
            interval: Duration::from_secs(1) / settings.fps.max(1),
            again: settings.replay_loop,
            due: Instant::now(),
            given: 0,
            bytes: Vec::new(),
        }))
    }
}

fn unplayable(path: &Path, error: &io::Error) -> Fault {
    Fault::Replay { path: path.to_owned(), reason: error.to_string() }
}

/// Frames in files, from the first to the last.
enum Recorded {
    Folder { files: Vec<PathBuf>, at: usize },
    File(Container),
}

impl Recorded {
    fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            return Container::open(path).map(Self::File);
        }
        let mut files = Vec::new();
        for entry in path.read_dir()? {
            let file = entry?.path();
            let is_picture = file.extension().and_then(|extension| extension.to_str()).is_some_and(
                |extension| {
                    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
                },
            );
            if is_picture {
                files.push(file);
            }
            if files.len() > MAX_FILES {
                let why = format!("it has more than {MAX_FILES} pictures");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        }
        if files.is_empty() {
            let why = "it has no .jpg, .jpeg or .png file";
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        files.sort();
        Ok(Self::Folder { files, at: 0 })
    }

    /// Returns the next frame's bytes, empty for a file that cannot be read; `None` after the last.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::File(container) => container.next(),
            Self::Folder { files, at } => {
                let Some(file) = files.get(*at) else { return Ok(None) };
                *at += 1;
                // One bad file is one bad frame; the next may be good.
                Ok(Some(read(file).unwrap_or_default()))
            }
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// A running replay.
struct Replay {
    path: PathBuf,
    name: String,
    frames: Recorded,
    interval: Duration,
    again: bool,
    /// Time of the next frame.
    due: Instant,
    /// Frames returned since the last start of the recording.
    given: u64,
    bytes: Vec<u8>,
}

impl Device for Replay {
    fn name(&self) -> &str {
        &self.name
    }

    fn layout(&self) -> Layout {
        Layout { format: PixelFormat::File, width: 0, height: 0, stride: 0 }
    }

    fn warms_up(&self) -> bool {
        false
    }

    fn next(&mut self, wait: Duration) -> Result<Next<'_>, Fault> {
        let left = self.due.duration_since(Instant::now());
        std::thread::sleep(left.min(wait));
        if left > wait {
            return Ok(Next::Nothing);
        }
        let now = Instant::now();
        let read = self.frames.next().map_err(|error| unplayable(&self.path, &error))?;
        let Some(bytes) = read else {
            if !self.again {
                return Ok(Next::End);
            }
            if self.given == 0 {
                let nothing = io::Error::other("it holds no frame");
                return Err(unplayable(&self.path, &nothing));
            }
            self.given = 0;
            self.frames = Recorded::open(&self.path).map_err(|e| unplayable(&self.path, &e))?;
            return Ok(Next::Nothing);
        };
        self.given += 1;
        // A machine that cannot keep up plays slower: a camera gives no bursts.
        self.due = (self.due + self.interval).max(now);
        self.bytes = bytes;
        let damaged = self.bytes.is_empty();
        Ok(Next::Frame(Raw { bytes: &self.bytes, taken: Some(now), number: None, damaged }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    fn open(path: &Path, fps: u32, replay_loop: bool) -> Result<Box<dyn Device>, Fault> {
        let settings = Settings { fps, replay_loop, ..Settings::default() };
        Opener::new(path).open(&settings)
    }

    /// Returns the next frame's bytes; `None` at the end.
    fn next(device: &mut dyn Device) -> Option<Vec<u8>> {
        loop {
            match device.next(Duration::from_millis(20)).unwrap() {
                Next::Frame(raw) => {
                    assert_eq!(raw.damaged, raw.bytes.is_empty());
                    return Some(raw.bytes.to_vec());
                }
                Next::Nothing => {}
                Next::End => return None,
            }
        }
    }

    #[test]
    fn folder_is_played_by_name_and_a_bad_file_is_a_bad_frame() {
        let files: &[(&str, &[u8])] =
            &[("b.PNG", b"2"), ("a.jpg", b"1"), ("notes.txt", b"x"), ("d.jpeg", b"4")];
        let dir = folder(files);
        std::fs::create_dir(dir.path().join("c.jpg")).unwrap();
        let mut device = open(dir.path(), 120, false).unwrap();
        let given: Vec<_> = std::iter::from_fn(|| next(device.as_mut())).collect();
        assert_eq!(given, [&b"1"[..], b"2", b"", b"4"]);
        assert_eq!(next(device.as_mut()), None);
        let mut device = open(dir.path(), 120, true).unwrap();
        let given: Vec<_> = (0..9).filter_map(|_| next(device.as_mut())).collect();
        assert_eq!(given.concat(), b"1241241");
    }

    #[test]
    fn frames_come_at_the_configured_rate() {
        let dir = folder(&[("a.jpg", b"1")]);
        let mut device = open(dir.path(), 50, true).unwrap();
        next(device.as_mut());
        let began = Instant::now();
        (0..10).for_each(|_| drop(next(device.as_mut())));
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(190), "{took:?}");
        // A reader that paused gets no burst.
        std::thread::sleep(Duration::from_millis(200));
        next(device.as_mut());
        let began = Instant::now();
        (0..3).for_each(|_| drop(next(device.as_mut())));
        assert!(began.elapsed() >= Duration::from_millis(35), "{:?}", began.elapsed());
    }

    #[test]
    fn unplayable_sources_say_why() {
        let said = |path: &Path| open(path, 10, true).err().unwrap().to_string();
        let dir = folder(&[("notes.txt", b"x")]);
        assert!(said(dir.path()).contains("no .jpg"), "{}", said(dir.path()));
        assert!(said(&dir.path().join("notes.txt")).contains("ffmpeg"));
        assert!(said(&dir.path().join("nowhere")).contains("No such file"));
        // An AVI without a frame, in a loop.
        let empty = dir.path().join("empty.avi");
        std::fs::write(&empty, b"RIFF\x04\0\0\0AVI ").unwrap();
        let mut device = open(&empty, 100, true).unwrap();
        let fault = device.next(Duration::from_millis(20)).err().unwrap();
        assert!(fault.to_string().contains("no frame"), "{fault}");
    }
}
