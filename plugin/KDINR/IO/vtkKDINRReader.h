/**
 * @class vtkKDINRReader
 * @brief read a time series of volumes from a .kdm file
 *
 * Produces vtkImageData. Decodes only the arrays, the extent and the time that are asked for, at
 * the stored resolution or any other; times between the stored steps are answered too. Opening
 * reads the header only. Every failure is reported by vtkErrorMacro and GetErrorCode(), and the
 * output is empty.
 */
#ifndef vtkKDINRReader_h
#define vtkKDINRReader_h

#include "KDINRIOModule.h" // for export macro
#include "vtkImageAlgorithm.h"
#include "vtkNew.h" // for the selections

#include <string> // for the texts

class vtkDataArraySelection;
struct kdinr_decoder;

class KDINRIO_EXPORT vtkKDINRReader : public vtkImageAlgorithm
{
public:
  static vtkKDINRReader* New();
  vtkTypeMacro(vtkKDINRReader, vtkImageAlgorithm);
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
    RESOLUTION_SCALED = 1,
    RESOLUTION_EXPLICIT = 2
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
  bool ReadArrays(const int extent[6], double time, vtkImageData* image);
  bool ReadArray(int array, const int extent[6], double time, vtkImageData* image);
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
  int OutputType = OUTPUT_FLOAT;
  std::string Backend = "auto";
  int NumberOfThreads = 0;
  double MemoryLimit = 64.0;

  kdinr_decoder* Decoder = nullptr; // kept open while DecoderKey is unchanged
  std::string DecoderKey;           // file, its size and date, and the decoder's options
  std::string Quality;

  // The grid that was announced: points, index of the first, and geometry.
  int GridDims[3] = { 0, 0, 0 };
  int GridFirst[3] = { 0, 0, 0 };
  double GridOrigin[3] = { 0, 0, 0 };
  double GridSpacing[3] = { 1, 1, 1 };

  double ProgressStart = 0.0; // of the array being decoded
  double ProgressSpan = 1.0;
};

#endif
