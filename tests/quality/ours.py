"""kdinr as compare.py runs it, by the program: the default, the paper's preset, the other networks of
the paper's comparison with equal bytes and samples (networks.py has their settings), and the variants
of the paper's studies."""
import os
import shutil
import subprocess
import tempfile

import numpy as np

import networks
import peers

STUDIES = {  # tables V, VIII, IX, X and figure 9 of the paper: name, what differs from the default
    "sampling policy": [["--sampling", "uniform"]],
    "blocks": [["--blocks", "bottleneck"], ["--blocks", "plain"]],
    "sampling rate": [["--epochs", "400", "--sampling-rate", rate]  # only epochs know rates
                      for rate in ("0.25", "0.5", "0.75", "1")],
    "block size": [["--block-size", size] for size in ("2", "8", "16")],
    "precision": [["--weights", kind] for kind in ("float16", "float32")],
    "teachers": [["--direct"]],
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


class NetworkMethod(KdinrMethod):
    """Another network, one for the whole series, that draws as many samples as KD-INR does in all where
    it is one network too."""

    def __init__(self, program, name, flags, effort, threads):
        super().__init__(program, name, [*flags, "--effort", effort], threads)
        self.effort = effort

    def run(self, series, kind, target):
        if kind != "ratio":
            raise RuntimeError("run at equal file ratio only")
        x, y, z = series.dims
        n_steps = len(series.files)
        samples = networks.all_samples(x * y * z, n_steps, self.effort)
        flags = ["--student-samples", f"{samples:.0f}", "--bricks", "1,1,1", "--window", str(n_steps)]
        return Result(self.program, series, [*self.flags, *flags, "--ratio", f"{target:g}"],
                      self.threads)


def methods(program, effort, threads, studies):
    """What the program can do."""
    if not shutil.which(program):
        print(f"no program {program}: nothing of ours is run")
        return []
    if studies:
        return study_methods(program, effort, threads)
    found = [KdinrMethod(program, name, [*flags, "--effort", effort], threads)
             for name, flags in (("KD-INR", []), ("KD-INR, paper preset", ["--preset", "paper"]))]
    for network in networks.TUNED:
        for name in ("tuned", "slower", "our step"):
            flags = [f"{flag:g}" if isinstance(flag, float) else str(flag)
                     for flag in networks.settings(network)[name]]
            found.append(NetworkMethod(program, f"{network}, {name}", flags, effort, threads))
    return found


def study_methods(program, effort, threads):
    """The default first, then what differs from it; those that only differ in effort are KD-INR too."""
    chosen = [("KD-INR", ["--effort", effort])]
    for study, variants in STUDIES.items():
        for flags in variants:
            if study == "time":
                chosen.append(("KD-INR", flags))
            else:
                chosen.append((f"{study}: {' '.join(flags)}", [*flags, "--effort", effort]))
    return [KdinrMethod(program, name, flags, threads) for name, flags in chosen]


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr else "it failed")


def commit():
    """The last one that changed what the program is made of, with + if there are changes since. The
    module for GPUs is left out: what the CPU makes does not depend on it."""
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    try:
        parts = ("core", "kernels", ":!kernels/cuda")
        name = git(top, "log", "-1", "--format=%h", "--", *parts)
        changes = git(top, "status", "--porcelain", "-uno", "--", *parts)
        return name + ("+" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def git(top, *words):
    return subprocess.run(["git", "-C", top, *words], check=True, capture_output=True,
                          text=True).stdout.strip()
