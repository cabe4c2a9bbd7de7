"""Write volumes/blob_0000.raw ... blob_0003.raw: float32, little-endian, 24x20x16 points, x fastest."""
import array
import math
import os
import sys

DIMS = (24, 20, 16)
STEPS = 4


def blob(x, y, z, t):
    distance = (x + 0.4 - 0.8 * t) ** 2 + y**2 + 0.5 * z**2
    return math.exp(-3 * distance) + 0.1 * math.sin(2 * x + y) * z


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "volumes")
    os.makedirs(folder, exist_ok=True)
    axes = [[2 * i / (n - 1) - 1 for i in range(n)] for n in DIMS]
    for step in range(STEPS):
        time = step / (STEPS - 1)
        values = array.array("f", (blob(x, y, z, time)
                                   for z in axes[2] for y in axes[1] for x in axes[0]))
        if sys.byteorder == "big":
            values.byteswap()
        with open(os.path.join(folder, "blob_%04d.raw" % step), "wb") as raw:
            values.tofile(raw)


main()
