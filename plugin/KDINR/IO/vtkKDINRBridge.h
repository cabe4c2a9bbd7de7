// Where VTK's data meet the core's: value types, error codes, and a vtkImageData seen as a
// kdinr_volume. Before: the pipeline delivers a step (vtkKDINRWriter) or asks for one
// (vtkKDINRReader). After: kdinr_encoder_push, kdinr_decoder_read. Private to this module.
#ifndef vtkKDINRBridge_h
#define vtkKDINRBridge_h

#include "kdinr.h"
#include "vtkSmartPointer.h"
#include "vtkType.h"

#include <string>
#include <vector>

class vtkDataArray;
class vtkDataArraySelection;
class vtkDataSet;
class vtkImageData;

namespace vtkKDINRBridge
{
/// The VTK type (VTK_FLOAT, ...) whose values look like `type` in memory.
int VTKType(kdinr_type type);

/// The core's type for values of a VTK type (VTK_FLOAT, ...), which must not be VTK_BIT.
kdinr_type CoreType(int vtkType);

/// The vtkErrorCode for a failure of the core; UserError + status where VTK has no word for it.
unsigned long ErrorCode(kdinr_status status);

/// Fill `error` with a status and a sentence. Always returns false.
bool Fail(kdinr_error& error, kdinr_status status, const std::string& message);

/// An array of `tuples` uninitialised tuples, or nullptr if the memory cannot be had. (VTK's own
/// allocation ends the process in that case.)
vtkSmartPointer<vtkDataArray> NewArray(
  int vtkType, const std::string& name, int components, vtkIdType tuples);

/// The cells that lie between the points of `points`; an axis with one point has one layer.
void CellExtent(const int points[6], int cells[6]);

/// Which arrays of a step are compressed. If neither selection knows any array, all are.
struct Selection
{
  vtkDataArraySelection* Points;
  vtkDataArraySelection* Cells;
};

/// Copy the grid of `data`, a vtkImageData or vtkRectilinearGrid, and its selected arrays, in a
/// memory layout and with types that the core takes, into `lean`, where a rectilinear grid has unit
/// spacing; the values are shared wherever that is possible. Fails (DATA) on arrays that do not
/// hold numbers or have more than 9 components.
bool SelectArrays(
  vtkDataSet* data, const Selection& selection, vtkImageData* lean, kdinr_error& error);

/// `lean` as the core sees it, with samples equal to `*fill` missing (nullptr: none). `arrays`
/// receives the descriptions that the volume points to; they in turn point into `lean`.
kdinr_volume View(vtkImageData* lean, const double* fill, std::vector<kdinr_array>& arrays);

/// Data bytes / file bytes.
double Ratio(const kdinr_info* info);

/// The lowest PSNR of the arrays in dB, +inf if all are exact.
double LowestPSNR(const kdinr_info* info);

/// For example "12.3 kB" and "2 min 5 s".
std::string SizeText(double bytes);
std::string DurationText(double seconds);

/// Add an array; the first point array becomes the active scalars.
void AddArray(vtkDataSet* grid, bool cells, vtkDataArray* values);

/// The backend that computes when `name` is asked for, for "auto" the first that works here; and
/// why faster ones do not: "cpu (cuda: no NVIDIA driver is installed)".
std::string BackendInUse(const std::string& name);

/// For example "density 43.20 dB, error up to 0.01; flag exact".
std::string QualityText(const kdinr_info* info);
}

#endif
