"""What a sample is worth: section 6 of core/FORMAT.md, for a model that read_kdm.py has read."""
import numpy as np

from residuals import add_residuals


# ---- 6 What a sample is worth ----

def positions(stored, n, cells):
    """6.1"""
    i = np.arange(n, dtype="f8")
    if cells:
        return (i + 0.5) / n * stored - 0.5
    return (i / (n - 1) if n > 1 else np.array([0.5])) * (stored - 1)


def brick_axis(stored, n_bricks, j, p):
    """6.2: weight and local coordinate of brick j of an axis at the positions p."""
    end = stored - 1
    h = min(2.0, end / (2 * n_bricks)) if n_bricks > 1 else 0.0
    left, right = j * end / n_bricks, (j + 1) * end / n_bricks
    lo = left - h if j > 0 else 0.0
    hi = right + h if j < n_bricks - 1 else float(end)
    weight = np.ones(len(p))

    def rise(c):
        r = np.clip((p - (c - h)) / (2 * h), 0, 1)
        return r * r * (3 - 2 * r)

    if j > 0:
        weight *= rise(left)
    if j < n_bricks - 1:
        weight *= 1 - rise(right)
    return weight, 2 * (p - lo) / (hi - lo) - 1 if hi > lo else np.zeros(len(p))


def step_position(times, t):
    """6.2"""
    return float(np.interp(t, times, np.arange(len(times))))


def window_parts(a, s):
    """6.2: (window, local time, steps from its first, weight) of the one or two windows that answer."""
    w = max(k for k in range(a.n_windows) if a.starts[k] <= s)
    first, last = a.starts[w], a.starts[w + 1] - 1
    if s <= last:
        return [(w, 2 * (s - first) / (last - first) - 1 if last > first else 0.0, s - first, 1.0)]
    next_one = a.starts[w + 2] - a.starts[w + 1] > 1
    f = s - last
    return [(w, 1.0 if last > first else 0.0, last - first, 1 - f),
            (w + 1, -1.0 if next_one else 0.0, 0, f)]


def evaluate(network, coords):
    """6.3: values [n][components] of a network at coords [n][inputs]."""
    if not network.layers:  # CONSTANT
        return np.broadcast_to(network.value, (len(coords), len(network.value)))
    y, skipped, at = coords, None, 0
    for n_in, n_out, omega, share in network.layers:
        weights = network.params[at:at + n_in * n_out].astype("f8").reshape(n_out, n_in)
        at += n_in * n_out
        y = y @ weights.T + network.params[at:at + n_out]
        at += n_out
        if omega != 0:
            y = np.sin(omega * y)
        if share is not None:
            skipped = y = y if skipped is None else share * (skipped + y)
    y = np.clip(y, -1, 1)
    lo, hi = network.range[:, 0], network.range[:, 1]
    return lo + (y + 1) / 2 * (hi - lo)


def inputs_in_time(network, t, at):
    """6.3: what a network reads after x, y, z, `at` steps after its window's first."""
    if not network.layers:
        return [t]
    low = min(int(at), len(network.modes) - 1)
    high = min(low + 1, len(network.modes) - 1)
    return [t, *(network.modes[low] + (at - low) * (network.modes[high] - network.modes[low]))]


def add_brick(out, weights, local, times, network, weight):
    """Add what one brick of one window has to say; weights and local are per axis (x, y, z)."""
    ranges = [np.nonzero(w > 0)[0] for w in weights]
    if any(len(r) == 0 for r in ranges):
        return
    ix, iy, iz = ranges
    x, y = np.meshgrid(local[0][ix], local[1][iy])
    for k in iz:
        same = [np.full_like(x, value) for value in (local[2][k], *times)]
        coords = np.stack([x, y, *same], -1)
        values = evaluate(network, coords.reshape(-1, 3 + len(times))).reshape(*x.shape, -1)
        share = weight * weights[2][k] * np.outer(weights[1][iy], weights[0][ix])
        out[k, iy[0]:iy[-1] + 1, ix[0]:ix[-1] + 1] += share[..., None] * values


def values_at(model, a, time, dims=None):
    """Values [z][y][x][components] of array `a`, float64."""
    shape = [max(n - 1, 1) if a.cells else n for n in dims or model.dims]
    p = [positions(n, wanted, a.cells) for n, wanted in zip(a.stored, shape)]
    s = step_position(model.times, time)
    out = np.zeros(shape[::-1] + [a.n_components])
    bx, by, bz = a.bricks
    for w, t, at, weight in window_parts(a, s):
        for j in range(bx * by * bz):
            brick = (j % bx, j // bx % by, j // (bx * by))
            axes = [brick_axis(a.stored[i], a.bricks[i], brick[i], p[i]) for i in range(3)]
            network = a.networks[w * bx * by * bz + j]
            add_brick(out, [x[0] for x in axes], [x[1] for x in axes],
                      inputs_in_time(network, t, at), network, weight)
    if a.has_bound:
        out = add_residuals(a, s, p, out)
    return restore_missing(a, s, p, out)


def restore_missing(a, s, p, out):
    """6.4"""
    mask = a.step_masks[int(np.floor(s + 0.5))]
    if mask < 0:
        return out
    near = [np.clip(np.floor(q + 0.5).astype(int), 0, n - 1) for q, n in zip(p, a.stored)]
    classes = a.map_at(mask)[np.ix_(near[2], near[1], near[0])]
    for c, value in ((1, np.nan), (2, a.fill_value), (3, np.inf), (4, -np.inf)):
        if (classes == c).any():
            out[classes == c] = value
    return out
