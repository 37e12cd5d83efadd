"""Exact 1:N searches by faiss and usearch over the vectors of doorward's gallery."""

import numpy as np

DIMENSIONS = 128
TEMPLATES = 1_000_000
PROBES = 100
LIMIT = 10
# Templates per subject, stored one after the other.
PER_SUBJECT = 50


def make(folder):
    """Unit vectors: subjects, templates around them, and probes; half of these are of a subject."""
    if (folder / "probes.f32").exists():
        return
    random = np.random.default_rng(20260101)
    subjects = random.standard_normal((TEMPLATES // PER_SUBJECT, 1, DIMENSIONS), np.float32)
    noise = random.standard_normal((len(subjects), PER_SUBJECT, DIMENSIONS), np.float32)
    templates = unit((subjects + 0.8 * noise).reshape(-1, DIMENSIONS))
    known = templates[random.choice(TEMPLATES, PROBES // 2, replace=False)]
    known = known + 0.05 * random.standard_normal(known.shape, np.float32)
    strangers = random.standard_normal((PROBES - len(known), DIMENSIONS), np.float32)
    templates.tofile(folder / "templates.f32")
    unit(np.concatenate([known, strangers])).tofile(folder / "probes.f32")


def unit(rows):
    rows = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(rows, dtype=np.float32)


def rows(folder, name):
    return np.fromfile(folder / name, np.float32).reshape(-1, DIMENSIONS)


def truth(folder):
    """By definition: for each probe the best templates, and the subjects with the best template."""
    cosines = rows(folder, "probes.f32") @ rows(folder, "templates.f32").T
    subjects = cosines.reshape(len(cosines), -1, PER_SUBJECT).max(axis=2)
    return {"templates": best(cosines), "subjects": best(subjects)}


def best(scores):
    return np.argpartition(-scores, LIMIT, axis=1)[:, :LIMIT].tolist()


class Faiss:
    def __init__(self, folder, make):
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = make(faiss)
        vectors = rows(folder, "templates.f32")
        if not self.index.is_trained:
            self.index.train(vectors)
        self.index.add(vectors)

    def search(self, probe):
        return self.index.search(probe, LIMIT)[1][0]


class Usearch:
    def __init__(self, folder):
        from usearch import index

        self.vectors, self.search_in = rows(folder, "templates.f32"), index.search
        self.metric = index.MetricKind.IP

    def search(self, probe):
        found = self.search_in(
            self.vectors, probe[0], LIMIT, metric=self.metric, exact=True, threads=1
        )
        return found.keys


PEERS = {
    "faiss-flat": lambda folder: Faiss(folder, lambda faiss: faiss.IndexFlatIP(DIMENSIONS)),
    "faiss-sq8": lambda folder: Faiss(
        folder,
        lambda faiss: faiss.IndexScalarQuantizer(
            DIMENSIONS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        ),
    ),
    "usearch": Usearch,
}


class Search:
    """A pass is the search for one probe; each pass takes the next probe."""

    def __init__(self, peer, folder):
        self.index = PEERS[peer](folder)
        self.probes, self.next = rows(folder, "probes.f32"), 0

    def run(self):
        at = self.next % len(self.probes)
        self.next += 1
        self.index.search(self.probes[at : at + 1])

    def found(self):
        each = [self.index.search(self.probes[at : at + 1]) for at in range(len(self.probes))]
        return [[int(row) for row in found] for found in each]
