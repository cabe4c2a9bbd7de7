// What the MPI ranks of one ParaView server do together: agree on success, and exchange what they
// trained. Before: each rank updated its piece (vtkKDINRSeries). After: vtkKDINRStep brings to each
// what it needs, and the encoders share the training (kdinr_share). Private to this module.
#ifndef vtkKDINRRanks_h
#define vtkKDINRRanks_h

#include "kdinr.h"

#include <vector>

class vtkDataSet;
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
  vtkMultiProcessController* GetController() const
  {
    return this->Controller;
  }

  /// Collective. True if `ok` is true on all ranks. If not, `error` becomes on all ranks the
  /// error of the first rank that failed.
  bool Agree(bool ok, kdinr_error& error) const;

  /// How the encoders of all ranks share their work. It lasts as long as the controller.
  kdinr_share Share() const;

  /// Collective. The coordinates of the whole grid along an axis, on all ranks; empty if `piece` is
  /// no vtkRectilinearGrid.
  /// whole  first and last index of the axis
  std::vector<double> GatherAxis(vtkDataSet* piece, int axis, const int whole[2]) const;

private:
  static bool Exchange(void* controller, const void* mine, size_t size, void* all);

  vtkMultiProcessController* Controller;
  int Rank = 0;
  int NumberOfRanks = 1;
};

#endif
