# pvpython test_tour_files.py make|check FOLDER
# Makes the file that the tour opens, and checks the pictures that it leaves.
import os
import sys

import numpy as np
from paraview.simple import SaveData
from paraview.vtk.util.numpy_support import vtk_to_numpy
from paraview.vtk.vtkIOImage import vtkPNGReader

import kdinr_test as kt

folder = sys.argv[2]


def make():
    SaveData(os.path.join(folder, 'toured.kdm'), proxy=kt.series(), PointDataArrays=['density'],
             CellDataArrays=[], CompressionRatio=12.0, Effort='Low')


def picture(name):
    reader = vtkPNGReader()
    reader.SetFileName(os.path.join(folder, 'out', name + '.png'))
    reader.Update()
    pixels = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())
    assert len(np.unique(pixels, axis=0)) > 200, f'{name}.png shows nothing'
    return pixels.astype(int)


def differ(a, b, by=8):
    """The share of pixels that do, by more than this."""
    assert a.shape == b.shape, (a.shape, b.shape)
    return (np.abs(a - b).max(axis=1) > by).mean()


def check():
    volume, between, played = picture('1_volume'), picture('2_between'), picture('3_played')
    half, undone, region = picture('4_half'), picture('5_undone'), picture('6_region')
    state, remote = picture('7_state'), picture('8_remote')
    assert differ(picture('0_preview'), volume, by=0) > 0.01, 'the window shows no preview'
    assert differ(picture('8_preview'), remote, by=0) > 0.01, 'the client shows no preview'
    assert differ(volume, between, by=0) > 0.01, 'a step between stored ones looks like the first'
    assert differ(between, played) > 0.01, 'nothing was played'
    assert differ(played, half, by=0) > 0.01, 'half the resolution looks like the whole'
    assert differ(played, undone) < 0.001, 'undo did not bring the resolution back'
    assert differ(undone, region) > 0.01, 'the region looks like the whole'
    assert differ(undone, state) < 0.001, 'the loaded state looks different'
    assert differ(volume, remote) < 0.001, 'the server shows something else'
    print('passed')


{'make': make, 'check': check}[sys.argv[1]]()
