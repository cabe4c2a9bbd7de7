/**
 * @class vtkKDINRWriter
 * @brief compress the time series of a uniform or rectilinear grid to a .kdm file
 *
 * A filter that passes its input through, with the result of the last run as field data. When it is
 * updated and the file is missing or older than the input or the settings, it asks its input for
 * one time step after the other and compresses the whole series. Write() does the same at once
 * (ParaView's File > Save Data). With several MPI ranks, each trains a part of the networks and
 * rank 0 writes the file. Every failure is reported by vtkErrorMacro and GetErrorCode(), and leaves
 * an older file as it was.
 */
#ifndef vtkKDINRWriter_h
#define vtkKDINRWriter_h

#include "KDINRIOModule.h" // for export macro
#include "vtkNew.h"        // for the selections
#include "vtkPassInputTypeAlgorithm.h"

#include <string> // for the texts

class vtkDataArraySelection;
class vtkDataSet;
class vtkFieldData;
class vtkMultiProcessController;
struct kdinr_error;
struct kdinr_info;
struct kdinr_options;
struct kdinr_volume;

class KDINRIO_EXPORT vtkKDINRWriter : public vtkPassInputTypeAlgorithm
{
public:
  static vtkKDINRWriter* New();
  vtkTypeMacro(vtkKDINRWriter, vtkPassInputTypeAlgorithm);
  void PrintSelf(ostream& os, vtkIndent indent) override;

  ///@{
  /** The .kdm file. Default: none, nothing is written. */
  vtkSetFilePathMacro(FileName);
  vtkGetFilePathMacro(FileName);
  ///@}

  /// Compress now. Returns 1, or 0 on failure. Collective over the ranks.
  int Write();

  ///@{
  /** Whether Write() does nothing while the file is as new as input and settings, as extract
   *  writers need, which are called at every time step. Default off. */
  vtkSetMacro(WriteOnce, vtkTypeBool);
  vtkGetMacro(WriteOnce, vtkTypeBool);
  vtkBooleanMacro(WriteOnce, vtkTypeBool);
  ///@}

  enum
  {
    TARGET_RATIO = 0,
    TARGET_PSNR = 1,
    TARGET_MAXIMUM_ERROR = 2
  };
  ///@{
  /** What is asked for: a size (CompressionRatio), a quality over the whole series (TargetPSNR) in
   *  the smallest file that has it, or that no stored sample is off by more than MaximumError.
   *  Default TARGET_RATIO. */
  vtkSetClampMacro(Target, int, TARGET_RATIO, TARGET_MAXIMUM_ERROR);
  vtkGetMacro(Target, int);
  ///@}

  ///@{
  /** PSNR in dB for TARGET_PSNR. Default 40, 1..200. Result and a warning say why if no file comes
   *  within 0.3 dB. */
  vtkSetClampMacro(TargetPSNR, double, 1.0, 200.0);
  vtkGetMacro(TargetPSNR, double);
  ///@}

  ///@{
  /** Bound for TARGET_MAXIMUM_ERROR, times the range of each array if RelativeError is on, else in
   *  the arrays' unit. Default 0.001, on; 1e-300..1e300. */
  vtkSetClampMacro(MaximumError, double, 1e-300, 1e300);
  vtkGetMacro(MaximumError, double);
  vtkSetMacro(RelativeError, vtkTypeBool);
  vtkGetMacro(RelativeError, vtkTypeBool);
  vtkBooleanMacro(RelativeError, vtkTypeBool);
  ///@}

  ///@{
  /** Whether to go on from FileName.part, which a run that was aborted leaves, with the same input
   *  and settings. The file gets the same bytes as without the interruption. Default off. */
  vtkSetMacro(Resume, vtkTypeBool);
  vtkGetMacro(Resume, vtkTypeBool);
  vtkBooleanMacro(Resume, vtkTypeBool);
  ///@}

  ///@{
  /** Data bytes / file bytes to reach with TARGET_RATIO. Default 500, 1..1e6. */
  vtkSetClampMacro(CompressionRatio, double, 1.0, 1e6);
  vtkGetMacro(CompressionRatio, double);
  ///@}

  enum
  {
    PRESET_DEFAULT = 0,
    PRESET_PAPER = 1
  };
  ///@{
  /** The recommended settings, or those of the paper. Default PRESET_DEFAULT. */
  vtkSetClampMacro(Preset, int, PRESET_DEFAULT, PRESET_PAPER);
  vtkGetMacro(Preset, int);
  ///@}

  enum
  {
    NETWORK_KDINR = 0,
    NETWORK_COORDNET = 1,
    NETWORK_SIREN = 2,
    NETWORK_NEURCOMP = 3
  };
  ///@{
  /** KD-INR's network or, for comparisons, one of another method, which learns the data itself.
   *  Default NETWORK_KDINR. */
  vtkSetClampMacro(Network, int, NETWORK_KDINR, NETWORK_NEURCOMP);
  vtkGetMacro(Network, int);
  ///@}

  enum
  {
    EFFORT_LOW = 0,
    EFFORT_NORMAL = 1,
    EFFORT_HIGH = 2
  };
  ///@{
  /** How long to train. Default EFFORT_NORMAL. */
  vtkSetClampMacro(Effort, int, EFFORT_LOW, EFFORT_HIGH);
  vtkGetMacro(Effort, int);
  ///@}

  ///@{
  /** Compress all time steps of the input, or only the current one. Default on. */
  vtkSetMacro(WriteAllTimeSteps, vtkTypeBool);
  vtkGetMacro(WriteAllTimeSteps, vtkTypeBool);
  vtkBooleanMacro(WriteAllTimeSteps, vtkTypeBool);
  ///@}

  ///@{
  /** Read the input a second time to record the exact quality in the file; always done unless
   *  the target is TARGET_RATIO. Default on. */
  vtkSetMacro(Verify, vtkTypeBool);
  vtkGetMacro(Verify, vtkTypeBool);
  vtkBooleanMacro(Verify, vtkTypeBool);
  ///@}

  /// Which arrays are compressed. Default: none named, which means all.
  vtkDataArraySelection* GetPointDataArraySelection();
  vtkDataArraySelection* GetCellDataArraySelection();

  ///@{
  /** Whether values equal to FillValue are missing, as NaN always is. Default off, 0. */
  vtkSetMacro(UseFillValue, vtkTypeBool);
  vtkGetMacro(UseFillValue, vtkTypeBool);
  vtkBooleanMacro(UseFillValue, vtkTypeBool);
  vtkSetMacro(FillValue, double);
  vtkGetMacro(FillValue, double);
  ///@}

  ///@{
  /** Shape of the networks: neurons of the first layer, 2..256, and residual blocks, 1..32.
   *  0: chosen from the ratio. Default 0. */
  vtkSetClampMacro(Width, int, 0, 256);
  vtkGetMacro(Width, int);
  vtkSetClampMacro(Depth, int, 0, 32);
  vtkGetMacro(Depth, int);
  ///@}

  ///@{
  /** Bricks along x, y, z, 1..64 each, and time steps per network, 1..1024. 0: chosen.
   *  Default 0. */
  vtkSetVector3Macro(BrickCounts, int);
  vtkGetVector3Macro(BrickCounts, int);
  vtkSetClampMacro(Window, int, 0, 1024);
  vtkGetMacro(Window, int);
  ///@}

  ///@{
  /** GiB in which the time steps that share a network may be kept until it is trained, so that it
   *  learns the data itself; 0, or with PRESET_PAPER: one step in memory at a time. Default 1. */
  vtkSetClampMacro(WindowMemory, double, 0.0, 1e9);
  vtkGetMacro(WindowMemory, double);
  ///@}

  ///@{
  /** Start of the random numbers. Default 1. */
  vtkSetClampMacro(Seed, int, 0, VTK_INT_MAX);
  vtkGetMacro(Seed, int);
  ///@}

  ///@{
  /** Threads to compute with; 0: as many as the machine has. Default 0, 0..1024. */
  vtkSetClampMacro(NumberOfThreads, int, 0, 1024);
  vtkGetMacro(NumberOfThreads, int);
  ///@}

  ///@{
  /** Where to compute: "auto", "cpu", "cuda" or "reference". Default "auto". */
  vtkSetStdStringFromCharMacro(Backend);
  vtkGetCharFromStdStringMacro(Backend);
  ///@}

  ///@{
  /** What the last run wrote, on rank 0: bytes, data bytes / file bytes, lowest PSNR of the
   *  arrays in dB; 0 before a run and after a failed one. Result says it in words. */
  vtkGetMacro(FileSize, vtkIdType);
  vtkGetMacro(AchievedRatio, double);
  vtkGetMacro(PSNR, double);
  vtkGetCharFromStdStringMacro(Result);
  ///@}

  /// Size of the file and time to compress, for the settings and the input as they are, in words:
  /// "about 12.3 kB, 40 s". On several ranks for the piece of each.
  const char* GetEstimate();

  /// The same for steps of which only the description is known, without their values.
  std::string EstimateFor(const kdinr_volume& volume, int numberOfSteps);

  /// The backend that computes, with the reason why no faster one does.
  const char* GetBackendInUse();

  /// How many times the series has been compressed.
  vtkGetMacro(NumberOfRuns, int);

  /// The ranks that hold pieces of the input. Default: the global controller.
  void SetController(vtkMultiProcessController* controller);

  vtkMTimeType GetMTime() override; ///< includes the selections

protected:
  vtkKDINRWriter();
  ~vtkKDINRWriter() override;
  int FillInputPortInformation(int port, vtkInformation* info) override;
  int RequestData(vtkInformation*, vtkInformationVector**, vtkInformationVector*) override;

private:
  vtkKDINRWriter(const vtkKDINRWriter&) = delete;
  void operator=(const vtkKDINRWriter&) = delete;

  class Series;
  bool IsStale();
  bool Compress();
  kdinr_options Options(int numberOfSteps);
  bool DescribeResult(kdinr_error& error);
  void Summarise(const kdinr_info* info);
  bool MakeEstimate(vtkDataSet* data, kdinr_error& error);

  char* FileName = nullptr;
  vtkTypeBool WriteOnce = 0;
  int Target = TARGET_RATIO;
  double CompressionRatio = 500.0;
  double TargetPSNR = 40.0;
  double MaximumError = 1e-3;
  vtkTypeBool RelativeError = 1;
  vtkTypeBool Resume = 0;
  int Preset = PRESET_DEFAULT;
  int Network = NETWORK_KDINR;
  int Effort = EFFORT_NORMAL;
  vtkTypeBool WriteAllTimeSteps = 1;
  vtkTypeBool Verify = 1;
  vtkNew<vtkDataArraySelection> PointSelection;
  vtkNew<vtkDataArraySelection> CellSelection;
  vtkTypeBool UseFillValue = 0;
  double FillValue = 0.0;
  int Width = 0;
  int Depth = 0;
  int BrickCounts[3] = { 0, 0, 0 };
  int Window = 0;
  double WindowMemory = 1.0;
  int Seed = 1;
  int NumberOfThreads = 0;
  std::string Backend = "auto";
  std::string BackendInUse;
  vtkMultiProcessController* Controller = nullptr;

  vtkIdType FileSize = 0;
  double AchievedRatio = 0.0;
  double PSNR = 0.0;
  std::string Result = "nothing written yet";
  vtkNew<vtkFieldData> Summary; // likewise: the ratio, and the PSNR of each array and step
  std::string Estimate;
  vtkTimeStamp EstimateTime;
  int NumberOfRuns = 0;
  vtkTimeStamp CompressTime;
};

#endif
