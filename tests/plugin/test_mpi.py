# pvpython test_mpi.py FOLDER
# Writes and reads serially, then starts itself with pvbatch on two ranks, does the same there and
# compares: the ranks read different pieces with the values of the serial read, and write the same
# file.
import os
import shutil
import subprocess
import sys

import numpy as np
from paraview.simple import KDINRReader, KDINRWriter, ProgrammableFilter

import kdinr_test as kt

folder = sys.argv[1]
on_ranks = len(sys.argv) > 2
N_RANKS = 2
TIME = 1.2

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


def write(path):
    writer = KDINRWriter(Input=kt.series(), FileName=path, CompressionRatio=12.0, Effort='Low',
                         PointDataArrays=['density'], CellDataArrays=['pressure'],
                         NumberOfThreads=1)
    writer.UpdatePipeline(0.5)
    assert writer.GetClientSideObject().GetErrorCode() == 0
    writer.UpdatePropertyInformation()
    print(writer.Result)


def read(path, prefix):
    reader = KDINRReader(FileName=path, NumberOfThreads=1)
    saver = ProgrammableFilter(Input=reader, Script=SAVE_PIECE.replace('PREFIX', repr(prefix)))
    saver.UpdatePipeline(TIME)


def fail_together():
    """A failure on rank 0 alone ends the run on all ranks instead of hanging."""
    writer = KDINRWriter(Input=kt.series(), CompressionRatio=1e6, Effort='Low',
                         FileName=os.path.join(folder, 'impossible.kdm'))
    errors = kt.Errors(writer)
    writer.UpdatePipeline(0.0)
    errors.expect(40006, 'ratio')


def compare_pieces():
    whole = np.load(os.path.join(folder, 'serial0.npz'))
    first = whole['extent'][::2]
    density = whole['density'].reshape(12, 14, 16)
    pressure = whole['pressure'].reshape(11, 13, 15)
    n_cells = 0
    for rank in range(N_RANKS):
        piece = np.load(os.path.join(folder, f'piece{rank}.npz'))
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
    write(os.path.join(folder, 'serial.kdm'))
    read(os.path.join(folder, 'serial.kdm'), os.path.join(folder, 'serial'))
    command = ['mpirun', '--allow-run-as-root', '--oversubscribe', '-n', str(N_RANKS), 'pvbatch',
               os.path.abspath(__file__), folder, 'ranks']
    # pvpython is an MPI program already; its variables would confuse a second one.
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(('OMPI_', 'OPAL_', 'ORTE_', 'PMIX_', 'PRTE_'))}
    result = subprocess.run(command, timeout=240, env=environment)
    assert result.returncode == 0, f'pvbatch ended with {result.returncode}'
    compare_pieces()
    assert same_bytes('serial.kdm', 'ranks.kdm')
    assert os.path.exists(os.path.join(folder, 'ranks.done'))
    print('passed')


if on_ranks:
    write(os.path.join(folder, 'ranks.kdm'))
    read(os.path.join(folder, 'serial.kdm'), os.path.join(folder, 'piece'))
    fail_together()
    open(os.path.join(folder, 'ranks.done'), 'w').close()
else:
    main()
