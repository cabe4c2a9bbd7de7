"""Find the setting of a compressor's one error knob that gives a ratio or a PSNR.

The knob is a length on the scale of the data's range; ratios mostly grow with it and PSNRs fall, but
not everywhere (TTHRESH's files grow again at its coarsest), and some compressors fail at the ends."""
import math

FINEST, STRIDE = -20, 2  # powers of two, times the range
NEAR = {"ratio": 0.01, "psnr": 0.03}  # close enough: 1 %, dB
FAR = {"ratio": 3, "psnr": 20}  # so much too fine that finer settings need no look: 20 times, dB
N_REFINED = 12


class Knob:
    """What a knob gives, each setting measured once.
    measure(knob) -> an object with ratio and psnr, or None if the compressor fails there.
    scale, coarsest: the knob goes from scale * 2^coarsest down."""

    def __init__(self, measure, scale, coarsest):
        self.measure, self.scale, self.coarsest, self.seen = measure, scale, coarsest, {}

    def at(self, exponent):
        if exponent not in self.seen:
            self.seen[exponent] = self.measure(self.scale * 2.0 ** exponent)
        return self.seen[exponent]

    def find(self, kind, target):
        """The setting nearest to a target, kind "ratio" or "psnr"; None if nothing works."""
        bracket = self._bracket(kind, target)
        for i in range(N_REFINED if bracket else 0):
            fine, coarse = bracket
            if min(abs(gap(self.at(e), kind, target)) for e in bracket) < NEAR[kind]:
                break
            middle = between(fine, gap(self.at(fine), kind, target),
                             coarse, gap(self.at(coarse), kind, target), halve=i % 3 == 2)
            if gap(self.at(middle), kind, target) < 0:
                bracket = middle, coarse
            else:
                bracket = fine, middle
        return self._nearest(kind, target)

    def _nearest(self, kind, target):
        """Of all that was measured; of what is equally near, the best."""
        results = [result for result in self.seen.values() if result]
        distances = [abs(gap(result, kind, target)) for result in results]
        near = max(NEAR[kind], min(distances, default=0))
        equal = [result for result, distance in zip(results, distances) if distance <= near]
        return max(equal, key=lambda r: r.psnr if kind == "ratio" else r.ratio, default=None)

    def _bracket(self, kind, target):
        """From the knob's coarsest on, look for where a target is passed: neighbours (fine, coarse),
        the first too fine for the target and the other not. None if all settings are too fine."""
        for coarse in range(self.coarsest, FINEST, -STRIDE):
            fine = coarse - STRIDE
            if gap(self.at(fine), kind, target) < 0 <= gap(self.at(coarse), kind, target):
                return fine, coarse
            if gap(self.at(fine), kind, target) < -FAR[kind]:
                break
        return self._peak(kind, target)

    def _peak(self, kind, target):
        """A bracket where a target is only reached between two looks, next to the nearest of them."""
        top = max(self.seen, key=lambda e: gap(self.seen[e], kind, target))
        for step in (STRIDE / 2, STRIDE / 4):
            for coarse in (top - step, top + step):
                if gap(self.at(coarse), kind, target) >= 0:
                    return coarse - STRIDE, coarse
        return None


def gap(result, kind, target):
    """How much coarser than the target a result is; what fails is coarser than all."""
    if result is None:
        return math.inf
    if kind == "ratio":
        return math.log(result.ratio / target)
    return math.inf if math.isnan(result.psnr) else max(target - result.psnr, -1e3)


def between(fine, gap_fine, coarse, gap_coarse, halve):
    """A knob inside the bracket: where a straight line crosses zero, or now and then the middle."""
    part = -gap_fine / (gap_coarse - gap_fine) if math.isfinite(gap_coarse) else 0.5
    part = 0.5 if halve else min(max(part, 0.1), 0.9)
    return fine + part * (coarse - fine)
