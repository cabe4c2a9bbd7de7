// Missing samples as ParaView shows them: NaN in the values, and blanking by vtkGhostType. Before:
// the core says which samples are missing. After: the reader's output. Private to this module.
#ifndef vtkKDINRMissing_h
#define vtkKDINRMissing_h

#include "vtkSmartPointer.h"

#include <cstdint>
#include <vector>

class vtkDataArray;
class vtkDataSet;
class vtkUnsignedCharArray;

class vtkKDINRMissing
{
public:
  /// Put NaN into the missing samples of a float or double array; others stay as they are.
  static void SetNaN(const std::vector<uint8_t>& missing, vtkDataArray* values);

  /// Note that these points, or cells, have no value. [n], not 0: missing
  void Add(bool points, const std::vector<uint8_t>& missing);

  /// Hide what was noted, and the cells that have a hidden point.
  void Blank(vtkDataSet* grid) const;

private:
  std::vector<uint8_t> Points, Cells; // empty: none
};

#endif
