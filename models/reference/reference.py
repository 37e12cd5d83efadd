"""Makes the reference numbers for doorward's networks with OpenCV and onnxruntime.

usage: reference.py DETECTOR.onnx EMBEDDER.onnx FOLDER OUT.json [--labels CSV --people N]

Reads the JPEG files of FOLDER (or, with --labels, the first photo of each of the first N people),
finds every face with OpenCV's YuNet, aligns and embeds it with OpenCV's SFace, and writes one JSON
file; with --labels also each picture as run, as a PNG beside it in pictures/. `cargo xtask
reference` runs it. No number is written on which OpenCV and onnxruntime differ.

All coordinates are pixels of the picture as run (`run_width`, `run_height`): a picture whose long
side exceeds 640 is first brought to that by cv2.resize with INTER_AREA. The detector pads with
zeros on the right and below to multiples of 32. Landmarks come in YuNet's order: the person's right
eye, left eye, nose tip, right mouth corner, left mouth corner. Embeddings are not normalised.
"""

import argparse
import csv
import json
import pathlib

import cv2
import numpy as np
import onnxruntime

LONG_SIDE = 640
SCORE_THRESHOLD = 0.6
NMS_THRESHOLD = 0.3
TOP_K = 5000
CROP = 112
# The positions of the five landmarks in the crop: the ArcFace template.
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)


class Reference:
    def __init__(self, detector, embedder):
        self.detector = cv2.FaceDetectorYN.create(
            detector, "", (LONG_SIDE, LONG_SIDE), SCORE_THRESHOLD, NMS_THRESHOLD, TOP_K
        )
        self.embedder = cv2.FaceRecognizerSF.create(embedder, "")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(embedder, options)

    def picture(self, path, name, lossless=None):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        height, width = image.shape[:2]
        run = fit(image)
        if lossless:
            lossless.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(lossless), run)
        run_height, run_width = run.shape[:2]
        self.detector.setInputSize((run_width, run_height))
        _, faces = self.detector.detect(run)
        faces = [] if faces is None else list(faces)
        return {
            "path": name,
            "width": width,
            "height": height,
            "run_width": run_width,
            "run_height": run_height,
            "chosen": chosen(faces, run_width, run_height),
            "faces": [self.face(run, face) for face in faces],
        }

    def face(self, run, face):
        crop = self.embedder.alignCrop(run, face)
        matrix = similarity(face[4:14].reshape(5, 2).astype(np.float64))
        warped = cv2.warpAffine(run, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR)
        difference = np.abs(warped.astype(int) - crop.astype(int)).max()
        assert difference <= 1, f"the alignment matrix is not OpenCV's: {difference}"

        embedding = self.embedder.feature(crop)[0]
        planes = crop[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        other = self.session.run(None, {"data": planes})[0][0]
        assert cosine(embedding, other) > 0.99999, "OpenCV and onnxruntime disagree"
        return {
            "box": rounded(face[:4], 3),
            "landmarks": [rounded(point, 3) for point in face[4:14].reshape(5, 2)],
            "score": round(float(face[14]), 6),
            "alignment": [rounded(row, 6) for row in matrix],
            "embedding": rounded(embedding, 6),
        }


def fit(image):
    height, width = image.shape[:2]
    scale = LONG_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = (round(width * scale), round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def chosen(faces, width, height):
    """The index of the main face in a photo of one person: central and large."""

    def distance(face):
        x, y, w, h = face[:4]
        return abs(x + w / 2 - width / 2) + abs(y + h / 2 - height / 2) - 0.3 * w

    return min(range(len(faces)), key=lambda i: distance(faces[i]), default=None)


def similarity(landmarks):
    """The least-squares 2x3 matrix, source to crop, without shear or reflection (Umeyama)."""
    source_mean, target_mean = landmarks.mean(0), TEMPLATE.mean(0)
    source, target = landmarks - source_mean, TEMPLATE - target_mean
    left, singular, right = np.linalg.svd(target.T @ source / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(sign) @ right
    scale = (singular * sign).sum() / source.var(0).sum()
    shift = target_mean - scale * rotation @ source_mean
    return np.hstack([scale * rotation, shift[:, None]])


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def rounded(values, digits):
    return [round(float(value), digits) for value in values]


def first_photos(labels):
    """One photo for each person, the first in the order of the paths."""
    with open(labels, newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["path"])
    photos = {}
    for row in rows:
        photos.setdefault(row["identity"], row["path"])
    return photos.values()


def main():
    parser = argparse.ArgumentParser()
    for name in ["detector", "embedder", "folder", "out"]:
        parser.add_argument(name)
    parser.add_argument("--labels")
    parser.add_argument("--people", type=int)
    arguments = parser.parse_args()

    folder = pathlib.Path(arguments.folder)
    if arguments.labels:
        names = first_photos(arguments.labels)
    else:
        names = sorted(path.name for path in folder.glob("*.jpg"))
    reference = Reference(arguments.detector, arguments.embedder)
    pictures = []
    for name in names:
        if arguments.labels:
            # JPEG decoders differ by one level in places, which is enough to select another cell of
            # nearly equal score. The networks are compared on identical pixels.
            lossless = pathlib.Path("pictures", pathlib.Path(name).stem + ".png")
            out = pathlib.Path(arguments.out).parent
            picture = reference.picture(folder / name, str(lossless), out / lossless)
        else:
            picture = reference.picture(folder / name, name)
        if picture["faces"]:
            pictures.append(picture)
        if len(pictures) == arguments.people:
            break
    made_by = {
        "opencv": cv2.__version__,
        "onnxruntime": onnxruntime.__version__,
        "score_threshold": SCORE_THRESHOLD,
        "nms_threshold": NMS_THRESHOLD,
        "top_k": TOP_K,
    }
    # One picture per line, so that a diff shows which picture's numbers changed.
    lines = ",\n".join(json.dumps(picture) for picture in pictures)
    text = f'{{"made_by": {json.dumps(made_by)}, "pictures": [\n{lines}\n]}}\n'
    pathlib.Path(arguments.out).write_text(text)
    print(f"{arguments.out}: {len(pictures)} pictures")


if __name__ == "__main__":
    main()
