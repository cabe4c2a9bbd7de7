// A Qt resource without Qt: servers and scripts have none, and building the plugin needs none. What
// Qt's resource compiler would generate is three tables of big-endian numbers (format 1): a tree of
// nodes, their names, and the contents of files. Ours has the root, the folder KDINR and icon.svg.
#include "vtkKDINRIcon.h"
#include "vtkKDINRIconFile.h"

#include <cstdint>
#include <cstring>
#include <string>

// Of libQt5Core. Weak: null in a process that has not loaded it.
__attribute__((weak)) bool qRegisterResourceData(
  int version, const unsigned char* tree, const unsigned char* names, const unsigned char* data);

namespace
{
constexpr int FormatVersion = 1;
constexpr uint16_t IsFile = 0, IsFolder = 2;
constexpr uint16_t AnyCountry = 0, LanguageC = 1;

struct Table
{
  std::string Bytes;

  void Put(uint32_t value, int nBytes)
  {
    while (nBytes-- > 0)
    {
      this->Bytes += static_cast<char>(value >> (8 * nBytes) & 0xff);
    }
  }
  const unsigned char* Get() const
  {
    return reinterpret_cast<const unsigned char*>(this->Bytes.data());
  }
};

// A name: its length, hash and letters. Returns where it is.
uint32_t PutName(Table& names, const char* name)
{
  const uint32_t at = static_cast<uint32_t>(names.Bytes.size());
  uint32_t hash = 0;
  for (const char* letter = name; *letter; ++letter)
  {
    hash = (hash << 4) + static_cast<unsigned char>(*letter);
    hash ^= (hash & 0xf0000000) >> 23;
    hash &= 0x0fffffff;
  }
  names.Put(static_cast<uint32_t>(std::strlen(name)), 2);
  names.Put(hash, 4);
  for (const char* letter = name; *letter; ++letter)
  {
    names.Put(static_cast<unsigned char>(*letter), 2);
  }
  return at;
}

void PutFolder(Table& tree, uint32_t name, uint32_t firstChild)
{
  tree.Put(name, 4);
  tree.Put(IsFolder, 2);
  tree.Put(1, 4); // children
  tree.Put(firstChild, 4);
}
}

bool vtkKDINRIcon::HasQt()
{
  return qRegisterResourceData != nullptr;
}

bool vtkKDINRIcon::Register()
{
  if (!HasQt())
  {
    return false;
  }
  static Table tree, names, data; // Qt reads them whenever the icon is shown
  const uint32_t folder = PutName(names, "KDINR");
  const uint32_t file = PutName(names, "icon.svg");
  PutFolder(tree, 0, 1);
  PutFolder(tree, folder, 2);
  tree.Put(file, 4);
  tree.Put(IsFile, 2);
  tree.Put(AnyCountry, 2);
  tree.Put(LanguageC, 2);
  tree.Put(0, 4); // where its content starts
  data.Put(sizeof vtkKDINRIconFile - 1, 4);
  data.Bytes += vtkKDINRIconFile;
  return qRegisterResourceData(FormatVersion, tree.Get(), names.Get(), data.Get());
}
