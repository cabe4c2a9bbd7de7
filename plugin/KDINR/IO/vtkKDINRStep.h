// One time step, of which each rank has a piece: brings to every rank the samples that its encoder
// asks for, and nothing else. Before: each rank updated its piece (vtkKDINRSeries). After:
// kdinr_encoder_plan, _push or _verify. With one rank nothing is copied or sent. Private to this
// module.
#ifndef vtkKDINRStep_h
#define vtkKDINRStep_h

#include "vtkKDINRRanks.h"

#include "kdinr.h"
#include "vtkSmartPointer.h"

#include <array>
#include <functional>
#include <string>
#include <vector>

class vtkDataArray;
class vtkImageData;

class vtkKDINRStep
{
public:
  /// First and last index along x, y and z; what ends before it starts is empty.
  using Extent = std::array<int, 6>;

  /// The samples of array `array`, counted from 0, that `rank` shall get.
  using Wish = std::function<bool(int array, int rank, Extent& extent, kdinr_error& error)>;

  /// `ranks` must outlive the step.
  explicit vtkKDINRStep(const vtkKDINRRanks& ranks);
  ~vtkKDINRStep();

  /// Collective. Take this rank's piece of the grid `whole` in place of what was there. Fails
  /// (DATA) if no rank has points, there is no array, or the ranks' arrays differ. piece  as
  /// vtkKDINRBridge::SelectArrays made it; it may be empty if other ranks' are not
  bool SetPiece(vtkImageData* piece, const int whole[6], kdinr_error& error);

  /// Collective. Bring to each rank what it wishes, and let go of the piece. Fails (DATA) if no
  /// piece has a sample that a rank wishes.
  bool Move(const Wish& wish, kdinr_error& error);

  /// For Move: all samples to all ranks.
  bool WishAll(int array, Extent& extent) const;

  /// What this rank has, as the core sees it, with samples equal to `*fill` missing (nullptr:
  /// none). The view lasts until the next call.
  kdinr_volume View(const double* fill);

  /// Let go of all values.
  void Clear();

private:
  // One array as all ranks know it, and what this rank has of it.
  struct Array
  {
    bool Points;
    std::string Name;
    int Type;
    int Components;
    vtkSmartPointer<vtkDataArray> Values; // nullptr: none
    Extent Samples;                       // that the values are of
    bool IsLike(const Array& other) const
    {
      return this->Points == other.Points && this->Name == other.Name && this->Type == other.Type &&
        this->Components == other.Components;
    }
  };

  void Describe(vtkImageData* piece);
  void Broadcast(int source);
  bool Compare(int source, const std::vector<Array>& mine, kdinr_error& error) const;
  bool CheckArrays(kdinr_error& error) const;
  Extent SamplesOf(const int piece[6], bool points) const;
  bool MoveArray(Array& array, const std::vector<Extent>& wishes, kdinr_error& error);

  const vtkKDINRRanks& Ranks;
  Extent Whole;               // points
  std::vector<Extent> Pieces; // points, of all ranks
  double Origin[3], Spacing[3], Direction[9];
  std::vector<Array> Arrays;

  // What a view points to.
  std::vector<kdinr_array> Views;
  std::vector<int> Extents;
};

#endif
