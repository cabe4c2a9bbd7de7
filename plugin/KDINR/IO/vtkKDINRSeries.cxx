// The first step of a value's journey: asks the input for one time step after the other, brings
// to each rank what it needs of it (vtkKDINRStep), and hands that to kdinr_encoder_push. The steps
// come by direct updates of the upstream algorithm and not by CONTINUE_EXECUTING: with that,
// VTK 9.2 loops for ever when an upstream filter fails midway.
#include "vtkKDINRSeries.h"
#include "vtkKDINRBridge.h"

#include "vtkImageData.h"
#include "vtkInformation.h"
#include "vtkInformationDoubleKey.h"
#include "vtkInformationIntegerKey.h"
#include "vtkInformationIntegerVectorKey.h"
#include "vtkNew.h"
#include "vtkRectilinearGrid.h"
#include "vtkStreamingDemandDrivenPipeline.h"
#include "vtksys/SystemTools.hxx"

#include <cstring>

using SDDP = vtkStreamingDemandDrivenPipeline;

vtkKDINRWriter::Series::Series(vtkKDINRWriter* writer)
  : Writer(writer)
  , Ranks(writer->Controller)
  , Step(this->Ranks)
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
  if (this->WasAsked && before->Has(SDDP::UPDATE_EXTENT()))
  {
    this->Input->Update(this->InputPort, this->RequestBefore);
  }
}

std::string vtkKDINRWriter::Series::Status(double fraction, const char* stage) const
{
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - this->Start;
  std::string text = this->ProgressPrefix + stage;
  if (spent.count() > 2.0 && fraction > 0.01) // before, it would be a guess
  {
    const double left = spent.count() * (1.0 - fraction) / fraction;
    text += ", " + vtkKDINRBridge::DurationText(left) + " left";
  }
  return text;
}

bool vtkKDINRWriter::Series::OnProgress(void* user, double fraction, const char* stage)
{
  auto self = static_cast<Series*>(user);
  // The core counts training over all steps; checking, a tenth of the bar, has a count of its own.
  const bool checking = std::strcmp(stage, "checking") == 0;
  const double done = checking ? 0.9 + 0.1 * fraction : 0.9 * fraction;
  self->Writer->SetProgressText(self->Status(done, stage).c_str());
  self->Writer->UpdateProgress(done);
  return !self->Writer->CheckAbort();
}

kdinr_options vtkKDINRWriter::Series::Options()
{
  kdinr_options options = this->Writer->Options(static_cast<int>(this->Times.size()));
  this->Part = std::string(this->Writer->FileName) + ".part";
  options.part = this->Part.c_str();
  options.progress = &Series::OnProgress;
  options.progress_user = this;
  this->Share = this->Ranks.Share();
  options.share = &this->Share;
  return options;
}

bool vtkKDINRWriter::Series::Run(kdinr_error& error)
{
  this->Input->UpdateInformation(); // creates the data object
  const bool ok = this->CheckInput(error) && this->CheckFolder(error) && this->Plan(error);
  if (!this->Ranks.Agree(ok, error))
  {
    return false;
  }
  return this->Writer->Target == TARGET_PSNR ? this->Search(error) : this->Compress(error);
}

// The core's calls are collective too: they succeed or fail on all ranks.
bool vtkKDINRWriter::Series::Compress(kdinr_error& error)
{
  const kdinr_options options = this->Options();
  const bool verify = this->Writer->Verify || this->Writer->Target == TARGET_MAXIMUM_ERROR;
  if (kdinr_encoder_open(&options, &this->Encoder, &error) != KDINR_OK || !this->LookAhead(error) ||
    !this->DoPass(PUSH, error) || (verify && !this->DoPass(VERIFY, error)))
  {
    return false;
  }
  this->ProgressPrefix.clear();
  return kdinr_encoder_finish(this->Encoder, this->Writer->FileName, &error) == KDINR_OK;
}

bool vtkKDINRWriter::Series::LookAhead(kdinr_error& error)
{
  int steps[2];
  const int n = kdinr_encoder_looks(this->Encoder, steps);
  for (int i = 0; i < n; ++i)
  {
    if (!this->Fetch(static_cast<size_t>(steps[i]), error))
    {
      return false;
    }
    const kdinr_volume piece = this->View();
    if (kdinr_encoder_look(this->Encoder, &piece, &error) != KDINR_OK)
    {
      return false;
    }
  }
  return true;
}

// The core asks for steps as it needs them, on all ranks for the same ones, and for whole ones: it
// looks for a bound first, and residuals are coded by one rank.
bool vtkKDINRWriter::Series::Search(kdinr_error& error)
{
  const kdinr_options options = this->Options();
  const kdinr_series series = { static_cast<int>(this->Times.size()), &Series::OnStep, this,
    &this->Report };
  return kdinr_compress_series(&options, &series, this->Writer->FileName, &error) == KDINR_OK;
}

kdinr_status vtkKDINRWriter::Series::OnStep(
  void* user, int step, kdinr_volume* volume, double* time, kdinr_error* error)
{
  auto self = static_cast<Series*>(user);
  const auto all = [self](int array, int, vtkKDINRStep::Extent& wish, kdinr_error&) {
    return self->Step.WishAll(array, wish);
  };
  if (!self->Fetch(static_cast<size_t>(step), *error) || !self->Step.Move(all, *error))
  {
    return error->status;
  }
  *volume = self->View();
  *time = self->Times[static_cast<size_t>(step)];
  return KDINR_OK;
}

bool vtkKDINRWriter::Series::CheckInput(kdinr_error& error)
{
  vtkDataObject* data = this->Input->GetOutputDataObject(this->InputPort);
  return vtkImageData::SafeDownCast(data) || vtkRectilinearGrid::SafeDownCast(data) ||
    vtkKDINRBridge::Fail(error, KDINR_ERROR_DATA,
      std::string("the input is a ") + (data ? data->GetClassName() : "missing data object") +
        ", not a vtkImageData or vtkRectilinearGrid: apply Resample To Image first");
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

vtkDataSet* vtkKDINRWriter::Series::UpdateInput(size_t step)
{
  this->WasAsked = true;
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
    ? vtkDataSet::SafeDownCast(this->Input->GetOutputDataObject(this->InputPort))
    : nullptr;
}

// Collective. Take this rank's piece of a step.
bool vtkKDINRWriter::Series::Fetch(size_t step, kdinr_error& error)
{
  bool ok = !this->Writer->CheckAbort() || vtkKDINRBridge::Fail(error, KDINR_CANCELLED, "aborted");
  if (!this->Ranks.Agree(ok, error))
  {
    return false;
  }
  this->Step.Clear(); // the step before
  vtkNew<vtkImageData> lean;
  vtkDataSet* piece = this->UpdateInput(step);
  if (piece)
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
  for (int axis = 0; axis < 3; ++axis)
  {
    this->Axes[static_cast<size_t>(axis)] =
      this->Ranks.GatherAxis(piece, axis, &this->WholeExtent[2 * axis]);
  }
  return this->Step.SetPiece(lean, this->WholeExtent, error);
}

// Collective. What the encoders of all ranks need of the step.
bool vtkKDINRWriter::Series::MoveFor(Pass pass, kdinr_error& error)
{
  const kdinr_encoder* encoder = this->Encoder;
  const auto extent = pass == PUSH ? kdinr_encoder_push_extent : kdinr_encoder_verify_extent;
  return this->Step.Move(
    [=](int array, int rank, vtkKDINRStep::Extent& wish, kdinr_error& problem) {
      return extent(encoder, array, rank, wish.data(), &problem) == KDINR_OK;
    },
    error);
}

// What this rank has of the step, as the core sees it, until the next one is fetched.
kdinr_volume vtkKDINRWriter::Series::View()
{
  kdinr_volume volume =
    this->Step.View(this->Writer->UseFillValue ? &this->Writer->FillValue : nullptr);
  for (size_t axis = 0; axis < 3; ++axis)
  {
    volume.axes[axis] = this->Axes[axis].empty() ? nullptr : this->Axes[axis].data();
  }
  return volume;
}

// The first step is planned from the ranks' pieces; only then it is known what each needs.
bool vtkKDINRWriter::Series::DoStep(Pass pass, size_t step, kdinr_error& error)
{
  if (!this->Fetch(step, error))
  {
    return false;
  }
  if (pass == PUSH && step == 0)
  {
    const kdinr_volume piece = this->View();
    if (kdinr_encoder_plan(this->Encoder, &piece, &error) != KDINR_OK)
    {
      return false;
    }
  }
  if (!this->MoveFor(pass, error))
  {
    return false;
  }
  const kdinr_volume volume = this->View();
  const double time = this->Times[step];
  return (pass == PUSH ? kdinr_encoder_push(this->Encoder, &volume, time, &error)
                       : kdinr_encoder_verify(this->Encoder, &volume, time, &error)) == KDINR_OK;
}
