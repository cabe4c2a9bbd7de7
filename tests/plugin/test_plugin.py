# pvpython test_plugin.py FOLDER
# Compresses a small series with the filter and with Save Data, and reads it back in every way that
# the reader offers.
import filecmp
import os
import subprocess
import sys

import numpy as np
from paraview.simple import (Delete, ExtractSubset, KDINRReader, KDINRWriter, OpenDataFile,
                             ProgrammableSource, SaveData)

import kdinr_test as kt

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
series_file = os.path.join(folder, 'series.kdm')
waves = kt.series()
quick = dict(CompressionRatio=12.0, Effort='Low')


def filter_writes_the_series_once():
    writer = KDINRWriter(Input=waves, FileName=series_file, **quick)
    writer.UpdatePipeline(0.5)
    writer.UpdatePropertyInformation()
    print(' ', writer.Result)
    assert writer.GetClientSideObject().GetErrorCode() == 0
    assert writer.FileSize == os.path.getsize(series_file)
    assert 8.0 < writer.AchievedRatio and writer.PSNR > 15.0
    assert writer.BackendInUse.startswith(('cuda', 'cpu (cuda: ')), writer.BackendInUse
    # The input passes through at the time that was asked for, and no other time compresses again.
    for time in (0.5, 3.0):
        assert np.array_equal(kt.point_values(writer, time, 'density'),
                              kt.point_values(waves, time, 'density'))
    writer.UpdatePropertyInformation()
    assert writer.NumberOfRuns == 1
    Delete(writer)


def information_is_that_of_the_series():
    reader = OpenDataFile(series_file)
    assert reader.GetXMLName() == 'KDINRReader'
    reader.UpdatePipeline(0.0)
    assert tuple(reader.TimestepValues) == kt.TIMES
    assert list(reader.PointArrayStatus) == ['density', 'temperature', 'velocity', 'label']
    assert list(reader.CellArrayStatus) == ['pressure']
    image = kt.image(reader, 0.0)
    assert image.GetExtent() == kt.WHOLE
    assert image.GetOrigin() == kt.ORIGIN and image.GetSpacing() == kt.SPACING
    matrix = image.GetDirectionMatrix()
    assert tuple(matrix.GetElement(i // 3, i % 3) for i in range(9)) == kt.DIRECTION
    assert reader.FileSize == os.path.getsize(series_file)
    assert abs(reader.CompressionRatio - reader.DataSize / reader.FileSize) < 1e-9
    assert 'density' in reader.Quality and 'estimated' not in reader.Quality
    Delete(reader)


def stated_quality_is_the_measured_one():
    reader = KDINRReader(FileName=series_file)
    arrays = [('density', kt.point_values), ('temperature', kt.point_values),
              ('velocity', kt.point_values), ('pressure', kt.cell_values)]
    measured = [kt.psnr([(values(waves, t, name), values(reader, t, name)) for t in kt.TIMES])
                for name, values in arrays if name != 'velocity']
    reader.UpdatePropertyInformation()
    for (name, _), decibels in zip([a for a in arrays if a[0] != 'velocity'], measured):
        stated = float(reader.Quality.split(name + ' ')[1].split(' dB')[0])
        assert abs(stated - decibels) < 0.05, (name, stated, decibels)
    Delete(reader)


def command_line_decodes_the_same_bytes():
    raw = os.path.join(folder, 'density.raw')
    reader = KDINRReader(FileName=series_file)
    for time in (0.5, 1.2):
        subprocess.run([os.environ['KDINR'], 'decode', series_file, '-o', raw, '--array', 'density',
                        '--time', str(time), '--threads', '1', '--quiet'], check=True)
        assert np.fromfile(raw, np.float32).tobytes() == \
            kt.point_values(reader, time, 'density').tobytes()
    Delete(reader)


def values_between_steps_are_between_them():
    reader = KDINRReader(FileName=series_file)
    at = {t: kt.point_values(reader, t, 'density') for t in (0.5, 1.2, 2.0)}
    original = {t: kt.point_values(waves, t, 'density') for t in (0.5, 1.2, 2.0)}
    assert not np.array_equal(at[0.5], at[1.2]) and not np.array_equal(at[1.2], at[2.0])
    step = np.abs(original[2.0] - original[0.5]).max()
    assert np.abs(at[1.2] - original[1.2]).mean() < 0.5 * step
    reader.UpdatePipeline(99.0)  # after the last step: the last step
    assert np.array_equal(kt.point_values(reader, 99.0, 'density'),
                          kt.point_values(reader, 3.0, 'density'))
    Delete(reader)


def subset_has_the_bits_of_the_whole():
    reader = KDINRReader(FileName=series_file)
    whole = kt.point_values(reader, 2.0, 'density').reshape(12, 14, 16)
    cells = kt.cell_values(reader, 2.0, 'pressure').reshape(11, 13, 15)
    subset = ExtractSubset(Input=reader, VOI=[5, 9, 2, 2, -1, 8])
    part = kt.point_values(subset, 2.0, 'density').reshape(10, 1, 5)
    assert np.array_equal(part, whole[2:, 2:3, 3:8])
    subset.VOI = [5, 9, 2, 6, -1, 8]
    part = kt.cell_values(subset, 2.0, 'pressure').reshape(9, 4, 4)
    assert np.array_equal(part, cells[2:, 2:6, 3:7])
    Delete(subset)
    Delete(reader)


def bounds_are_the_same_at_every_resolution():
    reader = KDINRReader(FileName=series_file)
    bounds = kt.image(reader, 1.0).GetBounds()
    stored = kt.point_values(reader, 1.0, 'density').reshape(12, 14, 16)
    settings = [('Scale factor', 0.5, (9, 8, 7)), ('Scale factor', 2.0, (31, 27, 23)),
                ('Explicit dimensions', (4, 0, 1), (4, 14, 2))]
    for resolution, value, dims in settings:
        reader.Resolution = resolution
        if resolution == 'Scale factor':
            reader.ScaleFactor = value
        else:
            reader.Dimensions = value
        image = kt.image(reader, 1.0)
        assert image.GetDimensions() == dims, image.GetDimensions()
        assert np.allclose(image.GetBounds(), bounds)
        assert image.GetExtent()[::2] == (0, 0, 0)
        values = kt.point_values(reader, 1.0, 'density').reshape(dims[::-1])
        assert np.allclose(values[0, 0, 0], stored[0, 0, 0], atol=1e-5)  # the same corner
        n_cells = np.prod(np.array(dims) - 1)
        assert len(kt.cell_values(reader, 1.0, 'pressure')) == n_cells
    Delete(reader)


def types_and_components_are_kept():
    reader = KDINRReader(FileName=series_file)
    assert kt.point_values(reader, 0.0, 'label').dtype == np.float32
    reader.OutputType = 'Original'
    assert kt.point_values(reader, 0.0, 'label').dtype == np.uint8
    assert kt.point_values(reader, 0.0, 'temperature').dtype == np.float64
    assert kt.point_values(reader, 0.0, 'density').dtype == np.float32
    velocity = kt.point_values(reader, 3.0, 'velocity')
    assert velocity.shape == (16 * 14 * 12, 3)
    assert np.abs(velocity - kt.point_values(waves, 3.0, 'velocity')).mean() < 0.3
    Delete(reader)


def missing_values_come_back():
    reader = KDINRReader(FileName=series_file)
    missing = np.isnan(kt.point_values(waves, 2.0, 'temperature'))
    assert 0 < missing.sum() < missing.size
    decoded = kt.point_values(reader, 2.0, 'temperature')
    assert np.array_equal(np.isnan(decoded), missing)
    assert np.nanmax(np.abs(decoded - 300.0)) < 40.0  # and do not disturb the others
    Delete(reader)


def fill_values_come_back():
    path = os.path.join(folder, 'fill.kdm')
    filled = kt.series('''
add(points, 'filled', np.where(grid(1)[0] > 6, np.float32(1e30), density.astype(np.float32)))''')
    writer = KDINRWriter(Input=filled, FileName=path, PointDataArrays=['filled'],
                         UseFillValue=1, FillValue=float(np.float32(1e30)), **quick)
    writer.CellDataArrays = []
    original = kt.point_values(writer, 0.5, 'filled')
    assert writer.GetClientSideObject().GetErrorCode() == 0
    reader = KDINRReader(FileName=path)
    decoded = kt.point_values(reader, 0.5, 'filled')
    missing = original > 1e29
    assert np.array_equal(decoded[missing], original[missing])
    assert np.abs(decoded[~missing] - original[~missing]).max() < 1.0
    Delete(reader)
    Delete(writer)


def arrays_can_be_chosen():
    reader = KDINRReader(FileName=series_file)
    reader.UpdatePipelineInformation()
    reader.PointArrayStatus = ['velocity']
    reader.CellArrayStatus = []
    image = kt.image(reader, 0.0)
    assert image.GetPointData().GetNumberOfArrays() == 1
    assert image.GetPointData().GetArrayName(0) == 'velocity'
    assert image.GetCellData().GetNumberOfArrays() == 0
    Delete(reader)


def choice_of_arrays_survives_a_change_of_file():
    one = os.path.join(folder, 'one.kdm')
    SaveData(one, proxy=waves, PointDataArrays=['density'], CellDataArrays=[], **quick)
    reader = KDINRReader(FileName=series_file)
    reader.UpdatePipelineInformation()
    reader.PointArrayStatus = ['velocity']
    reader.UpdatePipeline(0.0)
    reader.FileName = one
    reader.UpdatePipeline(0.0)
    assert list(reader.PointArrayStatus) in (['velocity'], [])
    reader.FileName = series_file
    image = kt.image(reader, 0.0)
    assert image.GetPointData().HasArray('velocity')
    assert not image.GetPointData().HasArray('temperature')
    Delete(reader)


def save_data_equals_the_filter():
    saved = os.path.join(folder, 'saved.kdm')
    filtered = os.path.join(folder, 'filtered.kdm')
    SaveData(saved, proxy=waves, PointDataArrays=['density'], CellDataArrays=[], **quick)
    writer = KDINRWriter(Input=waves, FileName=filtered, PointDataArrays=['density'], **quick)
    writer.CellDataArrays = []  # ParaView ignores an empty list among a new filter's arguments
    writer.UpdatePipeline(0.0)
    assert filecmp.cmp(saved, filtered, shallow=False)
    Delete(writer)


def one_step_can_be_written():
    path = os.path.join(folder, 'step.kdm')
    waves.UpdatePipeline(2.0)
    SaveData(path, proxy=waves, WriteAllTimeSteps=0, PointDataArrays=['density'],
             CellDataArrays=[], CompressionRatio=5.0, Effort='Low')
    reader = KDINRReader(FileName=path)
    reader.UpdatePipeline()
    assert list(reader.TimestepValues) == [2.0], list(reader.TimestepValues)
    Delete(reader)


def constant_slice_without_time_is_exact():
    path = os.path.join(folder, 'slice.kdm')
    flat = ProgrammableSource(
        OutputDataSetType='vtkImageData',
        ScriptRequestInformation='''
executive = self.GetExecutive()
executive.GetOutputInformation(0).Set(executive.WHOLE_EXTENT(), (0, 19, 0, 9, 0, 0), 6)''',
        Script='''
import numpy as np
output.SetDimensions(20, 10, 1)
output.PointData.append(np.full(200, 7.25), 'constant')''')
    writer = KDINRWriter(Input=flat, FileName=path, CompressionRatio=2.0, Effort='Low')
    writer.UpdatePipeline()
    assert writer.GetClientSideObject().GetErrorCode() == 0
    reader = KDINRReader(FileName=path)
    image = kt.image(reader, 0.0)
    assert image.GetDimensions() == (20, 10, 1)
    assert np.all(kt.point_values(reader, 0.0, 'constant') == np.float32(7.25))
    Delete(reader)
    Delete(writer)


kt.run([filter_writes_the_series_once, information_is_that_of_the_series,
        stated_quality_is_the_measured_one, command_line_decodes_the_same_bytes,
        values_between_steps_are_between_them,
        subset_has_the_bits_of_the_whole, bounds_are_the_same_at_every_resolution,
        types_and_components_are_kept, missing_values_come_back, fill_values_come_back,
        arrays_can_be_chosen, choice_of_arrays_survives_a_change_of_file, save_data_equals_the_filter,
        one_step_can_be_written, constant_slice_without_time_is_exact])
