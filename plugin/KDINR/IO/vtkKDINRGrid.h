// The grid that the reader announces: the stored one or another resolution of it over the same
// bounds. Before: vtkKDINRReader knows the file and its settings. After: every extent counts on
// this grid. Private to this module.
#ifndef vtkKDINRGrid_h
#define vtkKDINRGrid_h

#include "kdinr.h"

#include <string>

class vtkDataSet;

struct vtkKDINRGrid
{
  enum
  {
    STORED,
    HALF,
    QUARTER,
    EIGHTH,
    SCALED,
    EXPLICIT
  };
  /// What the user chose.
  struct Choice
  {
    int Resolution;
    double ScaleFactor;      ///< with SCALED: intervals per stored interval
    const int* Dimensions;   ///< with EXPLICIT: points, 0: as stored
    double MostPoints = 0.0; ///< no more than these, by a coarser grid; 0: no limit
  };

  int Dims[3] = { 0, 0, 0 };  ///< points
  int First[3] = { 0, 0, 0 }; ///< index of the first point
  double Origin[3] = { 0, 0, 0 };
  double Spacing[3] = { 1, 1, 1 };
  bool IsPreview = false; ///< coarser than the choice because of MostPoints

  void Choose(const kdinr_info* info, const Choice& choice);

  void GetWholeExtent(int extent[6]) const;

  /// Where the points of `extent` lie; `grid` is a vtkImageData or vtkRectilinearGrid, as IsImage.
  void PutGeometry(const kdinr_info* info, const int extent[6], vtkDataSet* grid) const;

  /// The samples of an array that lie in `points`, both counted from 0.
  void GetSamples(const int points[6], bool cells, int samples[6]) const;

  /// For example "181 x 91 x 19 points, a preview".
  std::string GetText() const;

  static bool IsImage(const kdinr_info* info)
  {
    return info->axes[0] == nullptr;
  }
  static bool IsEmpty(const int extent[6]);
  static double NumberOfSamples(const int extent[6]);
};

#endif
