# What the plugin's Python tests share: a small time-dependent image to compress, and ways to look
# at what comes out. Before: the plugin is on PV_PLUGIN_PATH. After: test_plugin.py, test_errors.py
# and test_mpi.py.
import os

from paraview import servermanager
from paraview.simple import ProgrammableSource
from paraview.vtk import VTK_STRING
from paraview.vtk.util.misc import calldata_type
from paraview.vtk.util.numpy_support import vtk_to_numpy
import numpy as np

WHOLE = (2, 17, 0, 13, -3, 8)  # 16 x 14 x 12 points; extents need not start at 0
TIMES = (0.0, 0.5, 2.0, 3.0)  # not evenly spaced
ORIGIN = (1.0, 2.0, 3.0)
SPACING = (0.5, 0.25, 2.0)
DIRECTION = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # a quarter turn around z
MISSING_BELOW = -1  # samples with z index below this have no temperature

INFORMATION = f'''
from paraview.vtk import vtkAlgorithm, vtkDataObject
executive = self.GetExecutive()
info = executive.GetOutputInformation(0)
times = {TIMES}
info.Set(executive.WHOLE_EXTENT(), {WHOLE}, 6)
info.Set(vtkDataObject.ORIGIN(), {ORIGIN}, 3)
info.Set(vtkDataObject.SPACING(), {SPACING}, 3)
info.Set(vtkDataObject.DIRECTION(), {DIRECTION}, 9)
info.Set(executive.TIME_STEPS(), times, len(times))
info.Set(executive.TIME_RANGE(), (times[0], times[-1]), 2)
info.Set(vtkAlgorithm.CAN_PRODUCE_SUB_EXTENT(), 1)
'''

# Smooth fields of the indices and the time, so that a small network learns them quickly.
DATA = f'''
import numpy as np
from paraview.vtk.util.numpy_support import numpy_to_vtk
executive = self.GetExecutive()
info = executive.GetOutputInformation(0)
t = info.Get(executive.UPDATE_TIME_STEP()) if info.Has(executive.UPDATE_TIME_STEP()) else 0.0
e = info.Get(executive.UPDATE_EXTENT())
image = self.GetImageDataOutput()
image.SetExtent(e)
image.SetOrigin({ORIGIN})
image.SetSpacing({SPACING})
image.SetDirectionMatrix({DIRECTION})

def grid(extra):
    axes = [np.arange(e[2 * i], e[2 * i + 1] + extra) + 0.5 * (1 - extra) for i in (2, 1, 0)]
    return np.meshgrid(*axes, indexing='ij')

def add(attributes, name, values, n_components=1):
    array = numpy_to_vtk(np.ascontiguousarray(values.reshape(-1, n_components)), deep=1)
    array.SetName(name)
    attributes.AddArray(array)

z, y, x = grid(1)
density = np.sin(0.3 * x + 0.5 * t) + np.cos(0.25 * y) * np.sin(0.2 * z)
temperature = 300.0 + 20.0 * np.sin(0.2 * x - 0.3 * t) * np.cos(0.2 * y)
temperature[z < {MISSING_BELOW}] = np.nan
velocity = np.stack([np.sin(0.3 * y), np.cos(0.3 * x + 0.2 * t), 0.1 * z], axis=-1)
label = np.clip(np.rint(100.0 + 90.0 * np.sin(0.25 * x) * np.cos(0.2 * y + 0.3 * t)), 0, 255)
points = image.GetPointData()
add(points, 'density', density.astype(np.float32))
add(points, 'temperature', temperature)
add(points, 'velocity', velocity.astype(np.float32), 3)
add(points, 'label', label.astype(np.uint8))
if image.GetNumberOfCells() > 0:
    z, y, x = grid(0)
    add(image.GetCellData(), 'pressure', (1000.0 + x * y + 5.0 * z * t).astype(np.float32))
'''


def series(extra=''):
    """A time-dependent image; `extra` is Python run after its arrays are made."""
    return ProgrammableSource(OutputDataSetType='vtkImageData',
                              ScriptRequestInformation=INFORMATION, Script=DATA + extra)


def image(proxy, time):
    """The proxy's output at a time, as a vtkImageData of this process."""
    proxy.UpdatePipeline(time)
    return servermanager.Fetch(proxy)


def point_values(proxy, time, name):
    return vtk_to_numpy(image(proxy, time).GetPointData().GetArray(name)).copy()


def cell_values(proxy, time, name):
    return vtk_to_numpy(image(proxy, time).GetCellData().GetArray(name)).copy()


def psnr(pairs):
    """Over a series of (original, decoded); the peak is the range of the whole series."""
    pairs = [(np.asarray(a, float), np.asarray(b, float)) for a, b in pairs]
    peak = max(np.nanmax(a) for a, _ in pairs) - min(np.nanmin(a) for a, _ in pairs)
    error = np.mean([np.nanmean((a - b)**2) for a, b in pairs])
    return 20.0 * np.log10(peak) - 10.0 * np.log10(error)


class Messages:
    """Collects what vtkErrorMacro or vtkWarningMacro says for one proxy; it is then not printed."""

    def __init__(self, proxy, kind):
        self.messages = []
        self.object = proxy.GetClientSideObject()

        @calldata_type(VTK_STRING)
        def keep(caller, event, text):
            self.messages.append(text)

        self.object.AddObserver(kind, keep)
        self.object.GetExecutive().AddObserver(kind, keep)


class Errors(Messages):
    """The errors of one proxy."""

    def __init__(self, proxy):
        super().__init__(proxy, 'ErrorEvent')

    def expect(self, code, *words):
        """The last call failed with this error code and a message that has all these words."""
        found = self.object.GetErrorCode()
        assert found == code, f'error code {found}, expected {code}: {self.messages}'
        text = self.messages[0] if self.messages else ''
        for word in words:
            assert word in text, f'"{word}" is not in: {text}'


def abort(writer, path, fraction, time):
    """Abort a writer once `fraction` is done: no file, but what was trained is kept. Its Errors."""
    algorithm = writer.GetClientSideObject()

    def stop(caller, event):
        if caller.GetProgress() > fraction:
            caller.SetAbortExecute(1)

    tag = algorithm.AddObserver('ProgressEvent', stop)
    errors = Errors(writer)
    writer.UpdatePipeline(time)
    algorithm.RemoveObserver(tag)
    assert not os.path.exists(path) and os.path.exists(path + '.part'), errors.messages
    return errors


def run(tests):
    for test in tests:
        print(test.__name__, flush=True)
        test()
    print('passed')
