// The arrays that the reader decoded last, so that going back and forth in time, or changing
// another property, does not decode them again. Private to this module.
#ifndef vtkKDINRCache_h
#define vtkKDINRCache_h

#include "vtkDataArray.h"
#include "vtkSmartPointer.h"

#include <list>
#include <string>

class vtkKDINRCache
{
public:
  /// The array that was added with this key, or nullptr. It is the last to go from now on.
  vtkSmartPointer<vtkDataArray> Find(const std::string& key);

  /// Keep an array; the oldest go until all fit `limit` bytes. Its values must stay as they are.
  void Add(const std::string& key, vtkDataArray* array, double limit);

  void Clear();

private:
  struct Entry
  {
    std::string Key;
    vtkSmartPointer<vtkDataArray> Array;
  };
  static double Size(vtkDataArray* array);
  std::list<Entry> Entries; // the latest in front
  double Used = 0.0;        // bytes
};

#endif
