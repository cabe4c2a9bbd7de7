// The filter and the writer around one run (vtkKDINRSeries): settings to options, when to compress
// again, and what the last run gave.
#include "vtkKDINRWriter.h"
#include "vtkKDINRBridge.h"
#include "vtkKDINRSeries.h"

#include "vtkCommand.h"
#include "vtkDataArraySelection.h"
#include "vtkDataSet.h"
#include "vtkDoubleArray.h"
#include "vtkErrorCode.h"
#include "vtkFieldData.h"
#include "vtkImageData.h"
#include "vtkInformation.h"
#include "vtkInformationVector.h"
#include "vtkMultiProcessController.h"
#include "vtkObjectFactory.h"
#include "vtkStreamingDemandDrivenPipeline.h"

#include <algorithm>
#include <sstream>
#include <vector>

vtkStandardNewMacro(vtkKDINRWriter);
vtkCxxSetObjectMacro(vtkKDINRWriter, Controller, vtkMultiProcessController);

vtkKDINRWriter::vtkKDINRWriter()
{
  this->SetController(vtkMultiProcessController::GetGlobalController());
}

vtkKDINRWriter::~vtkKDINRWriter()
{
  this->SetFileName(nullptr);
  this->SetController(nullptr);
}

int vtkKDINRWriter::FillInputPortInformation(int, vtkInformation* info)
{
  // Were vtkImageData required here, ParaView's executive would run the filter once for each
  // block of a composite input, and each block would overwrite the file of the one before.
  info->Set(vtkAlgorithm::INPUT_REQUIRED_DATA_TYPE(), "vtkDataObject");
  return 1;
}

vtkDataArraySelection* vtkKDINRWriter::GetPointDataArraySelection()
{
  return this->PointSelection;
}

vtkDataArraySelection* vtkKDINRWriter::GetCellDataArraySelection()
{
  return this->CellSelection;
}

vtkMTimeType vtkKDINRWriter::GetMTime()
{
  return std::max({ this->Superclass::GetMTime(), this->PointSelection->GetMTime(),
    this->CellSelection->GetMTime() });
}

kdinr_options vtkKDINRWriter::Options(int numberOfSteps)
{
  kdinr_options options = kdinr_options_for(
    static_cast<kdinr_preset>(this->Preset), static_cast<kdinr_network>(this->Network));
  options.ratio = this->Target == TARGET_RATIO ? this->CompressionRatio : 0.0;
  options.psnr = this->Target == TARGET_PSNR ? this->TargetPSNR : 0.0;
  if (this->Target == TARGET_MAXIMUM_ERROR)
  {
    options.max_error = this->MaximumError;
    options.max_error_relative = this->RelativeError != 0;
  }
  options.resume = this->Resume != 0;
  options.effort = static_cast<kdinr_effort>(this->Effort);
  options.n_steps = numberOfSteps;
  options.seed = static_cast<uint64_t>(this->Seed);
  options.n_threads = this->NumberOfThreads;
  options.backend = this->Backend.c_str();
  // 0 leaves the choice to the preset.
  options.width = this->Width ? this->Width : options.width;
  options.depth = this->Depth ? this->Depth : options.depth;
  options.window = this->Window ? this->Window : options.window;
  if (this->Preset != PRESET_PAPER)
  {
    options.window_memory = this->WindowMemory * (1 << 30);
  }
  for (int axis = 0; axis < 3; ++axis)
  {
    const int count = this->BrickCounts[axis];
    options.bricks[axis] = count ? count : options.bricks[axis];
  }
  return options;
}

const char* vtkKDINRWriter::GetBackendInUse()
{
  this->BackendInUse = vtkKDINRBridge::BackendInUse(this->Backend);
  return this->BackendInUse.c_str();
}

bool vtkKDINRWriter::IsStale()
{
  if (!this->FileName || !*this->FileName)
  {
    return false;
  }
  auto upstream = vtkDemandDrivenPipeline::SafeDownCast(this->GetInputExecutive(0, 0));
  return this->CompressTime < this->GetMTime() || !upstream ||
    this->CompressTime.GetMTime() < upstream->GetPipelineMTime();
}

bool vtkKDINRWriter::Compress()
{
  kdinr_error error = {};
  // Of an earlier run: what Write() left no executive has seen, and the event that ends a run may
  // have brought another wish to abort it.
  this->SetAbortOutput(false);
  this->SetAbortExecute(0);
  this->FileSize = 0;
  this->AchievedRatio = this->PSNR = 0.0;
  this->Summary->Initialize();
  bool ok = false;
  bool root = true;
  std::string miss;
  {
    Series series(this); // puts the input back when it goes
    root = series.GetRanks().IsRoot();
    ok = series.Run(error);
    miss = series.GetMiss();
  }
  ++this->NumberOfRuns;
  if (ok && root)
  {
    ok = this->DescribeResult(error);
  }
  // Setting members directly: the setters would count as changes of settings.
  this->ErrorCode = vtkKDINRBridge::ErrorCode(ok ? KDINR_OK : error.status);
  if (!ok)
  {
    this->Result = std::string("failed: ") + error.message;
  }
  if (!ok && root)
  {
    vtkErrorMacro(<< error.message);
  }
  if (ok && root && !miss.empty())
  {
    this->Result += "; " + miss;
    vtkWarningMacro(<< this->FileName << " has " << miss);
  }
  this->SetProgressText(nullptr);
  this->CompressTime.Modified();
  return ok;
}

bool vtkKDINRWriter::DescribeResult(kdinr_error& error)
{
  kdinr_decoder* decoder = nullptr;
  if (kdinr_decoder_open(this->FileName, nullptr, &decoder, &error) != KDINR_OK)
  {
    return false;
  }
  const kdinr_info* info = kdinr_decoder_info(decoder);
  this->FileSize = static_cast<vtkIdType>(info->file_size);
  this->AchievedRatio = vtkKDINRBridge::Ratio(info);
  this->PSNR = vtkKDINRBridge::LowestPSNR(info);
  std::ostringstream text;
  text.precision(4);
  text << info->n_steps << (info->n_steps == 1 ? " step, " : " steps, ") << info->file_size
       << " bytes, ratio " << this->AchievedRatio << ", " << vtkKDINRBridge::QualityText(info);
  this->Result = text.str();
  this->Summarise(info);
  kdinr_decoder_close(decoder);
  return true;
}

void vtkKDINRWriter::Summarise(const kdinr_info* info)
{
  vtkNew<vtkDoubleArray> ratio;
  ratio->SetName("KD-INR ratio");
  ratio->InsertNextValue(this->AchievedRatio);
  this->Summary->AddArray(ratio);
  for (int i = 0; i < info->n_arrays; ++i)
  {
    vtkNew<vtkDoubleArray> decibels;
    decibels->SetName((std::string("KD-INR PSNR of ") + info->arrays[i].name).c_str());
    for (int step = 0; step < info->n_steps; ++step)
    {
      decibels->InsertNextValue(info->arrays[i].psnr[step]);
    }
    this->Summary->AddArray(decibels);
  }
}

const char* vtkKDINRWriter::GetEstimate()
{
  int port = 0;
  vtkAlgorithm* input =
    this->GetNumberOfInputConnections(0) > 0 ? this->GetInputAlgorithm(0, 0, port) : nullptr;
  auto data = vtkDataSet::SafeDownCast(input ? input->GetOutputDataObject(port) : nullptr);
  if (!data || data->GetNumberOfPoints() == 0)
  {
    return "update the input to see an estimate";
  }
  const vtkMTimeType now = std::max(this->GetMTime(), data->GetMTime());
  if (this->EstimateTime.GetMTime() < now)
  {
    kdinr_error error = {};
    this->Estimate = this->MakeEstimate(data, error) ? this->Estimate : error.message;
    this->EstimateTime.Modified();
  }
  return this->Estimate.c_str();
}

bool vtkKDINRWriter::MakeEstimate(vtkDataSet* data, kdinr_error& error)
{
  Series series(this);
  const vtkKDINRBridge::Selection selection = { this->PointSelection, this->CellSelection };
  vtkNew<vtkImageData> lean;
  if (!series.CheckInput(error) || !series.Plan(error) ||
    !vtkKDINRBridge::SelectArrays(data, selection, lean, error))
  {
    return false;
  }
  std::vector<kdinr_array> arrays;
  const kdinr_volume volume = vtkKDINRBridge::View(lean, nullptr, arrays);
  this->Estimate = this->EstimateFor(volume, static_cast<int>(series.GetTimes().size()));
  return true;
}

std::string vtkKDINRWriter::EstimateFor(const kdinr_volume& volume, int numberOfSteps)
{
  if (this->Target != TARGET_RATIO)
  {
    return "only for a compression ratio that is asked for";
  }
  const kdinr_options options = this->Options(numberOfSteps);
  double size = 0.0, seconds = 0.0;
  kdinr_error error = {};
  if (kdinr_estimate(&options, &volume, &size, &seconds, &error) != KDINR_OK)
  {
    return error.message;
  }
  return "about " + vtkKDINRBridge::SizeText(size) + ", " + vtkKDINRBridge::DurationText(seconds);
}

int vtkKDINRWriter::Write()
{
  if (this->GetNumberOfInputConnections(0) < 1 || !this->FileName || !*this->FileName)
  {
    this->ErrorCode = vtkErrorCode::NoFileNameError;
    vtkErrorMacro("Input or FileName is not set");
    return 0;
  }
  if (this->WriteOnce && !this->IsStale())
  {
    return this->ErrorCode == vtkErrorCode::NoError;
  }
  this->InvokeEvent(vtkCommand::StartEvent); // ParaView's progress bar waits for these
  const bool ok = this->Compress();
  this->InvokeEvent(vtkCommand::EndEvent);
  return ok;
}

int vtkKDINRWriter::RequestData(
  vtkInformation*, vtkInformationVector** inputVector, vtkInformationVector* outputVector)
{
  vtkDataObject* output = vtkDataObject::GetData(outputVector);
  output->ShallowCopy(vtkDataObject::GetData(inputVector[0]));
  if (!this->IsStale() || this->Compress())
  {
    for (int i = 0; i < this->Summary->GetNumberOfArrays(); ++i)
    {
      output->GetFieldData()->AddArray(this->Summary->GetArray(i));
    }
    return 1;
  }
  output->Initialize();
  return 0;
}

void vtkKDINRWriter::PrintSelf(ostream& os, vtkIndent indent)
{
  this->Superclass::PrintSelf(os, indent);
  os << indent << "FileName: " << (this->FileName ? this->FileName : "(none)") << "\n"
     << indent << "WriteOnce: " << this->WriteOnce << "\n"
     << indent << "Target: " << this->Target << "\n"
     << indent << "CompressionRatio: " << this->CompressionRatio << "\n"
     << indent << "TargetPSNR: " << this->TargetPSNR << "\n"
     << indent << "MaximumError: " << this->MaximumError << "\n"
     << indent << "RelativeError: " << this->RelativeError << "\n"
     << indent << "Resume: " << this->Resume << "\n"
     << indent << "Preset: " << this->Preset << "\n"
     << indent << "Effort: " << this->Effort << "\n"
     << indent << "WriteAllTimeSteps: " << this->WriteAllTimeSteps << "\n"
     << indent << "Verify: " << this->Verify << "\n"
     << indent << "UseFillValue: " << this->UseFillValue << "\n"
     << indent << "FillValue: " << this->FillValue << "\n"
     << indent << "Width: " << this->Width << "\n"
     << indent << "Depth: " << this->Depth << "\n"
     << indent << "BrickCounts: " << this->BrickCounts[0] << " " << this->BrickCounts[1] << " "
     << this->BrickCounts[2] << "\n"
     << indent << "Window: " << this->Window << "\n"
     << indent << "WindowMemory: " << this->WindowMemory << "\n"
     << indent << "Seed: " << this->Seed << "\n"
     << indent << "NumberOfThreads: " << this->NumberOfThreads << "\n"
     << indent << "Backend: " << this->Backend << "\n"
     << indent << "Result: " << this->Result << "\n";
}
