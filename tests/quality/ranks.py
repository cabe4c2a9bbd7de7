# mpirun -n RANKS pvbatch --sym ranks.py [FLAGS] OUT.kdm NX,NY,NZ FILE...
# Compresses a series of raw files through the writer, one thread a rank, and prints the seconds that
# took and the memory of each rank: when it has opened the series, and at most. The file must be the
# same for any number of ranks.
import argparse
import time

from paraview.simple import ImageReader, KDINRWriter
from paraview.vtk import vtkMultiProcessController


def triple(text):
    return [int(n) for n in text.split(',')]


def memory(key):
    """Of this process, in MB."""
    lines = open('/proc/self/status').read().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


parser = argparse.ArgumentParser()
parser.add_argument('--ratio', type=float, default=300.0)
parser.add_argument('--bricks', type=triple, default=[0, 0, 0])
parser.add_argument('--width', type=int, default=0)
parser.add_argument('--depth', type=int, default=0)
parser.add_argument('out')
parser.add_argument('dims', type=triple)
parser.add_argument('files', nargs='+')
args = parser.parse_args()
controller = vtkMultiProcessController.GetGlobalController()
rank, n_ranks = controller.GetLocalProcessId(), controller.GetNumberOfProcesses()

series = ImageReader(FileNames=args.files, DataScalarType='float', DataByteOrder='LittleEndian',
                     DataExtent=[end for n in args.dims for end in (0, n - 1)])
writer = KDINRWriter(Input=series, FileName=args.out, CompressionRatio=args.ratio, Effort='Low',
                     BrickCounts=args.bricks, Width=args.width, Depth=args.depth, NumberOfThreads=1)
controller.Barrier()
before = memory('VmRSS')
start = time.monotonic()
writer.UpdatePipeline(0.0)
seconds = time.monotonic() - start
print(f'rank {rank}: {before:.0f} MB before, {memory("VmHWM"):.0f} MB at most', flush=True)
controller.Barrier()
if rank == 0:
    writer.UpdatePropertyInformation()
    print(f'{n_ranks} ranks: {seconds:.1f} s, {writer.Result}')
