/**
 * @class vtkSMKDINREstimateDomain
 * @brief keeps the writer's Estimate in step with what is typed in its panel
 *
 * ParaView's window updates domains whenever a property that they name is changed, before Apply is
 * pressed. This one restricts nothing: it works the estimate out on the client, from the typed
 * settings and what is known there of the input (grid, arrays, number of steps), and puts the text
 * into the property that it belongs to. In scripts it does nothing; there the property has what
 * vtkKDINRWriter::GetEstimate says of the settings that were set.
 *
 * Required properties: Input; settings of the writer under their own names, for the others their
 * defaults hold.
 */
#ifndef vtkSMKDINREstimateDomain_h
#define vtkSMKDINREstimateDomain_h

#include "vtkNew.h"      // for the writer
#include "vtkSMDomain.h" // the superclass

#include <string> // for names and the text
#include <vector>

class vtkKDINRWriter;
class vtkPVDataInformation;

class vtkSMKDINREstimateDomain : public vtkSMDomain
{
public:
  static vtkSMKDINREstimateDomain* New();
  vtkTypeMacro(vtkSMKDINREstimateDomain, vtkSMDomain);
  void PrintSelf(ostream& os, vtkIndent indent) override;

  /// Let ParaView make the class when it reads xml/. (Its wrapper, which does that for the module's
  /// other classes, would have to know the module of the superclass.)
  static bool Register();

  /// Work the estimate out anew.
  void Update(vtkSMProperty* requestingProperty) override;

protected:
  vtkSMKDINREstimateDomain();
  ~vtkSMKDINREstimateDomain() override;

private:
  vtkSMKDINREstimateDomain(const vtkSMKDINREstimateDomain&) = delete;
  void operator=(const vtkSMKDINREstimateDomain&) = delete;

  void CopySettings();
  std::vector<std::string> Names(const char* selection);
  std::string MakeText(vtkPVDataInformation* input);

  vtkNew<vtkKDINRWriter> Writer; // has the typed settings; never runs
};

#endif
