"""A second decoder of .kdm files, written from core/FORMAT.md alone; sections 1 to 5 are
here (4, 5.4 and 5.5 in codes.py, 5.1 in residuals.py), section 6 is in sample_values.py.

    read_kdm.py FILE.kdm -o OUT.raw [--array NAME] [--step K | --time T] [--dims X,Y,Z]

Values are float32, x fastest, components together. Clear rather than fast. Needs numpy; zstd, if a file
uses it, from the module zstandard, the library libzstd or the program zstd, whichever is there."""
import argparse
import struct
import sys

import numpy as np

from codes import CLUSTERED, CONSTANT, QUANTISED, RangeDecoder, contexts, read_clusters, read_code
from file_bytes import FormatError, Reader, require, unzstd, xxh32
from residuals import decode_step
from sample_values import values_at

MAGIC = b"\x89KDM\r\n\x1a\n"
TYPES = ["float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64",
         "int64"]


# ---- 1 File ----

def read_sections(data):
    require(len(data) >= 28 and data[:8] == MAGIC, "not a .kdm file")
    major, minor, n, size, checksum = struct.unpack_from("<HHIQI", data, 8)
    require(major == 1, f"format version {major}.{minor}, this decoder reads 1.x")
    require(size == len(data), f"{len(data)} bytes, the header says {size}")
    require(1 <= n <= 64 and 28 + 16 * n <= size, f"{n} sections")
    head = data[:24] + bytes(4) + data[28:28 + 16 * n]
    require(xxh32(head) == checksum, "header: wrong checksum")
    sections, at = {}, 28 + 16 * n
    for i in range(n):
        name, checksum, length = struct.unpack_from("<4sIQ", data, 28 + 16 * i)
        name = name.decode("ascii")
        content = data[at:at + length]
        require(name not in sections and len(content) == length, f"section {name}")
        require(xxh32(content) == checksum, f"section {name}: wrong checksum")
        known = ("META", "NETS", "CODE", "MASK") + (("RESI", "AXES") if minor > 0 else ())
        known += (("FORM",) if minor > 1 else ()) + (("PACK",) if minor > 2 else ())
        known += ("MODE", "CLUS") if minor > 3 else ()
        if name not in known:
            require(minor > 4 and name[0].islower(), f"unknown section {name} in 1.{minor}")
        sections[name] = content
        at += length
    require(at == size, "bytes after the last section")
    require("META" in sections and "NETS" in sections, "META or NETS is missing")
    return sections


# ---- 2 META ----

class Model:
    """What META says; fields are named as in FORMAT.md."""
    axes = None


class Array:
    """One array of META, later with its networks and maps."""

    def map_at(self, i):
        return unpack_map(self.masks[i], self.stored)

    def residual_at(self, k):
        """The components of step k's residual; kept, for the steps after it."""
        if k not in self.residuals:
            before = self.residual_at(k - 1) if k % self.group > 0 else None
            stream = RangeDecoder(self.streams[k], 255)
            mask = self.step_masks[k]
            classes = self.map_at(mask) if mask >= 0 else None
            self.residuals[k] = decode_step(stream, contexts, self.stored, self.n_components, classes,
                                            before, 8 * np.dtype(self.type).itemsize)
            least = int(np.prod(self.stored)) * self.n_components // 16384
            require(least <= len(self.streams[k]) <= max(stream.at, least), "RESI: size of a stream")
        return self.residuals[k]


def read_meta(data):
    r, model = Reader(data, "META"), Model()
    flags, n_arrays, provenance_size, model.n_steps = r.get("B"), r.get("B"), r.get("H"), r.get("I")
    require(flags & 0xC0 == 0, "META flags")
    require(1 <= n_arrays <= 64 and provenance_size <= 4096, "META counts")
    require(1 <= model.n_steps <= 2**20, "n_steps")
    model.dims = r.get("I", 3)
    require(all(1 <= n <= 2**20 for n in model.dims), "dims")
    model.first = r.get("i", 3) if flags & 1 else [0, 0, 0]
    model.origin = r.get("d", 3) if flags & 2 else [0.0] * 3
    model.spacing = r.get("d", 3) if flags & 4 else [1.0] * 3
    model.direction = r.get("d", 9) if flags & 8 else [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]
    model.provenance = r.bytes(provenance_size).decode("utf-8")
    form = flags >> 4 & 3
    require(form <= 2, "form of the times")
    if form == 2:
        model.times = r.list("d", model.n_steps)
    else:
        start, step = r.get("d", 2) if form == 1 else (0.0, 1.0)
        model.times = [start + step * k for k in range(model.n_steps)]
    require(np.isfinite(model.times).all() and (np.diff(model.times) > 0).all(), "times")
    model.arrays = [read_array(r, model) for _ in range(n_arrays)]
    r.finish()
    return model


def samples_of(dims, cells):
    return [max(n - 1, 1) if cells else n for n in dims]


def read_array(r, model):
    a, n_steps = Array(), model.n_steps
    flags, kind, a.bricks = r.get("B"), r.get("B"), r.get("B", 3)
    a.type, a.n_components = TYPES[kind & 15], (kind >> 4) + 1
    require(a.n_components <= 9, "components")
    a.cells = bool(flags & 1)
    a.stored = samples_of(model.dims, a.cells)
    require(all(1 <= b <= min(64, max(n - 1, 1)) for b, n in zip(a.bricks, a.stored)), "bricks")
    a.name = r.bytes(r.get("B")).decode("utf-8")
    windows = r.get("I")
    require(1 <= windows <= n_steps, "windows")
    if flags & 32:
        a.starts = [0] + r.list("I", windows - 1) + [n_steps]
    else:
        a.starts = list(range(0, n_steps, windows)) + [n_steps]
    require((np.diff(a.starts) > 0).all(), "window starts")
    a.n_windows = len(a.starts) - 1
    a.form, a.block_layers, a.n_modes = 0, 2 if flags & 8 else 3, 0
    a.omega_first = r.get("f")
    a.omega_hidden = r.get("f") if flags & 16 else 30.0
    a.range = np.array(r.list("d" if flags & 4 else "f", 2 * a.n_components)).reshape(-1, 2)
    require(np.isfinite(a.range).all() and (a.range[:, 0] <= a.range[:, 1]).all(), "range")
    a.fill_value = r.get("d") if flags & 2 else 0.0
    a.n_masks = r.get("I") if flags & 64 else 0
    require(a.n_masks <= n_steps and (a.n_masks > 0) == bool(flags & 64), "n_masks")
    a.mse = r.get("f")
    a.psnr = [np.inf if v == 32767 else v / 100 for v in r.list("h", n_steps)]
    a.max_error = (np.array(r.list("H", n_steps), "<u4") << 16).view("<f4").tolist()
    a.quality_exact = bool(flags & 128)
    a.n_networks = a.n_windows * a.bricks[0] * a.bricks[1] * a.bricks[2]
    require(a.n_networks <= 2**20, "networks")
    return a


# ---- 3 NETS ----

class Network:
    """One record of NETS, later with its parameters. `layers` is empty if it is CONSTANT."""


def layers_of(a, network):
    """6.3: (n_in, n_out, omega, share) of each layer. The layer that makes the first h and those that
    end a block have a share: of h, and of f(h), in what the block passes on. Others have None."""
    m, hidden = network.width, a.omega_hidden
    wide = 4 * m if a.form == 0 else m
    n_inputs = 4 + a.n_modes
    encoder = [(n_inputs, m), (m, 2 * m), (2 * m, wide)] if a.form == 0 else [(n_inputs, m)]
    block = [(wide, m), (m, m), (m, wide)] if a.block_layers == 3 else [(wide, wide)] * a.block_layers
    share = {0: 0.5, 1: None, 2: 1.0}[a.form]
    shapes = [(i, o, hidden if k else a.omega_first, share if k == len(encoder) - 1 else None)
              for k, (i, o) in enumerate(encoder)]
    for _ in range(network.depth):
        shapes += [(i, o, hidden, share if k == len(block) - 1 else None)
                   for k, (i, o) in enumerate(block)]
    return shapes + [(wide, a.n_components, 0.0, None)]


def read_nets(data, model):
    r = Reader(data, "NETS")
    packing = r.get("B")
    require(packing <= 1, "NETS packing")
    if packing == 1:
        size = r.get("I")
        require(size < 64 * (len(data) - r.at + 1), "NETS size")
        data = unzstd(r.bytes(len(data) - r.at), size)
        require(len(data) == size, "NETS does not unpack to its size")
        r = Reader(data, "NETS, unpacked")
    for a in model.arrays:
        n_bricks = a.n_networks // a.n_windows
        a.networks = [read_network(r, a, a.starts[n // n_bricks + 1] - a.starts[n // n_bricks])
                      for n in range(a.n_networks)]
    r.finish()


def read_network(r, a, n_steps):
    network = Network()
    network.kind = r.get("B")
    require(network.kind <= CLUSTERED, "kind of a network")
    if network.kind == CONSTANT:
        network.layers, network.value = [], np.array(r.list("f", a.n_components))
        require(np.isfinite(network.value).all(), "constant")
        return network
    network.width, network.depth = r.get("H"), r.get("B")
    require(2 <= network.width <= 256 and 1 <= network.depth <= 32, "shape of a network")
    network.range = np.array(r.list("f", 2 * a.n_components)).reshape(-1, 2)
    require(np.isfinite(network.range).all(), "range of a network")
    network.layers = layers_of(a, network)
    network.tensors = [n for i, o, _, _ in network.layers for n in (i * o, o)]
    if network.kind == QUANTISED:
        network.steps = r.bytes(len(network.tensors))
    modes = np.array(r.list("b", n_steps * a.n_modes), "f8").reshape(n_steps, a.n_modes)
    require((modes > -128).all(), "modes of a network")
    network.modes = modes / 127
    return network


# ---- 5 MASK ----

def read_mask(data, model):
    r = Reader(data, "MASK")
    for a in model.arrays:
        a.step_masks, a.masks = [-1] * model.n_steps, []
        if a.n_masks == 0:
            continue
        form = r.get("B")
        require(form <= 2, "MASK form")
        a.step_masks = [[0] * model.n_steps, list(range(model.n_steps))][form] if form < 2 \
            else r.list("i", model.n_steps)
        require(all(-1 <= i < a.n_masks for i in a.step_masks), "MASK: map of a step")
        a.masks = [r.bytes(r.get("I")) for _ in range(a.n_masks)]
    r.finish()


def unpack_map(data, stored):
    """The classes of one map, [z][y][x]."""
    nx, ny, nz = stored
    decoder = RangeDecoder(data, 127)
    missing, high, low = contexts(512), contexts(5), contexts(5, 2)
    # one sample of border on every side but the last slice, where nothing is missing
    classes = [[[0] * (nx + 2) for _ in range(ny + 2)] for _ in range(nz + 1)]
    before = 0
    for z in range(1, nz + 1):
        for y in range(1, ny + 1):
            own, above = classes[z][y], classes[z][y - 1]
            last, last_above, last_below = (classes[z - 1][y + k] for k in (0, -1, 1))
            for x in range(1, nx + 1):
                around = (own[x - 1], above[x - 1], above[x], above[x + 1], last[x - 1], last[x],
                          last[x + 1], last_above[x], last_below[x])
                pattern = sum(1 << i for i, c in enumerate(around) if c)
                if decoder.learned(missing[pattern]):
                    h = decoder.learned(high[before])
                    own[x] = before = 1 + 2 * h + decoder.learned(low[before][h])
    require(len(data) <= decoder.at, "MASK: bytes left over")
    return np.array(classes, "u1")[1:, 1:-1, 1:-1]


# ---- 5.2 AXES ----

def read_axis(r, n):
    form = r.get("B")
    require(form <= 2, "form of an axis")
    if form == 0:
        start, step = r.list("d", 2)
        points = [start + step * i for i in range(n)]
    else:
        points = r.list("f" if form == 1 else "d", n)
    steps = np.diff(points)
    require(np.isfinite(points).all() and ((steps > 0).all() or (steps < 0).all()), "axis")
    return points


def read_axes(data, model):
    plain = model.origin == [0.0] * 3 and model.spacing == [1.0] * 3
    require(plain and list(model.direction) == [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0], "AXES beside origin")
    r = Reader(data, "AXES")
    model.axes = [read_axis(r, n) for n in model.dims]
    r.finish()


# ---- 5.3 FORM ----

def read_forms(data, model):
    r = Reader(data, "FORM")
    for a in model.arrays:
        a.form = r.get("B")
        require(a.form <= 2, "form of networks")
        require(a.form == 0 or (a.block_layers == 2) == (a.form == 2), "form beside flag 3")
        if a.form == 1:
            a.block_layers = 1
    r.finish()


# ---- 5.5 MODE ----

def read_modes(data, model):
    r = Reader(data, "MODE")
    for a in model.arrays:
        a.n_modes = r.get("B")
        require(a.n_modes <= 4, "number of modes")
    r.finish()


# ---- 5.1 RESI ----

def read_residuals(data, model):
    r = Reader(data, "RESI")
    for a in model.arrays:
        flags = r.get("B") if data else 0
        require(flags in (0, 1, 3), "RESI flags")
        a.has_bound, a.alone, a.residuals = flags > 0, flags == 3, {}
        if flags == 0:
            continue
        a.group = r.get("B")
        require(a.group > 0, "RESI group")
        rows = [r.list("d", 3 if a.alone else 2) for _ in range(a.n_components)]
        require(np.isfinite(rows).all() and all(min(row[:2]) >= 0 for row in rows), "RESI bound")
        a.bound, a.unit = [row[0] for row in rows], [row[1] for row in rows]
        a.base = [row[2] for row in rows] if a.alone else None
        sizes = r.list("I", model.n_steps)
        a.streams = [r.bytes(n) for n in sizes]
    r.finish()


def load(path):
    with open(path, "rb") as file:
        sections = read_sections(file.read())
    model = read_meta(sections["META"])
    if "FORM" in sections:
        read_forms(sections["FORM"], model)
    if "MODE" in sections:
        read_modes(sections["MODE"], model)
    read_nets(sections["NETS"], model)
    read_clusters(sections.get("CLUS"), model)
    read_code(sections.get("CODE", b""), sections.get("PACK"), model)
    read_mask(sections.get("MASK", b""), model)
    read_residuals(sections.get("RESI", b""), model)
    if "AXES" in sections:
        read_axes(sections["AXES"], model)
    return model


def find_array(model, name):
    found = [a for a in model.arrays if name in (None, a.name)]
    require(found, f"there is no array {name}")
    return found[0]


def main():
    parser = argparse.ArgumentParser(description="Decode a .kdm file by its specification.")
    parser.add_argument("file")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--array")
    parser.add_argument("--step", type=int, default=0)
    parser.add_argument("--time", type=float)
    parser.add_argument("--dims")
    arguments = parser.parse_args()
    model = load(arguments.file)
    a = find_array(model, arguments.array)
    time = model.times[arguments.step] if arguments.time is None else arguments.time
    dims = [int(n) for n in arguments.dims.split(",")] if arguments.dims else None
    values_at(model, a, time, dims).astype("<f4").tofile(arguments.output)


if __name__ == "__main__":
    try:
        main()
    except (FormatError, OSError) as failure:
        sys.exit(f"{sys.argv[1]}: {failure}")
