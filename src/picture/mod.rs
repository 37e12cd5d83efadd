//! Untrusted image bytes in, RGB pixels out.

/// An upright-by-EXIF picture: 8-bit RGB, rows top to bottom, no padding between rows.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// Takes `width * height * 3` bytes in R, G, B order; `None` if the length differs or a side is 0.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let expected = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
        (width > 0 && height > 0 && rgb.len() == expected).then_some(Self { width, height, rgb })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels: R, G, B, 0–255, row after row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl std::fmt::Debug for Picture {
    /// The size alone: pixels of faces do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

/// How large a picture may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the file.
    pub max_bytes: usize,
    /// Most pixels.
    pub max_pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 5 << 20, max_pixels: 40_000_000 }
    }
}

/// Why bytes did not become a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too many bytes.
    #[error("the picture has {bytes} bytes, the limit is {limit}")]
    TooManyBytes {
        /// Length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Anything else.
    #[error("damaged: {0}")]
    Damaged(String),
}

/// Decodes.
pub fn decode(_bytes: &[u8], _limits: &Limits) -> Result<Picture, DecodeError> {
    Err(DecodeError::Damaged("not built".into()))
}

/// What the `image` string of a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Base64, decoded.
    Bytes(Vec<u8>),
    /// http(s).
    Url(String),
    /// `camera:`.
    Camera,
}

/// Why it is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Neither base64 nor a known scheme.
    #[error("neither base64 nor a URL")]
    Neither,
    /// Too many bytes.
    #[error("too large")]
    TooLarge,
}

impl Source {
    /// Tells them apart.
    pub fn read(text: &str, limits: &Limits) -> Result<Self, SourceError> {
        use base64::Engine as _;
        if text == "camera:" {
            return Ok(Self::Camera);
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Url(text.into()));
        }
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|_| SourceError::Neither)?;
        if bytes.len() > limits.max_bytes {
            return Err(SourceError::TooLarge);
        }
        Ok(Self::Bytes(bytes))
    }
}

/// Why a URL gave no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Too slow.
    #[error("timeout")]
    Timeout,
    /// Too large.
    #[error("too large")]
    TooLarge,
    /// Not on the list.
    #[error("{0}")]
    NotAllowed(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Fetches pictures.
pub struct Fetcher {}

impl Fetcher {
    /// With an allow-list.
    pub fn new(_allow: &[String], _timeout: std::time::Duration) -> Self {
        Self {}
    }
    /// Blocks.
    pub fn fetch(&self, _url: &str) -> Result<Vec<u8>, FetchError> {
        Err(FetchError::Failed("not built".into()))
    }
}

impl Picture {
    /// A part.
    pub fn cropped(&self, _x: u32, _y: u32, _width: u32, _height: u32) -> Option<Self> {
        None
    }
    /// Another size.
    pub fn resized(&self, _width: u32, _height: u32) -> Self {
        self.clone()
    }
    /// As JPEG.
    pub fn to_jpeg(&self, _quality: u8) -> Vec<u8> {
        Vec::new()
    }
}
