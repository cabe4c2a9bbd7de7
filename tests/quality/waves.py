#!/usr/bin/env python3
"""A synthetic series: waves that travel, one raw float32 file per step.

    waves.py NX NY NZ STEPS PREFIX      writes PREFIX_0.raw, PREFIX_1.raw, ...

A sample is sin of a phase along x that y, z and time shift, plus a second, shorter wave; rows of 64
shifts are computed once, so that plain Python is fast enough for a large step."""
import array
import math
import sys

SHIFTS = 64


def make_rows(nx):
    return [array.array("f", (math.sin(0.05 * x + 2 * math.pi * s / SHIFTS) +
                              0.3 * math.sin(0.21 * x - 4 * math.pi * s / SHIFTS)
                              for x in range(nx))).tobytes() for s in range(SHIFTS)]


def main():
    nx, ny, nz, n_steps = map(int, sys.argv[1:5])
    rows = make_rows(nx)
    for step in range(n_steps):
        with open(f"{sys.argv[5]}_{step}.raw", "wb") as file:
            for z in range(nz):
                for y in range(ny):
                    phase = 3 * math.sin(0.06 * y) + 2 * math.cos(0.05 * z) + 0.4 * step
                    file.write(rows[int(phase * SHIFTS / (2 * math.pi)) % SHIFTS])


if __name__ == "__main__":
    main()
