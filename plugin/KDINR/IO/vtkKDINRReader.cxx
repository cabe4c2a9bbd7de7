// The last step of a value's journey: from the pipeline's request (extent, time) through
// kdinr_decoder_read into the memory of a VTK array. RequestInformation opens the file and
// announces grid and times; RequestData decodes what was asked for.
#include "vtkKDINRReader.h"
#include "vtkKDINRBridge.h"

#include "vtkCellData.h"
#include "vtkDataArray.h"
#include "vtkDataArraySelection.h"
#include "vtkDataObject.h"
#include "vtkErrorCode.h"
#include "vtkImageData.h"
#include "vtkInformation.h"
#include "vtkInformationVector.h"
#include "vtkObjectFactory.h"
#include "vtkPointData.h"
#include "vtkStreamingDemandDrivenPipeline.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>
#include <vector>

using SDDP = vtkStreamingDemandDrivenPipeline;
vtkStandardNewMacro(vtkKDINRReader);

namespace
{
constexpr double GiB = 1024.0 * 1024.0 * 1024.0;
constexpr int MaxDimension = 1 << 20; // of kdinr_volume

bool IsEmpty(const int extent[6])
{
  return extent[0] > extent[1] || extent[2] > extent[3] || extent[4] > extent[5];
}

// The samples of an array that lie in the points `points` of a grid of `dims` points, both
// counted from 0.
void SampleExtent(const int points[6], const int dims[3], bool cells, int samples[6])
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
    const int last = std::max(dims[axis] - 2, 0);
    samples[2 * axis] = std::min(samples[2 * axis], last);
    samples[2 * axis + 1] = std::min(samples[2 * axis + 1], last);
  }
}

double NumberOfSamples(const int extent[6])
{
  double n = 1.0;
  for (int axis = 0; axis < 3; ++axis)
  {
    n *= extent[2 * axis + 1] - extent[2 * axis] + 1.0;
  }
  return n;
}
}

vtkKDINRReader::vtkKDINRReader()
{
  this->SetNumberOfInputPorts(0);
}

vtkKDINRReader::~vtkKDINRReader()
{
  this->Close();
  this->SetFileName(nullptr);
}

int vtkKDINRReader::CanReadFile(const char* fileName)
{
  return fileName && kdinr_can_read(fileName);
}

vtkDataArraySelection* vtkKDINRReader::GetPointDataArraySelection()
{
  return this->PointSelection;
}

vtkDataArraySelection* vtkKDINRReader::GetCellDataArraySelection()
{
  return this->CellSelection;
}

vtkMTimeType vtkKDINRReader::GetMTime()
{
  return std::max({ this->Superclass::GetMTime(), this->PointSelection->GetMTime(),
    this->CellSelection->GetMTime() });
}

bool vtkKDINRReader::Report(unsigned long code, const char* message)
{
  this->ErrorCode = code; // SetErrorCode would count as a change of settings
  vtkErrorMacro(<< message);
  return false;
}

bool vtkKDINRReader::OnProgress(void* reader, double fraction, const char*)
{
  auto self = static_cast<vtkKDINRReader*>(reader);
  self->UpdateProgress(self->ProgressStart + fraction * self->ProgressSpan);
  return !self->CheckAbort();
}

void vtkKDINRReader::Close()
{
  kdinr_decoder_close(this->Decoder);
  this->Decoder = nullptr;
}

bool vtkKDINRReader::Open()
{
  if (!this->FileName || !*this->FileName)
  {
    this->Close();
    return this->Report(vtkErrorCode::NoFileNameError, "FileName is not set");
  }
  std::error_code absent;
  const auto date = std::filesystem::last_write_time(this->FileName, absent);
  const auto size = std::filesystem::file_size(this->FileName, absent);
  std::ostringstream key;
  key << this->FileName << '\n'
      << date.time_since_epoch().count() << ' ' << size << ' ' << this->Backend << ' '
      << this->NumberOfThreads << ' ' << this->MemoryLimit;
  if (this->Decoder && key.str() == this->DecoderKey)
  {
    return true;
  }
  this->Close();
  kdinr_options options = kdinr_options_default();
  options.backend = this->Backend.c_str();
  options.n_threads = this->NumberOfThreads;
  options.memory_limit = static_cast<uint64_t>(this->MemoryLimit * GiB);
  options.progress = &vtkKDINRReader::OnProgress;
  options.progress_user = this;
  kdinr_error error = {};
  const kdinr_status status = kdinr_decoder_open(this->FileName, &options, &this->Decoder, &error);
  if (status != KDINR_OK)
  {
    const bool notFound = status == KDINR_ERROR_IO && absent;
    return this->Report(notFound ? static_cast<unsigned long>(vtkErrorCode::FileNotFoundError)
                                 : vtkKDINRBridge::ErrorCode(status),
      error.message);
  }
  this->ErrorCode = vtkErrorCode::NoError;
  this->DecoderKey = key.str();
  this->Quality = vtkKDINRBridge::QualityText(kdinr_decoder_info(this->Decoder));
  return true;
}

void vtkKDINRReader::UpdateSelections()
{
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  for (const kdinr_association association : { KDINR_POINTS, KDINR_CELLS })
  {
    const bool points = association == KDINR_POINTS;
    vtkDataArraySelection* selection = points ? this->PointSelection : this->CellSelection;
    vtkDataArraySelection* known = points ? this->KnownPoints : this->KnownCells;
    std::vector<const char*> names;
    for (int i = 0; i < selection->GetNumberOfArrays(); ++i)
    {
      known->SetArraySetting(selection->GetArrayName(i), selection->GetArraySetting(i));
    }
    for (int i = 0; i < info->n_arrays; ++i)
    {
      if (info->arrays[i].association == association)
      {
        names.push_back(info->arrays[i].name);
        known->AddArray(names.back()); // enabled, unless it is known already
      }
    }
    selection->SetArrays(names.data(), static_cast<int>(names.size()));
    for (const char* name : names)
    {
      selection->SetArraySetting(name, known->GetArraySetting(name));
    }
  }
}

void vtkKDINRReader::ChooseGrid()
{
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  std::copy_n(info->dims, 3, this->GridDims);
  for (int axis = 0; axis < 3; ++axis)
  {
    int& n = this->GridDims[axis];
    if (this->Resolution == RESOLUTION_SCALED)
    {
      n = static_cast<int>(std::lround((n - 1) * this->ScaleFactor)) + 1;
    }
    else if (this->Resolution == RESOLUTION_EXPLICIT && this->Dimensions[axis] > 0)
    {
      n = this->Dimensions[axis];
    }
    n = info->dims[axis] == 1 ? 1 : std::min(std::max(n, 2), MaxDimension);
  }
  std::copy_n(info->first, 3, this->GridFirst);
  std::copy_n(info->origin, 3, this->GridOrigin);
  std::copy_n(info->spacing, 3, this->GridSpacing);
  if (std::equal(info->dims, info->dims + 3, this->GridDims))
  {
    return;
  }
  // Another resolution counts from 0 and starts at the first stored point.
  for (int axis = 0; axis < 3; ++axis)
  {
    for (int j = 0; j < 3; ++j)
    {
      this->GridOrigin[axis] += info->direction[3 * axis + j] * info->first[j] * info->spacing[j];
    }
    this->GridFirst[axis] = 0;
    if (info->dims[axis] > 1)
    {
      this->GridSpacing[axis] *= (info->dims[axis] - 1.0) / (this->GridDims[axis] - 1.0);
    }
  }
}

bool vtkKDINRReader::IsEnabled(int array)
{
  const kdinr_array_info& info = kdinr_decoder_info(this->Decoder)->arrays[array];
  vtkDataArraySelection* selection =
    info.association == KDINR_POINTS ? this->PointSelection : this->CellSelection;
  return selection->ArrayIsEnabled(info.name) != 0;
}

int vtkKDINRReader::ArrayType(int array)
{
  return this->OutputType == OUTPUT_FLOAT
    ? VTK_FLOAT
    : vtkKDINRBridge::VTKType(kdinr_decoder_info(this->Decoder)->arrays[array].type);
}

void vtkKDINRReader::DescribeScalars(vtkInformation* out)
{
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  for (int i = 0; i < info->n_arrays; ++i)
  {
    const kdinr_array_info& array = info->arrays[i];
    if (array.association == KDINR_POINTS && this->IsEnabled(i))
    {
      vtkDataObject::SetActiveAttributeInfo(out, vtkDataObject::FIELD_ASSOCIATION_POINTS,
        vtkDataSetAttributes::SCALARS, array.name, this->ArrayType(i), array.n_components, -1);
      return;
    }
  }
}

int vtkKDINRReader::RequestInformation(
  vtkInformation*, vtkInformationVector**, vtkInformationVector* outputVector)
{
  if (!this->Open())
  {
    return 0;
  }
  this->UpdateSelections();
  this->ChooseGrid();
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  vtkInformation* out = outputVector->GetInformationObject(0);
  int whole[6];
  for (int axis = 0; axis < 3; ++axis)
  {
    whole[2 * axis] = this->GridFirst[axis];
    whole[2 * axis + 1] = this->GridFirst[axis] + this->GridDims[axis] - 1;
  }
  const double range[2] = { info->times[0], info->times[info->n_steps - 1] };
  out->Set(SDDP::WHOLE_EXTENT(), whole, 6);
  out->Set(vtkDataObject::ORIGIN(), this->GridOrigin, 3);
  out->Set(vtkDataObject::SPACING(), this->GridSpacing, 3);
  out->Set(vtkDataObject::DIRECTION(), info->direction, 9);
  out->Set(SDDP::TIME_STEPS(), info->times, info->n_steps);
  out->Set(SDDP::TIME_RANGE(), range, 2);
  // The executive then splits the extent between pieces (MPI ranks) by itself.
  out->Set(CAN_PRODUCE_SUB_EXTENT(), 1);
  this->DescribeScalars(out);
  return 1;
}

bool vtkKDINRReader::CheckMemory(const int extent[6])
{
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  double bytes = 0.0;
  for (int i = 0; i < info->n_arrays; ++i)
  {
    int samples[6];
    SampleExtent(extent, this->GridDims, info->arrays[i].association == KDINR_CELLS, samples);
    bytes += this->IsEnabled(i) ? NumberOfSamples(samples) * info->arrays[i].n_components *
        vtkDataArray::GetDataTypeSize(this->ArrayType(i))
                                : 0.0;
  }
  if (bytes <= this->MemoryLimit * GiB)
  {
    return true;
  }
  std::ostringstream message;
  message
    << "this needs " << bytes / GiB << " GiB of memory, more than MemoryLimit, "
    << this->MemoryLimit
    << " GiB: choose a lower resolution or fewer arrays, extract a subset, or raise the limit";
  return this->Report(vtkKDINRBridge::ErrorCode(KDINR_ERROR_MEMORY), message.str().c_str());
}

bool vtkKDINRReader::ReadArray(int array, const int extent[6], double time, vtkImageData* image)
{
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  const kdinr_array_info& arrayInfo = info->arrays[array];
  const bool cells = arrayInfo.association == KDINR_CELLS;
  kdinr_request request = kdinr_request_default(info, array);
  std::copy_n(this->GridDims, 3, request.dims);
  SampleExtent(extent, this->GridDims, cells, request.extent);
  request.time = time;
  request.type = this->OutputType == OUTPUT_FLOAT ? KDINR_FLOAT32 : arrayInfo.type;
  auto values = vtkKDINRBridge::NewArray(this->ArrayType(array), arrayInfo.name,
    arrayInfo.n_components, static_cast<vtkIdType>(NumberOfSamples(request.extent)));
  kdinr_error error = {};
  if (!values)
  {
    vtkKDINRBridge::Fail(
      error, KDINR_ERROR_MEMORY, std::string("no memory for array '") + arrayInfo.name + "'");
  }
  else
  {
    error.status = kdinr_decoder_read(this->Decoder, &request, values->GetVoidPointer(0), &error);
  }
  if (error.status != KDINR_OK)
  {
    // An abort is no error: the executive sees it and empties the output.
    return error.status != KDINR_CANCELLED &&
      this->Report(vtkKDINRBridge::ErrorCode(error.status), error.message);
  }
  if (cells)
  {
    image->GetCellData()->AddArray(values);
  }
  else if (image->GetPointData()->GetScalars())
  {
    image->GetPointData()->AddArray(values);
  }
  else
  {
    image->GetPointData()->SetScalars(values);
  }
  return true;
}

bool vtkKDINRReader::ReadArrays(const int extent[6], double time, vtkImageData* image)
{
  std::vector<int> enabled;
  for (int i = 0; i < kdinr_decoder_info(this->Decoder)->n_arrays; ++i)
  {
    if (this->IsEnabled(i))
    {
      enabled.push_back(i);
    }
  }
  this->ProgressSpan = enabled.empty() ? 1.0 : 1.0 / static_cast<double>(enabled.size());
  this->ProgressStart = 0.0;
  for (const int array : enabled)
  {
    if (!this->ReadArray(array, extent, time, image))
    {
      return false;
    }
    this->ProgressStart += this->ProgressSpan;
  }
  return true;
}

int vtkKDINRReader::RequestData(
  vtkInformation*, vtkInformationVector**, vtkInformationVector* outputVector)
{
  vtkInformation* out = outputVector->GetInformationObject(0);
  vtkImageData* image = vtkImageData::GetData(out);
  if (!this->Decoder)
  {
    image->Initialize();
    return 0; // RequestInformation said why
  }
  // The decoder that was announced answers, even if the file has been replaced since.
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  double time = info->times[0];
  if (out->Has(SDDP::UPDATE_TIME_STEP()))
  {
    time = out->Get(SDDP::UPDATE_TIME_STEP());
    time = std::min(std::max(time, info->times[0]), info->times[info->n_steps - 1]);
  }
  int extent[6];
  out->Get(SDDP::UPDATE_EXTENT(), extent);
  image->SetExtent(extent);
  image->SetOrigin(this->GridOrigin);
  image->SetSpacing(this->GridSpacing);
  image->SetDirectionMatrix(info->direction);
  image->GetInformation()->Set(vtkDataObject::DATA_TIME_STEP(), time);
  if (IsEmpty(extent))
  {
    return 1; // more ranks than cells
  }
  for (int i = 0; i < 6; ++i)
  {
    extent[i] -= this->GridFirst[i / 2];
  }
  this->ErrorCode = vtkErrorCode::NoError;
  if (this->CheckMemory(extent) && this->ReadArrays(extent, time, image))
  {
    return 1;
  }
  image->Initialize(); // nothing half decoded goes downstream
  return this->ErrorCode == vtkErrorCode::NoError;
}

vtkIdType vtkKDINRReader::GetFileSize()
{
  return this->Decoder ? static_cast<vtkIdType>(kdinr_decoder_info(this->Decoder)->file_size) : 0;
}

vtkIdType vtkKDINRReader::GetDataSize()
{
  return this->Decoder ? static_cast<vtkIdType>(kdinr_decoder_info(this->Decoder)->data_size) : 0;
}

double vtkKDINRReader::GetCompressionRatio()
{
  return this->Decoder ? vtkKDINRBridge::Ratio(kdinr_decoder_info(this->Decoder)) : 0.0;
}

double vtkKDINRReader::GetPSNR()
{
  return this->Decoder ? vtkKDINRBridge::LowestPSNR(kdinr_decoder_info(this->Decoder)) : 0.0;
}

const char* vtkKDINRReader::GetQuality()
{
  return this->Decoder ? this->Quality.c_str() : "";
}

const char* vtkKDINRReader::GetProvenance()
{
  return this->Decoder ? kdinr_decoder_info(this->Decoder)->provenance : "";
}

void vtkKDINRReader::PrintSelf(ostream& os, vtkIndent indent)
{
  this->Superclass::PrintSelf(os, indent);
  os << indent << "FileName: " << (this->FileName ? this->FileName : "(none)") << "\n"
     << indent << "Resolution: " << this->Resolution << "\n"
     << indent << "ScaleFactor: " << this->ScaleFactor << "\n"
     << indent << "Dimensions: " << this->Dimensions[0] << " " << this->Dimensions[1] << " "
     << this->Dimensions[2] << "\n"
     << indent << "OutputType: " << this->OutputType << "\n"
     << indent << "Backend: " << this->Backend << "\n"
     << indent << "NumberOfThreads: " << this->NumberOfThreads << "\n"
     << indent << "MemoryLimit: " << this->MemoryLimit << "\n";
}
