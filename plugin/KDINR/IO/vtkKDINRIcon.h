// The icon in ParaView's menus. Before: the plugin is loaded. After: the hints in xml/ name the
// icon as
// ":/KDINR/icon.svg". Private to this module.
#ifndef vtkKDINRIcon_h
#define vtkKDINRIcon_h

namespace vtkKDINRIcon
{
/// Has this process Qt, as ParaView's window has?
bool HasQt();

/// Hand the icon to Qt, if this process has Qt. Returns whether that was done.
bool Register();
}

#endif
