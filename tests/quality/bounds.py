"""Bytes at equal pointwise error: kdinr with and without networks, SZ3, ZFP and SPERR.

    bounds.py SERIES --kdinr PROGRAM [--series NAME...] [--bounds E...] [--networks]
    bounds.py SERIES --methods SPERR [--series NAME...] [--bounds E...]

SERIES is a folder as for compare.py. kdinr's files are decoded by every backend that can compute here
and every value is compared with the bound. SZ3 and ZFP are measured if the Python packages pysz and
zfpy are there (pip install pysz zfpy), per step and on the whole series; SPERR if sperr3d is in PATH,
per step, since it has three dimensions at most, and decoded and compared too. What is missing in the
data is the mean for these, since they have no missing values. --networks trains networks too (minutes);
--methods chooses some of kdinr, SZ3, ZFP and SPERR."""
import argparse
import json
import os
import subprocess
import tempfile

import numpy as np

import peers
import series as series_module


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def backends(kdinr):
    lines = [line.split() for line in run(kdinr, "info", "--backends").splitlines()]
    return [words[0] for words in lines if words[1] == "available"]


def ours(kdinr, series, bound, networks):
    """(bytes, seconds, largest error of any backend / bound, whether networks were kept)"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.kdm")
        flags = [] if networks else ["--residuals-alone"]
        done = run(kdinr, "compress", "-o", path, "--dims", ",".join(map(str, series.dims)), "--effort",
                   "low", "--threads", "1", "--max-error", f"{bound}r", *flags, *series.files)
        seconds = float(done.split(",")[-1].split()[0])
        info = json.loads(run(kdinr, "info", path, "--json"))["arrays"][0]
        found = [json.loads(run(kdinr, "eval", path, *series.files, "--json", "--backend", backend))
                 for backend in backends(kdinr)]
        error = max(one["overall"]["max_error"] for one in found) / info["bound"][0]
        if not error <= 1:
            raise SystemExit(f"{series.name}: an error of {error} times the bound {bound}")
        return os.path.getsize(path), seconds, error, not info["bound_alone"]


def our_columns(kdinr, series, bound, networks):
    size, seconds, error, _ = ours(kdinr, series, bound, False)
    row = {"residuals alone": f"{size} ({seconds:.0f} s, {error:.3f} of the bound)"}
    if networks:
        size, seconds, error, kept = ours(kdinr, series, bound, True)
        row["networks"] = (f"{size} ({seconds:.0f} s, {error:.3f} of the bound, "
                           f"{'kept' if kept else 'not kept'})")
    return row


def both(name, size, values):
    """Per step and on the whole series, by the bytes of one array."""
    return {name: sum(map(size, values)), f"{name} 4-D": size(values)}


def sz3(values, most):
    from pysz import sz, szAlgorithm, szConfig, szErrorBoundMode

    def size(part):
        config = szConfig(part.shape)
        config.errorBoundMode = szErrorBoundMode.ABS
        config.absErrorBound = most
        config.cmprAlgo = szAlgorithm.INTERP_LORENZO
        return len(sz.compress(np.ascontiguousarray(part), config)[0])

    return both("SZ3", size, values)


def zfp(values, most):
    import zfpy
    return both("ZFP", lambda part: len(zfpy.compress_numpy(np.ascontiguousarray(part), tolerance=most)),
                values)


class Sperr(peers.Sperr):
    """With a bound on every value instead of a PSNR."""

    @classmethod
    def encode(cls, raw, coded, part, knob):
        cls.run(cls.program, "-c", "--ftype", 32, "--dims", *part.shape[::-1], "--pwe", knob,
                "--bitstream", coded, raw)


def sperr(values, most):
    """Per step; what it decodes to is compared with the bound, value by value."""
    Sperr.version()
    size, error = 0, 0
    for step in values:
        code = Sperr.compress(step, most)
        decoded = Sperr.decompress(code, step.shape)
        size += len(code)
        error = np.maximum(error, np.abs(decoded.astype(np.float64) - step).max() / most)
    held = "" if error <= 1 else f", exceeded by {error - 1:.2g}"
    return {"SPERR": f"{size} ({error:.3f} of the bound{held})"}


PEERS = {"SZ3": sz3, "ZFP": zfp, "SPERR": sperr}


def columns(name, values, most):
    """Bytes of a peer; none if it is not there."""
    try:
        return PEERS[name](values, most)
    except ImportError as missing:
        print(f"{missing.name or missing} is missing: no {name}")
        return {}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--kdinr")
    parser.add_argument("--series", nargs="*")
    parser.add_argument("--bounds", nargs="*", type=float, default=[1e-2, 1e-3, 1e-4])
    parser.add_argument("--networks", action="store_true")
    parser.add_argument("--methods", nargs="+", choices=["kdinr", *PEERS], default=["kdinr", *PEERS])
    arguments = parser.parse_args()
    if "kdinr" in arguments.methods and not arguments.kdinr:
        parser.error("--kdinr is needed, or --methods without kdinr")
    for series in series_module.find(arguments.folder, arguments.series):
        extent = series.range[1] - series.range[0]
        for bound in arguments.bounds:
            row = {}
            if "kdinr" in arguments.methods:
                row.update(our_columns(arguments.kdinr, series, bound, arguments.networks))
            for name in PEERS:
                if name in arguments.methods:
                    row.update(columns(name, series.filled, bound * extent))
            print(f"{series.name} {bound:g}: " + ", ".join(f"{k} {v}" for k, v in row.items()),
                  flush=True)


if __name__ == "__main__":
    main()
