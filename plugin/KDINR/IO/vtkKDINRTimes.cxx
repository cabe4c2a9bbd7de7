// Stored times to announced times, and requests back to times that the networks answer.
#include "vtkKDINRTimes.h"

#include <algorithm>

namespace
{
constexpr int MostSteps = 1 << 20; // that are announced, unless more are stored
}

std::vector<double> vtkKDINRTimes::Announce(const kdinr_info* info, int between)
{
  const int n = info->n_steps;
  const int most = n > 1 ? std::max(MostSteps - n, 0) / (n - 1) : 0;
  between = std::min(between, most);
  std::vector<double> times;
  for (int i = 0; i + 1 < n; ++i)
  {
    const double step = (info->times[i + 1] - info->times[i]) / (between + 1);
    for (int j = 0; j <= between; ++j)
    {
      times.push_back(info->times[i] + j * step);
    }
  }
  times.push_back(info->times[n - 1]);
  return times;
}

double vtkKDINRTimes::Answer(const kdinr_info* info, bool nearest, double time)
{
  const double* first = info->times;
  const double* last = first + info->n_steps - 1;
  time = std::min(std::max(time, *first), *last);
  if (!nearest)
  {
    return time;
  }
  const double* after = std::lower_bound(first, last, time);
  return after > first && time - after[-1] <= *after - time ? after[-1] : *after;
}
