# pvpython test_errors.py FOLDER
# Every failure has its message and error code, leaves an empty output, an older file as it was, and
# no partial file.
import os
import shutil
import sys

import numpy as np
from paraview.simple import (Delete, GroupDatasets, KDINRReader, KDINRWriter, OpenDataFile,
                             SaveData, Wavelet)

import kdinr_test as kt

# vtkErrorCode, and UserError + kdinr_status
FILE_NOT_FOUND, CANNOT_OPEN, FILE_FORMAT, NO_FILE_NAME = 20001, 20002, 20005, 20006
ARGUMENT, MEMORY, DATA = 40001, 40002, 40006

folder = sys.argv[1]
shutil.rmtree(folder, ignore_errors=True)
os.makedirs(folder)
good = os.path.join(folder, 'good.kdm')
quick = dict(CompressionRatio=12.0, Effort='Low')


def refused(path, *words, array='density', extra='', ratio=12.0, code=DATA):
    """A writer of `array`, made by `extra`, fails as expected and leaves `path` as it was."""
    before = open(path, 'rb').read() if os.path.exists(path) else None
    waves = kt.series(extra)
    writer = KDINRWriter(Input=waves, FileName=path, CompressionRatio=ratio, Effort='Low',
                         PointDataArrays=[array])
    writer.CellDataArrays = []
    errors = kt.Errors(writer)
    writer.UpdatePipeline(0.0)
    errors.expect(code, *words)
    writer.UpdatePropertyInformation()
    assert writer.Result.startswith('failed: ') and writer.FileSize == 0
    after = open(path, 'rb').read() if os.path.exists(path) else None
    assert before == after, 'the older file was touched'
    left = [name for name in os.listdir(folder) if '.tmp' in name]
    assert not left, left
    Delete(writer)
    Delete(waves)


def unreadable(path, code, *words):
    """A reader of `path` fails as expected, when it opens or when it decodes."""
    reader = KDINRReader(FileName=good)
    errors = kt.Errors(reader)
    reader.FileName = path
    reader.UpdatePipeline()
    errors.expect(code, *words)
    assert reader.GetDataInformation().GetNumberOfPoints() == 0
    Delete(reader)


def make_good_file():
    waves = kt.series()
    SaveData(good, proxy=waves, PointDataArrays=['density'], CellDataArrays=[], **quick)
    assert os.path.getsize(good) > 0


def missing_file_is_not_found():
    unreadable(os.path.join(folder, 'absent.kdm'), FILE_NOT_FOUND, 'absent.kdm')


def foreign_file_is_refused():
    path = os.path.join(folder, 'foreign.kdm')
    open(path, 'w').write('this is no neural network\n' * 20)
    unreadable(path, FILE_FORMAT, '.kdm')
    try:
        OpenDataFile(path)
    except RuntimeError:
        return
    assert False, 'OpenDataFile took a foreign file'


def empty_file_is_refused():
    path = os.path.join(folder, 'empty.kdm')
    open(path, 'w').close()
    unreadable(path, FILE_FORMAT)


def truncated_file_is_refused():
    data = open(good, 'rb').read()
    path = os.path.join(folder, 'truncated.kdm')
    for size in (10, 100, len(data) // 2, len(data) - 1):
        open(path, 'wb').write(data[:size])
        unreadable(path, FILE_FORMAT)


def damaged_file_is_refused():
    data = bytearray(open(good, 'rb').read())
    data[len(data) - 40] ^= 0x10
    path = os.path.join(folder, 'damaged.kdm')
    open(path, 'wb').write(data)
    unreadable(path, FILE_FORMAT)


def reader_recovers_when_the_file_is_good():
    reader = KDINRReader(FileName=good)
    errors = kt.Errors(reader)
    reader.FileName = os.path.join(folder, 'truncated.kdm')
    reader.UpdatePipeline()
    errors.expect(FILE_FORMAT)
    reader.FileName = good
    reader.UpdatePipeline()
    assert errors.object.GetErrorCode() == 0
    assert reader.GetDataInformation().GetNumberOfPoints() == 16 * 14 * 12
    Delete(reader)


def update_above_the_memory_limit_is_refused():
    reader = KDINRReader(FileName=good)
    reader.MemoryLimit = 0.1
    reader.Resolution = 'Explicit dimensions'
    reader.Dimensions = [2000, 2000, 2000]
    errors = kt.Errors(reader)
    reader.UpdatePipeline()
    errors.expect(MEMORY, '29.8', 'GiB', 'MemoryLimit')
    Delete(reader)


def unknown_backend_is_refused():
    reader = KDINRReader(FileName=good)
    reader.Backend = 'abacus'
    errors = kt.Errors(reader)
    reader.UpdatePipeline()
    errors.expect(ARGUMENT, 'abacus')
    Delete(reader)


def unwritable_folder_is_reported():
    refused(os.path.join(folder, 'absent', 'x.kdm'), 'absent', code=CANNOT_OPEN)


def array_of_nan_is_refused():
    refused(good, 'void', array='void', extra='''
add(points, 'void', np.full(density.size, np.nan))''')


def array_of_strings_is_refused():
    refused(good, 'words', 'only numbers', array='words', extra='''
from paraview.vtk import vtkStringArray
words = vtkStringArray()
words.SetName('words')
words.SetNumberOfValues(density.size)
points.AddArray(words)''')


def array_of_ten_components_is_refused():
    refused(good, 'wide', '10 components', array='wide', extra='''
add(points, 'wide', np.zeros((density.size, 10)), 10)''')


def input_that_fails_midway_is_reported():
    # A filter that delivers no grid at one time is one of the ways in which an input fails.
    refused(good, 'did not deliver', extra='''
if t > 1.0:
    image.Initialize()''')


def impossible_ratio_is_refused():
    refused(good, 'largest possible ratio', ratio=5000.0)


def blocks_are_refused():
    path = os.path.join(folder, 'blocks.kdm')
    group = GroupDatasets(Input=[Wavelet(), Wavelet()])
    writer = KDINRWriter(Input=group, FileName=path)
    errors = kt.Errors(writer)
    writer.UpdatePipeline()
    errors.expect(DATA, 'vtkMultiBlockDataSet', 'Resample To Image')
    assert not os.path.exists(path)
    Delete(writer)


def failed_run_is_not_repeated_until_asked():
    path = os.path.join(folder, 'absent', 'x.kdm')
    writer = KDINRWriter(Input=kt.series(), FileName=path, PointDataArrays=['density'], **quick)
    writer.CellDataArrays = []
    errors = kt.Errors(writer)
    writer.UpdatePipeline(0.0)
    writer.UpdatePipeline(3.0)  # an animation goes on with the data
    writer.UpdatePropertyInformation()
    assert writer.NumberOfRuns == 1
    assert kt.point_values(writer, 3.0, 'density').size == 16 * 14 * 12
    os.mkdir(os.path.dirname(path))
    writer.SMProxy.InvokeCommand('CompressNow')
    writer.UpdatePropertyInformation()
    assert writer.NumberOfRuns == 2 and writer.FileSize == os.path.getsize(path)
    assert errors.object.GetErrorCode() == 0
    Delete(writer)


kt.run([make_good_file, missing_file_is_not_found, foreign_file_is_refused,
        empty_file_is_refused, truncated_file_is_refused, damaged_file_is_refused,
        reader_recovers_when_the_file_is_good, update_above_the_memory_limit_is_refused,
        unknown_backend_is_refused, unwritable_folder_is_reported, array_of_nan_is_refused,
        array_of_strings_is_refused, array_of_ten_components_is_refused,
        input_that_fails_midway_is_reported, impossible_ratio_is_refused, blocks_are_refused,
        failed_run_is_not_repeated_until_asked])
