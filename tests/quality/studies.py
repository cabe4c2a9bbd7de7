#!/usr/bin/env python3
"""Studies of cost and quality with the command line `kdinr`; prints tables.

    studies.py KDINR linear            time and decode time against voxels and steps
    studies.py KDINR direct DIMS FILE...   one step in memory: what distillation costs, in dB against
                                           direct training and in seconds of its two stages
    studies.py KDINR seam DIMS FILE...     jump of the decoded field across brick borders

DIMS is X,Y,Z; FILEs are raw float32, one per step. Times are processor seconds of one thread:
compare the ratios within one run only.
"""
import json
import os
import resource
import subprocess
import sys
import tempfile

import numpy as np


def run(*arguments):
    """Run a program; its processor seconds, which other load on the machine changes little."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([str(a) for a in arguments], check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def describe(kdinr, path):
    out = subprocess.run([kdinr, "info", path, "--json"], check=True, capture_output=True).stdout
    return json.loads(out)


def moving_waves(n, n_steps, folder):
    """Waves of many lengths that travel, on an n^3 grid: more voxels and steps show more of them."""
    rng = np.random.default_rng(3)
    axis = np.linspace(0, n / 64, n, dtype=np.float32)
    x, y, z = axis[None, None, :], axis[None, :, None], axis[:, None, None]
    waves = [(rng.normal(size=3) * 2.0 ** (i % 4) * 3, rng.normal(), rng.uniform(0, 6.28))
             for i in range(24)]
    files = []
    for t in range(n_steps):
        field = sum(np.sin(k[0] * x + k[1] * y + k[2] * z + w * t / 4 + p) / (1 + np.abs(k).max())
                    for k, w, p in waves)
        files.append(os.path.join(folder, f"waves_{n}_{t:04d}.raw"))
        np.tanh(2 * field).astype("<f4").tofile(files[-1])
    return files


def linear(kdinr):
    print("voxels  steps  in memory  bricks     windows  parameters  compress s  decode ns/voxel  "
          "PSNR")
    with tempfile.TemporaryDirectory() as folder:
        for n, n_steps in ((64, 4), (64, 8), (64, 16), (64, 32), (81, 16), (102, 16), (128, 16)):
            files = moving_waves(n, n_steps, folder)
            path = os.path.join(folder, "out.kdm")
            for memory in ("window", "one step") if n == 64 else ("window",):
                flags = ["--window-memory", 0] if memory == "one step" else []
                seconds = run(kdinr, "compress", "-o", path, "--dims", f"{n},{n},{n}", "--ratio",
                              1000, "--effort", "low", "--omega", 10, "--no-verify", "--threads", 1,
                              "--quiet", *flags, *files)
                decode = run(kdinr, "decode", path, "-o", os.path.join(folder, "out.raw"),
                             "--step", 1, "--dims", "160,160,160", "--threads", 1, "--quiet")
                array = describe(kdinr, path)["arrays"][0]
                print(f"{n:>4}^3  {n_steps:>5}  {memory:9}  {str(array['bricks']):9}  "
                      f"{array['windows']:>7}  {array['parameters']:>10}  {seconds:>10.1f}  "
                      f"{decode / 160 ** 3 * 1e9:>15.0f}  {array['psnr_overall']:.2f}", flush=True)
            for file in files:
                os.remove(file)


def direct(kdinr, dims, files):
    """Stage 1 is what is left of the time when the student hardly learns."""
    one_step = ["--window-memory", 0]
    psnr, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "out.kdm")
        for flags in (one_step, ["--direct"], [*one_step, "--student-samples", 1]):
            seconds.append(run(kdinr, "compress", "-o", path, "--dims", dims, "--ratio", 1000,
                               "--effort", "low", "--threads", 1, "--no-part", "--keep-bad",
                               "--quiet", *flags, *files))
            psnr.append(describe(kdinr, path)["arrays"][0]["psnr_overall"])
    print("distilled dB  direct dB  loss dB  stage 1 s  stage 2 s  direct s")
    print(f"{psnr[0]:>12.2f}  {psnr[1]:>9.2f}  {psnr[1] - psnr[0]:>7.2f}  {seconds[2]:>9.1f}  "
          f"{seconds[0] - seconds[2]:>9.1f}  {seconds[1]:>8.1f}")


def seam(kdinr, dims, files):
    """Two bricks along x; the field at four times the resolution, next to the border and elsewhere.
    A jump would show as a first difference at the border beyond what the error explains."""
    nx, ny, nz = (int(d) for d in dims.split(","))
    fine = 4 * (nx - 1) + 1
    with tempfile.TemporaryDirectory() as folder:
        path, raw = os.path.join(folder, "out.kdm"), os.path.join(folder, "out.raw")
        run(kdinr, "compress", "-o", path, "--dims", dims, "--ratio", 300, "--effort", "low",
            "--bricks", "2,1,1", "--quiet", *files)
        error = describe(kdinr, path)["arrays"][0]
        peak = error["range"][0][1] - error["range"][0][0]
        rms = peak * 10 ** (-error["psnr_overall"] / 20)
        run(kdinr, "decode", path, "-o", raw, "--step", len(files) // 2, "--dims",
            f"{fine},{ny},{nz}", "--quiet")
        bend = np.diff(np.fromfile(raw, "<f4").reshape(nz, ny, fine), 2, axis=2)
        at = np.arange(fine - 2) + 1
        border = np.abs(at - (fine - 1) / 2) <= 8
        print(f"RMS error {rms:.4g}; RMS second difference at 4x within two voxels of the border "
              f"{np.sqrt(np.mean(bend[..., border] ** 2)):.4g}, elsewhere "
              f"{np.sqrt(np.mean(bend[..., ~border] ** 2)):.4g}; largest at the border "
              f"{np.abs(bend[..., border]).max():.4g}, elsewhere "
              f"{np.abs(bend[..., ~border]).max():.4g}")


def main():
    study = {"linear": linear, "direct": direct, "seam": seam}[sys.argv[2]]
    study(sys.argv[1], *([sys.argv[3], sys.argv[4:]] if len(sys.argv) > 3 else []))


if __name__ == "__main__":
    main()
