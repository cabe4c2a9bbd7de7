# pvpython test_gui_files.py make|check FOLDER
# Makes the files that test_gui.xml opens, and checks those that it writes.
import os
import sys

import numpy as np
from paraview.simple import KDINRReader, SaveData
from paraview.vtk.util.numpy_support import vtk_to_numpy
from paraview.vtk.vtkIOImage import vtkPNGReader

import kdinr_test as kt

folder = sys.argv[2]


def make():
    waves = kt.series()
    for name, array in (('opened', 'label'), ('browsed', 'density')):
        SaveData(os.path.join(folder, name + '.kdm'), proxy=waves, PointDataArrays=[array],
                 CellDataArrays=[], CompressionRatio=5.0, Effort='Low')


def check_file(name, array):
    reader = KDINRReader(FileName=os.path.join(folder, 'out', name))
    reader.UpdatePipelineInformation()
    assert tuple(reader.TimestepValues) == kt.TIMES
    assert list(reader.PointArrayStatus) == [array], list(reader.PointArrayStatus)
    print(name, reader.Quality)


def check_picture():
    png = vtkPNGReader()
    png.SetFileName(os.path.join(folder, 'out', 'view.png'))
    png.Update()
    pixels = vtk_to_numpy(png.GetOutput().GetPointData().GetScalars())
    # Background, axes and a colour bar alone have a few hundred colours, a volume has thousands.
    n_colours = len(np.unique(pixels[:, :3], axis=0))
    assert n_colours > 2000, n_colours
    print('view.png', n_colours, 'colours')


if sys.argv[1] == 'make':
    make()
else:
    check_file('saved.kdm', 'density')
    check_file('filtered.kdm', 'label')
    check_picture()
    print('passed')
