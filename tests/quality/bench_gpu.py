#!/usr/bin/env python3
"""The cuda backend against what its device can do at most, and against PyTorch on the same device.

    bench_gpu.py BIN_FOLDER [--quick] [--seconds S] [-o OUT.json]

BIN_FOLDER is the build's bin folder, with bench_gpu and bench_backends. For each kind of blocks (even, as
in the default network, and the paper's bottleneck), width, depth and precision: samples per second of
training (gradient and Muon at batch 2^16) and of decoding a grid into host memory; their share of the fp16
product rate of cuBLAS (6 and 2 FLOP per weight and sample, nothing counted for the sines) and of the sine
limit, both measured in this run. At batch 512, as in trainings of small series, a step is a chain of short
kernels: what counts there is train_512, samples per second again. PyTorch, if found, does the same network
at batch 2^16 under fp16 autocast, compiled, with fused Adam; its decoding stays on the device.
Exit code 77: there is no device.
"""
import argparse
import json
import subprocess
import sys

import bench_cpu

BATCH = 1 << 16
SMALL_BATCH = 512
TORCH_SECONDS = 60  # for one shape, compilation included
PRECISIONS = ("32", "tf32", "mixed", "16")
SHAPES = {"even": ((3,), (16, 32, 64, 96, 128)), "bottleneck": ((2, 3, 10), (8, 16, 32, 64, 128))}
QUICK = {"even": ((3,), (16, 32, 64, 128)), "bottleneck": ((3,), (16, 32))}
QUICK_TORCH = (("even", 32, 3), ("even", 128, 3), ("bottleneck", 16, 3))  # it compiles for long
PAPER_SAMPLES = 640 * 256 * 256 // 64 * 0.5 * 400  # one coordinate per 4^3 block, rate 0.5, 400 epochs


def run(*words, timeout=None):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False,
                          timeout=timeout)


def peaks(folder):
    done = run(folder + "/bench_gpu")
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def count_sines(blocks, width, depth):
    return (1 + 2 * depth) * width if blocks == "even" else (7 + 6 * depth) * width


def ours(folder, blocks, width, depth, precision, seconds):
    rates = []
    for batch in (BATCH, SMALL_BATCH):
        done = run(folder + "/bench_backends", "cuda", width, depth, 4, 0, batch, "muon", seconds,
                   precision, blocks)
        if done.returncode != 0:
            return {"error": done.stderr.strip()}
        rates.append([float(word) for word in done.stdout.split()])
    (train, decode, weights, _), (small, *_) = rates
    return {"train": train, "train_512": small, "decode": decode, "weights": weights}


def add_shares(row, limits):
    sines = count_sines(row["blocks"], row["width"], row["depth"])
    for kind, flops, n_sines in (("train", 6, 2 * sines), ("decode", 2, sines)):
        row[kind + "_of_half_flops"] = row[kind] * flops * row["weights"] / limits["half_flops"]
        row[kind + "_of_sines"] = row[kind] * n_sines / limits["sines"]


def torch_rates(blocks, width, depth, seconds):
    """Samples per second of training and decoding; run in a process of its own."""
    import torch
    net = bench_cpu.make_torch_network(width, depth, 4, blocks).cuda()
    adam = torch.optim.Adam(net.parameters(), lr=1e-6, fused=True)
    coords, targets = torch.rand(BATCH, 4, device="cuda") * 2 - 1, torch.rand(BATCH, 1, device="cuda")
    scaler = torch.amp.GradScaler("cuda")
    try:
        compiled = torch.compile(net)
        with torch.autocast("cuda", torch.float16):
            compiled(coords)
    except Exception:  # pylint: disable=broad-except  # whatever is missing, PyTorch runs without it
        compiled = net

    def train():
        adam.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.float16):
            loss = torch.nn.functional.mse_loss(compiled(coords), targets)
        scaler.scale(loss).backward()
        scaler.step(adam)
        scaler.update()
        torch.cuda.synchronize()

    def decode():
        with torch.inference_mode(), torch.autocast("cuda", torch.float16):
            compiled(coords)
        torch.cuda.synchronize()

    print(json.dumps({"train": bench_cpu.best_rate(train, BATCH, seconds),
                      "decode": bench_cpu.best_rate(decode, BATCH, seconds)}))


def measure_torch(blocks, width, depth, seconds):
    try:
        done = run(sys.executable, __file__, "--torch", blocks, width, depth, seconds,
                   timeout=TORCH_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"not finished in {TORCH_SECONDS} s"}
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(folder, shape, seconds, limits, with_torch):
    rows = []
    beside = measure_torch(*shape, seconds) if with_torch else {"error": "not measured"}
    for precision in PRECISIONS:
        row = {**dict(zip(("blocks", "width", "depth"), shape)), "precision": precision,
               **ours(folder, *shape, precision, seconds)}
        if "error" not in row:
            add_shares(row, limits)
            row["paper_step_seconds"] = PAPER_SAMPLES / row["train"]
            if "error" not in beside:
                row["train_of_torch"] = row["train"] / beside["train"]
                row["decode_of_torch"] = row["decode"] / beside["decode"]
            elif with_torch:
                row["torch_error"] = beside["error"]
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--quick", action="store_true", help="fewer depths and widths")
    parser.add_argument("--seconds", type=float, default=0.5, help="for one figure [0.5]")
    parser.add_argument("-o", dest="output", help="file to write as well")
    arguments = parser.parse_args()
    limits = peaks(arguments.folder)
    print(json.dumps(limits), flush=True)
    with_torch = bench_cpu.has_torch()
    rows = []
    for blocks, (depths, widths) in (QUICK if arguments.quick else SHAPES).items():
        for depth in depths:
            for width in widths:
                shape = (blocks, width, depth)
                rows += measure(arguments.folder, shape, arguments.seconds, limits,
                                with_torch and (not arguments.quick or shape in QUICK_TORCH))
    result = {**limits, "torch": with_torch, "rows": rows}
    if arguments.output:
        with open(arguments.output, "w", encoding="ascii") as file:
            json.dump(result, file, indent=1)
    sys.exit(any("error" in row for row in rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch"]:
        torch_rates(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    else:
        main()
