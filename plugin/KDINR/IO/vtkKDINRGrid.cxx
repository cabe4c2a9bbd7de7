// Resolutions of the stored grid: the same bounds, other numbers of points.
#include "vtkKDINRGrid.h"
#include "vtkKDINRBridge.h"

#include "vtkDoubleArray.h"
#include "vtkImageData.h"
#include "vtkNew.h"
#include "vtkRectilinearGrid.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace
{
constexpr int MaxDimension = 1 << 20; // of kdinr_volume

int Limit(double points, int stored)
{
  return stored == 1 ? 1 : static_cast<int>(std::clamp(points, 2.0, double{ MaxDimension }));
}

int Scale(int stored, double factor)
{
  return Limit(std::round((stored - 1) * factor) + 1.0, stored);
}
}

void vtkKDINRGrid::Choose(const kdinr_info* info, const Choice& choice)
{
  static const double factors[] = { 1.0, 0.5, 0.25, 0.125 };
  const bool named = choice.Resolution < SCALED;
  const double factor = named ? factors[choice.Resolution] : choice.ScaleFactor;
  double points = 1.0;
  int axes = 0;
  for (int axis = 0; axis < 3; ++axis)
  {
    const int stored = info->dims[axis];
    const int wanted = choice.Dimensions[axis] > 0 ? choice.Dimensions[axis] : stored;
    this->Dims[axis] =
      choice.Resolution == EXPLICIT ? Limit(wanted, stored) : Scale(stored, factor);
    points *= this->Dims[axis];
    axes += this->Dims[axis] > 1;
  }
  this->IsPreview = choice.MostPoints > 0.0 && points > choice.MostPoints;
  if (this->IsPreview)
  {
    const double shrink = std::pow(choice.MostPoints / points, 1.0 / axes);
    for (int axis = 0; axis < 3; ++axis)
    {
      this->Dims[axis] = Limit(std::floor(this->Dims[axis] * shrink), info->dims[axis]);
    }
  }
  std::copy_n(info->first, 3, this->First);
  std::copy_n(info->origin, 3, this->Origin);
  std::copy_n(info->spacing, 3, this->Spacing);
  if (std::equal(info->dims, info->dims + 3, this->Dims))
  {
    return;
  }
  // Another resolution counts from 0 and starts at the first stored point.
  for (int axis = 0; axis < 3; ++axis)
  {
    for (int j = 0; j < 3; ++j)
    {
      this->Origin[axis] += info->direction[3 * axis + j] * info->first[j] * info->spacing[j];
    }
    this->First[axis] = 0;
    if (info->dims[axis] > 1)
    {
      this->Spacing[axis] *= (info->dims[axis] - 1.0) / (this->Dims[axis] - 1.0);
    }
  }
}

void vtkKDINRGrid::GetWholeExtent(int extent[6]) const
{
  for (int axis = 0; axis < 3; ++axis)
  {
    extent[2 * axis] = this->First[axis];
    extent[2 * axis + 1] = this->First[axis] + this->Dims[axis] - 1;
  }
}

void vtkKDINRGrid::PutGeometry(const kdinr_info* info, const int extent[6], vtkDataSet* grid) const
{
  if (auto image = vtkImageData::SafeDownCast(grid))
  {
    image->SetExtent(const_cast<int*>(extent));
    image->SetOrigin(this->Origin);
    image->SetSpacing(this->Spacing);
    image->SetDirectionMatrix(info->direction);
    return;
  }
  auto rectilinear = vtkRectilinearGrid::SafeDownCast(grid);
  rectilinear->SetExtent(const_cast<int*>(extent));
  kdinr_request request = kdinr_request_default(info, 0);
  std::copy_n(this->Dims, 3, request.dims);
  vtkNew<vtkDoubleArray> axes[3];
  for (int axis = 0; axis < 3; ++axis)
  {
    std::vector<double> all(static_cast<size_t>(this->Dims[axis]));
    kdinr_request_axis(info, &request, axis, all.data());
    for (int i = extent[2 * axis]; i <= extent[2 * axis + 1]; ++i)
    {
      axes[axis]->InsertNextValue(all[static_cast<size_t>(i - this->First[axis])]);
    }
  }
  rectilinear->SetXCoordinates(axes[0]);
  rectilinear->SetYCoordinates(axes[1]);
  rectilinear->SetZCoordinates(axes[2]);
}

void vtkKDINRGrid::GetSamples(const int points[6], bool cells, int samples[6]) const
{
  std::copy(points, points + 6, samples);
  if (!cells)
  {
    return;
  }
  vtkKDINRBridge::CellExtent(points, samples);
  for (int axis = 0; axis < 3; ++axis)
  {
    // A slice at the very end shows the last layer of cells.
    const int last = std::max(this->Dims[axis] - 2, 0);
    samples[2 * axis] = std::min(samples[2 * axis], last);
    samples[2 * axis + 1] = std::min(samples[2 * axis + 1], last);
  }
}

std::string vtkKDINRGrid::GetText() const
{
  std::string text;
  for (int axis = 0; axis < 3; ++axis)
  {
    text += (axis ? " x " : "") + std::to_string(this->Dims[axis]);
  }
  return text + (this->IsPreview ? " points, a preview" : " points");
}

bool vtkKDINRGrid::IsEmpty(const int extent[6])
{
  return extent[0] > extent[1] || extent[2] > extent[3] || extent[4] > extent[5];
}

double vtkKDINRGrid::NumberOfSamples(const int extent[6])
{
  double n = 1.0;
  for (int axis = 0; axis < 3; ++axis)
  {
    n *= extent[2 * axis + 1] - extent[2 * axis] + 1.0;
  }
  return n;
}
