# pvpython catalyst_simulation.py FOLDER
# A simulation in Python that hands its field to ParaView's (legacy) Catalyst after every step, and
# a look at the files that catalyst_pipeline.py makes of them.
import os
import shutil
import sys

import numpy as np
from paraview.catalyst import bridge
from paraview.simple import KDINRReader
from paraview.vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from paraview.vtk.vtkCommonDataModel import vtkImageData

N, STEPS, PERIOD = 24, 3, 0.5
here = os.path.dirname(os.path.abspath(__file__))
shutil.rmtree(sys.argv[1], ignore_errors=True)
os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])


def advance(field):
    """Upwind advection along x, periodic."""
    for _ in range(8):
        field = field - 0.3 * (field - np.roll(field, 1, axis=2))
    return field


bridge.initialize()
bridge.add_pipeline(os.path.join(here, 'catalyst_pipeline.py'))
z, y, x = np.meshgrid(*[np.linspace(0.0, 2.0 * np.pi, N, endpoint=False)] * 3, indexing='ij')
field = np.sin(x) * np.cos(y) + 0.3 * np.sin(z)
fields = []
for step in range(STEPS):
    image = vtkImageData()
    image.SetDimensions(N, N, N)
    values = numpy_to_vtk(field.astype(np.float32).ravel(), deep=1)
    values.SetName('field')
    image.GetPointData().SetScalars(values)
    bridge.coprocess(PERIOD * step, step, image, name='field', wholeExtent=(0, N - 1) * 3)
    fields.append(field)
    field = advance(field)

for step, field in enumerate(fields):
    reader = KDINRReader(FileName=f'step_{step:04d}.kdm')
    reader.UpdatePipeline()
    assert list(reader.TimestepValues) in ([PERIOD * step], PERIOD * step), reader.TimestepValues
    image = reader.GetClientSideObject().GetOutputDataObject(0)
    found = vtk_to_numpy(image.GetPointData().GetArray('field')).reshape(field.shape)
    error = np.sqrt(np.mean((found - field) ** 2)) / np.ptp(field)
    print(f'step {step}: {os.path.getsize(reader.FileName)} bytes, {-20 * np.log10(error):.1f} dB')
    assert error < 0.02, error
bridge.finalize()
print('passed')
