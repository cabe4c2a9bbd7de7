// What the MPI ranks of one ParaView server do together, through its controller.
#include "vtkKDINRRanks.h"

#include "vtkCommunicator.h"
#include "vtkDataArray.h"
#include "vtkMultiProcessController.h"
#include "vtkRectilinearGrid.h"

#include <limits>
#include <vector>

namespace
{
constexpr size_t MostBytes = 1 << 30; // of one message: MPI counts with int
}

vtkKDINRRanks::vtkKDINRRanks(vtkMultiProcessController* controller)
  : Controller(controller)
{
  if (controller)
  {
    this->Rank = controller->GetLocalProcessId();
    this->NumberOfRanks = controller->GetNumberOfProcesses();
  }
}

bool vtkKDINRRanks::Agree(bool ok, kdinr_error& error) const
{
  if (this->NumberOfRanks == 1)
  {
    return ok;
  }
  const int failed = ok ? this->NumberOfRanks : this->Rank;
  int first = 0;
  this->Controller->AllReduce(&failed, &first, 1, vtkCommunicator::MIN_OP);
  if (first == this->NumberOfRanks)
  {
    return true;
  }
  int status = error.status;
  this->Controller->Broadcast(&status, 1, first);
  this->Controller->Broadcast(error.message, sizeof error.message, first);
  error.status = static_cast<kdinr_status>(status);
  return false;
}

kdinr_share vtkKDINRRanks::Share() const
{
  return { this->Rank, this->NumberOfRanks, &vtkKDINRRanks::Exchange, this->Controller };
}

bool vtkKDINRRanks::Exchange(void* controller, const void* mine, size_t size, void* all)
{
  return size <= MostBytes &&
    static_cast<vtkMultiProcessController*>(controller)
      ->AllGather(
        static_cast<const char*>(mine), static_cast<char*>(all), static_cast<vtkIdType>(size));
}

std::vector<double> vtkKDINRRanks::GatherAxis(vtkDataSet* piece, int axis, const int whole[2]) const
{
  auto grid = vtkRectilinearGrid::SafeDownCast(piece);
  if (!grid)
  {
    return {};
  }
  vtkDataArray* points = axis == 0 ? grid->GetXCoordinates()
    : axis == 1                    ? grid->GetYCoordinates()
                                   : grid->GetZCoordinates();
  const int n = whole[1] - whole[0] + 1;
  std::vector<double> mine(static_cast<size_t>(n), std::numeric_limits<double>::lowest());
  const int first = grid->GetExtent()[2 * axis];
  const bool empty = grid->GetNumberOfPoints() == 0;
  for (vtkIdType i = 0; !empty && points && i < points->GetNumberOfTuples(); ++i)
  {
    const vtkIdType index = first - whole[0] + i;
    if (index >= 0 && index < n)
    {
      mine[static_cast<size_t>(index)] = points->GetComponent(i, 0);
    }
  }
  if (this->NumberOfRanks == 1)
  {
    return mine;
  }
  std::vector<double> all(mine.size());
  this->Controller->AllReduce(mine.data(), all.data(), n, vtkCommunicator::MAX_OP);
  return all;
}
