// One run of the writer over all time steps of its input. Before: vtkKDINRWriter has its settings.
// After: kdinr_encoder_push and, in a second pass, kdinr_encoder_verify. Private to this module.
#ifndef vtkKDINRSeries_h
#define vtkKDINRSeries_h

#include "vtkKDINRRanks.h"
#include "vtkKDINRStep.h"
#include "vtkKDINRWriter.h"

#include "vtkInformationVector.h"

#include <array>
#include <chrono>
#include <string>
#include <vector>

class vtkDataSet;
struct kdinr_encoder;

// All methods are collective: every rank calls them and all get the same outcome.
class vtkKDINRWriter::Series
{
public:
  explicit Series(vtkKDINRWriter* writer);
  Series(const Series&) = delete;
  void operator=(const Series&) = delete;
  ~Series();

  /// Is the input a grid that can be compressed? If not, `error` says which filter to apply first.
  bool CheckInput(kdinr_error& error);
  /// What will be asked of the input: whole extent and times.
  bool Plan(kdinr_error& error);
  const std::vector<double>& GetTimes() const
  {
    return this->Times;
  }

  /// Compress the series to the writer's FileName.
  bool Run(kdinr_error& error);
  const vtkKDINRRanks& GetRanks() const
  {
    return this->Ranks;
  }
  /// Why the file has not the PSNR that was asked for; "": it has, or none was.
  const char* GetMiss() const
  {
    return this->Report.miss;
  }

private:
  enum Pass
  {
    PUSH,
    VERIFY
  };
  bool CheckFolder(kdinr_error& error);
  kdinr_options Options();
  bool Compress(kdinr_error& error);
  bool LookAhead(kdinr_error& error);
  bool Search(kdinr_error& error);
  bool DoPass(Pass pass, kdinr_error& error);
  bool DoStep(Pass pass, size_t step, kdinr_error& error);
  vtkDataSet* UpdateInput(size_t step);
  bool Fetch(size_t step, kdinr_error& error);
  bool MoveFor(Pass pass, kdinr_error& error);
  kdinr_volume View();
  static kdinr_status OnStep(
    void* series, int step, kdinr_volume* volume, double* time, kdinr_error* error);
  std::string Status(double fraction, const char* stage) const;
  static bool OnProgress(void* series, double fraction, const char* stage);

  vtkKDINRWriter* Writer;
  vtkKDINRRanks Ranks;
  kdinr_encoder* Encoder = nullptr;

  vtkAlgorithm* Input;
  int InputPort = 0;
  vtkNew<vtkInformationVector> RequestBefore; // what the pipeline had asked the input for
  bool WasAsked = false;                      // for a step of ours: RequestBefore must be restored
  int WholeExtent[6];
  bool HasTimes = false; // the input has time steps and all are wanted
  std::vector<double> Times;

  vtkKDINRStep Step;                       // that was fetched last
  std::array<std::vector<double>, 3> Axes; // of a rectilinear input; else empty

  std::string Part;  // name of the file that keeps what is trained
  kdinr_share Share; // with the encoders of the other ranks
  kdinr_search_report Report = {};

  std::string ProgressPrefix;
  const std::chrono::steady_clock::time_point Start = std::chrono::steady_clock::now();
};

#endif
