"""How far a decoded series is from the original: the arithmetic of compare.py's columns.

PSNR and the largest error are over all present values of all steps; SSIM compares two pictures;
isosurfaces are compared by the distance between their points. test_compare.py has known
answers."""
import math

import numpy as np


def psnr(original, decoded, peak):
    """dB; both of any shape, NaN in the original is left out; peak: the range of the series."""
    present = ~np.isnan(original)
    errors = original[present].astype(np.float64) - decoded[present]
    mean_square = float(np.mean(errors ** 2))
    return math.inf if mean_square == 0 else 10 * math.log10(peak ** 2 / mean_square)


def max_error(original, decoded):
    present = ~np.isnan(original)
    return float(np.abs(original[present].astype(np.float64) - decoded[present]).max())


def _blur(picture, kernel):
    """Convolve along both axes, only where the kernel fits."""
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(picture, len(kernel), axis)
        picture = windows @ kernel
    return picture


def ssim(a, b):
    """Mean structural similarity of two grey pictures [rows][columns] in 0 ... 255.
    source  Wang et al., Image quality assessment, 2004: Gaussian window of 11, sigma 1.5."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    kernel = np.exp(-(np.arange(-5, 6) / 1.5) ** 2 / 2)
    kernel /= kernel.sum()
    mean_a, mean_b = _blur(a, kernel), _blur(b, kernel)
    variance_a = _blur(a * a, kernel) - mean_a ** 2
    variance_b = _blur(b * b, kernel) - mean_b ** 2
    covariance = _blur(a * b, kernel) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a ** 2 + mean_b ** 2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return float(np.mean(luminance * structure))


def grey(picture):
    """[rows][columns][3] to luminance."""
    return picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def isovalue(volume, n_bins=256):
    """The value that best parts a volume's present values into two classes (Otsu): a surface between
    what is low and what is high, chosen without looking."""
    count, edges = np.histogram(volume[~np.isnan(volume)].astype(np.float64), n_bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(count)[:-1]
    above = count.sum() - below
    sums = np.cumsum(count * centres)
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (mean_above - mean_below) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))  # a plateau where bins are empty
    return float(edges[1 + best].mean())


def surface_points(volume, value):
    """Where an isosurface cuts the edges of the grid [n][3], in voxels: the corners of the triangles
    that marching cubes makes. Edges to a missing value are not cut."""
    points = []
    for axis in range(3):
        low = np.moveaxis(volume, axis, 0)[:-1].astype(np.float64)
        high = np.moveaxis(volume, axis, 0)[1:].astype(np.float64)
        cut = ((low < value) & (high >= value)) | ((low >= value) & (high < value))
        at = np.argwhere(cut).astype(np.float64)
        at[:, 0] += (value - low[cut]) / (high[cut] - low[cut])
        order = np.argsort([axis] + [other for other in range(3) if other != axis])
        points.append(at[:, order])
    return np.concatenate(points)


def mean_distance(points, others, n_most=1000):
    """Mean distance from points [n][3] to the nearest of others [m][3]; of many points, n_most evenly
    spread in their order stand for all. NaN if either is empty."""
    if len(points) == 0 or len(others) == 0:
        return math.nan
    points = points[np.linspace(0, len(points) - 1, min(len(points), n_most)).astype(int)]
    squares = (others ** 2).sum(axis=1)
    nearest = [np.argmin(squares - 2 * part @ others.T, axis=1)
               for part in np.array_split(points, max(1, len(points) // 100))]
    return float(np.linalg.norm(points - others[np.concatenate(nearest)], axis=1).mean())


def chamfer(original, decoded, value):
    """(from the decoded surface to the original, from the original to the decoded), in voxels."""
    a, b = surface_points(original, value), surface_points(decoded, value)
    return mean_distance(b, a), mean_distance(a, b)
