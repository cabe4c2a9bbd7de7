// What the MPI ranks of one ParaView server do together: agree on success, and bring the pieces
// of a step to rank 0, which alone compresses. Before: each rank updated its piece
// (vtkKDINRWriter). After: rank 0 hands the whole step to the core. With one rank nothing is
// copied or sent. Private to this module.
#ifndef vtkKDINRRanks_h
#define vtkKDINRRanks_h

#include "kdinr.h"
#include "vtkSmartPointer.h"

#include <vector>

class vtkDataSet;
class vtkImageData;
class vtkMultiProcessController;

class vtkKDINRRanks
{
public:
  /// `controller` may be nullptr: one rank.
  explicit vtkKDINRRanks(vtkMultiProcessController* controller);

  int GetRank() const
  {
    return this->Rank;
  }
  int GetNumberOfRanks() const
  {
    return this->NumberOfRanks;
  }
  bool IsRoot() const
  {
    return this->Rank == 0;
  }

  /// Collective. True if `ok` is true on all ranks. If not, `error` becomes on all ranks the
  /// error of the first rank that failed.
  bool Agree(bool ok, kdinr_error& error) const;

  /// Collective. Rank 0's `value`, on all ranks.
  int Tell(int value) const;

  /// Collective. The grid `whole` with the arrays of all pieces, on rank 0; without arrays on
  /// the other ranks. Fails (DATA) if the pieces do not cover `whole` or their arrays differ, with
  /// nullptr on all ranks.
  /// piece  as vtkKDINRBridge::SelectArrays made it; it may be empty if other ranks' are not
  vtkSmartPointer<vtkImageData> Gather(
    vtkImageData* piece, const int whole[6], kdinr_error& error) const;

  /// Collective. The coordinates of the whole grid along an axis, on all ranks; empty if `piece` is
  /// no vtkRectilinearGrid.
  /// whole  first and last index of the axis
  std::vector<double> GatherAxis(vtkDataSet* piece, int axis, const int whole[2]) const;

private:
  vtkMultiProcessController* Controller;
  int Rank = 0;
  int NumberOfRanks = 1;
};

#endif
