//! Reads JPEGs from one file: an AVI of MJPEG, or a sequence of JPEGs.
//!
//! Files are read one frame at a time, never as a whole. A length that a file states is checked
//! against a limit before anything is allocated. Nothing here decodes.
//!
//! An AVI consists of *chunks*: four letters, a length in 4 bytes, and that many bytes, padded to
//! an even number. `RIFF` and `LIST` chunks hold a type of four letters and further chunks. A frame
//! of video stream 0 is a chunk `00dc`.

use crate::picture::jpeg_length;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// The largest frame: the limit for pictures, and some more for the container.
const MAX_FRAME: usize = 8 << 20;
/// How much is read at a time while the end of a frame is searched.
const STEP: usize = 64 << 10;
/// The first bytes of every JPEG.
const SOI: &[u8] = &[0xFF, 0xD8, 0xFF];

/// A file of frames, read from its start to its end.
pub(super) enum Container {
    /// An AVI.
    Avi(Avi),
    /// A sequence of JPEGs, possibly with other bytes between them.
    Stream(JpegStream),
}

impl Container {
    /// Opens a file. Its first bytes decide which kind it is.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let mut head = Vec::new();
        file.by_ref().take(12).read_to_end(&mut head)?;
        let is_avi = head.starts_with(b"RIFF") && head.ends_with(b"AVI ");
        file.seek(SeekFrom::Start(0))?;
        if is_avi {
            return Ok(Self::Avi(Avi::new(file)));
        }
        if head.starts_with(SOI) {
            return Ok(Self::Stream(JpegStream { file, held: Vec::new() }));
        }
        let why = "it is neither an AVI nor does it start with a JPEG; make one of a video with `ffmpeg -i \
                   VIDEO -c:v mjpeg -an FILE.avi`";
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Returns the bytes of the next frame; `None` at the end of the file.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Avi(avi) => avi.next(),
            Self::Stream(stream) => stream.next(),
        }
    }
}

/// An open AVI.
pub(super) struct Avi {
    file: BufReader<File>,
    /// Number of the video stream in the names of its chunks, taken from the first frame.
    stream: Option<[u8; 2]>,
}

impl Avi {
    fn new(file: BufReader<File>) -> Self {
        Self { file, stream: None }
    }

    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some([a, b, c, d, l0, l1, l2, l3]) = self.header()? else { return Ok(None) };
            let length = u32::from_le_bytes([l0, l1, l2, l3]);
            // The content of a list follows its type. Every step advances by at least 8 bytes.
            if matches!(&[a, b, c, d], b"RIFF" | b"LIST") {
                self.file.seek_relative(4)?;
                continue;
            }
            let is_video = [c, d] == *b"dc" || [c, d] == *b"db";
            let ours = is_video && *self.stream.get_or_insert([a, b]) == [a, b];
            let padding = i64::from(length % 2);
            if !ours || length == 0 || length as usize > MAX_FRAME {
                self.file.seek_relative(i64::from(length) + padding)?;
                continue;
            }
            let mut frame = Vec::new();
            self.file.by_ref().take(length.into()).read_to_end(&mut frame)?;
            self.file.seek_relative(padding)?;
            return Ok(Some(frame));
        }
    }

    /// Returns the next chunk's name and length; `None` at the end of the file, or within the last
    /// header.
    fn header(&mut self) -> io::Result<Option<[u8; 8]>> {
        let mut header = [0; 8];
        match self.file.read_exact(&mut header) {
            Ok(()) => Ok(Some(header)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An open file with a sequence of JPEGs.
pub(super) struct JpegStream {
    file: BufReader<File>,
    /// Bytes that were read and not returned yet.
    held: Vec<u8>,
}

impl JpegStream {
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut step = STEP;
        loop {
            let start = self.held.windows(SOI.len()).position(|window| window == SOI);
            // Without a start marker, its first two bytes may be at the end.
            let filler = start.unwrap_or(self.held.len().saturating_sub(SOI.len() - 1));
            self.held.drain(..filler);
            if start.is_some()
                && let Some(length) = jpeg_length(&self.held)
            {
                let rest = self.held.split_off(length);
                return Ok(Some(std::mem::replace(&mut self.held, rest)));
            }
            if self.held.len() > MAX_FRAME {
                // Not a frame, or a frame without an end: the next may be valid.
                self.held.drain(..SOI.len());
                continue;
            }
            let read = self.file.by_ref().take(step as u64).read_to_end(&mut self.held)?;
            if read == 0 {
                return Ok(None);
            }
            // Doubles each time, because the frame is scanned from its start again.
            step = (step * 2).min(MAX_FRAME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
        let file = file(bytes);
        let mut container = Container::open(file.path()).unwrap();
        std::iter::from_fn(|| container.next().unwrap()).collect()
    }

    fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut out = name.to_vec();
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(body);
        out.resize(out.len() + body.len() % 2, 0);
        out
    }

    fn list(name: &[u8; 4], kind: &[u8; 4], chunks: &[Vec<u8>]) -> Vec<u8> {
        chunk(name, &[kind.to_vec(), chunks.concat()].concat())
    }

    /// Returns the shortest bytes with the markers of a JPEG. `mark` distinguishes frames.
    fn jpeg(mark: u8, length: usize) -> Vec<u8> {
        let mut out = vec![0xFF, 0xD8, 0xFF, 0xDA, 0, 3, 1];
        out.resize(length.max(10) - 2, mark);
        out.extend_from_slice(&[0xFF, 0xD9]);
        out
    }

    fn avi(movi: &[Vec<u8>]) -> Vec<u8> {
        let header = list(b"LIST", b"hdrl", &[chunk(b"avih", &[0; 56])]);
        let index = chunk(b"idx1", &[0; 16]);
        list(b"RIFF", b"AVI ", &[header, list(b"LIST", b"movi", movi), index])
    }

    #[test]
    fn avi_with_sound_padding_lists_and_a_second_part() {
        let (odd, even) = (jpeg(1, 21), jpeg(2, 30));
        let mut bytes = avi(&[
            chunk(b"00dc", &odd),
            chunk(b"01wb", &[9; 7]),
            list(b"LIST", b"rec ", &[chunk(b"00dc", &even), chunk(b"02dc", &odd)]),
            chunk(b"00dc", &[]),
            chunk(b"00db", &odd),
        ]);
        bytes.extend(list(b"RIFF", b"AVIX", &[list(b"LIST", b"movi", &[chunk(b"00dc", &even)])]));
        assert_eq!(frames(&bytes), [odd.clone(), even.clone(), odd, even]);
    }

    #[test]
    fn wrong_lengths_never_invent_frames() {
        let whole = avi(&[chunk(b"00dc", &jpeg(1, 30)), chunk(b"00dc", &jpeg(2, 30))]);
        // A file cut off anywhere gives the frames that are there, and no others.
        for length in 12..whole.len() {
            let bytes: usize = frames(&whole[..length]).iter().map(Vec::len).sum();
            assert!(bytes <= length);
        }
        let mut huge = avi(&[chunk(b"00dc", &jpeg(1, 30))]);
        let at = huge.windows(4).position(|window| window == b"00dc").unwrap() + 4;
        huge[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(frames(&huge).is_empty());
        huge[at..at + 4].copy_from_slice(&(MAX_FRAME as u32).to_le_bytes());
        assert!(frames(&huge)[0].len() < huge.len());
    }

    #[test]
    fn sequence_of_jpegs_gives_every_frame() {
        let (small, large) = (jpeg(1, 20), jpeg(2, 3 * STEP));
        // A preview within a segment has its own start and end.
        let mut with_preview = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 22];
        with_preview.extend(jpeg(3, 20));
        with_preview.extend_from_slice(&small[2..]);
        let bytes =
            [&small[..], b"--boundary\r\n\xFF", &large, &with_preview, &small[..15]].concat();
        assert_eq!(frames(&bytes), [small, large, with_preview]);
    }

    #[test]
    fn start_without_an_end_is_skipped_in_bounded_memory() {
        let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xDA, 0, 3, 1];
        bytes.resize(MAX_FRAME + 3 * STEP, 5);
        bytes.extend(jpeg(1, 20));
        let file = file(&bytes);
        let Container::Stream(mut stream) = Container::open(file.path()).unwrap() else {
            panic!("a stream")
        };
        let frame = stream.next().unwrap();
        assert!(frame.is_some_and(|frame| frame.len() <= bytes.len()));
        assert!(stream.held.capacity() <= 4 * MAX_FRAME, "{}", stream.held.capacity());
    }

    #[test]
    fn files_without_video_are_refused() {
        for bytes in [&b""[..], b"RIFF\0\0\0\0WAVE", b"\x89PNG\r\n", b"hello"] {
            let error = Container::open(file(bytes).path()).err().unwrap();
            assert!(error.to_string().contains("ffmpeg"), "{error}");
        }
    }
}
