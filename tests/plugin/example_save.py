# pvpython example_save.py SERIES.pvd FOLDER
# The three ways to write a .kdm from a script: Save Data, the filter, an extractor (Save Extracts).
# plugin/README.md quotes this file.
import os
import sys

from paraview.simple import (CreateExtractor, KDINRReader, KDINRWriter, OpenDataFile, SaveData,
                             SaveExtracts)

series_file, folder = sys.argv[1:3]
os.makedirs(folder, exist_ok=True)
series = OpenDataFile(series_file)
series.UpdatePipelineInformation()

# 1 File > Save Data: all time steps go into one file.
saved = os.path.join(folder, 'saved.kdm')
SaveData(saved, proxy=series, CompressionRatio=50, Effort='Low')

# 2 The filter passes its input through, so that a pipeline can go on behind it.
filtered = os.path.join(folder, 'filtered.kdm')
writer = KDINRWriter(Input=series, FileName=filtered, CompressionRatio=50, Effort='Low')
writer.UpdatePipeline()
writer.UpdatePropertyInformation()
print(writer.Result)

# 3 An extractor, as Save Extracts and Catalyst scripts use it.
extractor = CreateExtractor('KDM', series, registrationName='extracted')
extractor.Writer.FileName = 'extracted.kdm'
extractor.Writer.CompressionRatio = 50
extractor.Writer.Effort = 'Low'
SaveExtracts(ExtractsOutputDirectory=folder)

# The three files are the same.
files = [open(os.path.join(folder, name + '.kdm'), 'rb').read()
         for name in ('saved', 'filtered', 'extracted')]
assert files[0] == files[1] == files[2]

# Read one back: half way between two steps, at half the resolution.
reader = KDINRReader(FileName=saved, Resolution='1/2')
reader.UpdatePipelineInformation()
times = reader.TimestepValues
reader.UpdatePipeline(0.5 * (times[0] + times[1]))
reader.UpdatePropertyInformation()
print(reader.OutputGrid, '|', reader.Quality)
