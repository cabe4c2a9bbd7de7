#!/usr/bin/env python3
"""KD-INR against the networks of its paper's Table III, at equal bytes and equal samples; compare.py
takes its tuned settings from here.

    networks.py KDINR [--ratio R] [--fill V] [--settings NAMES] DIMS FILE...

KDINR is the command line `kdinr`, DIMS is X,Y,Z; FILEs are raw float32, one per step. Prints a table:
network and its settings, file ratio, PSNR, processor seconds of one thread. All networks come from
one program: each is as wide as the bytes allow, stored by the same quantiser (but for NeurComp with its
authors' settings, whose weights are clustered), one network for the whole series. KD-INR's student, its
one teacher (the series fits in memory) and its pilot draw together as many samples as each of the
others, which learn the data itself. Settings of the others:

    authors   depth and learning rate of their own programs
    tuned     the depth and rate, still Adam's, that were best on isabel_wind (README.md)
    slower    the same at a third of the rate: where networks of the tuned rate collapse
    our step  depth as tuned; rate, Muon and the pilot for the first frequency as KD-INR has them
"""
import argparse
import json
import os
import resource
import subprocess
import tempfile

TUNED = {"coordnet": (1, 1.5e-3), "siren": (3, 1e-3), "neurcomp": (3, 1e-3)}
BEST_STORED = {"neurcomp": ["--weights", "quantised"]}  # not as its authors store it
OUR_STEP = ["--optimizer", "muon", "--student-rate", 1e-3, "--omega", "auto"]
TITLES = {"coordnet": "CoordNet", "siren": "SIREN", "neurcomp": "NeurComp"}
PILOT_BATCH, N_PILOTS = 1024, 6
EFFORTS = {"low": 0.25, "normal": 1, "high": 4}


def all_samples(n_voxels, n_steps, effort="low"):
    """Of student, teacher and pilot, as the program has them where KD-INR is one network."""
    student = min(24e6, 300 * n_voxels * n_steps) * EFFORTS[effort] * 2
    teacher = max(0.75 * student / 2 / n_steps, 1e5)
    cold = 4 * teacher  # it starts from random weights
    pilot = N_PILOTS * PILOT_BATCH * max(40, min(300, cold / (2 * N_PILOTS * PILOT_BATCH)))
    return student + cold + pilot


def settings(network):
    """{name: flags} of one of the other networks."""
    depth, rate = TUNED[network]
    flags, stored = ["--network", network], BEST_STORED.get(network, [])
    return {"authors": flags,
            "tuned": [*flags, "--depth", depth, "--student-rate", rate, *stored],
            "slower": [*flags, "--depth", depth, "--student-rate", rate / 3, *stored],
            "our step": [*flags, "--depth", depth, *OUR_STEP, *stored]}


def rows(n_voxels, n_steps):
    """(network, settings, flags) of each row."""
    one_stage = ["--student-samples", all_samples(n_voxels, n_steps)]
    yield "KD-INR", "default", []
    yield "KD-INR", "without teachers", ["--direct", *one_stage]
    for network in TUNED:
        for name, flags in settings(network).items():
            yield TITLES[network], name, [*flags, *one_stage]


def measure(kdinr, flags, files, folder):
    """(file ratio, PSNR, processor seconds); other load on the machine changes these little."""
    path = os.path.join(folder, "out.kdm")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([kdinr, "compress", "-o", path, *map(str, flags), *files], check=True)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    out = subprocess.run([kdinr, "info", path, "--json"], check=True, capture_output=True).stdout
    info = json.loads(out)
    return info["ratio"], info["arrays"][0]["psnr_overall"], seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kdinr")
    parser.add_argument("--ratio", type=float, default=1000)
    parser.add_argument("--fill", help="this value means missing")
    parser.add_argument("--settings", default="default,without teachers,authors,tuned,slower,our step",
                        help="comma-separated; the rows to measure (all)")
    parser.add_argument("dims")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    x, y, z = map(int, arguments.dims.split(","))
    n_steps = len(arguments.files)
    common = ["--dims", arguments.dims, "--ratio", arguments.ratio, "--effort", "low", "--bricks", "1,1,1", "--window",
              n_steps, "--threads", 1, "--no-part", "--keep-bad", "--quiet"]
    common += ["--fill", arguments.fill] if arguments.fill else []
    print("| network | settings | file ratio | PSNR, dB | seconds |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for network, settings, flags in rows(x * y * z, n_steps):
            if settings not in arguments.settings.split(","):
                continue
            ratio, psnr, seconds = measure(arguments.kdinr, common + flags, arguments.files, folder)
            print(f"| {network} | {settings} | {ratio:.1f} | {psnr:.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
