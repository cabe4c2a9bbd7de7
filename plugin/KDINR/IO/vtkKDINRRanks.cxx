// What the MPI ranks of one ParaView server do together: agree on success, bring the pieces of a
// step together, and exchange what they trained. Arrays travel one at a time, as raw bytes, from
// one rank after the other to rank 0 and from there to all, so that no rank holds more than the
// whole step and one piece of one array.
#include "vtkKDINRRanks.h"
#include "vtkKDINRBridge.h"

#include "vtkCellData.h"
#include "vtkCommunicator.h"
#include "vtkDataArray.h"
#include "vtkImageData.h"
#include "vtkMatrix3x3.h"
#include "vtkMultiProcessController.h"
#include "vtkMultiProcessStream.h"
#include "vtkNew.h"
#include "vtkPointData.h"
#include "vtkRectilinearGrid.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace
{
constexpr int PieceTag = 1;
constexpr vtkIdType MostBytes = 1 << 30; // of one message: MPI counts with int

// One array as all ranks know it.
struct ArrayEntry
{
  bool Points;
  std::string Name;
  int Type;
  int Components;
  bool operator==(const ArrayEntry& other) const
  {
    return this->Points == other.Points && this->Name == other.Name && this->Type == other.Type &&
      this->Components == other.Components;
  }
};

// Grid and arrays of a step, without values.
struct Description
{
  double Origin[3] = {}, Spacing[3] = {}, Direction[9] = {};
  std::vector<ArrayEntry> Arrays;
};

vtkDataSetAttributes* Attributes(vtkImageData* image, bool points)
{
  return points ? static_cast<vtkDataSetAttributes*>(image->GetPointData())
                : static_cast<vtkDataSetAttributes*>(image->GetCellData());
}

Description Describe(vtkImageData* image)
{
  Description description;
  image->GetOrigin(description.Origin);
  image->GetSpacing(description.Spacing);
  std::copy_n(image->GetDirectionMatrix()->GetData(), 9, description.Direction);
  for (const bool points : { true, false })
  {
    vtkDataSetAttributes* attributes = Attributes(image, points);
    for (int i = 0; i < attributes->GetNumberOfArrays(); ++i)
    {
      vtkDataArray* array = attributes->GetArray(i);
      description.Arrays.push_back(
        { points, array->GetName(), array->GetDataType(), array->GetNumberOfComponents() });
    }
  }
  return description;
}

// Collective: everybody gets the description of rank `source`.
Description Broadcast(vtkMultiProcessController* controller, const Description& mine, int source)
{
  vtkMultiProcessStream stream;
  for (const ArrayEntry& array : mine.Arrays)
  {
    stream << static_cast<int>(array.Points) << array.Name << array.Type << array.Components;
  }
  Description common = mine;
  int n = static_cast<int>(mine.Arrays.size());
  controller->Broadcast(&n, 1, source);
  controller->Broadcast(common.Origin, 3, source);
  controller->Broadcast(common.Spacing, 3, source);
  controller->Broadcast(common.Direction, 9, source);
  controller->Broadcast(stream, source);
  common.Arrays.resize(static_cast<size_t>(n));
  for (ArrayEntry& array : common.Arrays)
  {
    int points = 0;
    stream >> points >> array.Name >> array.Type >> array.Components;
    array.Points = points != 0;
  }
  return common;
}

vtkIdType NumberOfSamples(const int extent[6])
{
  vtkIdType n = 1;
  for (int axis = 0; axis < 3; ++axis)
  {
    n *= std::max(extent[2 * axis + 1] - extent[2 * axis] + 1, 0);
  }
  return n;
}

// The samples of an array of a piece with points `piece`. A piece that is flat where the whole
// is not has no cells of the whole: `samples` is empty then.
void SampleExtent(const int piece[6], const int whole[6], bool points, int samples[6])
{
  std::copy(piece, piece + 6, samples);
  if (points || NumberOfSamples(piece) == 0)
  {
    return;
  }
  vtkKDINRBridge::CellExtent(piece, samples);
  for (int axis = 0; axis < 3; ++axis)
  {
    if (piece[2 * axis] == piece[2 * axis + 1] && whole[2 * axis] < whole[2 * axis + 1])
    {
      samples[2 * axis + 1] = samples[2 * axis] - 1;
    }
  }
}

// Copy the rows of a piece to their place in the whole and mark them in `covered`.
void Place(const char* piece, const int pieceExtent[6], char* whole, const int wholeExtent[6],
  size_t tupleSize, std::vector<char>& covered)
{
  const int* p = pieceExtent;
  const int* w = wholeExtent;
  const vtkIdType nx = w[1] - w[0] + 1;
  const vtkIdType ny = w[3] - w[2] + 1;
  const size_t row = static_cast<size_t>(std::max(p[1] - p[0] + 1, 0));
  for (int z = p[4]; z <= p[5]; ++z)
  {
    for (int y = p[2]; y <= p[3]; ++y, piece += row * tupleSize)
    {
      const size_t start = static_cast<size_t>(((z - w[4]) * ny + (y - w[2])) * nx + p[0] - w[0]);
      std::memcpy(whole + start * tupleSize, piece, row * tupleSize);
      std::fill_n(covered.begin() + static_cast<std::ptrdiff_t>(start), row, 1);
    }
  }
}

bool Inside(const int piece[6], const int whole[6])
{
  bool inside = true;
  for (int axis = 0; axis < 3; ++axis)
  {
    inside =
      inside && piece[2 * axis] >= whole[2 * axis] && piece[2 * axis + 1] <= whole[2 * axis + 1];
  }
  return inside || NumberOfSamples(piece) == 0;
}

// Rank 0's part of bringing one array together; `extents` are the points of all ranks' pieces.
bool Collect(vtkMultiProcessController* controller, vtkImageData* mine, vtkImageData* whole,
  const ArrayEntry& entry, const std::vector<int>& extents, kdinr_error& error)
{
  int wholeSamples[6];
  SampleExtent(whole->GetExtent(), whole->GetExtent(), entry.Points, wholeSamples);
  const vtkIdType n = NumberOfSamples(wholeSamples);
  auto array = vtkKDINRBridge::NewArray(entry.Type, entry.Name, entry.Components, n);
  const size_t tupleSize =
    static_cast<size_t>(entry.Components * vtkDataArray::GetDataTypeSize(entry.Type));
  std::vector<char> received, covered(static_cast<size_t>(n), 0);
  for (size_t rank = 0; rank < extents.size() / 6; ++rank)
  {
    int samples[6];
    SampleExtent(&extents[6 * rank], whole->GetExtent(), entry.Points, samples);
    const vtkIdType size = NumberOfSamples(samples) * static_cast<vtkIdType>(tupleSize);
    const char* piece = nullptr;
    if (size == 0)
    {
      continue;
    }
    if (rank == 0)
    {
      vtkDataSetAttributes* attributes = Attributes(mine, entry.Points);
      piece = static_cast<char*>(attributes->GetArray(entry.Name.c_str())->GetVoidPointer(0));
    }
    else
    {
      received.resize(static_cast<size_t>(size));
      controller->Receive(received.data(), size, static_cast<int>(rank), PieceTag);
      piece = received.data();
    }
    if (array && Inside(samples, wholeSamples))
    {
      Place(piece, samples, static_cast<char*>(array->GetVoidPointer(0)), wholeSamples, tupleSize,
        covered);
    }
  }
  if (!array)
  {
    return vtkKDINRBridge::Fail(
      error, KDINR_ERROR_MEMORY, "no memory to bring array '" + entry.Name + "' together");
  }
  if (std::find(covered.begin(), covered.end(), 0) != covered.end())
  {
    return vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA,
      "the ranks' pieces of array '" + entry.Name + "' do not cover the whole grid");
  }
  Attributes(whole, entry.Points)->AddArray(array);
  return true;
}

// The other ranks' part: send what Collect receives, and make room for what comes back.
bool Contribute(vtkMultiProcessController* controller, vtkImageData* mine, vtkImageData* whole,
  const ArrayEntry& entry, kdinr_error& error)
{
  int samples[6];
  SampleExtent(mine->GetExtent(), whole->GetExtent(), entry.Points, samples);
  if (NumberOfSamples(samples) > 0)
  {
    vtkDataArray* array = Attributes(mine, entry.Points)->GetArray(entry.Name.c_str());
    controller->Send(static_cast<char*>(array->GetVoidPointer(0)),
      NumberOfSamples(samples) * entry.Components * array->GetDataTypeSize(), 0, PieceTag);
  }
  SampleExtent(whole->GetExtent(), whole->GetExtent(), entry.Points, samples);
  auto array =
    vtkKDINRBridge::NewArray(entry.Type, entry.Name, entry.Components, NumberOfSamples(samples));
  if (!array)
  {
    return vtkKDINRBridge::Fail(
      error, KDINR_ERROR_MEMORY, "no memory for the whole of array '" + entry.Name + "'");
  }
  Attributes(whole, entry.Points)->AddArray(array);
  return true;
}

// Collective: rank 0's values to all.
void Spread(vtkMultiProcessController* controller, vtkDataArray* array)
{
  auto bytes = static_cast<char*>(array->GetVoidPointer(0));
  vtkIdType left = array->GetNumberOfValues() * array->GetDataTypeSize();
  for (; left > 0; left -= MostBytes, bytes += MostBytes)
  {
    controller->Broadcast(bytes, std::min(left, MostBytes), 0);
  }
}
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
  return size <= static_cast<size_t>(MostBytes) &&
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

vtkSmartPointer<vtkImageData> vtkKDINRRanks::Gather(
  vtkImageData* piece, const int whole[6], kdinr_error& error) const
{
  if (this->NumberOfRanks == 1)
  {
    const bool all = std::equal(whole, whole + 6, piece->GetExtent());
    if (!all)
    {
      vtkKDINRBridge::Fail(
        error, KDINR_ERROR_DATA, "the input did not deliver the whole extent it announces");
    }
    return all ? piece : nullptr;
  }

  // The lowest rank that has points says what the arrays are.
  const bool mineIsEmpty = piece->GetNumberOfPoints() == 0;
  const int candidate = mineIsEmpty ? this->NumberOfRanks : this->Rank;
  int source = 0;
  this->Controller->AllReduce(&candidate, &source, 1, vtkCommunicator::MIN_OP);
  if (source == this->NumberOfRanks)
  {
    vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA, "the input is empty on every rank");
    return nullptr;
  }
  const Description mine = Describe(piece);
  const Description common = Broadcast(this->Controller, mine, source);
  bool ok = mineIsEmpty || mine.Arrays == common.Arrays;
  if (!ok)
  {
    vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA,
      "the arrays of rank " + std::to_string(this->Rank) + " differ from those of rank " +
        std::to_string(source));
  }
  if (!this->Agree(ok, error))
  {
    return nullptr;
  }

  vtkNew<vtkImageData> image;
  std::vector<int> extents(6 * static_cast<size_t>(this->NumberOfRanks));
  this->Controller->Gather(piece->GetExtent(), extents.data(), 6, 0);
  image->SetExtent(const_cast<int*>(whole));
  image->SetOrigin(common.Origin);
  image->SetSpacing(common.Spacing);
  image->SetDirectionMatrix(common.Direction);
  for (const ArrayEntry& entry : common.Arrays)
  {
    ok = this->IsRoot() ? Collect(this->Controller, piece, image, entry, extents, error)
                        : Contribute(this->Controller, piece, image, entry, error);
    if (!this->Agree(ok, error))
    {
      return nullptr;
    }
    Spread(this->Controller, Attributes(image, entry.Points)->GetArray(entry.Name.c_str()));
  }
  return image;
}
