//! Settings of the camera. They are plain values: the configuration fills them, [`Settings::new`]
//! checks them, and nothing here acts.

use super::pixel_format::PixelFormat;
use crate::config;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Prefix of a source that is a replay of files.
const REPLAY: &str = "replay:";

/// Where frames come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A V4L2 device, such as `/dev/v4l/by-id/usb-…-index0`.
    Device(PathBuf),
    /// A folder of JPEG and PNG files, an `.avi` or a file with a sequence of JPEGs.
    Replay(PathBuf),
}

impl Source {
    /// Parses `camera.source`; `None` means no camera.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(REPLAY) {
            _ if text.is_empty() => None,
            Some(path) => Some(Self::Replay(path.into())),
            None => Some(Self::Device(text.into())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "{}", path.display()),
            Self::Replay(path) => write!(f, "{REPLAY}{}", path.display()),
        }
    }
}

/// All settings of the camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where frames come from.
    pub source: Source,
    /// Requested width in pixels before any rotation; the camera's nearest width is used.
    pub width: u32,
    /// Requested height in pixels.
    pub height: u32,
    /// Requested frames per second; the rate of a replay.
    pub fps: u32,
    /// The only pixel format to use; `None`: the best that the camera offers.
    pub format: Option<PixelFormat>,
    /// How long frames are dropped after opening a device, while it finds its exposure.
    pub warm_up: Duration,
    /// How long no frame comes before the device is closed and opened again.
    pub timeout: Duration,
    /// Clockwise rotation of the frames in degrees: 0, 90, 180 or 270.
    pub rotate: u16,
    /// True if a replay starts again when it has ended.
    pub replay_loop: bool,
}

impl Default for Settings {
    /// `/dev/video0`, with the defaults of an empty configuration.
    fn default() -> Self {
        Self::unchecked(Source::Device("/dev/video0".into()), &config::Camera::default(), None)
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Values that the table of keys does not allow.
    #[error("{}", .0.join("; "))]
    Keys(Vec<String>),
    /// No file or folder to replay.
    #[error("camera.source: name a folder or a file behind `replay:`")]
    NoReplay,
}

impl Settings {
    /// Checks the section `camera`; `None` means no camera.
    pub fn new(camera: &config::Camera) -> Result<Option<Self>, SettingsError> {
        let problems = camera.problems();
        if !problems.is_empty() {
            return Err(SettingsError::Keys(problems));
        }
        // `auto` is not the name of a format.
        let named = |format: &PixelFormat| format.name().eq_ignore_ascii_case(&camera.format);
        let format = PixelFormat::OF_CAMERAS.into_iter().find(named);
        match Source::parse(&camera.source) {
            None => Ok(None),
            Some(Source::Replay(path)) if path.as_os_str().is_empty() => {
                Err(SettingsError::NoReplay)
            }
            Some(source) => Ok(Some(Self::unchecked(source, camera, format))),
        }
    }

    fn unchecked(source: Source, camera: &config::Camera, format: Option<PixelFormat>) -> Self {
        Self {
            source,
            width: camera.width,
            height: camera.height,
            fps: camera.fps,
            format,
            warm_up: Duration::from_millis(camera.warm_up_ms.into()),
            timeout: Duration::from_millis(camera.timeout_ms.into()),
            rotate: camera.rotate,
            replay_loop: camera.replay_loop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut config::Camera)) -> Result<Option<Settings>, SettingsError> {
        let mut camera =
            config::Camera { source: "/dev/video0".into(), ..config::Camera::default() };
        change(&mut camera);
        Settings::new(&camera)
    }

    #[test]
    fn sources_are_parsed() {
        assert_eq!(read(|_| ()), Ok(Some(Settings::default())));
        assert_eq!(read(|camera| camera.source.clear()), Ok(None));
        let replay = read(|camera| camera.source = "replay:a b/c.avi".into()).unwrap().unwrap();
        assert_eq!(replay.source, Source::Replay("a b/c.avi".into()));
        assert_eq!(replay.source.to_string(), "replay:a b/c.avi");
        assert_eq!(read(|camera| camera.source = REPLAY.into()), Err(SettingsError::NoReplay));
    }

    #[test]
    fn formats_are_checked() {
        let format = |name: &str| read(|camera| camera.format = name.into());
        assert_eq!(format("auto").unwrap().unwrap().format, None);
        assert_eq!(format("yuyv").unwrap().unwrap().format, Some(PixelFormat::Yuyv));
        assert_eq!(format("H264").unwrap_err(), wrong("format", "\"H264\""));
        assert_eq!(format("file").unwrap_err(), wrong("format", "\"file\""));
        let row = config::KEYS.iter().find(|key| (key.section, key.name) == ("camera", "format"));
        let config::Rule::WordsInAnyCase(words) = &row.unwrap().rule else { panic!("no words") };
        for word in words.iter().filter(|word| **word != "auto") {
            assert!(format(word).unwrap().unwrap().format.is_some(), "{word}");
        }
    }

    /// Returns the error for a value that its row does not allow.
    fn wrong(name: &str, value: &str) -> SettingsError {
        let row = config::KEYS.iter().find(|key| (key.section, key.name) == ("camera", name));
        SettingsError::Keys(vec![format!("camera.{name}: {}, not {value}", row.unwrap().rule)])
    }

    #[test]
    fn values_out_of_bounds_are_reported() {
        let read = |change: fn(&mut config::Camera)| read(change).unwrap_err();
        assert_eq!(read(|camera| camera.width = 159), wrong("width", "159"));
        assert_eq!(read(|camera| camera.height = 2161), wrong("height", "2161"));
        assert_eq!(read(|camera| camera.fps = 0), wrong("fps", "0"));
        assert_eq!(read(|camera| camera.rotate = 45), wrong("rotate", "45"));
        assert_eq!(read(|camera| camera.warm_up_ms = 10_001), wrong("warm_up_ms", "10001"));
        assert_eq!(read(|camera| camera.timeout_ms = 199), wrong("timeout_ms", "199"));
    }
}
