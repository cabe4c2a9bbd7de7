"""kdinr as compare.py runs it, by the program: the default, the paper's preset, the other networks of
the paper's comparison as far as the program knows them, and the variants of the paper's studies."""
import os
import shutil
import subprocess
import tempfile

import numpy as np

import peers

NETWORKS = ("coordnet", "siren", "neurcomp")
STUDIES = {  # tables V, VIII, IX, X and figure 9 of the paper: name, what differs from the default
    "sampling policy": [["--sampling", "uniform"]],
    "blocks": [["--blocks", "bottleneck"], ["--blocks", "plain"]],
    "sampling rate": [["--preset", "paper", "--sampling-rate", rate]  # only its epochs know rates
                      for rate in ("0.25", "0.5", "0.75", "1")],
    "block size": [["--block-size", size] for size in ("2", "8", "16")],
    "precision": [["--weights", kind] for kind in ("float16", "float32")],
    "time": [["--effort", effort] for effort in ("low", "normal", "high")],
}


class Result:
    """One series compressed and decoded by the program. What a Trial is for a peer."""

    def __init__(self, program, series, flags, threads):
        self.setting = " ".join(flags)
        self.shape = series.values.shape
        with tempfile.TemporaryDirectory() as folder:
            path, raw = os.path.join(folder, "x.kdm"), os.path.join(folder, "x.raw")
            start = peers.processor_seconds()
            run(program, "compress", "-o", path, "--dims", ",".join(map(str, series.dims)), *flags,
                "--threads", threads, "--no-part", "--keep-bad", "--quiet", *series.files)
            middle = peers.processor_seconds()
            steps = []
            for step in range(len(series.files)):
                run(program, "decode", path, "-o", raw, "--step", step, "--threads", threads,
                    "--quiet")
                steps.append(np.fromfile(raw, "<f4").reshape(series.dims[::-1]))
            self.decompress_seconds = peers.processor_seconds() - middle
            self.compress_seconds = middle - start
            self.bytes = os.path.getsize(path)
        self.ratio = series.size / self.bytes
        self.steps = np.stack(steps)

    def decoded(self):
        return self.steps


class KdinrMethod:
    """The program with some flags; the flag of the target is added."""

    group = "ours"

    def __init__(self, program, name, flags, threads):
        self.program, self.name, self.flags, self.threads = program, name, flags, threads
        self.options = " ".join(flags)
        self.version = commit()

    def run(self, series, kind, target):
        """Raises RuntimeError with the program's own message if it refuses."""
        return Result(self.program, series, [*self.flags, f"--{kind}", f"{target:g}"], self.threads)


def methods(program, effort, threads, studies):
    """What the program can do; a line for what it cannot."""
    if not shutil.which(program):
        print(f"no program {program}: nothing of ours is run")
        return []
    known = subprocess.run([program, "compress", "--help"], check=True, capture_output=True,
                           text=True).stdout
    chosen = [("KD-INR", []), ("KD-INR, paper preset", ["--preset", "paper"])]
    if "--network" in known:
        chosen += [(name, ["--network", name]) for name in NETWORKS if name in known]
    else:
        print(f"{program} has no --network: without {', '.join(NETWORKS)}")
    chosen = [(name, [*flags, "--effort", effort]) for name, flags in chosen]
    if studies:
        chosen = [("KD-INR", ["--effort", effort])]
        chosen += [(f"{study}: {' '.join(flags)}",
                    flags if study == "time" else [*flags, "--effort", effort])
                   for study, variants in STUDIES.items() for flags in variants]
    return [KdinrMethod(program, name, flags, threads) for name, flags in chosen]


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr else "it failed")


def commit():
    """The last one that changed what the program is made of, with + if there are changes since."""
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    try:
        name = git(top, "log", "-1", "--format=%h", "--", "core", "kernels")
        changes = git(top, "status", "--porcelain", "-uno", "--", "core", "kernels")
        return name + ("+" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def git(top, *words):
    return subprocess.run(["git", "-C", top, *words], check=True, capture_output=True,
                          text=True).stdout.strip()
