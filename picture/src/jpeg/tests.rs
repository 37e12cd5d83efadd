use super::*;
use image::metadata::Orientation;

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, marker, body);
    out
}

fn file(segments: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0xFF, SOI];
    out.extend(segments.concat());
    out
}

fn frame() -> Vec<u8> {
    segment(SOF0, &[8, 0, 47, 0, 61, 1, 1, 0x11, 0])
}

fn scan() -> Vec<u8> {
    let mut out = segment(SOS, &[1, 1, 0, 0, 63, 0]);
    out.extend_from_slice(&[1, 2, 0xFF, 0x00, 3, 0xFF, RST0, 4]);
    out
}

fn eoi() -> Vec<u8> {
    vec![0xFF, EOI]
}

fn exif(orientation: u8) -> Vec<u8> {
    let mut body = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    body.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    segment(APP1, &body)
}

#[test]
fn size_and_orientation_are_read_and_the_rest_is_dropped() {
    let bytes = file(&[
        exif(6),
        exif(3),
        segment(0xE2, b"ICC_PROFILE\0 and much more"),
        frame(),
        b"stray".to_vec(),
        scan(),
        eoi(),
        b"trailing \xFF\xD8\xFF\xDA".to_vec(),
    ]);
    let data = image_data(&bytes).unwrap();
    assert_eq!((data.width, data.height), (61, 47));
    assert_eq!(data.orientation, Some(Orientation::Rotate90));
    let tail = [frame(), scan(), eoi()].concat();
    assert!(data.bytes.ends_with(&tail));
    assert_eq!(data.bytes.len(), 2 + 4 + 14 + tail.len());
}

#[test]
fn a_file_without_its_end_is_cut_off() {
    let whole = file(&[exif(1), frame(), scan(), eoi()]);
    for length in 2..whole.len() {
        // In the last scan, only the decoder can find out whether pixels are missing.
        let cut = image_data(&whole[..length]);
        let is_damaged = matches!(cut, Err(DecodeError::Damaged(_)));
        assert!(is_damaged || cut.is_ok_and(|data| data.is_unfinished), "{length}");
    }
}

#[test]
fn the_end_marker_of_a_preview_is_not_the_end() {
    let preview = segment(APP1, &file(&[frame(), scan(), eoi()]));
    let data = image_data(&file(&[preview, frame(), scan()]));
    assert!(data.is_ok_and(|data| data.is_unfinished));
}

#[test]
fn the_length_of_a_file_among_others() {
    let preview = segment(APP1, &file(&[frame(), scan(), eoi()]));
    let one = file(&[preview, frame(), scan(), eoi()]);
    let stream = [&one[..], b"filler", &one].concat();
    assert_eq!(length(&stream), Some(one.len()));
    assert_eq!(length(&stream[one.len()..]), None);
    for cut in 0..one.len() {
        assert_eq!(length(&one[..cut]), None, "{cut}");
    }
    // A segment that states a length of 0 still advances the walk.
    assert_eq!(length(&[0xFF, SOI, 0xFF, APP0, 0, 0, 0xFF, EOI]), Some(8));
}

#[test]
fn scans_are_bounded() {
    let mut segments = vec![frame()];
    segments.extend(std::iter::repeat_n(scan(), MAX_SCANS));
    segments.push(eoi());
    assert!(image_data(&file(&segments)).is_ok());
    segments.insert(1, scan());
    assert!(image_data(&file(&segments)).is_err());
}

#[test]
fn two_sizes_are_refused() {
    assert!(image_data(&file(&[frame(), frame(), scan(), eoi()])).is_err());
}

#[test]
fn rgb_under_other_names_is_renamed() {
    let frame = segment(SOF0, &[8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    let scan = segment(SOS, &[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
    let bytes = file(&[segment(APP14, &adobe_body(0)), frame, scan, eoi()]);
    let out = image_data(&bytes).unwrap().bytes;
    assert!(out.windows(9).any(|w| w == [b'R', 0x11, 0, b'G', 0x11, 0, b'B', 0x11, 0]));
    assert!(out.windows(6).any(|w| w == [b'R', 0, b'G', 0x11, b'B', 0x11]));
}
