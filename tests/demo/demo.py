"""The demo, in pvpython: compress a year of measured sea temperature with the KD-INR Writer, open the
.kdm again with the KD-INR Reader, and compare in numbers and in pictures.

    pvpython demo.py KDINR.so ocean_atlas_temp.pvd OUTPUT_FOLDER"""
import math
import os
import sys
import time

import numpy
from paraview import servermanager, simple
from paraview.vtk.util.numpy_support import vtk_to_numpy

ARRAY = "temperature"
RATIO = 100
PICTURE = (2100, 500)
LAND = [0.42, 0.40, 0.37]
MONTHS = {2: "February", 8: "August"}  # those in the pictures


def fail(message):
    sys.exit("demo: " + message)


def compress(source, path):
    """Apply the writer to the whole series; seconds that it took."""
    if os.path.exists(path):
        os.remove(path)
    start = time.time()
    writer = simple.KDINRWriter(Input=source, FileName=path, CompressionRatio=RATIO, Effort="Low")
    writer.UpdatePipeline()
    if not os.path.exists(path):
        fail("the writer made no file; its message is above")
    return time.time() - start


def values(proxy, month):
    proxy.UpdatePipeline(month)
    data = servermanager.Fetch(proxy)
    return vtk_to_numpy(data.GetPointData().GetArray(ARRAY))


def compare(source, reader):
    """PSNR over all steps and sea samples, largest error, mean seconds to decode a step."""
    squares, count, largest, seconds = 0.0, 0, 0.0, 0.0
    low, high = math.inf, -math.inf
    for month in source.TimestepValues:
        original = values(source, month)
        start = time.time()
        decoded = values(reader, month)
        seconds += time.time() - start
        sea = ~numpy.isnan(original)
        if not numpy.array_equal(sea, ~numpy.isnan(decoded)):
            fail("land was not restored exactly in month %g" % month)
        errors = original[sea].astype(float) - decoded[sea]
        squares += float((errors ** 2).sum())
        count += errors.size
        largest = max(largest, float(abs(errors).max()))
        low, high = min(low, original[sea].min()), max(high, original[sea].max())
    rmse = math.sqrt(squares / count)
    return 20 * math.log10((high - low) / rmse), rmse, largest, seconds / len(source.TimestepValues)


def add_caption(view):
    """An empty text at the top."""
    caption = simple.Text()
    shown = simple.Show(caption, view)
    shown.WindowLocation = "Upper Center"
    shown.Justification = "Center"
    shown.FontSize = 18
    shown.Color = [0.1, 0.1, 0.1]
    return caption


def panel(view, proxy, array, preset, data_range, title):
    """What one view shows."""
    shown = simple.Show(proxy, view)
    shown.SetRepresentationType("Surface")
    simple.ColorBy(shown, ("POINTS", array))
    colors = simple.GetColorTransferFunction(array)
    colors.ApplyPreset(preset, True)
    colors.RescaleTransferFunction(*data_range)
    colors.NanColor = LAND
    shown.Ambient, shown.Diffuse = 0.5, 0.5
    bar = simple.GetScalarBar(colors, view)
    bar.Title, bar.ComponentTitle = title, ""
    bar.Orientation = "Horizontal"
    bar.WindowLocation = "Lower Center"
    bar.ScalarBarLength = 0.55
    bar.TitleFontSize = bar.LabelFontSize = 15
    bar.TitleColor = bar.LabelColor = [0.1, 0.1, 0.1]
    bar.AddRangeLabels = 0
    bar.LabelFormat, bar.AutomaticLabelFormat = "%.4g", 0
    bar.Visibility = 1
    view.Background = [1, 1, 1]
    view.UseColorPaletteForBackground = 0
    view.OrientationAxesVisibility = 0
    view.CameraPosition = [199.5, -270, 275]
    view.CameraFocalPoint = [199.5, 36, -32]
    view.CameraViewUp = [0, 0, 1]
    view.CameraViewAngle = 40


def three_views():
    """Side by side in one layout."""
    layout = simple.CreateLayout("demo")
    layout.SetSize(*PICTURE)
    left = layout.SplitHorizontal(0, 1 / 3)
    middle = layout.SplitHorizontal(left + 1, 1 / 2)
    views = []
    for cell in (left, middle, middle + 1):
        views.append(simple.CreateView("RenderView", detachedFromLayout=True))
        layout.AssignView(cell, views[-1])
    return layout, views


def make_pictures(source, reader, sizes, psnr, rmse, folder):
    """One picture a month: original, decoded, difference, of the sea north of the equator, cut there
    so that its depths are seen."""
    north = [simple.ExtractSubset(Input=proxy, VOI=[0, 179, 44, 89, 0, 18])
             for proxy in (source, reader)]
    difference = simple.PythonCalculator(
        Input=north, ArrayName="difference",
        Expression="inputs[0].PointData['%s'] - inputs[1].PointData['%s']" % (ARRAY, ARRAY))
    layout, views = three_views()
    for view, proxy in zip(views, north):
        panel(view, proxy, ARRAY, "Inferno (matplotlib)", (-2, 31), "Sea temperature, °C")
    panel(views[2], difference, "difference", "Cool to Warm", (-4 * rmse, 4 * rmse),
          "Original − decoded, °C")
    captions = [add_caption(view) for view in views]
    for month, name in MONTHS.items():
        for view in views:
            view.ViewTime = month
        captions[0].Text = "%s, original\nthe year: %.1f MB" % (name, sizes[0] / 1e6)
        captions[1].Text = "%s, decoded\nthe year: %.0f kB" % (name, sizes[1] / 1e3)
        captions[2].Text = "%s, difference\nPSNR of the year: %.1f dB" % (name, psnr)
        path = os.path.join(folder, "ocean_month_%02d.png" % month)
        simple.SaveScreenshot(path, layout, ImageResolution=PICTURE)
        print("picture    %s" % path)


def main(plugin, series, folder):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "ocean.kdm")
    simple.LoadPlugin(plugin, remote=False, ns=vars(simple))
    source = simple.OpenDataFile(series)
    n_steps = len(source.TimestepValues)
    print("series     %s, %d months" % (series, n_steps))
    print("compress   ratio %d asked for; some minutes on two cores ..." % RATIO, flush=True)
    seconds = compress(source, path)
    reader = simple.OpenDataFile(path)
    if list(reader.TimestepValues) != list(source.TimestepValues):
        fail("the reader offers other times than the series has")
    psnr, rmse, largest, decode_seconds = compare(source, reader)
    sizes = (4 * n_steps * values(source, 1).size, os.path.getsize(path))
    print("file       %s, %d bytes for %d bytes of data: ratio %.1f"
          % (path, sizes[1], sizes[0], sizes[0] / sizes[1]))
    print("quality    PSNR %.2f dB over the sea, RMSE %.3f °C, largest error %.2f °C; land is exact"
          % (psnr, rmse, largest))
    print("time       %.0f s to compress, %.2f s to decode a month" % (seconds, decode_seconds))
    make_pictures(source, reader, sizes, psnr, rmse, folder)


main(*sys.argv[1:])
