"""Bytes at equal pointwise error: kdinr with and without networks, SZ3 and ZFP.

    bounds.py SERIES --kdinr PROGRAM [--series NAME...] [--bounds E...] [--networks]

SERIES is a folder as for compare.py. kdinr's files are decoded by every backend that can compute here
and every value is compared with the bound. SZ3 and ZFP are measured if the Python packages pysz and
zfpy are there (pip install pysz zfpy), per step and on the whole series; what is missing in the data is
the mean for them, since they have no missing values. --networks trains networks too (minutes)."""
import argparse
import json
import os
import subprocess
import tempfile

import numpy as np

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


def peers(values, most):
    """Bytes of each package that is there."""
    sizes, steps = {}, list(values)
    try:
        from pysz import sz, szAlgorithm, szConfig, szErrorBoundMode

        def sz3(part):
            config = szConfig(part.shape)
            config.errorBoundMode = szErrorBoundMode.ABS
            config.absErrorBound = most
            config.cmprAlgo = szAlgorithm.INTERP_LORENZO
            return len(sz.compress(np.ascontiguousarray(part), config)[0])

        sizes["SZ3"], sizes["SZ3 4-D"] = sum(map(sz3, steps)), sz3(values)
    except ImportError:
        print("pysz is missing: no SZ3")
    try:
        import zfpy

        def zfp(part):
            return len(zfpy.compress_numpy(np.ascontiguousarray(part), tolerance=most))

        sizes["ZFP"], sizes["ZFP 4-D"] = sum(map(zfp, steps)), zfp(values)
    except ImportError:
        print("zfpy is missing: no ZFP")
    return sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--kdinr", required=True)
    parser.add_argument("--series", nargs="*")
    parser.add_argument("--bounds", nargs="*", type=float, default=[1e-2, 1e-3, 1e-4])
    parser.add_argument("--networks", action="store_true")
    arguments = parser.parse_args()
    for series in series_module.find(arguments.folder, arguments.series):
        extent = series.range[1] - series.range[0]
        for bound in arguments.bounds:
            size, seconds, error, _ = ours(arguments.kdinr, series, bound, False)
            row = {"residuals alone": f"{size} ({seconds:.0f} s, {error:.3f} of the bound)"}
            if arguments.networks:
                size, seconds, error, kept = ours(arguments.kdinr, series, bound, True)
                row["networks"] = (f"{size} ({seconds:.0f} s, {error:.3f} of the bound, "
                                   f"{'kept' if kept else 'not kept'})")
            row.update(peers(series.filled, bound * extent))
            print(f"{series.name} {bound:g}: " + ", ".join(f"{k} {v}" for k, v in row.items()),
                  flush=True)


if __name__ == "__main__":
    main()
