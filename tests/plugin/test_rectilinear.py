# pvpython test_rectilinear.py FOLDER
# A series on a rectilinear grid goes round: axes, values, resolutions, regions; the filter passes
# it through and says what it did.
import os
import sys

import numpy as np
from paraview.simple import (Delete, ExtractSubset, KDINRReader, KDINRWriter, ProgrammableSource,
                             SaveData, Sphere)
from paraview.vtk.util.numpy_support import vtk_to_numpy

import kdinr_test as kt

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
path = os.path.join(folder, 'depths.kdm')
TIMES = (0.0, 1.0, 4.0)
X, Y = np.linspace(0.0, 30.0, 16), 90.0 - 7.5 * np.arange(12)  # y goes down
DEPTHS = np.array([0.0, 10, 20, 30, 50, 75, 100, 125, 150, 200])
FIRST = (3, 0, -2)
EXTENT = (3, 18, 0, 11, -2, 7)

SOURCE = f'''
import numpy as np
from paraview.vtk.util.numpy_support import numpy_to_vtk
executive = self.GetExecutive()
info = executive.GetOutputInformation(0)
t = info.Get(executive.UPDATE_TIME_STEP()) if info.Has(executive.UPDATE_TIME_STEP()) else 0.0
e = info.Get(executive.UPDATE_EXTENT())
axes = [np.array(a)[e[2 * i] - f:e[2 * i + 1] - f + 1] for i, (a, f) in enumerate(
    (({X.tolist()}, {FIRST[0]}), ({Y.tolist()}, {FIRST[1]}), ({DEPTHS.tolist()}, {FIRST[2]})))]
grid = self.GetRectilinearGridOutput()
grid.SetExtent(e)
for axis, name in zip(axes, 'XYZ'):
    getattr(grid, f'Set{{name}}Coordinates')(numpy_to_vtk(axis, deep=1))
z, y, x = np.meshgrid(*axes[::-1], indexing='ij')
def add(attributes, name, values):
    array = numpy_to_vtk(np.ascontiguousarray(values.ravel()), deep=1)
    array.SetName(name)
    attributes.AddArray(array)
add(grid.GetPointData(), 'warmth',
    (20 * np.exp(-z / 80) * np.cos(np.radians(y)) + np.sin(0.2 * x + t)).astype(np.float32))
c = [0.5 * (a[1:] + a[:-1]) for a in axes]
z, y, x = np.meshgrid(*c[::-1], indexing='ij')
add(grid.GetCellData(), 'salt', (35 - z / 100 + 0.01 * y + 0.1 * t))
'''
INFORMATION = f'''
executive = self.GetExecutive()
info = executive.GetOutputInformation(0)
info.Set(executive.WHOLE_EXTENT(), {EXTENT}, 6)
info.Set(executive.TIME_STEPS(), {TIMES}, {len(TIMES)})
info.Set(executive.TIME_RANGE(), ({TIMES[0]}, {TIMES[-1]}), 2)
from paraview.vtk import vtkAlgorithm
info.Set(vtkAlgorithm.CAN_PRODUCE_SUB_EXTENT(), 1)
'''
depths = ProgrammableSource(OutputDataSetType='vtkRectilinearGrid',
                            ScriptRequestInformation=INFORMATION, Script=SOURCE)


def grid_of(proxy, time):
    """The proxy's output here; servermanager.Fetch of ParaView 5.11 garbles rectilinear axes."""
    proxy.UpdatePipeline(time)
    return proxy.GetClientSideObject().GetOutputDataObject(0)


def values_of(proxy, time, name):
    grid = grid_of(proxy, time)
    attributes = grid.GetPointData() if name == 'warmth' else grid.GetCellData()
    return vtk_to_numpy(attributes.GetArray(name)).copy()


def axes_of(grid):
    return [vtk_to_numpy(a) for a in (grid.GetXCoordinates(), grid.GetYCoordinates(),
                                      grid.GetZCoordinates())]


def filter_passes_through_and_summarises():
    writer = KDINRWriter(Input=depths, FileName=path, CompressionRatio=8.0, Effort='Low')
    writer.UpdatePipelineInformation()
    writer.UpdatePipeline(1.0)
    assert writer.GetClientSideObject().GetErrorCode() == 0
    out = writer.GetClientSideObject().GetOutputDataObject(0)
    assert out.GetClassName() == 'vtkRectilinearGrid' and out.GetPointData().HasArray('warmth')
    assert out.GetFieldData().GetArray('KD-INR ratio').GetValue(0) > 5.0
    decibels = vtk_to_numpy(out.GetFieldData().GetArray('KD-INR PSNR of warmth'))
    assert decibels.shape == (3,) and decibels.min() > 25.0, decibels
    writer.UpdatePropertyInformation()
    assert writer.Estimate.startswith('about ') and writer.Estimate.endswith(' s'), writer.Estimate
    print(' ', writer.Estimate, '|', writer.Result)
    Delete(writer)


def axes_and_values_come_back():
    reader = KDINRReader(FileName=path)
    grid = grid_of(reader, 1.0)
    assert grid.GetClassName() == 'vtkRectilinearGrid'
    assert tuple(grid.GetExtent()) == EXTENT
    for found, expected in zip(axes_of(grid), (X, Y, DEPTHS)):
        assert np.array_equal(found, expected)
    decibels = kt.psnr([(values_of(depths, t, 'warmth'), values_of(reader, t, 'warmth'))
                        for t in TIMES])
    assert decibels > 25.0, decibels
    assert np.abs(values_of(depths, 4.0, 'salt') - values_of(reader, 4.0, 'salt')).max() < 0.5
    Delete(reader)


def regions_and_resolutions_keep_the_axes():
    reader = KDINRReader(FileName=path)
    whole = values_of(reader, 0.0, 'warmth').reshape(10, 12, 16)
    part = ExtractSubset(Input=reader, VOI=[5, 9, 2, 2, -1, 7])
    grid = grid_of(part, 0.0)
    found = vtk_to_numpy(grid.GetPointData().GetArray('warmth')).reshape(9, 1, 5)
    assert np.array_equal(found, whole[1:, 2:3, 2:7])
    for axis, expected in zip(axes_of(grid), (X[2:7], Y[2:3], DEPTHS[1:])):
        assert np.array_equal(axis, expected)
    Delete(part)
    reader.Resolution = 'Scale factor'
    reader.ScaleFactor = 2.0
    grid = grid_of(reader, 0.0)
    axes = axes_of(grid)
    assert np.allclose(axes[2][::2], DEPTHS) and len(axes[2]) == 19
    assert np.allclose(axes[2][1::2], 0.5 * (DEPTHS[1:] + DEPTHS[:-1]))
    Delete(reader)


def save_data_takes_rectilinear_grids():
    saved = os.path.join(folder, 'saved.kdm')
    SaveData(saved, proxy=depths, CompressionRatio=8.0, Effort='Low')
    assert open(saved, 'rb').read() == open(path, 'rb').read()


def other_grids_are_refused_with_advice():
    writer = KDINRWriter(Input=Sphere(), FileName=os.path.join(folder, 'sphere.kdm'))
    errors = kt.Errors(writer)
    writer.UpdatePipeline()
    errors.expect(40006, 'vtkPolyData', 'apply Resample To Image first')
    Delete(writer)


def one_reader_changes_between_grids():
    image_file = os.path.join(folder, 'image.kdm')
    SaveData(image_file, proxy=kt.series(), PointDataArrays=['density'], CellDataArrays=[],
             CompressionRatio=12.0, Effort='Low')
    reader = KDINRReader(FileName=path)
    assert grid_of(reader, 0.0).GetClassName() == 'vtkRectilinearGrid'
    reader.FileName = image_file
    assert grid_of(reader, 0.0).GetClassName() == 'vtkImageData'
    reader.FileName = path
    assert grid_of(reader, 0.0).GetClassName() == 'vtkRectilinearGrid'
    Delete(reader)


kt.run([filter_passes_through_and_summarises, axes_and_values_come_back,
        regions_and_resolutions_keep_the_axes, save_data_takes_rectilinear_grids,
        other_grids_are_refused_with_advice, one_reader_changes_between_grids])
