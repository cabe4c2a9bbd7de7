"""Turn the series of testing-data into what compare.py reads: NAME/dims.txt and NAME/NAME_0000.raw ...

    pvpython make_series.py FOLDER [NAME...]        (all that are there)

Needs ParaView, whose reader the .vti files are for. Missing values stay NaN."""
import glob
import os
import sys

from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLImageDataReader

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testing-data")


def convert(name, folder):
    paths = sorted(glob.glob(os.path.join(DATA, name, "*.vti")))
    if not paths:
        sys.exit("no series %s in testing-data" % name)
    os.makedirs(os.path.join(folder, name), exist_ok=True)
    for path in paths:
        reader = vtkXMLImageDataReader()
        reader.SetFileName(path)
        reader.Update()
        image = reader.GetOutput()
        values = vtk_to_numpy(image.GetPointData().GetScalars())
        step = os.path.splitext(os.path.basename(path))[0]
        values.astype("<f4").tofile(os.path.join(folder, name, step + ".raw"))
    with open(os.path.join(folder, name, "dims.txt"), "w") as file:
        file.write("%d,%d,%d\n" % image.GetDimensions())


def main(folder, *names):
    there = [os.path.basename(path)[:-4] for path in glob.glob(os.path.join(DATA, "*.pvd"))]
    for name in names or sorted(there):
        convert(name, folder)


main(*sys.argv[1:])
