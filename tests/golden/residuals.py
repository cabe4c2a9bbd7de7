"""Section RESI of core/FORMAT.md (5.1): levels and exact samples of a step, for read_kdm.py."""
import numpy as np

QUANTA = [(16, 16, 16, 16), (16, 14, 12, 10), (16, 11, 8, 6), (16, 8, 5, 4)]
SMALL_CLASSES = [0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7, 7, 8, 8, 8, 8, 9]
MOST_LEVEL = 1 << 30


class Residual:
    """One step: levels and activity [c][z, y, x], exact {(c, z, y, x): value}."""


def class_of(s):
    if s <= 16:
        return SMALL_CLASSES[s]
    return 9 + sum(s > limit for limit in (23, 34, 51, 76, 114, 171))


class Component:
    """One component of one step on its way out of the stream."""

    def __init__(self, stream, contexts, dims, classes, finer, before, type_bits):
        self.stream, self.contexts, self.dims, self.finer = stream, contexts, dims, finer
        self.classes, self.before, self.type_bits = classes, before, type_bits
        self.levels = np.zeros(dims[::-1], object)
        self.activity = np.zeros(dims[::-1], int)
        self.exact = {}

    def number(self, n_bits):
        value = 0
        for _ in range(n_bits):
            value = 2 * value + self.stream.even()
        return value

    def code(self, zero, around, one, other):
        """(v, bits of an exact sample or None)"""
        c, stream = self.contexts, self.stream
        if not stream.paired(zero, around):
            return 0, None
        m = 1
        while m < 15 and stream.paired(c.more[m][one], c.more_around[m][other]):
            m += 1
        if m == 15:
            b = 0
            while b < 32 and stream.learned(c.bits[b]):
                b += 1
            if b == 32:
                return 0, self.number(self.type_bits)
            m = 14 + (1 << b) + self.number(b)
        return (-m if stream.even() else m), None

    def put(self, at, prediction, quantum, contexts):
        if self.classes is not None and self.classes[at]:
            self.levels[at] = prediction
            return
        v, exact = self.code(*contexts)
        if exact is not None:
            self.exact[at] = exact
        level = prediction + v * quantum
        if abs(level) > MOST_LEVEL:
            raise ValueError(f"level {level}")
        self.levels[at] = level
        self.activity[at] = min((abs(v) * quantum + 15) // 16, 255)

    def decode(self):
        c = self.contexts
        first = self.before.levels[0, 0, 0] if self.before else 0
        self.put((0, 0, 0), first, QUANTA[self.finer][3], (c.zero[8][15], c.around[8][134], 15, 15))
        longest = max(self.dims)
        if longest == 1:
            return
        for l in range((longest - 1).bit_length() - 1, -1, -1):
            for odd in (1, 2, 4, 3, 5, 6, 7):
                self.decode_pass(l, odd)

    def decode_pass(self, l, odd):
        h = 1 << l
        axes = [range(h if odd >> a & 1 else 0, n, 2 * h) for a, n in enumerate(self.dims)]
        n_samples = len(axes[0]) * len(axes[1]) * len(axes[2])
        if n_samples == 0:
            return
        used, curved, follow = odd, True, 8 if self.before else 0
        if n_samples >= 64:
            byte = self.number(8)
            used, curved, follow = byte & 7, bool(byte & 8), byte >> 4
            if used == 0 or used & ~odd or follow > (8 if self.before else 0):
                raise ValueError(f"predictor {byte:#x} for axes {odd}")
        quantum = QUANTA[self.finer][min(l, 3)]
        for z in axes[2]:
            for y in axes[1]:
                for x in axes[0]:
                    at = (z, y, x)
                    prediction = self.predict(at, h, used, curved, follow)
                    self.put(at, prediction, quantum, self.surroundings(at, h, l, odd))

    def spread(self, field, at, h, used, curved):
        """S(f)"""
        total = 0
        for a in range(3):
            if not used >> a & 1:
                continue
            i, n = at[2 - a], self.dims[a]

            def f(k, a=a):
                return int(field[tuple(p + k * h * (j == 2 - a) for j, p in enumerate(at))])

            if i + h < n:
                total += 8 * (f(-1) + f(1))
                if curved and 3 * h <= i and i + 3 * h < n:
                    total += f(-1) + f(1) - f(-3) - f(3)
            else:
                total += 24 * f(-1) - 8 * f(-3) if 3 * h <= i else 16 * f(-1)
        return total

    def predict(self, at, h, used, curved, follow):
        n = bin(used).count("1")
        total = 8 * self.spread(self.levels, at, h, used, curved)
        if follow > 0:
            earlier = self.before.levels
            total += follow * (16 * n * int(earlier[at]) - self.spread(earlier, at, h, used, curved))
        return max(-MOST_LEVEL, min(MOST_LEVEL, (total + 64 * n) // (128 * n)))

    def surroundings(self, at, h, l, odd):
        def near(a, k):
            place = [p + k * h * (j == 2 - a) for j, p in enumerate(at)]
            if not all(0 <= p < n for p, n in zip(place, self.dims[::-1])):
                return 0
            return int(self.activity[tuple(place)])

        same = [near(a, -2) for a in range(3)]
        between = sum(near(a, -1) + near(a, 1) for a in range(3) if odd >> a & 1)
        n_odd = bin(odd).count("1")
        then = 2 * int(self.before.activity[at]) if self.before else between
        g = 3 * min(l, 2) + n_odd - 1
        place = ((min(same[0], 2) * 3 + min(same[1], 2)) * 3 + min(same[2], 2)) * 5 + min(then, 4)
        one, other = class_of(2 * sum(same) + 3 * between // n_odd), class_of(sum(same) + 2 * then)
        return self.contexts.zero[g][one], self.contexts.around[g][place], one, other


class Contexts:
    """All contexts of a stream; `make` makes them."""

    def __init__(self, make):
        self.zero, self.around = make(9, 16), make(9, 135)
        self.more, self.more_around, self.bits = make(15, 16), make(15, 16), make(32)


def decode_step(stream, make, dims, n_components, classes, before, type_bits):
    """The components of one step; `before` likewise, or None."""
    contexts = Contexts(make)
    finer = 2 * stream.even() + stream.even()
    step = []
    for c in range(n_components):
        one = Component(stream, contexts, dims, classes, finer, before and before[c], type_bits)
        one.decode()
        step.append(one)
    return step


# ---- 6.5 ----

def split(positions, n):
    """Lower and upper stored sample, share of the upper one, and whether it is a stored one."""
    clamped = np.clip(positions, 0, n - 1)
    nearest = np.rint(clamped)
    snap = (np.abs(positions - nearest) <= 1e-9) | (clamped != positions)
    low = np.where(snap, nearest, np.floor(clamped)).astype(int)
    share = np.where(snap, 0.0, clamped - low)
    return low, np.where(share > 0, low + 1, low), share, np.abs(positions - low) <= 1e-9


def interpolate(levels, places):
    """Levels at the places along x, y, z."""
    out = levels.astype("f8")
    for axis, (low, high, share, _) in enumerate(places):
        a, b = out.take(low, 2 - axis), out.take(high, 2 - axis)
        shape = [1, 1, 1]
        shape[2 - axis] = len(low)
        out = a + (b - a) * share.reshape(shape)
    return out


def round_to(values, name):
    """To the array's own type and back to f64."""
    if name.startswith("float"):
        return values.astype(name).astype("f8")
    info = np.iinfo(name)
    top = float(info.max) if info.bits < 64 else np.nextafter(float(info.max), 0)
    return np.clip(np.rint(values), float(info.min), top)


def add_residuals(a, s, p, answers):
    """Values of an array with a bound, from the networks' answers [z][y][x][components]."""
    places = [split(q, n) for q, n in zip(p, a.stored)]
    (k,), (after,), (share,), (at_step,) = split(np.array([s]), len(a.streams))
    steps = [a.residual_at(k), a.residual_at(after)]
    stored = at_step & places[2][3][:, None, None] & places[1][3][:, None] & places[0][3]
    out = np.empty(answers.shape)
    for c in range(a.n_components):
        levels = [interpolate(step[c].levels, places) for step in steps]
        level = levels[0] + (levels[1] - levels[0]) * share
        answer = a.base[c] if a.alone else answers[..., c]
        value = answer + level * a.unit[c]
        out[..., c] = np.where(stored, round_to(value, a.type), value)
        for at, bits in steps[0][c].exact.items():
            size = np.dtype(a.type).itemsize
            exact = np.frombuffer(bits.to_bytes(size, "little"), a.type)[0]
            hit = stored
            for axis in range(3):
                shape = [1, 1, 1]
                shape[axis] = -1
                hit = hit & (places[2 - axis][0] == at[axis]).reshape(shape)
            out[..., c][hit] = exact
    return out
