/**
 * @class vtkKDINRClient
 * @brief what the reader wants to know of the process that the user sits at
 *
 * ParaView makes the reader where the data are, which may be a remote server, and this on the
 * client.
 */
#ifndef vtkKDINRClient_h
#define vtkKDINRClient_h

#include "KDINRIOModule.h" // for export macro
#include "vtkObject.h"

class KDINRIO_EXPORT vtkKDINRClient : public vtkObject
{
public:
  static vtkKDINRClient* New();
  vtkTypeMacro(vtkKDINRClient, vtkObject);
  void PrintSelf(ostream& os, vtkIndent indent) override;

  /** The values that the reader's Preview has of itself, from 0 to the second number: that is 1 if
   *  this is ParaView's window, and no script that runs in it has asked; else 0. */
  int* GetPreviewRange() VTK_SIZEHINT(2);

  /// Is this ParaView's window, with a user and no script who asks?
  static bool HasUser();

protected:
  vtkKDINRClient() = default;
  ~vtkKDINRClient() override = default;

private:
  vtkKDINRClient(const vtkKDINRClient&) = delete;
  void operator=(const vtkKDINRClient&) = delete;

  int PreviewRange[2] = { 0, 0 };
};

#endif
