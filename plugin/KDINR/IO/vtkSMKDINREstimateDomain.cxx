// What the writer's panel says of size and time while settings are typed. Before: ParaView tells of
// a change. After: vtkKDINRWriter estimates as it does for itself, here for arrays of which only
// the description is known.
#include "vtkSMKDINREstimateDomain.h"
#include "vtkKDINRBridge.h"
#include "vtkKDINRClient.h"
#include "vtkKDINRWriter.h"

#include "vtkClientServerInterpreter.h"
#include "vtkClientServerInterpreterInitializer.h"
#include "vtkObjectFactory.h"
#include "vtkPVArrayInformation.h"
#include "vtkPVDataInformation.h"
#include "vtkPVDataSetAttributesInformation.h"
#include "vtkSMProperty.h"
#include "vtkSMPropertyHelper.h"
#include "vtkSMSession.h"
#include "vtkSMUncheckedPropertyHelper.h"

#include <algorithm>

vtkStandardNewMacro(vtkSMKDINREstimateDomain);

namespace
{
// Describe the arrays whose names are among `selected` (nullptr: all).
void AddArrays(vtkPVDataSetAttributesInformation* from, kdinr_association association,
  const std::vector<std::string>* selected, std::vector<kdinr_array>& arrays)
{
  for (int i = 0; i < from->GetNumberOfArrays(); ++i)
  {
    vtkPVArrayInformation* about = from->GetArrayInformation(i);
    const char* name = about->GetName();
    if (!name || about->GetDataType() == VTK_STRING ||
      (selected && std::find(selected->begin(), selected->end(), name) == selected->end()))
    {
      continue;
    }
    kdinr_array array = {};
    array.name = name;
    array.type = vtkKDINRBridge::CoreType(about->GetDataType());
    array.n_components = about->GetNumberOfComponents();
    array.association = association;
    arrays.push_back(array);
  }
}
}

bool vtkSMKDINREstimateDomain::Register()
{
  vtkClientServerInterpreterInitializer::GetInitializer()->RegisterCallback(
    [](vtkClientServerInterpreter* interpreter) {
      interpreter->AddNewInstanceFunction("vtkSMKDINREstimateDomain",
        [](void*) -> vtkObjectBase* { return vtkSMKDINREstimateDomain::New(); });
    });
  return true;
}

vtkSMKDINREstimateDomain::vtkSMKDINREstimateDomain() = default;
vtkSMKDINREstimateDomain::~vtkSMKDINREstimateDomain() = default;

void vtkSMKDINREstimateDomain::CopySettings()
{
  const auto set = [this](const char* name, void (vtkKDINRWriter::*setter)(int)) {
    if (vtkSMProperty* property = this->GetRequiredProperty(name))
    {
      (this->Writer->*setter)(vtkSMUncheckedPropertyHelper(property).GetAsInt());
    }
  };
  set("Target", &vtkKDINRWriter::SetTarget);
  set("Effort", &vtkKDINRWriter::SetEffort);
  set("Preset", &vtkKDINRWriter::SetPreset);
  set("Network", &vtkKDINRWriter::SetNetwork);
  set("Width", &vtkKDINRWriter::SetWidth);
  set("Depth", &vtkKDINRWriter::SetDepth);
  set("Window", &vtkKDINRWriter::SetWindow);
  set("NumberOfThreads", &vtkKDINRWriter::SetNumberOfThreads);
  set("WriteAllTimeSteps", &vtkKDINRWriter::SetWriteAllTimeSteps);
  if (vtkSMProperty* property = this->GetRequiredProperty("CompressionRatio"))
  {
    this->Writer->SetCompressionRatio(vtkSMUncheckedPropertyHelper(property).GetAsDouble());
  }
  if (vtkSMProperty* property = this->GetRequiredProperty("WindowMemory"))
  {
    this->Writer->SetWindowMemory(vtkSMUncheckedPropertyHelper(property).GetAsDouble());
  }
  if (vtkSMProperty* property = this->GetRequiredProperty("BrickCounts"))
  {
    int counts[3] = { 0, 0, 0 };
    vtkSMUncheckedPropertyHelper(property).Get(counts, 3);
    this->Writer->SetBrickCounts(counts);
  }
  if (vtkSMProperty* property = this->GetRequiredProperty("Backend"))
  {
    this->Writer->SetBackend(vtkSMUncheckedPropertyHelper(property).GetAsString());
  }
}

std::vector<std::string> vtkSMKDINREstimateDomain::Names(const char* selection)
{
  std::vector<std::string> names;
  vtkSMProperty* property = this->GetRequiredProperty(selection);
  const unsigned int n =
    property ? vtkSMUncheckedPropertyHelper(property).GetNumberOfElements() : 0;
  for (unsigned int i = 0; i < n; ++i)
  {
    names.emplace_back(vtkSMUncheckedPropertyHelper(property).GetAsString(i));
  }
  return names;
}

std::string vtkSMKDINREstimateDomain::MakeText(vtkPVDataInformation* input)
{
  const std::vector<std::string> points = this->Names("PointDataArrays");
  const std::vector<std::string> cells = this->Names("CellDataArrays");
  const bool any = points.empty() && cells.empty();
  std::vector<kdinr_array> arrays;
  AddArrays(input->GetPointDataInformation(), KDINR_POINTS, any ? nullptr : &points, arrays);
  AddArrays(input->GetCellDataInformation(), KDINR_CELLS, any ? nullptr : &cells, arrays);
  const int* extent = input->GetExtent();
  kdinr_volume volume = kdinr_volume_default();
  for (int axis = 0; axis < 3; ++axis)
  {
    volume.dims[axis] = extent[2 * axis + 1] - extent[2 * axis] + 1;
  }
  volume.n_arrays = static_cast<int>(arrays.size());
  volume.arrays = arrays.data();
  const int steps = static_cast<int>(input->GetNumberOfTimeSteps());
  const bool all = this->Writer->GetWriteAllTimeSteps() && steps > 0;
  const bool remote = this->GetSession()->IsA("vtkSMSessionClient");
  return this->Writer->EstimateFor(volume, all ? steps : 1) +
    (remote ? " (the time is this computer's)" : "");
}

void vtkSMKDINREstimateDomain::Update(vtkSMProperty* vtkNotUsed(requestingProperty))
{
  if (!vtkKDINRClient::HasUser())
  {
    return;
  }
  vtkPVDataInformation* input = this->GetInputDataInformation("Input");
  if (!input || input->GetNumberOfPoints() == 0)
  {
    return;
  }
  this->CopySettings();
  vtkSMPropertyHelper(this->GetProperty()).Set(this->MakeText(input).c_str());
}

void vtkSMKDINREstimateDomain::PrintSelf(ostream& os, vtkIndent indent)
{
  this->Superclass::PrintSelf(os, indent);
  os << indent << "Writer:\n";
  this->Writer->PrintSelf(os, indent.GetNextIndent());
}
