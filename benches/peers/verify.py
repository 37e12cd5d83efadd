"""A whole verify as usually written in Python: OpenCV's FaceDetectorYN and FaceRecognizerSF, and
onnxruntime for the two liveness networks.

One detection at the picture's own size, one pass of each liveness network, one comparison. doorward
does more: it uses two scales and two widths of the box, and judges quality and attributes.
"""

import cv2
import numpy as np

import engines
import networks
import pictures

COSINE = 0.363
LIVE = 1


class Verify:
    def __init__(self, folder):
        cv2.setNumThreads(1)
        originals = [folder / "original" / f"{name}.onnx" for name in ["yunet", "sface"]]
        self.finder = pictures.Finder(*originals)
        self.liveness = {
            name: engines.Onnxruntime(folder, name) for name in pictures.CROP_SCALES
        }
        self.probe = (folder / "probe.jpg").read_bytes()
        picture = decoded((folder / "enrolled.jpg").read_bytes())
        self.enrolled = self.embedding(picture, self.finder.largest(picture))

    def embedding(self, picture, face):
        return self.finder.recognizer.feature(self.finder.recognizer.alignCrop(picture, face)).copy()

    def live(self, picture, face):
        chances = []
        for name, scale in pictures.CROP_SCALES.items():
            crop = pictures.surroundings(picture, face, scale)
            logits = self.liveness[name].run(networks.blob(crop[:, :, ::-1], name))[0][0]
            odds = np.exp(logits - logits.max())
            chances.append(odds[LIVE] / odds.sum())
        return float(np.mean(chances))

    def run(self):
        picture = decoded(self.probe)
        face = self.finder.largest(picture)
        live = self.live(picture, face)
        embedding = self.embedding(picture, face)
        cosine = self.finder.recognizer.match(self.enrolled, embedding, cv2.FaceRecognizerSF_FR_COSINE)
        same = cosine >= COSINE
        return {"same": bool(same), "cosine": float(cosine), "live": live, "box": face[:4].tolist()}


def decoded(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
