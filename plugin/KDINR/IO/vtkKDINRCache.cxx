// A list of arrays in the order of their last use.
#include "vtkKDINRCache.h"

vtkSmartPointer<vtkDataArray> vtkKDINRCache::Find(const std::string& key)
{
  for (auto entry = this->Entries.begin(); entry != this->Entries.end(); ++entry)
  {
    if (entry->Key == key)
    {
      this->Entries.splice(this->Entries.begin(), this->Entries, entry);
      return this->Entries.front().Array;
    }
  }
  return nullptr;
}

void vtkKDINRCache::Add(const std::string& key, vtkDataArray* array, double limit)
{
  this->Entries.push_front({ key, array });
  this->Used += Size(array);
  while (!this->Entries.empty() && this->Used > limit)
  {
    this->Used -= Size(this->Entries.back().Array);
    this->Entries.pop_back();
  }
}

void vtkKDINRCache::Clear()
{
  this->Entries.clear();
  this->Used = 0.0;
}

double vtkKDINRCache::Size(vtkDataArray* array)
{
  return static_cast<double>(array->GetNumberOfValues()) * array->GetDataTypeSize();
}
