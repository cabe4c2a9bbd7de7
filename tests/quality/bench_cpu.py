#!/usr/bin/env python3
"""The cpu backend against this machine's matrix product, PyTorch and the plain reference.

    bench_cpu.py BENCH_BACKENDS [--quick] [--depths 2,3,10] [--threads 1,2] [--compile]

BENCH_BACKENDS is the program of that name in the build's bin folder. Needs numpy (its OpenBLAS
gives the peak: sgemm of 2048 x 2048) and, if found, PyTorch (`pip install torch`). Everything that
one row compares runs in turn, several rounds in one go, and the best round of each counts, so that
a busy machine harms all alike. GFLOP/s count 6 (training) and 2 (decoding) per weight and sample,
and nothing for the sines. Training is forward, backward and optimiser at batch 2048: Muon for us,
fused Adam, which is less work, for PyTorch, whose best batch of 2048, 8192 and 65536 counts.
"""
import argparse
import os
import subprocess
import sys

TORCH_BATCHES = (2048, 8192, 65536)
ROUNDS = 3


def best_rate(call, samples, seconds=0.6):
    """Samples per second of the fastest call."""
    import time
    call()
    best, end = 1e9, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return samples / best


def work_sgemm():
    import numpy as np
    a = np.random.default_rng(1).random((2048, 2048), dtype=np.float32)
    print(best_rate(lambda: a @ a, 2 * 2048**3 * 1e-9))


def make_torch_network(width, depth, n_inputs, blocks="bottleneck"):
    import torch

    class Layer(torch.nn.Linear):
        def forward(self, x):
            return torch.sin(30 * super().forward(x))

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.f = torch.nn.Sequential(Layer(4 * width, width), Layer(width, width),
                                         Layer(width, 4 * width))

        def forward(self, h):
            return 0.5 * (h + self.f(h))

    class EvenBlock(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.f = torch.nn.Sequential(Layer(width, width), Layer(width, width))

        def forward(self, h):
            return h + self.f(h)

    if blocks == "even":
        return torch.nn.Sequential(Layer(n_inputs, width), *[EvenBlock() for _ in range(depth)],
                                   torch.nn.Linear(width, 1))
    return torch.nn.Sequential(Layer(n_inputs, width), Layer(width, 2 * width),
                               Layer(2 * width, 4 * width), *[Block() for _ in range(depth)],
                               torch.nn.Linear(4 * width, 1))


def work_torch(width, depth, n_inputs, threads, compiled):
    for batch in TORCH_BATCHES:
        print(*torch_rates(width, depth, n_inputs, threads, batch, compiled))


def torch_rates(width, depth, n_inputs, threads, batch, compiled):
    import torch
    torch.set_num_threads(threads)
    net = make_torch_network(width, depth, n_inputs)
    adam = torch.optim.Adam(net.parameters(), lr=1e-6, fused=True)
    coords, targets = torch.rand(batch, n_inputs) * 2 - 1, torch.rand(batch, 1)
    run = torch.compile(net) if compiled else net

    def train():
        adam.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(run(coords), targets).backward()
        adam.step()

    def decode():
        with torch.inference_mode():
            run(coords)

    return best_rate(train, batch), best_rate(decode, batch)


def worker(threads, *arguments):
    """Numbers that this program prints when started as a worker."""
    environment = dict(os.environ, OPENBLAS_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
    out = subprocess.run([sys.executable, __file__, "--worker", *map(str, arguments)], check=True,
                         capture_output=True, text=True, env=environment).stdout
    return [float(word) for word in out.split()]


def ours(bench, backend, width, depth, n_inputs, threads, seconds=1.0):
    out = subprocess.run([bench, backend, str(width), str(depth), str(n_inputs), str(threads),
                          "2048", "muon", str(seconds)], check=True, capture_output=True, text=True)
    return [float(word) for word in out.stdout.split()]


def largest(rows):
    return [max(column) for column in zip(*rows)]


def has_torch():
    try:
        import torch
        return torch.__version__
    except ImportError:
        return None


def measure(arguments, width, depth, n_inputs, threads):
    """One row's figures, each the best of ROUNDS rounds."""
    peaks, cpu, torch = [], [], []
    for _ in range(ROUNDS):
        peaks.append(worker(threads, "sgemm")[0])
        cpu.append(ours(arguments.bench, "cpu", width, depth, n_inputs, threads))
        if arguments.torch:
            torch.append(worker(threads, "torch", width, depth, n_inputs, threads,
                                int(arguments.compile)))
    best = largest(torch)
    return max(peaks), largest(cpu), dict(zip(TORCH_BATCHES, zip(best[::2], best[1::2])))


def report(arguments, width, depth, n_inputs, threads, one_thread):
    peak, (trained, decoded, weights, bytes_), torch = measure(arguments, width, depth, n_inputs,
                                                               threads)
    train_share = 6e-9 * weights * trained / peak
    decode_share = 2e-9 * weights * decoded / peak
    row = [f"{width:3} {depth:3} {n_inputs:3} {threads:3}  {peak:6.0f}",
           f"{trained:10.0f} {100 * train_share:5.0f} %", f"{decoded:11.0f} {100 * decode_share:5.0f} %"]
    if torch:
        top = largest(torch.values())
        row.append(f"{trained / torch[2048][0]:6.1f} {trained / top[0]:6.1f} {decoded / top[1]:6.1f}")
    if threads == 1:
        one_thread[width, depth, n_inputs] = trained, decoded
    elif (width, depth, n_inputs) in one_thread:
        before = one_thread[width, depth, n_inputs]
        row.append(f"{trained / before[0]:5.2f} {decoded / before[1]:5.2f}")
    row.append(f"{bytes_ / 1e6:6.1f} MB")
    print("  ".join(row), flush=True)


def report_reference(arguments, width):
    """The reference backend is the same code without vectors, in doubles, on one thread."""
    fast = ours(arguments.bench, "cpu", width, 3, 4, 1)
    plain = ours(arguments.bench, "reference", width, 3, 4, 1)
    print(f"m={width}: cpu / reference: training {fast[0] / plain[0]:.1f}, "
          f"decoding {fast[1] / plain[1]:.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--quick", action="store_true", help="depth 3 and 4 inputs only")
    parser.add_argument("--depths", default="2,3,10", help="residual blocks [2,3,10]")
    parser.add_argument("--threads", default="1,2", help="numbers of threads [1,2]")
    parser.add_argument("--compile", action="store_true", help="let PyTorch compile the network")
    arguments = parser.parse_args()
    arguments.bench = os.path.abspath(arguments.bench)
    arguments.torch = has_torch()
    print(f"PyTorch {arguments.torch or 'not found: no comparison with it'}"
          f"{', compiled' if arguments.compile else ''}")
    print("m, depth, inputs, threads; sgemm GFLOP/s; training samples/s, share of sgemm; decoding "
          "samples/s, share;\n  / PyTorch: training at 2048, at its best batch, decoding; 2 threads "
          "/ 1: training, decoding; memory of training beside the batch")
    depths = list(map(int, arguments.depths.split(",")))
    shapes = [(3, 4)] if arguments.quick else [(d, i) for d in depths for i in (3, 4)]
    one_thread = {}
    for threads in map(int, arguments.threads.split(",")):
        for depth, n_inputs in shapes:
            for width in (8, 16, 32, 64):
                report(arguments, width, depth, n_inputs, threads, one_thread)
    for width in (8, 16, 32, 64):
        report_reference(arguments, width)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        numbers = [int(word) for word in sys.argv[3:]]
        work_sgemm() if sys.argv[2] == "sgemm" else work_torch(*numbers)
    else:
        main()
