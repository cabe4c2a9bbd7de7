// The time steps that the reader announces, and the time that answers a request. Private to this
// module.
#ifndef vtkKDINRTimes_h
#define vtkKDINRTimes_h

#include "kdinr.h"

#include <vector>

namespace vtkKDINRTimes
{
/// The stored steps with `between` more between each two, or as many as keep the whole list below
/// about a million.
std::vector<double> Announce(const kdinr_info* info, int between);

/// `time` clamped to the series and, if `nearest`, the stored time nearest to that.
double Answer(const kdinr_info* info, bool nearest, double time);
}

#endif
