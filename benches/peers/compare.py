"""Compares doorward with onnxruntime, OpenCV, ncnn, faiss and usearch: the same work, in turns, on
one core.

usage: compare.py --worker PROGRAM --twins DIR --yunet ONNX --sface ONNX --portraits DIR
                  --work DIR --out JSON [--quick]

Each engine is a process of one thread, all bound to the same core; one works, the others wait. A
round gives each its turn, so that other load on the machine affects all of them equally. Times are
the process's CPU time. The outputs of each are checked first. `cargo xtask bench peers` runs this
script.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from importlib import metadata

import numpy as np

import agreement
import engines
import networks
import pictures
import search

OURS, OURS_F32 = "doorward", "doorward-f32"
NETWORKS = {
    work: [OURS, OURS_F32, *engines.ENGINES] for work in ["yunet", "sface", "minifasnet"]
}
WORKS = NETWORKS | {"verify": [OURS, OURS_F32, "python"], "search": [OURS, *search.PEERS]}
# The peers whose best result is the bar: the configuration that their makers enable.
AS_THEY_ARE = [name for name in engines.ENGINES if name != "ncnn-bf16"]
# Passes per turn, and turns: quick and full.
PASSES = {"yunet": 15, "sface": 9, "minifasnet": 15, "verify": 7, "search": 10}
ROUNDS, ROUNDS_QUICK = 21, 7
PACKAGES = ["onnxruntime", "opencv-python-headless", "ncnn", "faiss-cpu", "usearch", "numpy"]


class Process:
    """A process that runs the command of a line and answers with one line."""

    def __init__(self, command):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        if not said:
            raise RuntimeError(f"a process ended at `{line}`; its reason is above")
        said = json.loads(said)
        if "error" in said:
            raise RuntimeError(f"`{line}`: {said['error']}")
        return said

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def processes(work, arguments):
    """Each in a process of its own, so that no threads or memory disturb another's."""
    for name in WORKS[work]:
        if name == OURS:
            yield name, Process([arguments.worker, arguments.work])
        elif name == OURS_F32:
            yield name, Process([arguments.worker, arguments.work, arguments.twins])
        else:
            script = pathlib.Path(__file__).with_name("peer.py")
            yield name, Process([sys.executable, script, name, arguments.work])


def measured(work, arguments):
    """Times and agreement of every process that can do the work."""
    people = dict(processes(work, arguments))
    try:
        outputs, left_out = {}, {}
        for name, process in people.items():
            try:
                outputs[name] = process.ask(f"outputs {work}")["outputs"]
            except RuntimeError as error:
                if name in (OURS, OURS_F32, agreement.REFERENCE):
                    raise
                left_out[name] = str(error)
        truth = search.truth(arguments.work) if work == "search" else None
        judged = agreement.judge(work, outputs, truth)
        times = {name: [] for name in outputs}
        for _ in range(ROUNDS_QUICK if arguments.quick else ROUNDS):
            for name in times:
                times[name].append(people[name].ask(f"{work} {PASSES[work]}")["cpu_ms"])
    finally:
        for process in people.values():
            process.end()
    rows = {name: {"left_out": why} for name, why in left_out.items()}
    for name, turns in times.items():
        medians = [float(np.median(turn)) for turn in turns]
        rows[name] = {
            "median_ms": float(np.median(np.concatenate(turns))),
            "fastest_ms": float(np.min(np.concatenate(turns))),
            "fastest_turn_ms": min(medians),
            "slowest_turn_ms": max(medians),
            **judged[name],
        }
    if not all(rows[name]["agrees"] for name in (OURS, OURS_F32) if name in rows):
        raise RuntimeError(f"doorward itself is off in {work}: {json.dumps(rows, indent=2)}")
    return rows


def ratio(rows, ours, peers, time):
    """Our time divided by that of the fastest peer; `None` without peers."""
    times = [rows[peer][time] for peer in peers if rows.get(peer, {}).get("agrees")]
    return round(rows[ours][time] / min(times), 4) if times else None


def ratios(works, time):
    found = {}
    for work in NETWORKS:
        for name, ours in [(work, OURS), (f"{work}_f32", OURS_F32)]:
            found[name] = ratio(works[work], ours, AS_THEY_ARE, time)
        found[f"{work}_vs_ncnn_bf16"] = ratio(works[work], OURS, ["ncnn-bf16"], time)
    rows = works["verify"]
    for name, ours in [("verify", OURS), ("verify_f32", OURS_F32)]:
        found[name] = ratio(rows, ours, ["python"], time)
    rows = works["search"]
    for name, peer in [("flat", "faiss-flat"), ("sq8", "faiss-sq8"), ("usearch", "usearch")]:
        found[f"search_1m_128_vs_{name}"] = ratio(rows, OURS, [peer], time)
    return found


def prepare(arguments):
    originals = arguments.work / "original"
    originals.mkdir(parents=True, exist_ok=True)
    for name in ["yunet", "sface"]:
        shutil.copyfile(getattr(arguments, name), originals / f"{name}.onnx")
    crops = pictures.make(arguments.portraits, arguments.yunet, arguments.sface, arguments.work)
    networks.make(arguments.yunet, arguments.twins, arguments.work, crops)
    search.make(arguments.work)


def machine(core, arguments):
    worker = Process([arguments.worker, arguments.work])
    level = worker.ask("level")["level"]
    worker.end()
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if "model name" in line]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "core": core,
        "level": level,
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def main():
    parser = argparse.ArgumentParser()
    for name in ["worker", "twins", "yunet", "sface", "portraits", "work", "out"]:
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()

    core = max(os.sched_getaffinity(0))
    prepare(arguments)
    # Child processes inherit this core.
    os.sched_setaffinity(0, {core})
    works = {}
    for work in WORKS:
        print(f"{work} …", file=sys.stderr, flush=True)
        works[work] = measured(work, arguments)
    found = ratios(works, "median_ms")
    found["recall_at_10"] = round(works["search"][OURS]["figure"], 6)
    # On a shared machine, medians favour the process that needs less cache; fastest passes do not.
    found["by_fastest_pass"] = ratios(works, "fastest_ms")
    report = {"machine": machine(core, arguments), "works": works, "ratios": found}
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
