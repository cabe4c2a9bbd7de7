// Maps of missing samples to NaN and to vtkGhostType.
#include "vtkKDINRMissing.h"

#include "vtkCellData.h"
#include "vtkDataArray.h"
#include "vtkDataSet.h"
#include "vtkDataSetAttributes.h"
#include "vtkIdList.h"
#include "vtkNew.h"
#include "vtkPointData.h"
#include "vtkUnsignedCharArray.h"

#include <limits>

namespace
{
void AddGhosts(
  vtkDataSetAttributes* attributes, const std::vector<uint8_t>& hidden, unsigned char flag)
{
  vtkNew<vtkUnsignedCharArray> ghosts;
  ghosts->SetName(vtkDataSetAttributes::GhostArrayName());
  ghosts->SetNumberOfTuples(static_cast<vtkIdType>(hidden.size()));
  for (size_t i = 0; i < hidden.size(); ++i)
  {
    ghosts->SetValue(static_cast<vtkIdType>(i), hidden[i] ? flag : 0);
  }
  attributes->AddArray(ghosts);
}
}

void vtkKDINRMissing::SetNaN(const std::vector<uint8_t>& missing, vtkDataArray* values)
{
  if (values->GetDataType() != VTK_FLOAT && values->GetDataType() != VTK_DOUBLE)
  {
    return;
  }
  for (size_t i = 0; i < missing.size(); ++i)
  {
    for (int c = 0; missing[i] && c < values->GetNumberOfComponents(); ++c)
    {
      values->SetComponent(static_cast<vtkIdType>(i), c, std::numeric_limits<double>::quiet_NaN());
    }
  }
}

void vtkKDINRMissing::Add(bool points, const std::vector<uint8_t>& missing)
{
  std::vector<uint8_t>& noted = points ? this->Points : this->Cells;
  noted.resize(missing.size(), 0);
  for (size_t i = 0; i < missing.size(); ++i)
  {
    noted[i] |= missing[i];
  }
}

void vtkKDINRMissing::Blank(vtkDataSet* grid) const
{
  if (this->Points.empty() && this->Cells.empty())
  {
    return;
  }
  std::vector<uint8_t> cells = this->Cells;
  cells.resize(static_cast<size_t>(grid->GetNumberOfCells()), 0);
  if (!this->Points.empty())
  {
    vtkNew<vtkIdList> corners;
    for (vtkIdType cell = 0; cell < grid->GetNumberOfCells(); ++cell)
    {
      grid->GetCellPoints(cell, corners);
      for (vtkIdType i = 0; i < corners->GetNumberOfIds(); ++i)
      {
        cells[static_cast<size_t>(cell)] |= this->Points[static_cast<size_t>(corners->GetId(i))];
      }
    }
    AddGhosts(grid->GetPointData(), this->Points, vtkDataSetAttributes::HIDDENPOINT);
  }
  AddGhosts(grid->GetCellData(), cells, vtkDataSetAttributes::HIDDENCELL);
}
