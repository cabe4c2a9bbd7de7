"""Fixed pictures of volumes by ParaView, for SSIM: a program of its own in pvpython, since compare.py
runs in any Python, and the class that talks to it.

Every line on its input names a raw volume: RAW NX NY NZ LOW HIGH OUT, with tabs between. It draws the
volume from one viewpoint, colours and opacity linear in the value from LOW to HIGH, and writes OUT
(.npy, rows x columns x 3), then the line "drawn OUT". A missing value is drawn as LOW."""
import os
import shutil
import subprocess
import tempfile

import numpy as np

SIZE = 256  # pixels along both sides
FROM = np.array([-1, -2, 1.5])  # where the viewer stands
TRIES = 3  # starts for one picture


def command():
    """What starts the program, under a display of its own if there is none; None without ParaView."""
    if not shutil.which("pvpython"):
        return None
    words = ["pvpython", os.path.abspath(__file__)]
    if os.environ.get("DISPLAY"):
        return words
    return ["xvfb-run", "-a", "-s", "-screen 0 1280x1024x24 +extension GLX", *words] \
        if shutil.which("xvfb-run") else None


class Painter:
    """Asks the program for pictures; started by a command, None: there are no pictures.

    A program that ends before its time, as where the display came up too late on a busy machine, is
    started again."""

    def __init__(self, words):
        self.words, self.process = words, None
        self.folder = tempfile.TemporaryDirectory()

    def draw(self, volume, value_range):
        """A picture [SIZE][SIZE][3] of a volume [z][y][x]; None if there are none."""
        if self.words is None:
            return None
        raw, out = self._path("volume.raw"), self._path("picture.npy")
        np.where(np.isnan(volume), value_range[0], volume).astype("<f4").tofile(raw)
        for _ in range(TRIES):
            if self._ask([raw, *volume.shape[::-1], *value_range, out]):
                return np.load(out)
            print("pvpython ended before its time:", self._end())
        self.words = None
        return None

    def _path(self, name):
        return os.path.join(self.folder.name, name)

    def _ask(self, words):
        """Whether the picture was drawn."""
        if self.process is None:
            with open(self._path("errors.txt"), "w") as errors:
                self.process = subprocess.Popen(self.words, stdin=subprocess.PIPE, text=True,
                                                stdout=subprocess.PIPE, stderr=errors)
        try:
            self.process.stdin.write("\t".join(map(str, words)) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return any(line == f"drawn {words[-1]}\n" for line in self.process.stdout)

    def _end(self):
        """Waits for a program that has ended; how it did and the last of what it said."""
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # what it did not read any more
        code = self.process.wait()
        self.process = None
        with open(self._path("errors.txt"), errors="replace") as errors:
            return f"exit code {code}; {errors.read()[-400:].strip() or 'no message'}"

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
        self.folder.cleanup()


def serve():
    from paraview import simple
    from paraview.vtk.util.numpy_support import vtk_to_numpy

    view = simple.CreateView("RenderView")
    view.ViewSize = [SIZE, SIZE]
    view.OrientationAxesVisibility = 0
    view.UseColorPaletteForBackground = 0
    view.Background = [1, 1, 1]
    for line in open(0):  # pvpython has its own idea of sys.stdin
        raw, nx, ny, nz, low, high, out = line.rstrip("\n").split("\t")
        dims = [int(nx), int(ny), int(nz)]
        reader = simple.ImageReader(FileNames=[raw])
        reader.DataScalarType, reader.DataByteOrder = "float", "LittleEndian"
        reader.FileDimensionality = 3
        reader.DataExtent = [0, dims[0] - 1, 0, dims[1] - 1, 0, dims[2] - 1]
        show(simple, reader, view, float(low), float(high), dims)
        image = view.CaptureWindow(1)
        pixels = vtk_to_numpy(image.GetPointData().GetScalars())
        np.save(out, pixels.reshape(SIZE, SIZE, 3)[::-1])
        simple.Delete(reader)
        os.write(1, f"drawn {out}\n".encode())


def show(simple, reader, view, low, high, dims):
    """As a volume, seen from above at an angle, as large as fits
    (a sphere around it would be cut a little)."""
    shown = simple.Show(reader, view)
    simple.ColorBy(shown, ("POINTS", "ImageFile"))
    colors = simple.GetColorTransferFunction("ImageFile")
    colors.ApplyPreset("Viridis (matplotlib)", True)
    colors.RescaleTransferFunction(low, high)
    opacity = simple.GetOpacityTransferFunction("ImageFile")
    opacity.Points = [low, 0, 0.5, 0, high, 1, 0.5, 0]
    shown.ScalarOpacityUnitDistance = max(dims) / 8
    shown.SetRepresentationType("Volume")
    centre = [(n - 1) / 2 for n in dims]
    distance = 0.85 * np.linalg.norm(centre) / np.sin(np.radians(15))
    view.CameraViewAngle = 30
    view.CameraViewUp = [0, 0, 1]
    view.CameraFocalPoint = centre
    view.CameraPosition = list(centre + distance * FROM / np.linalg.norm(FROM))


if __name__ == "__main__":
    serve()
