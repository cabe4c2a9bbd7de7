// The plugin's VTK classes in plain VTK: no ParaView server manager, no Python, no display.
// Compresses what TestSource makes and checks extents, times, staleness, abort and error codes.
//   test_vtk_io FOLDER
#include "vtkCallbackCommand.h"
#include "vtkCellData.h"
#include "vtkCommand.h"
#include "vtkDataArraySelection.h"
#include "vtkErrorCode.h"
#include "vtkExecutive.h"
#include "vtkFloatArray.h"
#include "vtkImageAlgorithm.h"
#include "vtkImageData.h"
#include "vtkInformation.h"
#include "vtkInformationVector.h"
#include "vtkKDINRReader.h"
#include "vtkKDINRWriter.h"
#include "vtkNew.h"
#include "vtkObjectFactory.h"
#include "vtkPointData.h"
#include "vtkSOADataArrayTemplate.h"
#include "vtkStreamingDemandDrivenPipeline.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

using SDDP = vtkStreamingDemandDrivenPipeline;

static int numberOfFailures = 0;
#define CHECK(condition)                                                                           \
  do                                                                                               \
  {                                                                                                \
    if (!(condition))                                                                              \
    {                                                                                              \
      std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                          \
      ++numberOfFailures;                                                                          \
    }                                                                                              \
  } while (false)

// A smooth wave at times 0, 1 and 4, as a float array "wave" and a structure of arrays "pair".
class TestSource : public vtkImageAlgorithm
{
public:
  static TestSource* New();
  vtkTypeMacro(TestSource, vtkImageAlgorithm);
  int FailAt = -1;           // time that RequestData refuses
  std::vector<double> Asked; // times it was asked for

protected:
  TestSource()
  {
    this->SetNumberOfInputPorts(0);
  }

  int RequestInformation(
    vtkInformation*, vtkInformationVector**, vtkInformationVector* outputVector) override
  {
    const int whole[6] = { 0, 11, 0, 9, 0, 7 };
    const double times[3] = { 0, 1, 4 };
    const double range[2] = { 0, 4 };
    vtkInformation* out = outputVector->GetInformationObject(0);
    out->Set(SDDP::WHOLE_EXTENT(), whole, 6);
    out->Set(SDDP::TIME_STEPS(), times, 3);
    out->Set(SDDP::TIME_RANGE(), range, 2);
    return 1;
  }

  int RequestData(
    vtkInformation*, vtkInformationVector**, vtkInformationVector* outputVector) override
  {
    vtkInformation* out = outputVector->GetInformationObject(0);
    const double time =
      out->Has(SDDP::UPDATE_TIME_STEP()) ? out->Get(SDDP::UPDATE_TIME_STEP()) : 0.0;
    this->Asked.push_back(time);
    if (time == this->FailAt)
    {
      return 0;
    }
    vtkImageData* image = vtkImageData::GetData(out);
    image->SetExtent(out->Get(SDDP::UPDATE_EXTENT()));
    image->GetInformation()->Set(vtkDataObject::DATA_TIME_STEP(), time);
    const vtkIdType n = image->GetNumberOfPoints();
    vtkNew<vtkFloatArray> wave;
    wave->SetName("wave");
    wave->SetNumberOfTuples(n);
    vtkNew<vtkSOADataArrayTemplate<float>> pair;
    pair->SetName("pair");
    pair->SetNumberOfComponents(2);
    pair->SetNumberOfTuples(n);
    for (vtkIdType i = 0; i < n; ++i)
    {
      double p[3];
      image->GetPoint(i, p);
      const double value = std::sin(0.3 * p[0] + 0.2 * time) + std::cos(0.3 * p[1] + 0.2 * p[2]);
      wave->SetValue(i, static_cast<float>(value));
      pair->SetTypedComponent(i, 0, static_cast<float>(value));
      pair->SetTypedComponent(i, 1, static_cast<float>(10.0 - value));
    }
    image->GetPointData()->SetScalars(wave);
    image->GetPointData()->AddArray(pair);
    return 1;
  }
};
vtkStandardNewMacro(TestSource);

// Keeps an algorithm's error messages, which are then not printed.
class ErrorCatcher
{
public:
  explicit ErrorCatcher(vtkAlgorithm* algorithm)
  {
    this->Command->SetClientData(&this->Text);
    this->Command->SetCallback([](vtkObject*, unsigned long, void* text, void* message) {
      *static_cast<std::string*>(text) += static_cast<const char*>(message);
    });
    algorithm->AddObserver(vtkCommand::ErrorEvent, this->Command);
    algorithm->GetExecutive()->AddObserver(vtkCommand::ErrorEvent, this->Command);
  }
  bool Has(const char* words) const
  {
    return this->Text.find(words) != std::string::npos;
  }
  std::string Text;

private:
  vtkNew<vtkCallbackCommand> Command;
};

static void AbortAtOnce(vtkObject* algorithm, unsigned long, void*, void*)
{
  static_cast<vtkAlgorithm*>(algorithm)->SetAbortExecute(1);
}

static void Prepare(vtkKDINRWriter* writer, vtkAlgorithm* source, const std::string& file)
{
  writer->SetInputConnection(source->GetOutputPort());
  writer->SetFileName(file.c_str());
  writer->SetCompressionRatio(5.0);
  writer->SetEffort(vtkKDINRWriter::EFFORT_LOW);
}

static float Value(vtkAlgorithm* algorithm, int x, int y, int z)
{
  vtkImageData* image = vtkImageData::SafeDownCast(algorithm->GetOutputDataObject(0));
  return image->GetScalarComponentAsFloat(x, y, z, 0);
}

static void FilterCompressesOnceAndPassesThrough(const std::string& file)
{
  vtkNew<TestSource> source;
  vtkNew<vtkKDINRWriter> writer;
  Prepare(writer, source, file);
  writer->UpdateTimeStep(1.0);
  CHECK(writer->GetErrorCode() == vtkErrorCode::NoError);
  CHECK(writer->GetNumberOfRuns() == 1);
  // The view's request, push and verify of three steps, and the view's request once more.
  CHECK((source->Asked == std::vector<double>{ 1, 0, 1, 4, 0, 1, 4, 1 }));
  source->UpdateTimeStep(1.0);
  CHECK(Value(writer, 3, 2, 1) == Value(source, 3, 2, 1));
  writer->UpdateTimeStep(4.0);
  CHECK(writer->GetNumberOfRuns() == 1); // another time is no reason to compress again
  CHECK(Value(writer, 3, 2, 1) == Value(source, 3, 2, 1));
  writer->SetVerify(0);
  writer->UpdateTimeStep(4.0);
  CHECK(writer->GetNumberOfRuns() == 2); // another setting is
  source->Modified();
  writer->UpdateTimeStep(4.0);
  CHECK(writer->GetNumberOfRuns() == 3); // and so is another input
  CHECK(writer->GetFileSize() == static_cast<vtkIdType>(std::filesystem::file_size(file)));
  CHECK(std::strstr(writer->GetResult(), "estimated") != nullptr);
}

static void ReaderHonoursTimesAndExtents(const std::string& file)
{
  vtkNew<vtkKDINRReader> reader;
  CHECK(reader->CanReadFile(file.c_str()) == 1);
  reader->SetFileName(file.c_str());
  reader->UpdateInformation();
  vtkInformation* info = reader->GetOutputInformation(0);
  CHECK(info->Length(SDDP::TIME_STEPS()) == 3);
  CHECK(info->Get(SDDP::TIME_STEPS())[2] == 4.0);
  reader->UpdateTimeStep(2.5);
  vtkDataSet* image = reader->GetOutput();
  CHECK(image->GetInformation()->Get(vtkDataObject::DATA_TIME_STEP()) == 2.5);
  CHECK(image->GetPointData()->GetArray("pair")->GetNumberOfComponents() == 2);
  const float whole = Value(reader, 3, 2, 1);
  reader->UpdateTimeStep(0.0); // or the whole of 2.5 would answer for its part
  const int part[6] = { 2, 4, 2, 2, 1, 5 };
  reader->UpdateTimeStep(2.5, -1, 1, 0, part);
  CHECK(image->GetNumberOfPoints() == 15);
  CHECK(Value(reader, 3, 2, 1) == whole);
  reader->UpdateTimeStep(77.0); // after the end
  CHECK(image->GetInformation()->Get(vtkDataObject::DATA_TIME_STEP()) == 4.0);
  reader->UpdateTimeStep(0.0, 1, 2, 0, info->Get(SDDP::WHOLE_EXTENT()));
  CHECK(image->GetNumberOfPoints() > 0 && image->GetNumberOfPoints() < 12 * 10 * 8);
  // More pieces than cells: some are empty, and none fails.
  for (int piece = 0; piece < 2000; piece += 199)
  {
    reader->UpdateTimeStep(0.0, piece, 2000, 0, info->Get(SDDP::WHOLE_EXTENT()));
    CHECK(reader->GetErrorCode() == vtkErrorCode::NoError);
  }
}

static void SettingsOfTheReaderTakeEffect(const std::string& file)
{
  vtkNew<vtkKDINRReader> reader;
  reader->SetFileName(file.c_str());
  reader->UpdateInformation();
  reader->GetPointDataArraySelection()->DisableArray("wave");
  reader->Update();
  CHECK(!reader->GetOutput()->GetPointData()->HasArray("wave"));
  CHECK(reader->GetOutput()->GetPointData()->HasArray("pair"));
  reader->SetResolution(vtkKDINRReader::RESOLUTION_EXPLICIT);
  reader->SetDimensions(5, 0, 3);
  reader->Update();
  int dims[3];
  vtkImageData* image = vtkImageData::SafeDownCast(reader->GetOutput());
  image->GetDimensions(dims);
  CHECK(dims[0] == 5 && dims[1] == 10 && dims[2] == 3);
  CHECK(image->GetSpacing()[0] == 11.0 / 4.0);
}

static void ReaderCanBeAborted(const std::string& file)
{
  vtkNew<vtkKDINRReader> reader;
  ErrorCatcher errors(reader);
  vtkNew<vtkCallbackCommand> abort;
  abort->SetCallback(AbortAtOnce);
  reader->SetFileName(file.c_str());
  const unsigned long tag = reader->AddObserver(vtkCommand::ProgressEvent, abort);
  reader->Update();
  CHECK(reader->GetOutput()->GetNumberOfPoints() == 0);
  CHECK(errors.Text.empty()); // an abort is no error
  reader->RemoveObserver(tag);
  reader->SetAbortExecute(0);
  reader->Update();
  CHECK(reader->GetOutput()->GetNumberOfPoints() == 12 * 10 * 8);
}

static void WriterCanBeAborted(const std::string& folder)
{
  const std::string file = folder + "/aborted.kdm";
  vtkNew<TestSource> source;
  vtkNew<vtkKDINRWriter> writer;
  ErrorCatcher errors(writer);
  Prepare(writer, source, file);
  vtkNew<vtkCallbackCommand> abort;
  abort->SetCallback(AbortAtOnce);
  const unsigned long tag = writer->AddObserver(vtkCommand::ProgressEvent, abort);
  CHECK(writer->Write() == 0);
  CHECK(errors.Has("aborted") && writer->GetErrorCode() != vtkErrorCode::NoError);
  CHECK(!std::filesystem::exists(file));
  writer->RemoveObserver(tag);
  CHECK(writer->Write() == 1); // the next run is not aborted
  CHECK(std::filesystem::exists(file));
}

static void FailingInputIsReportedAndLeavesNoFile(const std::string& folder)
{
  const std::string file = folder + "/failed.kdm";
  vtkNew<TestSource> source;
  vtkNew<vtkKDINRWriter> writer;
  ErrorCatcher errors(writer), silent(source);
  source->FailAt = 4;
  Prepare(writer, source, file);
  CHECK(writer->Write() == 0);
  CHECK(errors.Has("the input failed at time 4"));
  CHECK(!std::filesystem::exists(file));
}

static void MissingNamesAreReported()
{
  vtkNew<vtkKDINRReader> reader;
  ErrorCatcher readerErrors(reader);
  reader->Update();
  CHECK(reader->GetErrorCode() == vtkErrorCode::NoFileNameError);
  reader->SetFileName("/nonexistent.kdm");
  CHECK(reader->CanReadFile("/nonexistent.kdm") == 0);
  reader->Update();
  CHECK(reader->GetErrorCode() == vtkErrorCode::FileNotFoundError);
  vtkNew<vtkKDINRWriter> writer;
  ErrorCatcher writerErrors(writer);
  CHECK(writer->Write() == 0);
  CHECK(writer->GetErrorCode() == vtkErrorCode::NoFileNameError);
}

// Qt's place is taken: what the plugin registers is looked at here.
static const unsigned char *iconTree, *iconNames, *iconData;
__attribute__((visibility("default"))) bool qRegisterResourceData(
  int version, const unsigned char* tree, const unsigned char* names, const unsigned char* data)
{
  iconTree = tree;
  iconNames = names;
  iconData = data;
  return version == 1;
}

// A big-endian number.
static unsigned long Number(const unsigned char* bytes, int n)
{
  unsigned long value = 0;
  for (int i = 0; i < n; ++i)
  {
    value = value << 8 | bytes[i];
  }
  return value;
}

// Node `i` of the tree has this name, which has this hash, and these flags.
static bool IsNode(int i, const std::string& name, unsigned long hash, unsigned long flags)
{
  const unsigned char* node = iconTree + 14 * i;
  const unsigned char* found = iconNames + Number(node, 4);
  bool same =
    Number(node + 4, 2) == flags && Number(found, 2) == name.size() && Number(found + 2, 4) == hash;
  for (size_t letter = 0; same && letter < name.size(); ++letter)
  {
    same = Number(found + 6 + 2 * letter, 2) == static_cast<unsigned char>(name[letter]);
  }
  return same;
}

static void IconIsAQtResource()
{
  CHECK(iconTree);
  if (!iconTree)
  {
    return;
  }
  CHECK(Number(iconTree + 6, 4) == 1 && Number(iconTree + 10, 4) == 1); // the root's only child
  CHECK(IsNode(1, "KDINR", 0x4f8e32, 2));
  CHECK(Number(iconTree + 14 + 6, 4) == 1 && Number(iconTree + 14 + 10, 4) == 2);
  CHECK(IsNode(2, "icon.svg", 0xa615727, 0));
  const unsigned char* data = iconData + Number(iconTree + 28 + 10, 4);
  const std::string icon(reinterpret_cast<const char*>(data + 4), Number(data, 4));
  CHECK(icon.compare(0, 4, "<svg") == 0 && icon.find("</svg>\n") == icon.size() - 7);
}

int main(int argc, char** argv)
{
  const std::string folder = argc > 1 ? argv[1] : ".";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string file = folder + "/series.kdm";
  FilterCompressesOnceAndPassesThrough(file);
  ReaderHonoursTimesAndExtents(file);
  SettingsOfTheReaderTakeEffect(file);
  ReaderCanBeAborted(file);
  WriterCanBeAborted(folder);
  FailingInputIsReportedAndLeavesNoFile(folder);
  MissingNamesAreReported();
  IconIsAQtResource();
  std::printf("%d failed\n", numberOfFailures);
  return numberOfFailures != 0;
}
