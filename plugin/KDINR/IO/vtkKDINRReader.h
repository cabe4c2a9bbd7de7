/**
 * @class vtkKDINRReader
 * @brief read a time series of volumes from a .kdm file
 *
 * Produces vtkImageData, or vtkRectilinearGrid if the file has axes. Decodes only the arrays, the
 * extent and the time that are asked for, at the stored resolution or any other; times between the
 * stored steps are answered too. Opening reads the header only. Every failure is reported by
 * vtkErrorMacro and GetErrorCode(), and the output is empty.
 */
#ifndef vtkKDINRReader_h
#define vtkKDINRReader_h

#include "KDINRIOModule.h" // for export macro
#include "vtkDataSetAlgorithm.h"
#include "vtkNew.h" // for the selections
#include "vtkSmartPointer.h"

#include <memory> // for the parts
#include <string> // for the texts

class vtkDataArray;
class vtkDataArraySelection;
struct kdinr_decoder;
struct kdinr_error;
struct kdinr_request;

class vtkKDINRCache;
class vtkKDINRMissing;
struct vtkKDINRGrid;

class KDINRIO_EXPORT vtkKDINRReader : public vtkDataSetAlgorithm
{
public:
  static vtkKDINRReader* New();
  vtkTypeMacro(vtkKDINRReader, vtkDataSetAlgorithm);
  void PrintSelf(ostream& os, vtkIndent indent) override;

  /// 1 if this library can read `fileName`, else 0. Reads a few bytes and reports nothing.
  int CanReadFile(VTK_FILEPATH const char* fileName);

  ///@{
  /** The .kdm file. Default: none. */
  vtkSetFilePathMacro(FileName);
  vtkGetFilePathMacro(FileName);
  ///@}

  /// Which arrays are decoded. Default: all. Choices survive a change of the file.
  vtkDataArraySelection* GetPointDataArraySelection();
  vtkDataArraySelection* GetCellDataArraySelection();

  enum
  {
    RESOLUTION_STORED = 0,
    RESOLUTION_HALF = 1,
    RESOLUTION_QUARTER = 2,
    RESOLUTION_EIGHTH = 3,
    RESOLUTION_SCALED = 4,
    RESOLUTION_EXPLICIT = 5
  };
  ///@{
  /** How many points the output has; its bounds are the same at every resolution.
   *  Default: RESOLUTION_STORED. */
  vtkSetClampMacro(Resolution, int, RESOLUTION_STORED, RESOLUTION_EXPLICIT);
  vtkGetMacro(Resolution, int);
  ///@}

  ///@{
  /** With RESOLUTION_SCALED: intervals per stored interval along each axis. Default 1, 0.05..8. */
  vtkSetClampMacro(ScaleFactor, double, 0.05, 8.0);
  vtkGetMacro(ScaleFactor, double);
  ///@}

  ///@{
  /** With RESOLUTION_EXPLICIT: points along x, y, z; 0: as stored. Default 0, 0, 0. */
  vtkSetVector3Macro(Dimensions, int);
  vtkGetVector3Macro(Dimensions, int);
  ///@}

  enum
  {
    PREVIEW_NEVER = 0,
    PREVIEW_WHEN_LARGE = 1
  };
  ///@{
  /** Whether a grid of more than PreviewVoxels million points is replaced by a coarser one, to look
   *  at large files without waiting. ParaView's window switches it on. Default PREVIEW_NEVER; 2,
   *  0.001..1e6. */
  vtkSetClampMacro(Preview, int, PREVIEW_NEVER, PREVIEW_WHEN_LARGE);
  vtkGetMacro(Preview, int);
  vtkSetClampMacro(PreviewVoxels, double, 0.001, 1e6);
  vtkGetMacro(PreviewVoxels, double);
  ///@}

  enum
  {
    TIME_CONTINUOUS = 0,
    TIME_NEAREST = 1
  };
  ///@{
  /** What answers a time between stored steps: the networks, or the nearest stored step. Times
   *  outside the series are answered by its first or last step. Default TIME_CONTINUOUS. */
  vtkSetClampMacro(TimeMode, int, TIME_CONTINUOUS, TIME_NEAREST);
  vtkGetMacro(TimeMode, int);
  ///@}

  ///@{
  /** Steps that are announced between each two stored ones, for smooth animations; without effect
   *  with TIME_NEAREST. No more than about a million steps are announced in all. Default 0,
   *  0..1000. */
  vtkSetClampMacro(StepsBetween, int, 0, 1000);
  vtkGetMacro(StepsBetween, int);
  ///@}

  enum
  {
    MISSING_STORED = 0,
    MISSING_NAN = 1,
    MISSING_BLANK = 2
  };
  ///@{
  /** What missing samples become: what they were (NaN, infinite or the fill value), NaN in float
   *  arrays, or NaN and hidden by vtkGhostType. Default MISSING_STORED. */
  vtkSetClampMacro(MissingValues, int, MISSING_STORED, MISSING_BLANK);
  vtkGetMacro(MissingValues, int);
  ///@}

  enum
  {
    OUTPUT_FLOAT = 0,
    OUTPUT_ORIGINAL = 1
  };
  ///@{
  /** Type of the arrays: float, or that of the data that was compressed. Default OUTPUT_FLOAT. */
  vtkSetClampMacro(OutputType, int, OUTPUT_FLOAT, OUTPUT_ORIGINAL);
  vtkGetMacro(OutputType, int);
  ///@}

  ///@{
  /** Where to compute: "auto", "cpu", "cuda" or "reference". Default "auto". */
  vtkSetStdStringFromCharMacro(Backend);
  vtkGetCharFromStdStringMacro(Backend);
  ///@}

  ///@{
  /** Threads to compute with; 0: as many as the machine has. Default 0, 0..1024. */
  vtkSetClampMacro(NumberOfThreads, int, 0, 1024);
  vtkGetMacro(NumberOfThreads, int);
  ///@}

  ///@{
  /** Most memory in GiB that one update may need. Default 64, 0.001..1e6. */
  vtkSetClampMacro(MemoryLimit, double, 0.001, 1e6);
  vtkGetMacro(MemoryLimit, double);
  ///@}

  ///@{
  /** Memory in MiB for the arrays that were decoded last. Default 256, 0..1e6; 0: keep none. */
  vtkSetClampMacro(CacheSize, double, 0.0, 1e6);
  vtkGetMacro(CacheSize, double);
  ///@}

  ///@{
  /** What the present choice gives: the grid in words, the memory in MiB that its enabled arrays
   *  take, and the backend that computes, with the reason why no faster one does. */
  const char* GetOutputGrid();
  double GetMemoryNeeded();
  const char* GetBackendInUse();
  ///@}

  ///@{
  /** What the file says of itself; 0 or "" while no file is open. Sizes in bytes. */
  vtkIdType GetFileSize();
  vtkIdType GetDataSize();
  double GetCompressionRatio();
  double GetPSNR(); ///< lowest of the arrays, dB
  const char* GetQuality();
  const char* GetProvenance();
  ///@}

  vtkMTimeType GetMTime() override; ///< includes the selections

protected:
  vtkKDINRReader();
  ~vtkKDINRReader() override;
  int RequestDataObject(vtkInformation*, vtkInformationVector**, vtkInformationVector*) override;
  int RequestInformation(vtkInformation*, vtkInformationVector**, vtkInformationVector*) override;
  int RequestData(vtkInformation*, vtkInformationVector**, vtkInformationVector*) override;

private:
  vtkKDINRReader(const vtkKDINRReader&) = delete;
  void operator=(const vtkKDINRReader&) = delete;

  bool Open();
  void Close();
  void UpdateSelections();
  void ChooseGrid();
  void DescribeScalars(vtkInformation* out);
  bool ReadArrays(const int extent[6], double time, vtkDataSet* grid);
  bool ReadArray(
    int array, const int extent[6], double time, vtkDataSet* grid, vtkKDINRMissing& missing);
  vtkSmartPointer<vtkDataArray> Decode(const kdinr_request& request, kdinr_error& error);
  bool Decode(const kdinr_request& request, vtkDataArray* values, kdinr_error& error);
  double NeededBytes(const int extent[6]);
  bool CheckMemory(const int extent[6]);
  bool IsEnabled(int array);
  int ArrayType(int array);
  bool Report(unsigned long code, const char* message);
  static bool OnProgress(void* reader, double fraction, const char* stage);

  char* FileName = nullptr;
  vtkNew<vtkDataArraySelection> PointSelection;
  vtkNew<vtkDataArraySelection> CellSelection;
  vtkNew<vtkDataArraySelection> KnownPoints; // settings of all arrays of all files so far
  vtkNew<vtkDataArraySelection> KnownCells;
  int Resolution = RESOLUTION_STORED;
  double ScaleFactor = 1.0;
  int Dimensions[3] = { 0, 0, 0 };
  int Preview = PREVIEW_NEVER;
  double PreviewVoxels = 2.0;
  int TimeMode = TIME_CONTINUOUS;
  int StepsBetween = 0;
  int MissingValues = MISSING_STORED;
  int OutputType = OUTPUT_FLOAT;
  std::string Backend = "auto";
  int NumberOfThreads = 0;
  double MemoryLimit = 64.0;
  double CacheSize = 256.0;

  kdinr_decoder* Decoder = nullptr; // kept open while DecoderKey is unchanged
  std::string DecoderKey;           // file, its size and date, and the decoder's options
  std::string Quality;
  std::string BackendInUse;

  std::string OutputGrid;
  std::unique_ptr<vtkKDINRGrid> Grid; // the one that was announced
  std::unique_ptr<vtkKDINRCache> Cache;

  double ProgressStart = 0.0; // of the array being decoded
  double ProgressSpan = 1.0;
};

#endif
