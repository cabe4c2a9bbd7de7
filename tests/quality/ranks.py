# mpirun -n RANKS pvbatch ranks.py OUT.kdm NX,NY,NZ FILE...
# Compresses a series of raw files through the writer, one thread a rank, and prints the seconds that
# took. The file must be the same for any number of ranks.
import sys
import time

from paraview.simple import ImageReader, KDINRWriter
from paraview.vtk import vtkMultiProcessController

out, dims, files = sys.argv[1], [int(n) for n in sys.argv[2].split(',')], sys.argv[3:]
controller = vtkMultiProcessController.GetGlobalController()

series = ImageReader(FileNames=files, DataScalarType='float', DataByteOrder='LittleEndian',
                     DataExtent=[0, dims[0] - 1, 0, dims[1] - 1, 0, dims[2] - 1])
writer = KDINRWriter(Input=series, FileName=out, CompressionRatio=300.0, Effort='Low',
                     NumberOfThreads=1)
start = time.monotonic()
writer.UpdatePipeline(0.0)
if controller.GetLocalProcessId() == 0:
    writer.UpdatePropertyInformation()
    print(f'{controller.GetNumberOfProcesses()} ranks: {time.monotonic() - start:.1f} s,'
          f' {writer.Result}')
