// One time step from the ranks' pieces to what each rank needs. Arrays travel one after the other,
// as raw bytes, a plane of a box at a time, from the rank that has it to the rank that wishes it,
// so that no rank holds more than its piece, its wish and a plane.
#include "vtkKDINRStep.h"
#include "vtkKDINRBridge.h"

#include "vtkCellData.h"
#include "vtkCommunicator.h"
#include "vtkDataArray.h"
#include "vtkImageData.h"
#include "vtkMatrix3x3.h"
#include "vtkMultiProcessController.h"
#include "vtkMultiProcessStream.h"
#include "vtkPointData.h"

#include <algorithm>
#include <cstring>

namespace
{
using Extent = vtkKDINRStep::Extent;

constexpr int PlaneTag = 1;
constexpr Extent Nothing = { 0, -1, 0, -1, 0, -1 };

vtkIdType NumberOfSamples(const Extent& extent)
{
  vtkIdType n = 1;
  for (size_t axis = 0; axis < 3; ++axis)
  {
    n *= std::max(extent[2 * axis + 1] - extent[2 * axis] + 1, 0);
  }
  return n;
}

Extent Intersect(const Extent& a, const Extent& b)
{
  Extent both;
  for (size_t axis = 0; axis < 3; ++axis)
  {
    both[2 * axis] = std::max(a[2 * axis], b[2 * axis]);
    both[2 * axis + 1] = std::min(a[2 * axis + 1], b[2 * axis + 1]);
  }
  return NumberOfSamples(both) > 0 ? both : Nothing;
}

bool Inside(const Extent& inner, const Extent& outer)
{
  return NumberOfSamples(inner) == NumberOfSamples(Intersect(inner, outer));
}

vtkDataSetAttributes* Attributes(vtkImageData* image, bool points)
{
  return points ? static_cast<vtkDataSetAttributes*>(image->GetPointData())
                : static_cast<vtkDataSetAttributes*>(image->GetCellData());
}

char* BytesOf(vtkDataArray* values)
{
  return values ? static_cast<char*>(values->GetVoidPointer(0)) : nullptr;
}

// Values of a box of samples, x fastest.
struct Box
{
  Extent Samples;
  char* Bytes;
  size_t TupleSize;

  size_t RowSize(const Extent& part) const
  {
    return static_cast<size_t>(part[1] - part[0] + 1) * this->TupleSize;
  }
  // Index of the first sample of a part's row.
  size_t Start(const Extent& part, int y, int z) const
  {
    const Extent& s = this->Samples;
    const vtkIdType row = static_cast<vtkIdType>(z - s[4]) * (s[3] - s[2] + 1) + (y - s[2]);
    return static_cast<size_t>(row * (s[1] - s[0] + 1) + part[0] - s[0]);
  }
  size_t PlaneSize(const Extent& part) const
  {
    return this->RowSize(part) * static_cast<size_t>(part[3] - part[2] + 1);
  }
  // Copy plane z of a part to `plane`.
  void Pack(const Extent& part, int z, char* plane) const
  {
    for (int y = part[2]; y <= part[3]; ++y, plane += this->RowSize(part))
    {
      const char* row = this->Bytes + this->Start(part, y, z) * this->TupleSize;
      std::memcpy(plane, row, this->RowSize(part));
    }
  }
  // Copy it back to its place and mark that in `covered`.
  void Unpack(const Extent& part, int z, const char* plane, std::vector<bool>& covered) const
  {
    for (int y = part[2]; y <= part[3]; ++y, plane += this->RowSize(part))
    {
      const size_t start = this->Start(part, y, z);
      std::memcpy(this->Bytes + start * this->TupleSize, plane, this->RowSize(part));
      std::fill_n(
        covered.begin() + static_cast<std::ptrdiff_t>(start), part[1] - part[0] + 1, true);
    }
  }
};

void CopyPart(const Box& from, const Box& to, const Extent& part, std::vector<bool>& covered)
{
  std::vector<char> plane(from.PlaneSize(part));
  for (int z = part[4]; z <= part[5] && to.Bytes; ++z)
  {
    from.Pack(part, z, plane.data());
    to.Unpack(part, z, plane.data(), covered);
  }
}

void SendPart(
  vtkMultiProcessController* controller, const Box& from, const Extent& part, int receiver)
{
  std::vector<char> plane(from.PlaneSize(part));
  for (int z = part[4]; z <= part[5]; ++z)
  {
    from.Pack(part, z, plane.data());
    controller->Send(plane.data(), static_cast<vtkIdType>(plane.size()), receiver, PlaneTag);
  }
}

// Received is also what there is no memory for.
void ReceivePart(vtkMultiProcessController* controller, const Box& to, const Extent& part,
  int sender, std::vector<bool>& covered)
{
  std::vector<char> plane(to.PlaneSize(part));
  for (int z = part[4]; z <= part[5]; ++z)
  {
    controller->Receive(plane.data(), static_cast<vtkIdType>(plane.size()), sender, PlaneTag);
    if (to.Bytes)
    {
      to.Unpack(part, z, plane.data(), covered);
    }
  }
}

// Collective: from each rank's piece to each rank's wish. Who sends what to whom follows from what
// all ranks know.
void Exchange(const vtkKDINRRanks& ranks, const std::vector<Extent>& pieces,
  const std::vector<Extent>& wishes, const Box& from, const Box& to, std::vector<bool>& covered)
{
  const size_t rank = static_cast<size_t>(ranks.GetRank());
  for (size_t sender = 0; sender < pieces.size(); ++sender)
  {
    for (size_t receiver = 0; receiver < pieces.size(); ++receiver)
    {
      const Extent part = Intersect(pieces[sender], wishes[receiver]);
      if (Inside(wishes[receiver], pieces[receiver]))
      {
        continue; // it has all
      }
      if (rank == sender && rank == receiver)
      {
        CopyPart(from, to, part, covered);
      }
      else if (rank == sender)
      {
        SendPart(ranks.GetController(), from, part, static_cast<int>(receiver));
      }
      else if (rank == receiver)
      {
        ReceivePart(ranks.GetController(), to, part, static_cast<int>(sender), covered);
      }
    }
  }
}
}

vtkKDINRStep::vtkKDINRStep(const vtkKDINRRanks& ranks)
  : Ranks(ranks)
{
}

vtkKDINRStep::~vtkKDINRStep() = default;

void vtkKDINRStep::Clear()
{
  this->Arrays.clear();
  this->Views.clear();
}

// The samples of an array of a piece with points `piece`, counted from the first of the whole. A
// piece that is flat where the whole is not has no cells of the whole: none then.
Extent vtkKDINRStep::SamplesOf(const int piece[6], bool points) const
{
  Extent samples;
  std::copy(piece, piece + 6, samples.begin());
  if (NumberOfSamples(samples) == 0)
  {
    return Nothing;
  }
  if (!points)
  {
    vtkKDINRBridge::CellExtent(piece, samples.data());
  }
  for (size_t axis = 0; axis < 3; ++axis)
  {
    const int first = this->Whole[2 * axis];
    if (!points && piece[2 * axis] == piece[2 * axis + 1] && first < this->Whole[2 * axis + 1])
    {
      return Nothing;
    }
    samples[2 * axis] -= first;
    samples[2 * axis + 1] -= first;
  }
  return samples;
}

void vtkKDINRStep::Describe(vtkImageData* piece)
{
  piece->GetOrigin(this->Origin);
  piece->GetSpacing(this->Spacing);
  std::copy_n(piece->GetDirectionMatrix()->GetData(), 9, this->Direction);
  for (const bool points : { true, false })
  {
    vtkDataSetAttributes* attributes = Attributes(piece, points);
    for (int i = 0; i < attributes->GetNumberOfArrays(); ++i)
    {
      vtkDataArray* values = attributes->GetArray(i);
      this->Arrays.push_back({ points, values->GetName(), values->GetDataType(),
        values->GetNumberOfComponents(), values, this->SamplesOf(piece->GetExtent(), points) });
    }
  }
}

// Collective: everybody gets the grid and the arrays, without values, of rank `source`.
void vtkKDINRStep::Broadcast(int source)
{
  vtkMultiProcessController* controller = this->Ranks.GetController();
  vtkMultiProcessStream stream;
  for (const Array& array : this->Arrays)
  {
    stream << static_cast<int>(array.Points) << array.Name << array.Type << array.Components;
  }
  int n = static_cast<int>(this->Arrays.size());
  controller->Broadcast(&n, 1, source);
  controller->Broadcast(this->Origin, 3, source);
  controller->Broadcast(this->Spacing, 3, source);
  controller->Broadcast(this->Direction, 9, source);
  controller->Broadcast(stream, source);
  this->Arrays.assign(static_cast<size_t>(n), {});
  for (Array& array : this->Arrays)
  {
    int points = 0;
    stream >> points >> array.Name >> array.Type >> array.Components;
    array.Points = points != 0;
    array.Samples = Nothing;
  }
}

// Collective: are this rank's arrays those of rank `source`? An empty `mine` is.
bool vtkKDINRStep::Compare(int source, const std::vector<Array>& mine, kdinr_error& error) const
{
  const bool same = mine.empty() ||
    std::equal(mine.begin(), mine.end(), this->Arrays.begin(), this->Arrays.end(),
      [](const Array& a, const Array& b) { return a.IsLike(b); });
  if (!same)
  {
    vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA,
      "the arrays of rank " + std::to_string(this->Ranks.GetRank()) +
        " differ from those of rank " + std::to_string(source));
  }
  return this->Ranks.Agree(same, error);
}

bool vtkKDINRStep::CheckArrays(kdinr_error& error) const
{
  return !this->Arrays.empty() ||
    vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA, "the input has none of the selected arrays");
}

bool vtkKDINRStep::SetPiece(vtkImageData* piece, const int whole[6], kdinr_error& error)
{
  const int n = this->Ranks.GetNumberOfRanks();
  const bool empty = piece->GetNumberOfPoints() == 0;
  this->Clear();
  std::copy(whole, whole + 6, this->Whole.begin());
  this->Pieces.assign(static_cast<size_t>(n), Nothing);
  std::copy(piece->GetExtent(), piece->GetExtent() + 6, this->Pieces[0].begin());
  this->Describe(piece);
  if (n == 1)
  {
    const bool all = std::equal(whole, whole + 6, piece->GetExtent());
    return (all ||
             vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA,
               "the input did not deliver the whole extent it announces")) &&
      this->CheckArrays(error);
  }

  vtkMultiProcessController* controller = this->Ranks.GetController();
  controller->AllGather(piece->GetExtent(), this->Pieces[0].data(), 6);
  // The lowest rank that has points says what the arrays are.
  const int candidate = empty ? n : this->Ranks.GetRank();
  int source = 0;
  controller->AllReduce(&candidate, &source, 1, vtkCommunicator::MIN_OP);
  if (source == n)
  {
    return vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA, "the input is empty on every rank");
  }
  const std::vector<Array> mine = empty ? std::vector<Array>() : this->Arrays;
  this->Broadcast(source);
  if (!this->Compare(source, mine, error))
  {
    return false;
  }
  if (!mine.empty())
  {
    this->Arrays = mine;
  }
  return this->CheckArrays(error);
}

bool vtkKDINRStep::WishAll(int array, Extent& extent) const
{
  extent = this->SamplesOf(this->Whole.data(), this->Arrays[static_cast<size_t>(array)].Points);
  return true;
}

bool vtkKDINRStep::MoveArray(Array& array, const std::vector<Extent>& wishes, kdinr_error& error)
{
  const Extent& wish = wishes[static_cast<size_t>(this->Ranks.GetRank())];
  const bool stays = Inside(wish, array.Samples);
  const vtkIdType n = stays ? 0 : NumberOfSamples(wish);
  auto values = vtkKDINRBridge::NewArray(array.Type, array.Name, array.Components, n);
  const size_t tupleSize =
    static_cast<size_t>(array.Components * vtkDataArray::GetDataTypeSize(array.Type));
  const Box from = { array.Samples, BytesOf(array.Values), tupleSize };
  const Box to = { wish, BytesOf(values), tupleSize };
  std::vector<bool> covered(static_cast<size_t>(n), false);
  std::vector<Extent> pieces;
  for (const Extent& piece : this->Pieces)
  {
    pieces.push_back(this->SamplesOf(piece.data(), array.Points));
  }
  Exchange(this->Ranks, pieces, wishes, from, to, covered);
  if (!values)
  {
    return vtkKDINRBridge::Fail(
      error, KDINR_ERROR_MEMORY, "no memory for a part of array '" + array.Name + "'");
  }
  if (std::find(covered.begin(), covered.end(), false) != covered.end())
  {
    return vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA,
      "the ranks' pieces of array '" + array.Name + "' do not cover the whole grid");
  }
  if (!stays)
  {
    array.Values = values;
    array.Samples = wish;
  }
  return true;
}

bool vtkKDINRStep::Move(const Wish& wish, kdinr_error& error)
{
  std::vector<Extent> wishes(static_cast<size_t>(this->Ranks.GetNumberOfRanks()));
  for (size_t i = 0; i < this->Arrays.size(); ++i)
  {
    bool ok = true;
    for (size_t rank = 0; ok && rank < wishes.size(); ++rank)
    {
      ok = wish(static_cast<int>(i), static_cast<int>(rank), wishes[rank], error);
    }
    // What is wished is the same on all ranks, and so is whether that is known.
    ok = ok && this->MoveArray(this->Arrays[i], wishes, error);
    if (!this->Ranks.Agree(ok, error))
    {
      return false;
    }
  }
  return true;
}

kdinr_volume vtkKDINRStep::View(const double* fill)
{
  kdinr_volume volume = kdinr_volume_default();
  this->Views.clear();
  this->Extents.clear();
  for (const Array& array : this->Arrays)
  {
    kdinr_array view = {};
    view.name = array.Name.c_str();
    view.type = vtkKDINRBridge::CoreType(array.Type);
    view.n_components = array.Components;
    view.association = array.Points ? KDINR_POINTS : KDINR_CELLS;
    view.values = BytesOf(array.Values);
    view.has_fill = fill != nullptr;
    view.fill_value = fill ? *fill : 0.0;
    this->Views.push_back(view);
    this->Extents.insert(this->Extents.end(), array.Samples.begin(), array.Samples.end());
  }
  for (size_t axis = 0; axis < 3; ++axis)
  {
    volume.first[axis] = this->Whole[2 * axis];
    volume.dims[axis] = this->Whole[2 * axis + 1] - this->Whole[2 * axis] + 1;
  }
  std::copy_n(this->Origin, 3, volume.origin);
  std::copy_n(this->Spacing, 3, volume.spacing);
  std::copy_n(this->Direction, 9, volume.direction);
  volume.n_arrays = static_cast<int>(this->Views.size());
  volume.arrays = this->Views.data();
  volume.extents = this->Extents.data();
  return volume;
}
