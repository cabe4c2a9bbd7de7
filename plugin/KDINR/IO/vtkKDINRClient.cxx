// Is there a user who waits for a first picture, or a script that waits for the data? Nothing below
// Qt and Python says so, and this plugin is built without them: it looks which of their functions
// this process has.
#include "vtkKDINRClient.h"
#include "vtkKDINRIcon.h"
#include "vtkSMKDINREstimateDomain.h"

#include "vtkObjectFactory.h"

vtkStandardNewMacro(vtkKDINRClient);

// Weak: null in a process that has not loaded libpython.
extern "C" {
__attribute__((weak)) int Py_IsInitialized();
__attribute__((weak)) int PyGILState_Check();
__attribute__((weak)) void* PyEval_GetFrame(); // what runs, or null
}

namespace
{
[[maybe_unused]] const bool hasDomain = vtkSMKDINREstimateDomain::Register(); // before xml/ is read

// Were we called by Python, be it in the window's own shell or by a macro?
bool IsInScript()
{
  return Py_IsInitialized && PyGILState_Check && PyEval_GetFrame && Py_IsInitialized() &&
    PyGILState_Check() && PyEval_GetFrame() != nullptr;
}
}

bool vtkKDINRClient::HasUser()
{
  return vtkKDINRIcon::HasQt() && !IsInScript();
}

int* vtkKDINRClient::GetPreviewRange()
{
  this->PreviewRange[1] = HasUser();
  return this->PreviewRange;
}

void vtkKDINRClient::PrintSelf(ostream& os, vtkIndent indent)
{
  this->Superclass::PrintSelf(os, indent);
  os << indent << "PreviewRange: " << this->PreviewRange[0] << " " << this->PreviewRange[1] << "\n";
}
