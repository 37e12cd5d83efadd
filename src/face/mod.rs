//! The networks and what they mean: detection, alignment, embedding, quality.

use crate::picture::Picture;

/// Length of an embedding.
pub const EMBEDDING_LEN: usize = 128;

/// A face's template vector, of unit length: the dot product of two is their cosine.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(pub [f32; EMBEDDING_LEN]);

/// One face found by the detector, in pixels of the picture it was found in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
    /// Viewer's left eye, viewer's right eye, nose tip, viewer's left and right mouth corners; x, y.
    pub landmarks: [[f32; 2]; 5],
    /// √(class score · object score), 0–1.
    pub score: f32,
}

/// What the detector saw in one picture.
#[derive(Clone, Debug)]
pub struct Faces {
    /// Clockwise turn in degrees (0, 90, 180, 270) that brings the picture upright.
    pub rotation: u16,
    /// The picture turned by `rotation`, when that is not 0; `faces` are in its pixels.
    pub turned: Option<Picture>,
    /// Largest first.
    pub faces: Vec<Detection>,
}

/// Classical quality of one face; each score is compared with its threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// The face is not sharp.
    pub blur: bool,
    /// The face is too dark.
    pub dark: bool,
    /// The picture has no colour.
    pub grayscale: bool,
    /// Raw sharpness: higher is sharper.
    pub sharpness: f32,
    /// Raw brightness 0–255.
    pub brightness: f32,
    /// Raw chroma: 0 is gray.
    pub chroma: f32,
}

/// Something in the networks failed: a bug or a damaged model file, never the picture's fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FaceError(pub String);

/// All networks, loaded. Methods take `&self`; one analyzer serves one thread at a time well.
pub struct Analyzer {}

impl Analyzer {
    /// Loads the networks that are part of the program.
    pub fn load() -> Result<Self, FaceError> {
        Ok(Self {})
    }

    /// The id of the embedding network and its quantization: templates of different ids are never compared.
    pub fn model_id(&self) -> &str {
        "sface-2021dec-q8_0"
    }

    /// Finds faces; turns the picture by 90, 180, 270 degrees only when none is found upright.
    pub fn detect(&self, _picture: &Picture) -> Result<Faces, FaceError> {
        Err(FaceError("not built".into()))
    }

    /// The embedding of one detection of this picture.
    pub fn embed(&self, _picture: &Picture, _face: &Detection) -> Result<Embedding, FaceError> {
        Err(FaceError("not built".into()))
    }

    /// Blur, darkness and colour of one detection of this picture.
    pub fn quality(&self, _picture: &Picture, _face: &Detection) -> Result<Quality, FaceError> {
        Err(FaceError("not built".into()))
    }
}
