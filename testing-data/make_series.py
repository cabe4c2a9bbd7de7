"""Turn the raw files of one series (one a time step) into what is in this folder: NAME/NAME_0000.vti
... (compressed) and NAME.pvd with the time values. Run by hand, once per series:

    pvpython make_series.py SERIES FOLDER_WITH_RAW_FILES
"""
import glob
import os
import sys

import numpy
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkIOXML import vtkXMLImageDataWriter

# name: array, points in x y z, origin, spacing, time of the first step, time between steps
SERIES = {
    "ocean_atlas_temp": ("temperature", (180, 90, 19), (20.5, -89.5, -54), (2, 2, 3), 1, 1),
    "shock_bubble": ("density", (128, 48, 48), (0.5 / 48,) * 3, (1 / 48,) * 3, 0, 1.3 / 11),
    "colpex_theta": ("potential_temperature", (83, 83, 10), (0, 0, 0), (1, 1, 2), 0, 10),
}


def read_step(name, path, dims):
    values = numpy.fromfile(path, "<f4").reshape(dims[::-1])
    if name == "ocean_atlas_temp":
        values = values[::-1].copy()  # deepest level first, so that up is up
        values[values == -4] = numpy.nan  # land
    return values


def write_step(path, array, values, origin, spacing):
    image = vtkImageData()
    image.SetDimensions(values.shape[::-1])
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    data = numpy_to_vtk(values.ravel(), deep=True)
    data.SetName(array)
    image.GetPointData().SetScalars(data)
    writer = vtkXMLImageDataWriter()
    writer.SetFileName(path)
    writer.SetInputData(image)
    # Inline: since Debian's security update of expat (2.5.0-1+deb12u2), ParaView 5.11 refuses files
    # with appended data, its own default.
    writer.SetDataModeToBinary()
    writer.SetCompressorTypeToLZMA()
    writer.SetCompressionLevel(9)
    writer.SetBlockSize(1 << 22)
    if not writer.Write():
        sys.exit(path + " could not be written")


def main(name, folder):
    array, dims, origin, spacing, first_time, time_step = SERIES[name]
    paths = sorted(glob.glob(os.path.join(folder, "*.raw")))
    here = os.path.dirname(os.path.abspath(__file__))
    os.makedirs(os.path.join(here, name), exist_ok=True)
    lines = ['<VTKFile type="Collection" version="0.1" byte_order="LittleEndian">', "<Collection>"]
    for step, path in enumerate(paths):
        part = "%s/%s_%04d.vti" % (name, name, step)
        write_step(os.path.join(here, part), array, read_step(name, path, dims), origin, spacing)
        time = round(first_time + step * time_step, 6)
        lines.append('<DataSet timestep="%g" part="0" file="%s"/>' % (time, part))
    lines += ["</Collection>", "</VTKFile>", ""]
    with open(os.path.join(here, name + ".pvd"), "w") as pvd:
        pvd.write("\n".join(lines))


main(*sys.argv[1:])
