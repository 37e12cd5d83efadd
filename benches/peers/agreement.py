"""Checks that all engines did the same work: compares the outputs with those of onnxruntime in f32,
and those of a search with the definition. An engine that does not agree is listed with its time,
but no ratio is computed against it.

`judge` returns for each engine its difference (`figure`, in the unit of `unit`) and whether that is
small enough (`agrees`).
"""

import numpy as np

import pictures

REFERENCE = "onnxruntime"
STRIDES = [8, 16, 32]
SIDE = 320
# The allowed difference; with fewer bits networks give slightly different results and are still
# useful. doorward's shipped networks may be in either group.
COARSE = {"doorward", "onnxruntime-int8", "ncnn-bf16", "faiss-sq8"}
PIXELS, PIXELS_COARSE = 0.5, 8.0
COSINE, COSINE_COARSE = 0.9999, 0.9
CHANCE, CHANCE_COARSE = 0.005, 0.1
COSINE_OF_VERIFY = 0.1
RECALL, RECALL_COARSE = 0.999, 0.9


def judge(work, outputs, truth):
    return {"yunet": boxes, "sface": embeddings, "minifasnet": chances, "verify": decisions}.get(
        work, lambda outputs: searches(outputs, truth)
    )(outputs)


def bound(name, exact, coarse):
    return coarse if name in COARSE else exact


def result(figure, unit, near):
    return {"figure": float(figure), "unit": unit, "agrees": bool(near)}


def boxes(outputs):
    found = {
        name: np.array(output) if name.startswith("doorward") else decoded(output[0])
        for name, output in outputs.items()
    }
    expected = found[REFERENCE]
    judged = {}
    for name, rows in found.items():
        same = rows.shape == expected.shape
        off = np.abs(rows[:, :14] - expected[:, :14]).max() if same else float("inf")
        judged[name] = result(off, "px", off <= bound(name, PIXELS, PIXELS_COARSE))
    return judged


def decoded(outputs):
    """Rows of box, landmarks (in the viewer's order) and score, best first."""
    arrays = [np.array(output, np.float32) for output in outputs]
    arrays = [array.reshape(-1, array.shape[-1]) for array in arrays]
    rows = []
    for level, stride in enumerate(STRIDES):
        classes, objects, shapes, points = arrays[level::3]
        scores = np.sqrt(np.clip(classes, 0, 1) * np.clip(objects, 0, 1)).ravel()
        columns = SIDE // stride
        for cell in np.flatnonzero(scores >= pictures.SCORE):
            place = np.array([cell % columns, cell // columns])
            centre, size = (place + shapes[cell, :2]) * stride, np.exp(shapes[cell, 2:]) * stride
            landmarks = ((place + points[cell].reshape(5, 2)) * stride).ravel()
            rows.append([*(centre - size / 2), *size, *landmarks, scores[cell]])
    rows.sort(key=lambda row: -row[-1])
    kept = []
    for row in rows:
        if all(overlap(row, better) <= pictures.NMS for better in kept):
            kept.append(row)
    return np.array(kept).reshape(-1, 15)


def overlap(a, b):
    span = lambda at: max(0.0, min(a[at] + a[at + 2], b[at] + b[at + 2]) - max(a[at], b[at]))
    shared = span(0) * span(1)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def embeddings(outputs):
    unit = lambda values: values / np.linalg.norm(values)
    found = {name: unit(np.ravel(output)) for name, output in outputs.items()}
    judged = {}
    for name, values in found.items():
        cosine = values @ found[REFERENCE]
        judged[name] = result(cosine, "cosine", cosine >= bound(name, COSINE, COSINE_COARSE))
    return judged


def chances(outputs):
    """By the probability of live, the mean of both networks, as the authors compute it."""

    def live(output):
        logits = np.array(output, np.float64).reshape(2, 3)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (odds[:, 1] / odds.sum(axis=1)).mean()

    found = {name: live(output) for name, output in outputs.items()}
    judged = {}
    for name, chance in found.items():
        off = abs(chance - found[REFERENCE])
        judged[name] = result(off, "chance of live", off <= bound(name, CHANCE, CHANCE_COARSE))
    return judged


def decisions(outputs):
    """For two photographs of one person: the same decision, with nearly the same cosine."""
    expected = outputs["python"]["cosine"]
    judged = {}
    for name, output in outputs.items():
        off = abs(output["cosine"] - expected)
        judged[name] = result(off, "cosine apart", output["same"] and off <= COSINE_OF_VERIFY)
    return judged


def searches(outputs, truth):
    """Recall at 10: doorward finds subjects, by their best template; the peers find templates."""
    judged = {}
    for name, found in outputs.items():
        expected = truth["subjects" if name.startswith("doorward") else "templates"]
        hits = [len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)]
        recall = np.mean(hits)
        # doorward's scan is in 8 bits, its result is exact.
        near = recall >= (RECALL if name == "doorward" else bound(name, RECALL, RECALL_COARSE))
        judged[name] = result(recall, "recall@10", near)
    return judged
