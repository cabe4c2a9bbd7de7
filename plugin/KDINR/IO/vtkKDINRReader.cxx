// The last step of a value's journey: from the pipeline's request (extent, time) through
// kdinr_decoder_read into the memory of a VTK array. RequestInformation opens the file and
// announces grid and times; RequestData decodes what was asked for.
#include "vtkKDINRReader.h"
#include "vtkKDINRBridge.h"
#include "vtkKDINRCache.h"
#include "vtkKDINRGrid.h"
#include "vtkKDINRIcon.h"
#include "vtkKDINRMissing.h"
#include "vtkKDINRTimes.h"

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
#include "vtkRectilinearGrid.h"
#include "vtkStreamingDemandDrivenPipeline.h"

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

using SDDP = vtkStreamingDemandDrivenPipeline;
vtkStandardNewMacro(vtkKDINRReader);

namespace
{
constexpr double MiB = 1024.0 * 1024.0;
constexpr double GiB = 1024.0 * MiB;
[[maybe_unused]] const bool hasIcon = vtkKDINRIcon::Register(); // before menus are made
}

vtkKDINRReader::vtkKDINRReader()
  : Grid(std::make_unique<vtkKDINRGrid>())
  , Cache(std::make_unique<vtkKDINRCache>())
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
  this->Cache->Clear();
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
  vtkKDINRGrid::Choice choice = { this->Resolution, this->ScaleFactor, this->Dimensions };
  choice.MostPoints = this->Preview == PREVIEW_WHEN_LARGE ? 1e6 * this->PreviewVoxels : 0.0;
  this->Grid->Choose(kdinr_decoder_info(this->Decoder), choice);
  this->OutputGrid = this->Grid->GetText();
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

int vtkKDINRReader::RequestDataObject(
  vtkInformation*, vtkInformationVector**, vtkInformationVector* outputVector)
{
  // The first question that a pipeline asks: here the file is opened.
  const bool open = this->Open();
  const bool image = !open || vtkKDINRGrid::IsImage(kdinr_decoder_info(this->Decoder));
  vtkInformation* out = outputVector->GetInformationObject(0);
  vtkDataObject* now = vtkDataObject::GetData(out);
  if (!now || !now->IsA(image ? "vtkImageData" : "vtkRectilinearGrid"))
  {
    auto made = vtkSmartPointer<vtkDataObject>::Take(image
        ? static_cast<vtkDataObject*>(vtkImageData::New())
        : static_cast<vtkDataObject*>(vtkRectilinearGrid::New()));
    out->Set(vtkDataObject::DATA_OBJECT(), made);
  }
  else if (!open)
  {
    now->Initialize();
  }
  return open;
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
  this->Grid->GetWholeExtent(whole);
  out->Set(SDDP::WHOLE_EXTENT(), whole, 6);
  if (vtkKDINRGrid::IsImage(info))
  {
    out->Set(vtkDataObject::ORIGIN(), this->Grid->Origin, 3);
    out->Set(vtkDataObject::SPACING(), this->Grid->Spacing, 3);
    out->Set(vtkDataObject::DIRECTION(), info->direction, 9);
  }
  const std::vector<double> times =
    vtkKDINRTimes::Announce(info, this->TimeMode == TIME_NEAREST ? 0 : this->StepsBetween);
  const double range[2] = { times.front(), times.back() };
  out->Set(SDDP::TIME_STEPS(), times.data(), static_cast<int>(times.size()));
  out->Set(SDDP::TIME_RANGE(), range, 2);
  // The executive then splits the extent between pieces (MPI ranks) by itself.
  out->Set(CAN_PRODUCE_SUB_EXTENT(), 1);
  this->DescribeScalars(out);
  return 1;
}

double vtkKDINRReader::NeededBytes(const int extent[6])
{
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  double bytes = 0.0;
  for (int i = 0; i < info->n_arrays; ++i)
  {
    int samples[6];
    this->Grid->GetSamples(extent, info->arrays[i].association == KDINR_CELLS, samples);
    bytes += this->IsEnabled(i) ? vtkKDINRGrid::NumberOfSamples(samples) *
        info->arrays[i].n_components * vtkDataArray::GetDataTypeSize(this->ArrayType(i))
                                : 0.0;
  }
  return bytes;
}

bool vtkKDINRReader::CheckMemory(const int extent[6])
{
  const double bytes = this->NeededBytes(extent);
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

bool vtkKDINRReader::Decode(const kdinr_request& request, vtkDataArray* values, kdinr_error& error)
{
  error.status = kdinr_decoder_read(this->Decoder, &request, values->GetVoidPointer(0), &error);
  if (error.status != KDINR_OK || this->MissingValues == MISSING_STORED ||
    !kdinr_decoder_info(this->Decoder)->arrays[request.array].has_missing)
  {
    return error.status == KDINR_OK;
  }
  std::vector<uint8_t> missing(static_cast<size_t>(values->GetNumberOfTuples()));
  error.status = kdinr_decoder_missing(this->Decoder, &request, missing.data(), &error);
  if (error.status == KDINR_OK)
  {
    vtkKDINRMissing::SetNaN(missing, values);
  }
  return error.status == KDINR_OK;
}

vtkSmartPointer<vtkDataArray> vtkKDINRReader::Decode(
  const kdinr_request& request, kdinr_error& error)
{
  const kdinr_array_info& info = kdinr_decoder_info(this->Decoder)->arrays[request.array];
  std::ostringstream key;
  key.precision(17);
  key << request.array << ' ' << request.type << ' ' << request.time << ' '
      << (this->MissingValues == MISSING_STORED);
  for (const int n : request.dims)
  {
    key << ' ' << n;
  }
  for (const int index : request.extent)
  {
    key << ' ' << index;
  }
  vtkSmartPointer<vtkDataArray> values = this->Cache->Find(key.str());
  if (values)
  {
    return values;
  }
  const double tuples = vtkKDINRGrid::NumberOfSamples(request.extent);
  values = vtkKDINRBridge::NewArray(
    this->ArrayType(request.array), info.name, info.n_components, static_cast<vtkIdType>(tuples));
  if (!values)
  {
    vtkKDINRBridge::Fail(
      error, KDINR_ERROR_MEMORY, std::string("no memory for array '") + info.name + "'");
    return nullptr;
  }
  if (!this->Decode(request, values, error))
  {
    return nullptr;
  }
  this->Cache->Add(key.str(), values, this->CacheSize * MiB);
  return values;
}

bool vtkKDINRReader::ReadArray(
  int array, const int extent[6], double time, vtkDataSet* grid, vtkKDINRMissing& missing)
{
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  const bool cells = info->arrays[array].association == KDINR_CELLS;
  kdinr_request request = kdinr_request_default(info, array);
  std::copy_n(this->Grid->Dims, 3, request.dims);
  this->Grid->GetSamples(extent, cells, request.extent);
  request.time = time;
  request.type = this->OutputType == OUTPUT_FLOAT ? KDINR_FLOAT32 : info->arrays[array].type;
  kdinr_error error = {};
  vtkSmartPointer<vtkDataArray> values = this->Decode(request, error);
  if (values && this->MissingValues == MISSING_BLANK && info->arrays[array].has_missing)
  {
    std::vector<uint8_t> map(static_cast<size_t>(values->GetNumberOfTuples()));
    error.status = kdinr_decoder_missing(this->Decoder, &request, map.data(), &error);
    missing.Add(!cells, map);
  }
  if (error.status != KDINR_OK)
  {
    // An abort is no error: the executive sees it and empties the output.
    return error.status != KDINR_CANCELLED &&
      this->Report(vtkKDINRBridge::ErrorCode(error.status), error.message);
  }
  vtkKDINRBridge::AddArray(grid, cells, values);
  return true;
}

bool vtkKDINRReader::ReadArrays(const int extent[6], double time, vtkDataSet* grid)
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
  vtkKDINRMissing missing;
  for (const int array : enabled)
  {
    if (!this->ReadArray(array, extent, time, grid, missing))
    {
      return false;
    }
    this->ProgressStart += this->ProgressSpan;
  }
  missing.Blank(grid);
  return true;
}

int vtkKDINRReader::RequestData(
  vtkInformation*, vtkInformationVector**, vtkInformationVector* outputVector)
{
  vtkInformation* out = outputVector->GetInformationObject(0);
  vtkDataSet* grid = vtkDataSet::GetData(out);
  if (!this->Decoder)
  {
    grid->Initialize();
    return 0; // RequestInformation said why
  }
  // The decoder that was announced answers, even if the file has been replaced since.
  const kdinr_info* info = kdinr_decoder_info(this->Decoder);
  double time = info->times[0];
  if (out->Has(SDDP::UPDATE_TIME_STEP()))
  {
    time = out->Get(SDDP::UPDATE_TIME_STEP());
    time = vtkKDINRTimes::Answer(info, this->TimeMode == TIME_NEAREST, time);
  }
  int extent[6];
  out->Get(SDDP::UPDATE_EXTENT(), extent);
  this->Grid->PutGeometry(info, extent, grid);
  grid->GetInformation()->Set(vtkDataObject::DATA_TIME_STEP(), time);
  if (vtkKDINRGrid::IsEmpty(extent))
  {
    return 1; // more ranks than cells
  }
  for (int i = 0; i < 6; ++i)
  {
    extent[i] -= this->Grid->First[i / 2];
  }
  this->ErrorCode = vtkErrorCode::NoError;
  if (this->CheckMemory(extent) && this->ReadArrays(extent, time, grid))
  {
    return 1;
  }
  grid->Initialize(); // nothing half decoded goes downstream
  return this->ErrorCode == vtkErrorCode::NoError;
}

const char* vtkKDINRReader::GetOutputGrid()
{
  return this->Decoder ? this->OutputGrid.c_str() : "";
}

double vtkKDINRReader::GetMemoryNeeded()
{
  if (!this->Decoder)
  {
    return 0.0;
  }
  const int* dims = this->Grid->Dims;
  const int whole[6] = { 0, dims[0] - 1, 0, dims[1] - 1, 0, dims[2] - 1 };
  return this->NeededBytes(whole) / MiB;
}

const char* vtkKDINRReader::GetBackendInUse()
{
  this->BackendInUse = vtkKDINRBridge::BackendInUse(this->Backend);
  return this->BackendInUse.c_str();
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
     << indent << "MemoryLimit: " << this->MemoryLimit << "\n"
     << indent << "CacheSize: " << this->CacheSize << "\n"
     << indent << "Preview: " << this->Preview << ", " << this->PreviewVoxels << " million\n"
     << indent << "TimeMode: " << this->TimeMode << ", " << this->StepsBetween << " between\n"
     << indent << "MissingValues: " << this->MissingValues << "\n";
}
