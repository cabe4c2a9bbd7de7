/* Section AXES, both ways: where the points of a rectilinear grid lie. Before: encode.c fills
 * kd_model.axes, or kdm_read.c has read the size of the grid. After: decode.c hands the axes out.
 * Only the geometry is here: networks know samples by their index. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "bytes.h"
#include "kdm_layout.h"

/* ---- rules ---- */

static kdinr_status check_axis(const double *points, int n, int axis, kdinr_status status,
                               kdinr_error *error)
{
    const bool up = n > 1 && points[1] > points[0];

    for (int i = 0; i < n; i++) {
        if (!isfinite(points[i])) {
            return kd_fail(error, status, "axis %c: point %d is at %g, it must be finite",
                           'x' + axis, i, points[i]);
        }
        if (i > 0 && !(up ? points[i] > points[i - 1] : points[i] < points[i - 1])) {
            return kd_fail(error, status,
                           "axis %c: %.17g of point %d does not follow %.17g, the points must go "
                           "one way",
                           'x' + axis, points[i], i, points[i - 1]);
        }
    }
    return KDINR_OK;
}

static bool is_plain(const kd_model *model)
{
    for (int i = 0; i < 3; i++) {
        if (model->origin[i] != 0.0 || model->spacing[i] != 1.0) return false;
    }
    for (int i = 0; i < 9; i++) {
        if (model->direction[i] != (i % 4 == 0 ? 1.0 : 0.0)) return false;
    }
    return true;
}

kdinr_status kd_check_axes(const kd_model *model, kdinr_status status, kdinr_error *error)
{
    if (model->axes[0] == NULL) return KDINR_OK;
    for (int axis = 0; axis < 3; axis++) {
        KD_TRY(check_axis(model->axes[axis], model->dims[axis], axis, status, error));
    }
    if (is_plain(model)) return KDINR_OK;
    return kd_fail(error, status,
                   "a grid with axes has no origin, spacing or direction of its own");
}

/* ---- writer ---- */

/* Does start + i * step give every point exactly? */
static bool is_progression(const double *points, int n, double step)
{
    for (int i = 0; i < n; i++) {
        const double advance = step * i;

        if (points[i] != points[0] + advance) return false;
    }
    return true;
}

static kd_axis_form choose_form(const double *points, int n, double *step)
{
    *step = 1.0;
    if (n == 1) return KD_AXIS_UNIFORM;
    *step = points[1] - points[0];
    if (is_progression(points, n, *step)) return KD_AXIS_UNIFORM;
    *step = (points[n - 1] - points[0]) / (n - 1);
    if (is_progression(points, n, *step)) return KD_AXIS_UNIFORM;
    for (int i = 0; i < n; i++) {
        const bool fits = fabs(points[i]) <= (double)FLT_MAX;

        if (!fits || points[i] != (double)(float)points[i]) return KD_AXIS_FLOAT64;
    }
    return KD_AXIS_FLOAT32;
}

static void write_axis(kd_writer *writer, const double *points, int n)
{
    double step;
    const kd_axis_form form = choose_form(points, n, &step);

    kd_put_u8(writer, (uint8_t)form);
    if (form == KD_AXIS_UNIFORM) {
        kd_put_f64(writer, points[0]);
        kd_put_f64(writer, step);
        return;
    }
    for (int i = 0; i < n; i++) {
        if (form == KD_AXIS_FLOAT32) {
            kd_put_f32(writer, (float)points[i]);
        } else {
            kd_put_f64(writer, points[i]);
        }
    }
}

kdinr_status kd_write_axes(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    for (int axis = 0; model->axes[0] != NULL && axis < 3; axis++) {
        write_axis(writer, model->axes[axis], model->dims[axis]);
    }
    return kd_writer_check(writer, "axes", error);
}

kdinr_status kd_size_axes(const kd_model *model, size_t *size, kdinr_error *error)
{
    kd_writer writer = {0};
    const kdinr_status status = kd_write_axes(&writer, model, error);

    *size = writer.size > 0 ? writer.size + KD_SECTION_SIZE : 0;
    free(writer.bytes);
    return status;
}

/* ---- reader ---- */

static kdinr_status read_axis(kd_reader *reader, double **points, int n, kdinr_error *error)
{
    const unsigned form = kd_get_u8(reader);

    KD_TRY(kd_reader_check(reader, error));
    if (form > KD_AXIS_FLOAT64) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "%s: form %u of an axis, allowed are 0 to %d",
                       reader->what, form, KD_AXIS_FLOAT64);
    }
    if (form != KD_AXIS_UNIFORM) {
        KD_TRY(
            kd_reader_room(reader, (uint64_t)n, form == KD_AXIS_FLOAT32 ? 4 : 8, "points", error));
    }
    KD_TRY(kd_allocate((size_t)n, sizeof **points, "axis", points, error));
    const double start = form == KD_AXIS_UNIFORM ? kd_get_f64(reader) : 0.0;
    const double step = form == KD_AXIS_UNIFORM ? kd_get_f64(reader) : 0.0;
    for (int i = 0; i < n; i++) {
        const double advance = step * i;

        (*points)[i] = form == KD_AXIS_UNIFORM   ? start + advance
                       : form == KD_AXIS_FLOAT32 ? (double)kd_get_f32(reader)
                                                 : kd_get_f64(reader);
    }
    return kd_reader_check(reader, error);
}

kdinr_status kd_read_axes(const kd_source *from, kd_model *model, kdinr_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    kdinr_status status;

    KD_TRY(kd_source_read(from, "AXES", &bytes, &size, error));
    if (bytes == NULL) return KDINR_OK;
    kd_reader reader = kd_reader_open(bytes, size, "section AXES");
    for (int axis = 0; axis < 3; axis++) {
        KD_TRY_DONE(read_axis(&reader, &model->axes[axis], model->dims[axis], error));
    }
    KD_TRY_DONE(kd_reader_finish(&reader, error));
    KD_TRY_DONE(kd_check_axes(model, KDINR_ERROR_FORMAT, error));

done:
    free(bytes);
    return status;
}

/* ---- both ---- */

kdinr_status kd_copy_axes(const double *const axes[3], kd_model *model, kdinr_error *error)
{
    for (int axis = 0; axes[0] != NULL && axis < 3; axis++) {
        const size_t n = (size_t)model->dims[axis];

        KD_TRY(kd_allocate(n, sizeof(double), "axis", &model->axes[axis], error));
        memcpy(model->axes[axis], axes[axis], n * sizeof(double));
    }
    return KDINR_OK;
}

bool kd_same_axes(const double *const axes[3], const kd_model *model)
{
    if ((axes[0] == NULL) != (model->axes[0] == NULL)) return false;
    for (int axis = 0; axes[0] != NULL && axis < 3; axis++) {
        for (int i = 0; i < model->dims[axis]; i++) {
            if (axes[axis][i] != model->axes[axis][i]) return false;
        }
    }
    return true;
}
