// Where VTK's data meet the core's: value types, error codes, and a vtkImageData seen as a
// kdinr_volume. Nothing here touches single values: arrays are handed over by pointer, and only
// those in a layout that the core does not know are copied first.
#include "vtkKDINRBridge.h"

#include "vtkCellData.h"
#include "vtkDataArray.h"
#include "vtkDataArraySelection.h"
#include "vtkDataSetAttributes.h"
#include "vtkErrorCode.h"
#include "vtkImageData.h"
#include "vtkMatrix3x3.h"
#include "vtkPointData.h"
#include "vtkRectilinearGrid.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>

namespace
{
constexpr int MaxComponents = 9; // of kdinr_array

bool IsSelected(const vtkKDINRBridge::Selection& selection, bool points, const char* name)
{
  if (selection.Points->GetNumberOfArrays() == 0 && selection.Cells->GetNumberOfArrays() == 0)
  {
    return true;
  }
  return (points ? selection.Points : selection.Cells)->ArrayIsEnabled(name) != 0;
}

// `array` itself if the core can read its memory and it has a name, else a copy with both.
vtkSmartPointer<vtkDataArray> Readable(vtkDataArray* array, const std::string& name)
{
  const bool bits = array->GetDataType() == VTK_BIT;
  const bool readable = array->HasStandardMemoryLayout() && !bits;
  if (readable && !name.empty())
  {
    return array;
  }
  auto copy = vtkSmartPointer<vtkDataArray>::Take(
    vtkDataArray::CreateDataArray(bits ? VTK_UNSIGNED_CHAR : array->GetDataType()));
  if (readable)
  {
    copy->ShallowCopy(array); // shares the values
  }
  else
  {
    copy->DeepCopy(array);
  }
  copy->SetName(name.empty() ? "unnamed" : name.c_str());
  return copy;
}

bool SelectAttributes(vtkDataSetAttributes* from, const vtkKDINRBridge::Selection& selection,
  vtkDataSetAttributes* to, kdinr_error& error)
{
  const bool points = vtkPointData::SafeDownCast(from) != nullptr;
  for (int i = 0; i < from->GetNumberOfArrays(); ++i)
  {
    vtkAbstractArray* array = from->GetAbstractArray(i);
    const std::string name = array->GetName() ? array->GetName() : "";
    if (name == vtkDataSetAttributes::GhostArrayName() ||
      !IsSelected(selection, points, name.c_str()))
    {
      continue;
    }
    vtkDataArray* numbers = vtkDataArray::SafeDownCast(array);
    if (!numbers)
    {
      return vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA,
        "array '" + name + "' is a " + array->GetClassName() +
          ": only numbers can be compressed, take it out of the selection");
    }
    if (numbers->GetNumberOfComponents() > MaxComponents)
    {
      return vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA,
        "array '" + name + "' has " + std::to_string(numbers->GetNumberOfComponents()) +
          " components, at most " + std::to_string(MaxComponents) + " can be compressed");
    }
    to->AddArray(Readable(numbers, name));
  }
  return true;
}

void ViewAttributes(vtkDataSetAttributes* from, kdinr_association association, const double* fill,
  std::vector<kdinr_array>& arrays)
{
  for (int i = 0; i < from->GetNumberOfArrays(); ++i)
  {
    vtkDataArray* array = from->GetArray(i);
    kdinr_array view = {};
    view.name = array->GetName();
    view.type = vtkKDINRBridge::CoreType(array->GetDataType());
    view.n_components = array->GetNumberOfComponents();
    view.association = association;
    view.values = array->GetVoidPointer(0);
    view.has_fill = fill != nullptr;
    view.fill_value = fill ? *fill : 0.0;
    arrays.push_back(view);
  }
}
}

int vtkKDINRBridge::VTKType(kdinr_type type)
{
  switch (type)
  {
    case KDINR_FLOAT64:
      return VTK_DOUBLE;
    case KDINR_UINT8:
      return VTK_TYPE_UINT8;
    case KDINR_INT8:
      return VTK_TYPE_INT8;
    case KDINR_UINT16:
      return VTK_TYPE_UINT16;
    case KDINR_INT16:
      return VTK_TYPE_INT16;
    case KDINR_UINT32:
      return VTK_TYPE_UINT32;
    case KDINR_INT32:
      return VTK_TYPE_INT32;
    case KDINR_UINT64:
      return VTK_TYPE_UINT64;
    case KDINR_INT64:
      return VTK_TYPE_INT64;
    default:
      return VTK_FLOAT;
  }
}

kdinr_type vtkKDINRBridge::CoreType(int vtkType)
{
  // char, long and vtkIdType differ between platforms, so types are matched by what they are.
  static const kdinr_type unsignedTypes[] = { KDINR_UINT8, KDINR_UINT16, KDINR_UINT32,
    KDINR_UINT64 };
  static const kdinr_type signedTypes[] = { KDINR_INT8, KDINR_INT16, KDINR_INT32, KDINR_INT64 };
  if (vtkType == VTK_FLOAT || vtkType == VTK_DOUBLE)
  {
    return vtkType == VTK_FLOAT ? KDINR_FLOAT32 : KDINR_FLOAT64;
  }
  const int size = vtkDataArray::GetDataTypeSize(vtkType);
  const int log2Size = size == 8 ? 3 : size == 4 ? 2 : size == 2 ? 1 : 0;
  return (vtkDataArray::GetDataTypeMin(vtkType) < 0 ? signedTypes : unsignedTypes)[log2Size];
}

unsigned long vtkKDINRBridge::ErrorCode(kdinr_status status)
{
  switch (status)
  {
    case KDINR_OK:
      return vtkErrorCode::NoError;
    case KDINR_ERROR_IO:
      return vtkErrorCode::CannotOpenFileError;
    case KDINR_ERROR_FORMAT:
      return vtkErrorCode::FileFormatError;
    case KDINR_ERROR_VERSION:
      return vtkErrorCode::UnrecognizedFileTypeError;
    default:
      return static_cast<unsigned long>(vtkErrorCode::UserError) + status;
  }
}

bool vtkKDINRBridge::Fail(kdinr_error& error, kdinr_status status, const std::string& message)
{
  error.status = status;
  std::snprintf(error.message, sizeof error.message, "%s", message.c_str());
  return false;
}

vtkSmartPointer<vtkDataArray> vtkKDINRBridge::NewArray(
  int vtkType, const std::string& name, int components, vtkIdType tuples)
{
  auto array = vtkSmartPointer<vtkDataArray>::Take(vtkDataArray::CreateDataArray(vtkType));
  array->SetName(name.c_str());
  array->SetNumberOfComponents(components);
  const vtkIdType valueSize = array->GetDataTypeSize();
  if (tuples > std::numeric_limits<vtkIdType>::max() / valueSize / components)
  {
    return nullptr;
  }
  const vtkIdType values = tuples * components;
  void* memory = std::malloc(static_cast<size_t>(std::max<vtkIdType>(values * valueSize, 1)));
  if (!memory)
  {
    return nullptr;
  }
  array->SetVoidArray(memory, values, 0, vtkAbstractArray::VTK_DATA_ARRAY_FREE);
  return array;
}

void vtkKDINRBridge::CellExtent(const int points[6], int cells[6])
{
  for (int axis = 0; axis < 3; ++axis)
  {
    cells[2 * axis] = points[2 * axis];
    cells[2 * axis + 1] = std::max(points[2 * axis + 1] - 1, points[2 * axis]);
  }
}

bool vtkKDINRBridge::SelectArrays(
  vtkDataSet* data, const Selection& selection, vtkImageData* lean, kdinr_error& error)
{
  if (auto rectilinear = vtkRectilinearGrid::SafeDownCast(data))
  {
    lean->SetExtent(rectilinear->GetExtent());
  }
  else
  {
    lean->CopyStructure(data);
  }
  lean->GetPointData()->Initialize(); // CopyStructure brings ghost arrays along
  lean->GetCellData()->Initialize();
  try
  {
    return SelectAttributes(data->GetPointData(), selection, lean->GetPointData(), error) &&
      SelectAttributes(data->GetCellData(), selection, lean->GetCellData(), error);
  }
  catch (const std::bad_alloc&)
  {
    return Fail(error, KDINR_ERROR_MEMORY, "no memory to copy an array of the input");
  }
}

kdinr_volume vtkKDINRBridge::View(
  vtkImageData* lean, const double* fill, std::vector<kdinr_array>& arrays)
{
  arrays.clear();
  ViewAttributes(lean->GetPointData(), KDINR_POINTS, fill, arrays);
  ViewAttributes(lean->GetCellData(), KDINR_CELLS, fill, arrays);
  kdinr_volume volume = kdinr_volume_default();
  int extent[6];
  lean->GetExtent(extent);
  for (int axis = 0; axis < 3; ++axis)
  {
    volume.first[axis] = extent[2 * axis];
    volume.dims[axis] = extent[2 * axis + 1] - extent[2 * axis] + 1;
  }
  lean->GetOrigin(volume.origin);
  lean->GetSpacing(volume.spacing);
  const double* direction = lean->GetDirectionMatrix()->GetData();
  std::copy(direction, direction + 9, volume.direction);
  volume.n_arrays = static_cast<int>(arrays.size());
  volume.arrays = arrays.data();
  return volume;
}

double vtkKDINRBridge::Ratio(const kdinr_info* info)
{
  return static_cast<double>(info->data_size) / static_cast<double>(info->file_size);
}

double vtkKDINRBridge::LowestPSNR(const kdinr_info* info)
{
  double lowest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < info->n_arrays; ++i)
  {
    lowest = std::min(lowest, info->arrays[i].psnr_overall);
  }
  return lowest;
}

std::string vtkKDINRBridge::SizeText(double bytes)
{
  static const char* const units[] = { "bytes", "kB", "MB", "GB", "TB" };
  size_t unit = 0;
  for (; bytes >= 1000.0 && unit < 4; ++unit)
  {
    bytes /= 1000.0;
  }
  char text[64];
  std::snprintf(text, sizeof text, "%.*f %s", unit && bytes < 100.0 ? 1 : 0, bytes, units[unit]);
  return text;
}

std::string vtkKDINRBridge::DurationText(double seconds)
{
  const long long whole = std::llround(std::max(seconds, 1.0));
  if (whole >= 3600)
  {
    return std::to_string(whole / 3600) + " h " + std::to_string(whole % 3600 / 60) + " min";
  }
  return (whole >= 60 ? std::to_string(whole / 60) + " min " : "") + std::to_string(whole % 60) +
    " s";
}

void vtkKDINRBridge::AddArray(vtkDataSet* grid, bool cells, vtkDataArray* values)
{
  if (cells)
  {
    grid->GetCellData()->AddArray(values);
  }
  else if (grid->GetPointData()->GetScalars())
  {
    grid->GetPointData()->AddArray(values);
  }
  else
  {
    grid->GetPointData()->SetScalars(values);
  }
}

std::string vtkKDINRBridge::BackendInUse(const std::string& name)
{
  const char* reason = nullptr;
  std::string found = "none";
  std::string refused;
  for (int i = 0; const char* candidate = kdinr_backend_name(i, &reason); ++i)
  {
    if (name != "auto" && name != candidate)
    {
      continue;
    }
    if (!reason)
    {
      found = candidate;
      break;
    }
    refused += (refused.empty() ? "" : "; ") + std::string(candidate) + ": " + reason;
  }
  return refused.empty() ? found : found + " (" + refused + ")";
}

std::string vtkKDINRBridge::QualityText(const kdinr_info* info)
{
  std::string text;
  for (int i = 0; i < info->n_arrays; ++i)
  {
    const kdinr_array_info& array = info->arrays[i];
    const float largest = *std::max_element(array.max_error, array.max_error + info->n_steps);
    char quality[96] = "exact";
    if (std::isfinite(array.psnr_overall))
    {
      std::snprintf(quality, sizeof quality, "%.2f dB, error up to %.3g", array.psnr_overall,
        static_cast<double>(largest));
    }
    text += (i ? "; " : "") + std::string(array.name) + " " + quality +
      (array.quality_exact ? "" : " (estimated)");
  }
  return text;
}
