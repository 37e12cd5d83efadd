"""Makes the pictures of the comparison from the portraits that the project ships.

No other picture is read, so every copy of the project makes the same pictures. The input of a
network is raw R, G, B in `{network}.rgb`; the inputs of a whole verify are JPEG files of 640x480.
"""

import cv2
import numpy as np

import networks

PORTRAITS = ["obama", "obama2", "obama3", "biden", "replayed"]
# The portrait that the networks see; the enrolled one and the one to be verified.
SUBJECT, ENROLLED, PROBE = "obama2", "obama", "obama2"
FRAME = (640, 480)
# Scales of a face's box, as in the authors' code of the liveness networks.
CROP_SCALES = {"minifasnet-v2": 2.7, "minifasnet-v1se": 4.0}
# byte * gain + offset: the lights by which 8-bit ranges are chosen, with the mirrored pictures.
LIGHTS = [(1.0, 0.0), (0.5, 0.0), (1.4, 0.0), (0.7, 70.0)]
SCORE, NMS, CANDIDATES = 0.6, 0.3, 5000


class Finder:
    """Faces found by OpenCV, and the networks' crops of them. Pictures are B, G, R."""

    def __init__(self, yunet, sface):
        self.detector = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), SCORE, NMS, CANDIDATES)
        self.recognizer = cv2.FaceRecognizerSF.create(str(sface), "")

    def largest(self, picture):
        self.detector.setInputSize(picture.shape[1::-1])
        _, faces = self.detector.detect(picture)
        if faces is None:
            raise RuntimeError("no face in a portrait")
        return max(faces, key=lambda face: face[2] * face[3])

    def shown(self, picture):
        """Each network's crop of the largest face: R, G, B."""
        face = self.largest(picture)
        crops = {"yunet": square(picture, face), "sface": self.recognizer.alignCrop(picture, face)}
        crops |= {name: surroundings(picture, face, scale) for name, scale in CROP_SCALES.items()}
        return {name: np.ascontiguousarray(crop[:, :, ::-1]) for name, crop in crops.items()}


def surroundings(picture, face, scale):
    """The box enlarged about its centre, less if the picture is too small, and shifted inside."""
    height, width = picture.shape[:2]
    x, y, w, h = face[:4]
    scale = min(scale, (height - 1) / h, (width - 1) / w)

    def span(centre, length, end):
        first = max(0.0, min(max(0.0, centre - length * scale / 2), end - length * scale))
        return int(first), int(min(first + length * scale, end))

    (left, right), (top, bottom) = span(x + w / 2, w, width - 1), span(y + h / 2, h, height - 1)
    side = networks.SIDES["minifasnet-v2"]
    return cv2.resize(picture[top : bottom + 1, left : right + 1], (side, side))


def square(picture, face):
    """The whole width around the face's height, resized to the detector's input."""
    height, width = picture.shape[:2]
    side = min(height, width)
    middle = int(face[1] + face[3] / 2)
    top = min(max(0, middle - side // 2), height - side)
    part = picture[top : top + side, :side]
    return cv2.resize(part, [networks.SIDES["yunet"]] * 2, interpolation=cv2.INTER_AREA)


def frame(picture, face):
    """Like a camera's frame: the full width of the picture, with the face in the middle."""
    width, height = FRAME
    scale = width / picture.shape[1]
    tall = (width, max(height, round(picture.shape[0] * scale)))
    scaled = cv2.resize(picture, tall, interpolation=cv2.INTER_AREA)
    middle = int((face[1] + face[3] / 2) * scale)
    top = min(max(0, middle - height // 2), scaled.shape[0] - height)
    return scaled[top : top + height]


def make(portraits, yunet, sface, folder):
    """Writes the pictures to `folder` and returns the crops that each network is calibrated by."""
    finder = Finder(yunet, sface)
    crops = {name: [] for name in networks.SIDES}
    for name in PORTRAITS:
        picture = cv2.imread(str(portraits / f"{name}.jpg"), cv2.IMREAD_COLOR)
        if picture is None:
            raise RuntimeError(f"{portraits / name}.jpg cannot be read")
        shown = finder.shown(picture)
        for network, crop in shown.items():
            crops[network] += [light for view in (crop, crop[:, ::-1]) for light in lit(view)]
            if name == SUBJECT:
                (folder / f"{network}.rgb").write_bytes(crop.tobytes())
        for role, subject in [("enrolled", ENROLLED), ("probe", PROBE)]:
            if name == subject:
                quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
                cv2.imwrite(str(folder / f"{role}.jpg"), frame(picture, finder.largest(picture)), quality)
    return crops


def lit(crop):
    return [np.clip(crop * gain + offset, 0, 255).astype(np.uint8) for gain, offset in LIGHTS]


def read(folder):
    """The pictures that `make` wrote, by network."""
    raw = {name: np.fromfile(folder / f"{name}.rgb", np.uint8) for name in networks.SIDES}
    return {name: raw[name].reshape(side, side, 3) for name, side in networks.SIDES.items()}
