# pvpython test_mpi.py FOLDER
# Writes and reads serially, then starts itself with pvbatch on two and four ranks, does the same there
# and compares: the ranks read different pieces with the values of the serial read, draw the same
# picture and, sharing the training, write the same files, also after an abort.
import os
import shutil
import subprocess
import sys

import numpy as np
from paraview.simple import (ColorBy, Contour, CreateView, GetAnimationScene,
                             GetColorTransferFunction, KDINRReader, KDINRWriter,
                             ProgrammableFilter, SaveScreenshot, Show, Slice)
from paraview.vtk.util.numpy_support import vtk_to_numpy
from paraview.vtk.vtkIOImage import vtkPNGReader

import kdinr_test as kt

folder = sys.argv[1]
on_ranks = len(sys.argv) > 2
SERIAL = os.path.join(folder, 'serial_bricks.kdm')
RANKS = (2, 4)
TIME = 1.2

# How training is shared differs: two arrays of two bricks each; two arrays in windows of two steps.
FILES = {
    'bricks': dict(CompressionRatio=12.0, BrickCounts=[2, 1, 1]),
    'windows': dict(CompressionRatio=12.0, BrickCounts=[1, 1, 1], Window=2),
}
TARGETS = {  # two ranks say enough
    'psnr': dict(Target='PSNR', TargetPSNR=30.0),
    'error': dict(Target='Maximum error', MaximumError=0.02),
}

# Runs on every rank and saves the piece that this rank has.
SAVE_PIECE = '''
import numpy as np
from paraview.vtk import vtkMultiProcessController
from paraview.vtk.util.numpy_support import vtk_to_numpy
image = inputs[0].VTKObject
rank = vtkMultiProcessController.GetGlobalController().GetLocalProcessId()
np.savez(PREFIX + str(rank), extent=image.GetExtent(),
         density=vtk_to_numpy(image.GetPointData().GetArray('density')),
         pressure=vtk_to_numpy(image.GetCellData().GetArray('pressure')))
'''


def make_writer(path, **settings):
    return KDINRWriter(Input=kt.series(), FileName=path, Effort='Low', PointDataArrays=['density'],
                       CellDataArrays=['pressure'], NumberOfThreads=1, **settings)


def write(path, settings):
    writer = make_writer(path, **settings)
    writer.UpdatePipeline(0.5)
    assert writer.GetClientSideObject().GetErrorCode() == 0
    writer.UpdatePropertyInformation()
    print(writer.Result)


def files_of(n_ranks):
    return {**FILES, **TARGETS} if n_ranks <= 2 else FILES


def write_all(prefix, n_ranks):
    for name, settings in files_of(n_ranks).items():
        write(f'{prefix}_{name}.kdm', settings)


def abort_and_resume(path):
    """An abort that only rank 0 sees ends all ranks; they go on together to the same bytes."""
    writer = make_writer(path, **FILES['bricks'])
    errors = kt.abort(writer, path, 0.5, 0.5)
    assert 'keeps what was trained' in errors.messages[0], errors.messages
    writer.Resume = 1
    writer.UpdatePipeline(0.5)
    assert os.path.exists(path) and not os.path.exists(path + '.part'), errors.messages


def read(path, prefix):
    reader = KDINRReader(FileName=path, NumberOfThreads=1)
    saver = ProgrammableFilter(Input=reader, Script=SAVE_PIECE.replace('PREFIX', repr(prefix)))
    saver.UpdatePipeline(TIME)


def draw(path, picture):
    """An isosurface and a slice through the decoded volume, as all ranks together render it."""
    view = CreateView('RenderView', ViewSize=[400, 300], OrientationAxesVisibility=0)
    reader = KDINRReader(FileName=path, NumberOfThreads=1)
    surface = Contour(Input=reader, ContourBy=['POINTS', 'density'], Isosurfaces=[0.6],
                      ComputeNormals=0)  # at the borders of pieces they would be one-sided
    GetAnimationScene().UpdateAnimationUsingDataTimeSteps()
    view.ViewTime = TIME
    Show(surface, view).Interpolation = 'Flat'
    ColorBy(Show(Slice(Input=reader), view), ('POINTS', 'density'))
    GetColorTransferFunction('density').RescaleTransferFunction(-2.0, 2.0)
    view.CameraFocalPoint, view.CameraPosition = [-0.6, 8.0, 8.0], [30.0, 20.0, 40.0]
    view.CameraViewUp = [0.0, 0.0, 1.0]
    SaveScreenshot(picture, view)


def fail_together():
    """A failure on rank 0 alone ends the run on all ranks instead of hanging."""
    writer = KDINRWriter(Input=kt.series(), CompressionRatio=1e6, Effort='Low',
                         FileName=os.path.join(folder, 'impossible.kdm'))
    errors = kt.Errors(writer)
    writer.UpdatePipeline(0.0)
    errors.expect(40006, 'ratio')


def pixels(name):
    reader = vtkPNGReader()
    reader.SetFileName(os.path.join(folder, name))
    reader.Update()
    return vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars()).astype(int)


def compare_pictures(n_ranks):
    """The same but for single pixels at the borders of pieces, where surfaces meet."""
    serial, parallel = pixels('serial.png'), pixels(f'ranks{n_ranks}.png')
    assert len(np.unique(serial, axis=0)) > 20, 'the picture shows nothing'
    differs = np.abs(serial - parallel).max(axis=1) > 16
    print(f'{n_ranks} ranks: {differs.sum()} of {len(differs)} pixels differ')
    assert differs.mean() < 0.002


def compare_pieces(n_ranks):
    whole = np.load(os.path.join(folder, 'serial0.npz'))
    first = whole['extent'][::2]
    density = whole['density'].reshape(12, 14, 16)
    pressure = whole['pressure'].reshape(11, 13, 15)
    n_cells = 0
    for rank in range(n_ranks):
        piece = np.load(os.path.join(folder, f'piece{n_ranks}_{rank}.npz'))
        low, high = piece['extent'][::2] - first, piece['extent'][1::2] - first
        points = tuple(slice(low[i], high[i] + 1) for i in (2, 1, 0))
        cells = tuple(slice(low[i], high[i]) for i in (2, 1, 0))
        assert piece['density'].size < density.size
        assert np.array_equal(piece['density'], density[points].ravel())
        assert np.array_equal(piece['pressure'], pressure[cells].ravel())
        n_cells += piece['pressure'].size
    assert n_cells == pressure.size


def same_bytes(a, b):
    return open(os.path.join(folder, a), 'rb').read() == open(os.path.join(folder, b), 'rb').read()


def main():
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    write_all(os.path.join(folder, 'serial'), 1)
    read(SERIAL, os.path.join(folder, 'serial'))
    draw(SERIAL, os.path.join(folder, 'serial.png'))
    # pvpython is an MPI program already; its variables would confuse a second one.
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(('OMPI_', 'OPAL_', 'ORTE_', 'PMIX_', 'PRTE_'))}
    for n_ranks in RANKS:
        command = ['mpirun', '--allow-run-as-root', '--oversubscribe', '-n', str(n_ranks),
                   'pvbatch', os.path.abspath(__file__), folder, str(n_ranks)]
        result = subprocess.run(command, timeout=240, env=environment)
        assert result.returncode == 0, f'pvbatch ended with {result.returncode}'
        compare_pieces(n_ranks)
        compare_pictures(n_ranks)
        for name in files_of(n_ranks):
            assert same_bytes(f'serial_{name}.kdm', f'ranks{n_ranks}_{name}.kdm'), name
        assert same_bytes('serial_bricks.kdm', f'ranks{n_ranks}_resumed.kdm')
        assert os.path.exists(os.path.join(folder, f'ranks{n_ranks}.done'))
    print('passed')


if on_ranks:
    here = os.path.join(folder, 'ranks' + sys.argv[2])
    write_all(here, int(sys.argv[2]))
    abort_and_resume(here + '_resumed.kdm')
    read(SERIAL, os.path.join(folder, f'piece{sys.argv[2]}_'))
    draw(SERIAL, here + '.png')
    fail_together()
    open(here + '.done', 'w').close()
else:
    main()
