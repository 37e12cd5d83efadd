"""A peer of doorward's worker, with the same commands; see src/main.rs.

usage: peer.py PEER FOLDER
"""

import json
import os
import pathlib
import sys
import time

import engines
import pictures
import search
import verify

WARM = 3


class Work:
    """Functions of a pass and of its outputs."""

    def __init__(self, run, outputs):
        self.run, self.outputs = run, outputs


def load(peer, name, folder):
    if peer in engines.ENGINES:
        run = engines.Networks(peer, folder, pictures.read(folder)).pass_of(name)
        return Work(run, lambda: [[output.tolist() for output in part] for part in run()])
    if peer in search.PEERS and name == "search":
        index = search.Search(peer, folder)
        return Work(index.run, index.found)
    if peer == "python" and name == "verify":
        whole = verify.Verify(folder)
        return Work(whole.run, whole.run)
    raise ValueError(f"{peer} has no {name}")


def answer(line, works, peer, folder):
    first, second = line.split()
    name = second if first == "outputs" else first
    if name not in works:
        works[name] = load(peer, name, folder)
    work = works[name]
    if first == "outputs":
        return {"outputs": work.outputs()}
    for _ in range(WARM):
        work.run()
    times = []
    for _ in range(int(second)):
        started = time.process_time_ns()
        work.run()
        times.append((time.process_time_ns() - started) / 1e6)
    return {"cpu_ms": times}


def main():
    peer, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    works = {}
    # Libraries print to standard output: answers go through a separate file.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            said = answer(line, works, peer, folder)
        except Exception as error:  # The driver reports it with the peer's name and skips the peer.
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=out, flush=True)


if __name__ == "__main__":
    main()
