# pvpython test_targets.py FOLDER
# What the writer can be asked for besides a ratio, a PSNR and a largest error; and an aborted run
# that goes on where it was.
import os
import sys

import numpy as np
from paraview.simple import Delete, KDINRReader, KDINRWriter

import kdinr_test as kt

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)


def run_writer(name, **settings):
    """A writer that has run, and what it wrote."""
    path = os.path.join(folder, name)
    writer = KDINRWriter(Input=kt.series(), FileName=path, Effort='Low', **settings)
    writer.UpdatePipelineInformation()
    writer.PointDataArrays = ['density', 'temperature']
    writer.UpdatePipeline(0.0)
    writer.UpdatePropertyInformation()
    assert writer.GetClientSideObject().GetErrorCode() == 0, writer.Result
    return writer, KDINRReader(FileName=path)


def pairs(reader, name):
    source = kt.series()
    found = [(kt.point_values(source, t, name), kt.point_values(reader, t, name)) for t in kt.TIMES]
    Delete(source)
    return found


def psnr_is_reached():
    writer, reader = run_writer('psnr.kdm', Target='PSNR', TargetPSNR=40.0)
    reached = np.min([kt.psnr(pairs(reader, name)) for name in ('density', 'temperature')])
    assert reached >= 39.7, reached
    assert abs(writer.PSNR - reached) < 0.1, (writer.PSNR, reached)
    print(f'asked for 40 dB: {reached:.2f} dB, ratio {writer.AchievedRatio:.1f}')


def psnr_that_cannot_be_had_is_explained():
    """Two values: a file has them exactly or is off by half of their distance, 6 dB."""
    source = kt.series("add(points, 'sign', (density > 0.0).astype(np.uint8))")
    path = os.path.join(folder, 'two.kdm')
    writer = KDINRWriter(Input=source, FileName=path, Effort='Low', Target='PSNR', TargetPSNR=40.0)
    writer.UpdatePipelineInformation()
    writer.PointDataArrays = ['sign']
    warnings = kt.Messages(writer, 'WarningEvent')
    writer.UpdatePipeline(0.0)
    writer.UpdatePropertyInformation()
    words = 'inf dB instead of 40: of 8 error bounds none gives a smaller file'
    assert len(warnings.messages) == 1 and words in warnings.messages[0], warnings.messages
    assert words in writer.Result, writer.Result
    assert os.path.exists(path)


def relative_bound_holds():
    writer, reader = run_writer('relative.kdm', Target='Maximum error', MaximumError=0.01)
    for name in ('density', 'temperature'):
        found = pairs(reader, name)
        extent = np.ptp([[np.nanmin(a), np.nanmax(a)] for a, _ in found])
        largest = np.max([np.nanmax(np.abs(a.astype(float) - b)) for a, b in found])
        assert 0.0 < largest <= 0.01 * extent, (name, largest, extent)
    print(f'error within 1 % of the range: ratio {writer.AchievedRatio:.1f}')


def absolute_bound_holds_without_verify():
    _, reader = run_writer('absolute.kdm', Target='Maximum error', MaximumError=0.05, RelativeError=0,
                         Verify=0)
    for name in ('density', 'temperature'):
        for original, decoded in pairs(reader, name):
            assert np.array_equal(np.isnan(original), np.isnan(decoded))
            assert np.nanmax(np.abs(original.astype(float) - decoded)) <= 0.05, name


def aborted_run_goes_on_to_the_same_bytes():
    def read(name):
        with open(os.path.join(folder, name), 'rb') as file:
            return file.read()

    run_writer('whole.kdm', CompressionRatio=12.0)
    path = os.path.join(folder, 'resumed.kdm')
    if os.path.exists(path):
        os.remove(path)
    writer = KDINRWriter(Input=kt.series(), FileName=path, Effort='Low', CompressionRatio=12.0)
    writer.UpdatePipelineInformation()
    writer.PointDataArrays = ['density', 'temperature']
    errors = kt.abort(writer, path, 0.4, 0.0)
    assert 'resumed.kdm.part keeps what was trained' in errors.messages[0], errors.messages
    errors.messages.clear()
    writer.Resume = 1
    writer.UpdatePipeline(0.0)
    assert not errors.messages, errors.messages
    assert not os.path.exists(path + '.part')
    assert read('resumed.kdm') == read('whole.kdm')


kt.run([psnr_is_reached, psnr_that_cannot_be_had_is_explained, relative_bound_holds,
        absolute_bound_holds_without_verify, aborted_run_goes_on_to_the_same_bytes])
