//! Chooses which of a camera's formats and sizes to request.
//!
//! The requested size comes first, then the rate, then the pixel format: a wrong size costs every
//! frame, a worse format only decoding time.

use super::pixel_format::PixelFormat;
use super::settings::Settings;
use serde::Serialize;
use std::fmt;

/// One format and size that a camera offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offer {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// Most frames a second, if the camera states it.
    pub fps: Option<f64>,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{}", self.format.name(), self.width, self.height)?;
        match self.fps {
            Some(fps) => write!(f, "@{fps:.0}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Offer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Sizes that a camera scales to, from `from` to `to` in steps of `step`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub from: u32,
    pub to: u32,
    pub step: u32,
}

impl Range {
    /// Returns the available value nearest to the requested one.
    pub fn nearest(&self, wish: u32) -> u32 {
        let wish = wish.clamp(self.from, self.to.max(self.from));
        let step = self.step.max(1);
        self.from + (wish - self.from) / step * step
    }
}

/// Returns what to request, best first: every format at its best size. If a driver lists nothing,
/// returns every format at the requested size.
pub(super) fn candidates(offers: &[Offer], settings: &Settings) -> Vec<Offer> {
    let wanted = |format: &PixelFormat| settings.format.is_none_or(|only| only == *format);
    let formats = PixelFormat::OF_CAMERAS.into_iter().filter(wanted);
    let mut best: Vec<Offer> = if offers.is_empty() {
        let (width, height) = (settings.width, settings.height);
        formats.map(|format| Offer { format, width, height, fps: None }).collect()
    } else {
        let of = |format| offers.iter().filter(move |offer| offer.format == format).copied();
        let nearer = |a: &Offer, b: &Offer| cost(a, settings).total_cmp(&cost(b, settings));
        formats.filter_map(|format| of(format).min_by(nearer)).collect()
    };
    // A stable sort: among equals the better format stays first.
    best.sort_by(|a, b| cost(a, settings).total_cmp(&cost(b, settings)));
    best
}

/// Returns the distance of an offer from the request: sizes by their ratio, and a rate that is too
/// low by half as much as a side that is too short. Grey costs as much as a slightly wrong size.
fn cost(offer: &Offer, settings: &Settings) -> f64 {
    let off = |is: u32, wish: u32| (f64::from(is.max(1)) / f64::from(wish.max(1))).ln().abs();
    let size = off(offer.width, settings.width) + off(offer.height, settings.height);
    let wish = f64::from(settings.fps);
    let slow = match offer.fps {
        // 29.97 counts as 30.
        Some(fps) if fps < 0.95 * wish => (wish / fps.max(0.1)).ln() / 2.0,
        _ => 0.0,
    };
    let colourless = if offer.format == PixelFormat::Grey { 0.5 } else { 0.0 };
    size + slow + colourless
}

#[cfg(test)]
mod tests {
    use super::*;
    use PixelFormat::{Grey, Mjpg, Nv12, Yuyv};

    fn offer(format: PixelFormat, width: u32, height: u32, fps: f64) -> Offer {
        Offer { format, width, height, fps: Some(fps) }
    }

    fn first(offers: &[Offer], width: u32, height: u32, fps: u32) -> (PixelFormat, u32, u32) {
        let settings = Settings { width, height, fps, ..Settings::default() };
        let best = candidates(offers, &settings)[0];
        (best.format, best.width, best.height)
    }

    #[test]
    fn typical_usb_camera() {
        let offers = [
            offer(Mjpg, 1280, 720, 30.0),
            offer(Mjpg, 640, 480, 30.0),
            offer(Yuyv, 640, 480, 29.97),
            offer(Yuyv, 1280, 720, 5.0),
            offer(Grey, 640, 480, 60.0),
        ];
        // Uncompressed if the bus is fast enough, else compressed.
        assert_eq!(first(&offers, 640, 480, 30), (Yuyv, 640, 480));
        assert_eq!(first(&offers, 1280, 720, 30), (Mjpg, 1280, 720));
        // The nearest available size.
        assert_eq!(first(&offers, 1920, 1080, 30), (Mjpg, 1280, 720));
        assert_eq!(first(&offers, 320, 240, 15), (Yuyv, 640, 480));
    }

    #[test]
    fn camera_with_one_format() {
        let offers = [offer(Nv12, 640, 480, 30.0), offer(Grey, 640, 480, 30.0)];
        let settings = Settings { format: Some(Grey), ..Settings::default() };
        let formats: Vec<_> =
            candidates(&offers, &settings).iter().map(|offer| offer.format).collect();
        assert_eq!(formats, [Grey]);
        let settings = Settings { format: Some(Mjpg), ..settings };
        assert!(candidates(&offers, &settings).is_empty());
    }

    #[test]
    fn driver_without_a_list_is_asked_for_every_format() {
        let formats: Vec<_> =
            candidates(&[], &Settings::default()).iter().map(|offer| offer.format).collect();
        assert_eq!(formats, [Nv12, Yuyv, Mjpg, Grey]);
    }

    #[test]
    fn range_returns_the_nearest_size() {
        let range = Range { from: 32, to: 1920, step: 16 };
        assert_eq!(
            [0, 32, 640, 650, 5000].map(|wish| range.nearest(wish)),
            [32, 32, 640, 640, 1920]
        );
        // An empty range, as some drivers report.
        assert_eq!(Range { from: 0, to: 0, step: 0 }.nearest(640), 0);
        assert_eq!(Range { from: 9, to: 3, step: 1 }.nearest(640), 9);
    }
}
