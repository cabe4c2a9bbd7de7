# pvpython test_reader.py FOLDER
# What the reader offers beyond the stored steps: resolutions by name, times between steps, missing
# samples, previews, the cache, and what it says of itself.
import os
import sys

import numpy as np
from paraview.simple import Delete, KDINRReader, KDINRWriter
from paraview.vtk.util.numpy_support import vtk_to_numpy

import kdinr_test as kt

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
path = os.path.join(folder, 'series.kdm')
HIDDEN_POINT, HIDDEN_CELL = 2, 32  # vtkDataSetAttributes


def make_file():
    writer = KDINRWriter(Input=kt.series(), FileName=path, CompressionRatio=12.0, Effort='Low')
    writer.UpdatePipelineInformation()
    writer.PointDataArrays = ['density', 'temperature']
    writer.CellDataArrays = ['pressure']
    writer.UpdatePipeline(0.0)
    assert writer.GetClientSideObject().GetErrorCode() == 0
    Delete(writer)


def resolutions_have_names():
    reader = KDINRReader(FileName=path)
    bounds = kt.image(reader, 0.0).GetBounds()
    for name, dims in (('1/2', (9, 8, 7)), ('1/4', (5, 4, 4)), ('1/8', (3, 3, 2))):
        reader.Resolution = name
        image = kt.image(reader, 0.0)
        assert image.GetDimensions() == dims, (name, image.GetDimensions())
        assert np.allclose(image.GetBounds(), bounds)
        assert image.GetCellData().GetArray('pressure').GetNumberOfTuples() == image.GetNumberOfCells()
    Delete(reader)


def extra_steps_are_announced_and_decoded():
    reader = KDINRReader(FileName=path, StepsBetween=3)
    reader.UpdatePipelineInformation()
    times = list(reader.TimestepValues)
    assert len(times) == 13 and set(kt.TIMES) <= set(times)
    assert times[4:9] == [0.5, 0.875, 1.25, 1.625, 2.0], times
    between = kt.point_values(reader, 0.875, 'density')
    for stored in (0.5, 2.0):
        assert not np.array_equal(between, kt.point_values(reader, stored, 'density'))
    Delete(reader)


def nearest_step_answers_when_asked_to():
    reader = KDINRReader(FileName=path, TimeMode='Nearest stored step', StepsBetween=3)
    reader.UpdatePipelineInformation()
    assert tuple(reader.TimestepValues) == kt.TIMES
    for asked, stored in ((0.2, 0.0), (1.3, 2.0), (1.2, 0.5), (-5.0, 0.0), (99.0, 3.0)):
        assert np.array_equal(kt.point_values(reader, asked, 'density'),
                              kt.point_values(reader, stored, 'density')), (asked, stored)
    Delete(reader)


def missing_samples_are_blanked_when_asked_to():
    reader = KDINRReader(FileName=path)
    missing = np.isnan(kt.point_values(reader, 0.5, 'temperature'))
    assert missing.any()
    assert not kt.image(reader, 0.5).GetPointData().HasArray('vtkGhostType')
    reader.MissingValues = 'NaN and blanked'
    image = kt.image(reader, 0.5)
    ghosts = vtk_to_numpy(image.GetPointData().GetArray('vtkGhostType'))
    assert np.array_equal(ghosts == HIDDEN_POINT, missing)
    hidden = vtk_to_numpy(image.GetCellData().GetArray('vtkGhostType')).reshape(11, 13, 15)
    corners = missing.reshape(12, 14, 16)
    assert np.array_equal(hidden[:, 0, 0] == HIDDEN_CELL, corners[:-1, 0, 0] | corners[1:, 0, 0])
    reader.PointArrayStatus = ['density']  # without the array that has gaps nothing is hidden
    assert not kt.image(reader, 0.5).GetPointData().HasArray('vtkGhostType')
    Delete(reader)


def scripts_get_no_preview_unless_they_ask():
    reader = KDINRReader(FileName=path, PreviewVoxels=0.001)
    assert kt.image(reader, 0.0).GetDimensions() == (16, 14, 12)
    assert reader.Preview == 'Never'
    reader.Preview = 'When large'
    image = kt.image(reader, 0.0)
    assert 300 < image.GetNumberOfPoints() <= 1000
    reader.UpdatePropertyInformation()
    assert reader.OutputGrid.endswith('points, a preview'), reader.OutputGrid
    reader.Preview = 'Never'
    assert kt.image(reader, 0.0).GetDimensions() == (16, 14, 12)
    Delete(reader)


def cache_answers_with_the_same_array():
    def density(time):
        return reader.GetClientSideObject().GetOutputDataObject(0).GetPointData().GetArray('density')
    reader = KDINRReader(FileName=path)
    reader.UpdatePipeline(0.5)
    first = density(0.5)
    reader.UpdatePipeline(2.0)
    assert density(2.0) is not first
    reader.UpdatePipeline(0.5)
    assert density(0.5) is first
    reader.CacheSize = 0.0
    reader.UpdatePipeline(2.0)
    reader.UpdatePipeline(0.5)
    values = density(0.5)
    assert np.array_equal(vtk_to_numpy(values), vtk_to_numpy(first))
    Delete(reader)


def panel_tells_about_the_choice():
    reader = KDINRReader(FileName=path)
    reader.UpdatePipeline(0.0)
    reader.UpdatePropertyInformation()
    assert reader.OutputGrid == '16 x 14 x 12 points'
    n_bytes = 4 * (2 * 16 * 14 * 12 + 15 * 13 * 11)
    assert abs(reader.MemoryNeeded - n_bytes / 2**20) < 1e-9
    backend = reader.BackendInUse
    assert backend == 'cuda' or backend.startswith('cpu (cuda: '), backend
    reader.Backend = 'cpu'
    reader.UpdatePipeline(0.0)
    reader.UpdatePropertyInformation()
    assert reader.BackendInUse == 'cpu', reader.BackendInUse
    assert 'density' in reader.Quality and 'error up to' in reader.Quality, reader.Quality
    Delete(reader)


kt.run([make_file, resolutions_have_names, extra_steps_are_announced_and_decoded,
        nearest_step_answers_when_asked_to, missing_samples_are_blanked_when_asked_to,
        scripts_get_no_preview_unless_they_ask, cache_answers_with_the_same_array,
        panel_tells_about_the_choice])
