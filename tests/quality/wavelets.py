"""What a residual of networks would take, coded by wavelets: an estimate, nothing that is built.

    wavelets.py SERIES --kdinr PROGRAM [--series NAME...] [--ratios R...] [--at R...] [--psnrs DB...]

SERIES is a folder as for compare.py. For each of --ratios networks of that ratio are trained (effort low;
0: none, the data less their mean). What they miss is transformed by the 9/7 wavelets of Cohen, Daubechies
and Feauveau, along x, y and z, and along time too in a second row; rounded with a dead zone; and its bytes
are the conditional entropy of the codes, given the magnitudes of neighbours that a decoder knows, of the
same place one scale up and one band of time before. An adaptive arithmetic coder comes within some percent
of that. Errors are measured after the way back. Printed: PSNR at file ratios, and file ratios at PSNRs."""
import argparse
import os
import subprocess
import tempfile

import numpy as np

import series as series_module

LIFTING = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
SCALE = 1.149604398860241  # then both bands have the noise of the samples
DEAD_ZONE = 0.6            # of a step; what is larger is rounded up from there
LEAST = 8                  # samples along an axis that are divided once more; of time 4
TIME_LEVELS = 3
EDGES = (0.01, 0.5, 0.9, 1.3, 1.8, 2.4, 3.2, 4.2, 5.5, 7, 9, 12, 16, 22, 30, 45, 70)
ESCAPE, MODEL_BITS = 40, 5  # larger codes; what an adaptive coder pays to learn one count


def lift(low, high, forward):
    """The four steps of one axis, the first of both arrays; ends are mirrored."""
    n_low, n_high = len(low), len(high)

    def beside_high():
        right = np.concatenate([low[1:], low[-1:]]) if n_low == n_high else low[1:]
        return low[:n_high] + right[:n_high]

    def beside_low():
        left = np.concatenate([high[:1], high])[:n_low]
        right = high if n_high >= n_low else np.concatenate([high, high[-1:]])
        return left + right[:n_low]

    for i in range(4) if forward else reversed(range(4)):
        factor = LIFTING[i] if forward else -LIFTING[i]
        if i % 2 == 0:
            high = high + factor * beside_high()
        else:
            low = low + factor * beside_low()
    return low, high


def transform_axis(values, axis, forward):
    values = np.moveaxis(values, axis, 0)
    middle = (len(values) + 1) // 2
    if forward:
        low, high = lift(values[0::2], values[1::2], True)
        result = np.concatenate([low * SCALE, high / SCALE])
    else:
        result = np.empty_like(values)
        result[0::2], result[1::2] = lift(values[:middle] / SCALE, values[middle:] * SCALE, False)
    return np.moveaxis(result, 0, axis)


def halvings(n, least):
    """Sizes of the low band of an axis, level by level."""
    sizes = [n]
    while sizes[-1] >= least:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def plan(shape, with_time):
    """[(size of the box, axes to divide)], time first and wholly, then space level by level."""
    time = halvings(shape[0], 4)[:TIME_LEVELS + 1] if with_time else [shape[0]]
    space = [halvings(n, LEAST) for n in shape[1:]]
    steps = [((n, *shape[1:]), (0,)) for n in time[:-1]]
    for level in range(max(map(len, space)) - 1):
        box = [sizes[min(level, len(sizes) - 1)] for sizes in space]
        steps.append(((shape[0], *box), tuple(a + 1 for a in range(3) if level < len(space[a]) - 1)))
    return steps


def transform(values, with_time, forward=True):
    values = values.copy()
    steps = plan(values.shape, with_time)
    for box, axes in steps if forward else reversed(steps):
        part = tuple(slice(0, n) for n in box)
        for axis in axes if forward else reversed(axes):
            values[part] = transform_axis(values[part], axis, forward)
    return values


def bands(shape, with_time):
    """{(band of time, level, which axes are high): slices}"""
    time = halvings(shape[0], 4)[:TIME_LEVELS + 1] if with_time else [shape[0]]
    ends = [0, *reversed(time)]
    found = {}
    for t in range(len(time)):
        rest = [(0, n) for n in shape[1:]]
        for level, (box, axes) in enumerate([step for step in plan(shape, with_time) if step[1] != (0,)]):
            halves = [(0, (n + 1) // 2) if a + 1 in axes else (0, n) for a, n in enumerate(box[1:])]
            for high in range(1, 8):
                if any(high >> a & 1 and a + 1 not in axes for a in range(3)):
                    continue
                sides = [(halves[a][1], box[a + 1]) if high >> a & 1 else halves[a] for a in range(3)]
                found[t, level, high] = (slice(ends[t], ends[t + 1]), *(slice(*s) for s in sides))
            rest = halves
        found[t, -1, 0] = (slice(ends[t], ends[t + 1]), *(slice(*s) for s in rest))
    return found


def moved(values, *shifts):
    """Values of the neighbours at (axis, distance)..., 0 outside."""
    for axis, distance in shifts:
        padded = np.zeros_like(values)
        to, at = [slice(None)] * 4, [slice(None)] * 4
        to[axis] = slice(distance, None) if distance > 0 else slice(0, distance)
        at[axis] = slice(0, -distance) if distance > 0 else slice(-distance, None)
        padded[tuple(to)] = values[tuple(at)]
        values = padded
    return values


def spread(values, shape):
    """As many values as another band has, each from the same place."""
    return values[np.ix_(*(np.arange(n) * m // n for n, m in zip(shape, values.shape)))]


def activity(codes, found, key):
    """What a decoder knows of the magnitudes around each code of a band."""
    time, level, high = key
    here = codes[found[key]]
    around = moved(here, (3, 1)) + moved(here, (2, 1)) + moved(here, (1, 1)) + 0.8 * moved(here, (0, 1))
    around += 0.6 * (moved(here, (3, -1), (2, 1)) + moved(here, (3, 1), (2, 1)))
    around += 0.4 * (moved(here, (3, -1), (1, 1)) + moved(here, (2, -1), (1, 1)))
    around += 0.4 * (moved(here, (3, 2)) + moved(here, (2, 2)))
    for other, weight in (((time, level + 1, high), 0.8), ((time - 1, level, high), 0.6)):
        if other in found and min(codes[found[other]].shape) > 0:
            around += weight * spread(codes[found[other]], here.shape)
    return around


def entropy_bytes(codes, with_time):
    """Of non-negative codes in contexts, and a sign for each that is not 0."""
    found = bands(codes.shape, with_time)
    near = np.minimum(codes, 15).astype(np.float32)
    pairs = [(np.digitize(activity(near, found, key), EDGES).ravel(), codes[part].ravel())
             for key, part in found.items() if codes[part].size]
    context, code = (np.concatenate(all_of) for all_of in zip(*pairs))
    keys, counts = np.unique(context * 64 + np.minimum(code, ESCAPE), return_counts=True)
    totals = np.bincount(keys // 64, counts)[keys // 64]
    large = code[code >= ESCAPE]
    bits = -np.sum(counts * np.log2(counts / totals)) + MODEL_BITS * len(keys) + np.count_nonzero(code)
    return (bits + np.sum(2 * np.log2(large - ESCAPE + 2.0) + 1)) / 8


def point(residual, present, scale, step, with_time):
    """(PSNR in dB, bytes) with steps of this size."""
    values = transform(residual, with_time)
    codes = np.maximum(np.floor(np.abs(values) / step + 1 - DEAD_ZONE), 0).astype(np.int64)
    middle = np.where(codes > 0, (codes - 1 + DEAD_ZONE + 0.42) * step, 0) * np.sign(values)
    error = (transform(middle, with_time, False) - residual)[present]
    return 20 * np.log10(scale) - 10 * np.log10(np.mean(error**2)), entropy_bytes(codes, with_time)


def decode_networks(kdinr, series, ratio):
    """(what networks of a ratio decode to, bytes of their file)"""
    with tempfile.TemporaryDirectory() as folder:
        path, raw = os.path.join(folder, "x.kdm"), os.path.join(folder, "x.raw")
        subprocess.run([kdinr, "compress", "-o", path, "--dims", ",".join(map(str, series.dims)), "--quiet",
                        "--effort", "low", "--threads", "1", "--ratio", str(ratio), *series.files], check=True)
        steps = []
        for k in range(len(series.files)):
            subprocess.run([kdinr, "decode", path, "-o", raw, "--step", str(k), "--quiet"], check=True)
            steps.append(np.fromfile(raw, np.float32).reshape(series.values.shape[1:]))
        return np.stack(steps).astype(np.float64), os.path.getsize(path)


def estimate(kdinr, series, ratio, at, psnrs):
    present, scale = series.present, series.range[1] - series.range[0]
    guess, size = decode_networks(kdinr, series, ratio) if ratio else (series.values[present].mean(), 0)
    residual = np.where(present, series.values - guess, 0).astype(np.float64)
    alone = 20 * np.log10(scale) - 10 * np.log10(np.mean(residual[present]**2))
    for with_time in (False, True) if len(series.files) > 1 else (False,):
        points = [(alone, size)] if ratio else []
        for decibels in range(10, 56, 5):
            found = point(residual, present, scale, scale * 10**(-decibels / 20), with_time)
            if found[0] > alone + 0.3:
                points.append((found[0], found[1] + size))
        quality, sizes = (np.array(column, float) for column in zip(*points))
        ratios = [f"{np.interp(np.log(series.size / r), np.log(sizes), quality):.2f}" for r in at]
        bytes_at = [series.size / np.exp(np.interp(d, quality, np.log(sizes))) if d >= alone else np.nan
                    for d in psnrs]
        print(f"| {series.name} | {f'{ratio:g}' if ratio else 'none'} | {'yes' if with_time else 'no'} | "
              f"{' | '.join(ratios)} | {' | '.join(f'{b:.0f}' for b in bytes_at)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--kdinr", required=True)
    parser.add_argument("--series", nargs="+", default=[])
    parser.add_argument("--ratios", nargs="+", type=float, default=[0, 1000])
    parser.add_argument("--at", nargs="+", type=float, default=[100, 300])
    parser.add_argument("--psnrs", nargs="+", type=float, default=[40, 45, 50])
    chosen = parser.parse_args()
    print(f"| series | networks | time | {' | '.join(f'{r:g}, dB' for r in chosen.at)} | "
          f"{' | '.join(f'{d:g} dB' for d in chosen.psnrs)} |")
    print("|" + "---|" * (3 + len(chosen.at) + len(chosen.psnrs)))
    for series in series_module.find(chosen.folder, chosen.series):
        for ratio in chosen.ratios:
            estimate(chosen.kdinr, series, ratio, chosen.at, chosen.psnrs)


if __name__ == "__main__":
    main()
