/* Making a request: public functions that look at a file's description alone. Before: the caller
 * has kdinr_info. After: decode.c checks the request and answers it. */
#include <string.h>

#include "bricks.h"
#include "kdinr.h"
#include "kdm.h"

void kdinr_request_samples(const kdinr_info *info, const kdinr_request *request, int samples[3])
{
    kd_kdm_samples(request->dims, info->arrays[request->array].association, samples);
}

kdinr_request kdinr_request_default(const kdinr_info *info, int array)
{
    kdinr_request request = {.array = array, .type = KDINR_FLOAT32};
    int samples[3];

    memcpy(request.dims, info->dims, sizeof request.dims);
    request.time = info->times[0];
    kdinr_request_samples(info, &request, samples);
    for (int axis = 0; axis < 3; axis++) {
        request.extent[2 * axis + 1] = samples[axis] - 1;
    }
    return request;
}

void kdinr_request_axis(const kdinr_info *info, const kdinr_request *request, int axis,
                        double *points)
{
    const int n = request->dims[axis], last = info->dims[axis] - 1;

    for (int i = 0; i < n; i++) {
        const double p = n == info->dims[axis]
                             ? i /* exactly where the stored points are */
                             : kd_bricks_position(KDINR_POINTS, info->dims[axis], n, i);
        const int before = p < last ? (int)p : last;
        const double low = info->axes[axis][before];

        points[i] = low;
        if (before < last) points[i] += (p - before) * (info->axes[axis][before + 1] - low);
    }
}
