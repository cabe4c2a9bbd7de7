// The first step of a value's journey: asks the input for one time step after the other, brings
// its pieces to rank 0 (vtkKDINRRanks), and hands it to kdinr_encoder_push as the core sees it
// (vtkKDINRBridge). The steps come by direct updates of the upstream algorithm and not by
// CONTINUE_EXECUTING: with that, VTK 9.2 loops for ever when an upstream filter fails midway.
#include "vtkKDINRWriter.h"
#include "vtkKDINRBridge.h"
#include "vtkKDINRRanks.h"

#include "vtkCommand.h"
#include "vtkDataArraySelection.h"
#include "vtkErrorCode.h"
#include "vtkImageData.h"
#include "vtkInformation.h"
#include "vtkInformationDoubleKey.h"
#include "vtkInformationIntegerKey.h"
#include "vtkInformationIntegerVectorKey.h"
#include "vtkInformationVector.h"
#include "vtkMultiProcessController.h"
#include "vtkObjectFactory.h"
#include "vtkStreamingDemandDrivenPipeline.h"
#include "vtksys/SystemTools.hxx"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <vector>

using SDDP = vtkStreamingDemandDrivenPipeline;
vtkStandardNewMacro(vtkKDINRWriter);
vtkCxxSetObjectMacro(vtkKDINRWriter, Controller, vtkMultiProcessController);

// One run over the input's time steps. All methods are collective: every rank calls them and all
// get the same outcome.
class vtkKDINRWriter::Series
{
public:
  explicit Series(vtkKDINRWriter* writer);
  ~Series();

  /// Compress the series to the writer's FileName.
  bool Run(kdinr_error& error);
  const vtkKDINRRanks& GetRanks() const
  {
    return this->Ranks;
  }

private:
  enum Pass
  {
    PUSH,
    VERIFY
  };
  bool CheckInput(kdinr_error& error);
  bool CheckFolder(kdinr_error& error);
  bool Plan(kdinr_error& error);
  bool DoPass(Pass pass, kdinr_error& error);
  bool DoStep(Pass pass, size_t step, kdinr_error& error);
  vtkImageData* UpdateInput(size_t step);
  bool Encode(Pass pass, size_t step, vtkImageData* whole, kdinr_error& error);
  static bool OnProgress(void* series, double fraction, const char* stage);

  vtkKDINRWriter* Writer;
  vtkKDINRRanks Ranks;
  kdinr_encoder* Encoder = nullptr; // on rank 0

  vtkAlgorithm* Input;
  int InputPort = 0;
  vtkNew<vtkInformationVector> RequestBefore; // what the pipeline had asked the input for
  int WholeExtent[6];
  bool HasTimes = false; // the input has time steps and all are wanted
  std::vector<double> Times;

  std::string ProgressPrefix;
};

vtkKDINRWriter::Series::Series(vtkKDINRWriter* writer)
  : Writer(writer)
  , Ranks(writer->Controller)
{
  this->Input = writer->GetInputAlgorithm(0, 0, this->InputPort);
  vtkInformation* now = this->Input->GetOutputInformation(this->InputPort);
  this->RequestBefore->SetNumberOfInformationObjects(this->InputPort + 1);
  vtkInformation* before = this->RequestBefore->GetInformationObject(this->InputPort);
  SDDP::UPDATE_EXTENT()->ShallowCopy(now, before);
  SDDP::UPDATE_PIECE_NUMBER()->ShallowCopy(now, before);
  SDDP::UPDATE_NUMBER_OF_PIECES()->ShallowCopy(now, before);
  SDDP::UPDATE_NUMBER_OF_GHOST_LEVELS()->ShallowCopy(now, before);
  SDDP::UPDATE_TIME_STEP()->ShallowCopy(now, before);
}

vtkKDINRWriter::Series::~Series()
{
  kdinr_encoder_close(this->Encoder);
  vtkInformation* before = this->RequestBefore->GetInformationObject(this->InputPort);
  if (before->Has(SDDP::UPDATE_EXTENT()))
  {
    this->Input->Update(this->InputPort, this->RequestBefore);
  }
}

bool vtkKDINRWriter::Series::OnProgress(void* user, double fraction, const char* stage)
{
  auto self = static_cast<Series*>(user);
  // The core counts training over all steps; checking, a tenth of the bar, has a count of its own.
  const bool checking = std::strcmp(stage, "checking") == 0;
  self->Writer->SetProgressText((self->ProgressPrefix + stage).c_str());
  self->Writer->UpdateProgress(checking ? 0.9 + 0.1 * fraction : 0.9 * fraction);
  return !self->Writer->CheckAbort();
}

bool vtkKDINRWriter::Series::Run(kdinr_error& error)
{
  bool ok = this->CheckInput(error) && this->CheckFolder(error) && this->Plan(error);
  if (ok && this->Ranks.IsRoot())
  {
    kdinr_options options = this->Writer->Options(static_cast<int>(this->Times.size()));
    options.progress = &Series::OnProgress;
    options.progress_user = this;
    ok = kdinr_encoder_open(&options, &this->Encoder, &error) == KDINR_OK;
  }
  ok = this->Ranks.Agree(ok, error) && this->DoPass(PUSH, error);
  ok = ok && (!this->Writer->Verify || this->DoPass(VERIFY, error));
  if (ok && this->Ranks.IsRoot())
  {
    this->ProgressPrefix.clear();
    ok = kdinr_encoder_finish(this->Encoder, this->Writer->FileName, &error) == KDINR_OK;
  }
  return this->Ranks.Agree(ok, error);
}

bool vtkKDINRWriter::Series::CheckInput(kdinr_error& error)
{
  this->Input->UpdateInformation(); // creates the data object
  vtkDataObject* data = this->Input->GetOutputDataObject(this->InputPort);
  return vtkImageData::SafeDownCast(data) ||
    vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA,
      std::string("the input is a ") + (data ? data->GetClassName() : "missing data object") +
        ", not a vtkImageData: apply Resample To Image first");
}

bool vtkKDINRWriter::Series::CheckFolder(kdinr_error& error)
{
  // The core would say so too, but only after the training.
  const std::string path = vtksys::SystemTools::CollapseFullPath(this->Writer->FileName);
  const std::string folder = vtksys::SystemTools::GetFilenamePath(path);
  const bool ok = vtksys::SystemTools::FileIsDirectory(folder) &&
    vtksys::SystemTools::TestFileAccess(folder, vtksys::TEST_FILE_WRITE);
  return ok || !this->Ranks.IsRoot() ||
    vtkKDINRBridge::Fail(
      error, KDINR_ERROR_IO, "folder " + folder + " does not exist or files cannot be made in it");
}

bool vtkKDINRWriter::Series::Plan(kdinr_error& error)
{
  vtkInformation* info = this->Input->GetOutputInformation(this->InputPort);
  if (!info->Has(SDDP::WHOLE_EXTENT()))
  {
    return vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA, "the input has no whole extent");
  }
  info->Get(SDDP::WHOLE_EXTENT(), this->WholeExtent);
  this->HasTimes = this->Writer->WriteAllTimeSteps && info->Length(SDDP::TIME_STEPS()) > 0;
  if (this->HasTimes)
  {
    const double* times = info->Get(SDDP::TIME_STEPS());
    this->Times.assign(times, times + info->Length(SDDP::TIME_STEPS()));
  }
  else
  {
    const bool asked = info->Has(SDDP::UPDATE_TIME_STEP()) != 0;
    this->Times.assign(1, asked ? info->Get(SDDP::UPDATE_TIME_STEP()) : 0.0);
  }
  return true;
}

bool vtkKDINRWriter::Series::DoPass(Pass pass, kdinr_error& error)
{
  for (size_t i = 0; i < this->Times.size(); ++i)
  {
    this->ProgressPrefix =
      "Step " + std::to_string(i + 1) + " of " + std::to_string(this->Times.size()) + ": ";
    if (!this->DoStep(pass, i, error))
    {
      return false;
    }
  }
  return true;
}

vtkImageData* vtkKDINRWriter::Series::UpdateInput(size_t step)
{
  vtkNew<vtkInformationVector> requests;
  requests->SetNumberOfInformationObjects(this->InputPort + 1);
  vtkInformation* request = requests->GetInformationObject(this->InputPort);
  if (this->HasTimes) // else the time that was asked for last
  {
    request->Set(SDDP::UPDATE_TIME_STEP(), this->Times[step]);
  }
  request->Set(SDDP::UPDATE_EXTENT(), this->WholeExtent, 6);
  request->Set(SDDP::UPDATE_PIECE_NUMBER(), this->Ranks.GetRank());
  request->Set(SDDP::UPDATE_NUMBER_OF_PIECES(), this->Ranks.GetNumberOfRanks());
  request->Set(SDDP::UPDATE_NUMBER_OF_GHOST_LEVELS(), 0);
  return this->Input->Update(this->InputPort, requests)
    ? vtkImageData::SafeDownCast(this->Input->GetOutputDataObject(this->InputPort))
    : nullptr;
}

bool vtkKDINRWriter::Series::DoStep(Pass pass, size_t step, kdinr_error& error)
{
  bool ok = !this->Writer->CheckAbort() || vtkKDINRBridge::Fail(error, KDINR_CANCELLED, "aborted");
  if (!this->Ranks.Agree(ok, error))
  {
    return false;
  }
  vtkNew<vtkImageData> lean;
  if (vtkImageData* piece = this->UpdateInput(step))
  {
    const vtkKDINRBridge::Selection selection = { this->Writer->PointSelection,
      this->Writer->CellSelection };
    if (!this->HasTimes && piece->GetInformation()->Has(vtkDataObject::DATA_TIME_STEP()))
    {
      this->Times[step] = piece->GetInformation()->Get(vtkDataObject::DATA_TIME_STEP());
    }
    ok = vtkKDINRBridge::SelectArrays(piece, selection, lean, error);
  }
  else
  {
    ok = vtkKDINRBridge::Fail(
      error, KDINR_ERROR_DATA, "the input failed at time " + std::to_string(this->Times[step]));
  }
  if (!this->Ranks.Agree(ok, error))
  {
    return false;
  }
  auto whole = this->Ranks.Gather(lean, this->WholeExtent, error);
  if (!whole)
  {
    return false;
  }
  ok = !this->Ranks.IsRoot() || this->Encode(pass, step, whole, error);
  return this->Ranks.Agree(ok, error);
}

bool vtkKDINRWriter::Series::Encode(Pass pass, size_t step, vtkImageData* whole, kdinr_error& error)
{
  std::vector<kdinr_array> arrays;
  const double* fill = this->Writer->UseFillValue ? &this->Writer->FillValue : nullptr;
  const kdinr_volume volume = vtkKDINRBridge::View(whole, fill, arrays);
  const double time = this->Times[step];
  if (arrays.empty())
  {
    return vtkKDINRBridge::Fail(
      error, KDINR_ERROR_DATA, "the input has none of the selected arrays");
  }
  const kdinr_status status = pass == PUSH
    ? kdinr_encoder_push(this->Encoder, &volume, time, &error)
    : kdinr_encoder_verify(this->Encoder, &volume, time, &error);
  return status == KDINR_OK;
}

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
  kdinr_options options =
    this->Preset == PRESET_PAPER ? kdinr_options_paper() : kdinr_options_default();
  options.ratio = this->CompressionRatio;
  options.effort = static_cast<kdinr_effort>(this->Effort);
  options.n_steps = numberOfSteps;
  options.seed = static_cast<uint64_t>(this->Seed);
  options.n_threads = this->NumberOfThreads;
  options.backend = this->Backend.c_str();
  // 0 leaves the choice to the preset.
  options.width = this->Width ? this->Width : options.width;
  options.depth = this->Depth ? this->Depth : options.depth;
  options.window = this->Window ? this->Window : options.window;
  for (int axis = 0; axis < 3; ++axis)
  {
    const int count = this->BrickCounts[axis];
    options.bricks[axis] = count ? count : options.bricks[axis];
  }
  return options;
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
  this->SetAbortOutput(false); // of an earlier Write(), which no executive has seen
  this->FileSize = 0;
  this->AchievedRatio = this->PSNR = 0.0;
  bool ok = false;
  bool root = true;
  {
    Series series(this); // puts the input back when it goes
    root = series.GetRanks().IsRoot();
    ok = series.Run(error);
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
    const bool aborted = error.status == KDINR_CANCELLED;
    this->Result = std::string("failed: ") + (aborted ? "aborted" : error.message);
  }
  if (!ok && root)
  {
    vtkErrorMacro(<< (error.status == KDINR_CANCELLED ? "aborted" : error.message));
  }
  this->SetProgressText(nullptr);
  this->SetAbortExecute(0); // or no later run could start
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
  kdinr_decoder_close(decoder);
  return true;
}

int vtkKDINRWriter::Write()
{
  if (this->GetNumberOfInputConnections(0) < 1 || !this->FileName || !*this->FileName)
  {
    this->ErrorCode = vtkErrorCode::NoFileNameError;
    vtkErrorMacro("Input or FileName is not set");
    return 0;
  }
  this->InvokeEvent(vtkCommand::StartEvent); // ParaView's progress bar waits for these
  const bool ok = this->Compress();
  this->InvokeEvent(vtkCommand::EndEvent);
  return ok;
}

int vtkKDINRWriter::RequestData(
  vtkInformation*, vtkInformationVector** inputVector, vtkInformationVector* outputVector)
{
  vtkImageData* output = vtkImageData::GetData(outputVector);
  if (vtkImageData* input = vtkImageData::GetData(inputVector[0]))
  {
    output->ShallowCopy(input);
  }
  if (!this->IsStale() || this->Compress())
  {
    return 1;
  }
  output->Initialize();
  return 0;
}

void vtkKDINRWriter::PrintSelf(ostream& os, vtkIndent indent)
{
  this->Superclass::PrintSelf(os, indent);
  os << indent << "FileName: " << (this->FileName ? this->FileName : "(none)") << "\n"
     << indent << "CompressionRatio: " << this->CompressionRatio << "\n"
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
     << indent << "Seed: " << this->Seed << "\n"
     << indent << "NumberOfThreads: " << this->NumberOfThreads << "\n"
     << indent << "Backend: " << this->Backend << "\n"
     << indent << "Result: " << this->Result << "\n";
}
