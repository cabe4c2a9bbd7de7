"""Two decoders must agree: the program kdinr, and read_kdm.py, which was written from FORMAT.md alone.

    test_golden.py agreement --kdinr PROGRAM             on files that the program makes now
    test_golden.py golden --kdinr PROGRAM --folder DIR   on every DIR/*.kdm, with the values in DIR/*.json;
                                                         DIR_bad/*.kdm are refused by both, by kdinr with
                                                         the message in DIR_bad/messages.json
    test_golden.py record FILE.kdm...                    write FILE.json for a new golden file

Exits with 77 (skipped) if numpy is missing. Recorded values are never recorded again."""
import argparse
import glob
import hashlib
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("skipped: numpy is missing")
    sys.exit(77)

import read_kdm
from sample_values import values_at

# Sines and sums are rounded differently: share of the array's range by which values may differ.
TOLERANCE = 1e-4
RECORDED_SAMPLES = 12

# What the program is asked for: flags, points of the grid, components, cells, missing samples.
FAST = ["--effort", "low", "--teacher-samples", "15000", "--student-samples", "30000"]
CASES = [
    (["--ratio", "60"], (21, 18, 15), 1, False, None),
    (["--ratio", "20", "--modes", "2", "--window", "3"], (21, 18, 15), 2, False, "nan"),
    (["--ratio", "20", "--bricks", "3,2,1", "--window", "2", "--blocks", "bottleneck"], (26, 19, 9), 1, False, "nan"),
    (["--ratio", "40", "--bricks", "2,1,2", "--blocks", "plain", "--times", "0,1,2.5,2.75,9"],
     (14, 13, 12), 3, True, "fill"),
    (["--ratio", "10", "--weights", "float16", "--window", "3"], (37, 26, 1), 2, False, None),
    (["--max-error", "2%", "--ratio", "60"], (21, 18, 15), 1, False, "nan"),
    (["--max-error", "1e-4r"], (13, 10, 1), 2, True, "fill"),
    (["--max-error", "1e-12"], (6, 5, 4), 1, False, None),
    (["--ratio", "30", "--network", "siren", "--window", "3"], (21, 18, 15), 1, False, "nan"),
    (["--ratio", "20", "--network", "neurcomp", "--depth", "3", "--weights", "float16"], (14, 13, 12),
     2, True, None),
    (["--ratio", "20", "--network", "siren", "--weights", "clustered", "--cluster-bits", "3", "--window", "3"],
     (21, 18, 15), 1, False, "nan"),
    (["--ratio", "25", "--network", "coordnet", "--depth", "1"], (21, 18, 15), 1, False, None),
    (["--ratio", "12", "--weights", "float32", "--omega-hidden", "20"], (12, 11, 10), 1, True, "nan"),
]


def field(dims, components, missing, t):
    """A smooth field with a wave in it, [z][y][x][components]."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in dims[::-1]], indexing="ij")
    values = np.stack([np.sin(3 * x + 0.5 * t + c) * np.cos(2 * y - c) + z * z
                       for c in range(components)], -1)
    if missing is not None:
        values[x + y * y > 1.2 + 0.1 * (t // 2)] = np.nan if missing == "nan" else -99.0
    return values.astype("<f4")


def compress(program, folder, case):
    flags, dims, components, cells, missing = case
    samples = [max(n - 1, 1) if cells else n for n in dims]
    files = []
    for t in range(5):
        files.append(os.path.join(folder, f"{t}.raw"))
        field(samples, components, missing, t).tofile(files[-1])
    out = os.path.join(folder, "out.kdm")
    more = ["--cells"] if cells else []
    more += ["--fill", "-99"] if missing == "fill" else []
    subprocess.run([program, "compress", "--keep-bad", "-o", out, "--dims", ",".join(map(str, dims)),
                    "--components", str(components), *more, *flags, *FAST, "--quiet", *files],
                   check=True)
    return out


def program_values(program, path, name, flags):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.raw")
        subprocess.run([program, "decode", path, "-o", out, "--array", name, "--quiet", *flags],
                       check=True)
        return np.fromfile(out, "<f4")


def compare(a, found, expected, what):
    """Prints and counts a difference; `a` is the array, for its range."""
    expected = np.asarray(expected, "f8").reshape(-1)
    scale = max(float((a.range[:, 1] - a.range[:, 0]).max()), 1e-30)
    finite = np.isfinite(expected)
    special = np.array_equal(found[~finite], expected[~finite].astype("f4"), equal_nan=True)
    worst = np.abs(found[finite] - expected[finite]).max() / scale if finite.any() else 0.0
    good = len(found) == len(expected) and special and worst <= TOLERANCE
    print(f"{'ok  ' if good else 'FAIL'} {what}: {len(found)} values, {(~finite).sum()} not finite, "
          f"largest difference {worst:.1e} of the range")
    return 0 if good else 1


def agreement(program):
    n_failed = 0
    for number, case in enumerate(CASES):
        with tempfile.TemporaryDirectory() as folder:
            path = compress(program, folder, case)
            model = read_kdm.load(path)
            a, times = model.arrays[0], model.times
            between = times[1] + 0.37 * (times[2] - times[1])
            finer = [2 * n + 1 for n in model.dims]
            requests = [(times[0], None), (times[3], None), (between, None), (between, finer),
                        (times[-1] + 1, None)]
            for time, dims in requests:
                flags = ["--time", repr(time)]
                flags += ["--dims", ",".join(map(str, dims))] if dims else []
                found = program_values(program, path, a.name, flags)
                expected = values_at(model, a, time, dims)
                n_failed += compare(a, found, expected, f"case {number}, {' '.join(flags)}")
    return n_failed


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def pick(values, positions):
    """The values at [x, y, z] positions, one list of components each."""
    return [values[z, y, x].tolist() for x, y, z in positions]


def record(path):
    """Write what read_kdm.py finds at a few samples of every step."""
    target = os.path.splitext(path)[0] + ".json"
    if os.path.exists(target):
        sys.exit(f"{target} exists: golden values stay as they are")
    model = read_kdm.load(path)
    random = np.random.default_rng(1)
    arrays = []
    for a in model.arrays:
        positions = [[int(random.integers(n)) for n in a.stored] for _ in range(RECORDED_SAMPLES)]
        steps = [pick(values_at(model, a, t).astype("f4"), positions) for t in model.times]
        arrays.append({"name": a.name, "positions": positions, "steps": steps})
    recorded = {"sha256": sha256(path), "arrays": arrays}
    if model.axes is not None:
        recorded["axes"] = model.axes
    with open(target, "w", encoding="utf-8") as file:
        json.dump(recorded, file)
        file.write("\n")
    print(target)


def check_golden(program, path):
    with open(os.path.splitext(path)[0] + ".json", encoding="utf-8") as file:
        recorded = json.load(file)
    if sha256(path) != recorded["sha256"]:
        print(f"FAIL {path}: the file is not the one that was recorded")
        return 1
    model, n_failed = read_kdm.load(path), 0
    if model.axes != recorded.get("axes"):
        print(f"FAIL {path}: read_kdm.py finds other axes than were recorded")
        n_failed += 1
    for known in recorded["arrays"]:
        a = next(a for a in model.arrays if a.name == known["name"])
        for step, expected in enumerate(known["steps"]):
            what = f"{os.path.basename(path)}, {a.name}, step {step}"
            values = values_at(model, a, model.times[step]).astype("f4")
            found = np.array(pick(values, known["positions"]), "f4").reshape(-1)
            n_failed += compare(a, found, expected, what + ", read_kdm.py")
            values = program_values(program, path, a.name, ["--step", str(step)]).reshape(values.shape)
            found = np.array(pick(values, known["positions"]), "f4").reshape(-1)
            n_failed += compare(a, found, expected, what + ", kdinr")
    return n_failed


def check_bad(program, folder):
    with open(os.path.join(folder, "messages.json"), encoding="utf-8") as file:
        messages = json.load(file)
    n_failed = 0
    for name, expected in messages.items():
        path = os.path.join(folder, name + ".kdm")
        with tempfile.TemporaryDirectory() as out:
            run = subprocess.run([program, "decode", path, "-o", os.path.join(out, "x.raw"), "--quiet"],
                                 capture_output=True, text=True)
        try:
            read_kdm.load(path)
            refused = False
        except read_kdm.FormatError:
            refused = True
        good = run.returncode == 1 and run.stderr.strip().replace(path, "FILE") == expected and refused
        n_failed += not good
        print(f"{'ok  ' if good else 'FAIL'} bad/{name}: {run.stderr.strip()}"
              f"{'' if refused else ' (read_kdm.py reads it)'}")
    return n_failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["agreement", "golden", "record"])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--kdinr")
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    if arguments.mode == "record":
        for path in arguments.files:
            record(path)
        return 0
    if arguments.mode == "agreement":
        return agreement(arguments.kdinr)
    files = sorted(glob.glob(os.path.join(arguments.folder, "*.kdm")))
    if not files:
        print(f"skipped: no golden files in {arguments.folder}")
        sys.exit(77)
    n_bad = check_bad(arguments.kdinr, os.path.normpath(arguments.folder) + "_bad")
    return n_bad + sum(check_golden(arguments.kdinr, path) for path in files)


if __name__ == "__main__":
    sys.exit(1 if main() > 0 else 0)
