"""A series for compare.py: a folder NAME with dims.txt ("nx,ny,nz") and one raw little-endian float32
file per step, x fastest, in the order of their names. NaN means missing.

Comes first; peers.py and ours.py compress what is read here, measures.py compares with it."""
import functools
import glob
import os

import numpy as np


class Series:
    """files: paths, one a step; dims (nx, ny, nz); values [t, z, y, x]; present, the same shape."""

    def __init__(self, folder):
        self.name = os.path.basename(os.path.normpath(folder))
        self.files = sorted(glob.glob(os.path.join(folder, "*.raw")))
        with open(os.path.join(folder, "dims.txt")) as file:
            self.dims = tuple(int(n) for n in file.read().split(","))
        if len(self.dims) != 3 or not self.files:
            raise SystemExit(f"{folder}: dims.txt must be nx,ny,nz and there must be .raw files")
        expected = 4 * int(np.prod(self.dims))
        for path in self.files:
            if os.path.getsize(path) != expected:
                raise SystemExit(f"{path}: {os.path.getsize(path)} bytes, dims.txt says {expected}")

    @functools.cached_property
    def values(self):
        steps = [np.fromfile(path, "<f4").reshape(self.dims[::-1]) for path in self.files]
        return np.stack(steps)

    @functools.cached_property
    def present(self):
        return ~np.isnan(self.values)

    @functools.cached_property
    def filled(self):
        """For compressors without missing values: the mean of the present ones in their place."""
        mean = self.values[self.present].mean(dtype=np.float64)
        return np.where(self.present, self.values, np.float32(mean))

    @functools.cached_property
    def range(self):
        """(lowest, highest) of all present values of all steps."""
        there = self.values[self.present]
        return float(there.min()), float(there.max())

    @property
    def size(self):
        """Bytes of all steps as float32, missing ones included."""
        return self.values.nbytes

    @property
    def step_shown(self):
        """The one whose picture and surface are compared: the middle."""
        return len(self.files) // 2


def find(folder, names):
    """The series below a folder, all of them or those named."""
    there = {os.path.basename(os.path.dirname(path)): os.path.dirname(path)
             for path in sorted(glob.glob(os.path.join(folder, "*", "dims.txt")))}
    for name in names or []:
        if name not in there:
            raise SystemExit(f"no series {name} in {folder}; there are: {', '.join(there) or 'none'}")
    return [Series(there[name]) for name in (names or there)]
