"""Bytes at equal pointwise error: kdinr with and without networks, SZ3 and ZFP.

    bounds.py --kdinr PROGRAM --data FOLDER [--series NAME...] [--networks]

FOLDER holds NAME/NAME_0000.raw ... (float32). SZ3 and ZFP are measured if the Python packages pysz and
zfpy are there (pip install pysz zfpy), per step and on the whole series; what is missing in the data is
the mean for them, since they have no missing values. --networks trains networks too (minutes)."""
import argparse
import glob
import json
import os
import subprocess
import tempfile

import numpy as np

SERIES = {"isabel_wind": ((125, 125, 25), None), "viscousfingers_run01_sub16": ((64, 64, 64), None),
          "ocean_atlas_temp": ((180, 90, 19), -4.0)}
BOUNDS = (1e-2, 1e-3, 1e-4)


def ours(kdinr, files, dims, fill, bound, networks):
    """(bytes, seconds, largest error / bound, whether networks were kept)"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.kdm")
        flags = [] if networks else ["--residuals-alone"]
        flags += ["--fill", str(fill)] if fill is not None else []
        done = subprocess.run([kdinr, "compress", "-o", path, "--dims", ",".join(map(str, dims)),
                               "--effort", "low", "--threads", "1", "--max-error", f"{bound}r", *flags,
                               *files], check=True, capture_output=True, text=True)
        seconds = float(done.stdout.split(",")[-1].split()[0])
        found = json.loads(subprocess.run([kdinr, "eval", path, *files, "--json"], check=True,
                                          capture_output=True, text=True).stdout)
        info = json.loads(subprocess.run([kdinr, "info", path, "--json"], check=True,
                                         capture_output=True, text=True).stdout)["arrays"][0]
        error = found["overall"]["max_error"] / info["bound"][0]
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kdinr", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--series", nargs="*", default=list(SERIES))
    parser.add_argument("--networks", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.series:
        dims, fill = SERIES[name]
        files = sorted(glob.glob(os.path.join(arguments.data, name, "*.raw")))
        values = np.stack([np.fromfile(f, "<f4").reshape(dims[::-1]) for f in files])
        there = values != fill if fill is not None else np.ones(values.shape, bool)
        extent = float(values[there].max()) - float(values[there].min())
        values = np.where(there, values, values[there].mean()).astype("f4")
        for bound in BOUNDS:
            size, seconds, error, _ = ours(arguments.kdinr, files, dims, fill, bound, False)
            row = {"residuals alone": f"{size} ({seconds:.0f} s, {error:.3f} of the bound)"}
            if arguments.networks:
                size, seconds, error, kept = ours(arguments.kdinr, files, dims, fill, bound, True)
                row["networks"] = f"{size} ({seconds:.0f} s, {'kept' if kept else 'not kept'})"
            row.update(peers(values, bound * extent))
            print(f"{name} {bound:g}: " + ", ".join(f"{k} {v}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
