/* Codes of residuals to decisions of the range coder, by contexts that learn. */
#include "residual_code.h"

void kd_residual_model_reset(kd_residual_model *model)
{
    kd_coder_reset(&model->zero[0][0], sizeof *model / sizeof(kd_context));
}
_Static_assert(sizeof(kd_residual_model) % sizeof(kd_context) == 0, "contexts and nothing else");

static int class_of(int sum)
{
    static const uint8_t small[17] = {0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7, 7, 8, 8, 8, 8, 9};
    int class = 9;

    if (sum <= 16) return small[sum];
    for (int limit = 23; class < KD_RESIDUAL_SUMS - 1 && sum > limit; class ++) {
        limit += limit / 2;
    }
    return class;
}

static int at_most(int value, int most)
{
    return value < most ? value : most;
}

kd_surroundings kd_residual_around(kd_residual_model *model, const kd_pass *pass, int group,
                                   const uint8_t *activity, const uint8_t *before, const int at[3],
                                   size_t i)
{
    const int n_odd = (int)((pass->odd & 1) + (pass->odd >> 1 & 1) + (pass->odd >> 2 & 1));
    int same[3] = {0}, between = 0;
    kd_surroundings found;

    for (int axis = 0; axis < 3; axis++) {
        const size_t stride = pass->strides[axis] * (size_t)pass->h;

        if (at[axis] >= 2 * pass->h) same[axis] = activity[i - 2 * stride];
        if ((pass->odd >> axis & 1) == 0) continue;
        between += activity[i - stride];
        if (at[axis] + pass->h < pass->dims[axis]) between += activity[i + stride];
    }
    const int sum = same[0] + same[1] + same[2];
    const int then = before != NULL ? 2 * before[i] : between;
    found.sum = class_of(2 * sum + 3 * between / (n_odd > 0 ? n_odd : 1));
    found.around = class_of(sum + 2 * then);
    group = 3 * group + n_odd - 1;
    found.zero = &model->zero[group][found.sum];
    found.zero_around =
        &model->zero_around[group][((at_most(same[0], 2) * 3 + at_most(same[1], 2)) * 3 +
                                    at_most(same[2], 2)) *
                                       5 +
                                   at_most(then, 4)];
    return found;
}

kd_surroundings kd_residual_around_first(kd_residual_model *model)
{
    const kd_surroundings found = {
        &model->zero[KD_RESIDUAL_GROUPS - 1][KD_RESIDUAL_SUMS - 1],
        &model->zero_around[KD_RESIDUAL_GROUPS - 1][KD_RESIDUAL_PLACES - 1], KD_RESIDUAL_SUMS - 1,
        KD_RESIDUAL_SUMS - 1};
    return found;
}

/* ---- codes ---- */

uint64_t kd_residual_raw(kd_coder *coder, uint64_t value, int n_bits)
{
    uint64_t found = 0;

    for (int shift = n_bits - 1; shift >= 0; shift--) {
        found = found << 1 | kd_coder_even(coder, value >> shift & 1);
    }
    return found;
}

/* What is left of a large magnitude: how many bits there are below the leading one, then the bits.
 * *exact: the sample is stored as it is. */
static int64_t code_rest(kd_coder *coder, kd_residual_model *model, int64_t rest, bool *exact)
{
    int bits = 0, wanted = 0;

    while (rest >> (wanted + 1) > 0) {
        wanted++;
    }
    if (*exact) wanted = KD_RESIDUAL_BITS;
    while (bits < KD_RESIDUAL_BITS && kd_coder_bit(coder, &model->bits[bits], wanted > bits)) {
        bits++;
    }
    *exact = bits == KD_RESIDUAL_BITS;
    if (*exact) return 0;
    return (int64_t)(UINT64_C(1) << bits | kd_residual_raw(coder, (uint64_t)rest, bits));
}

int64_t kd_residual_number(kd_coder *coder, kd_residual_model *model, const kd_surroundings *around,
                           int64_t code, bool *exact)
{
    const int64_t wanted = *exact ? INT64_MAX : code < 0 ? -code : code;
    int64_t magnitude = 1;

    if (!kd_coder_pair(coder, around->zero, around->zero_around, wanted > 0)) return 0;
    while (magnitude < KD_RESIDUAL_UNARY &&
           kd_coder_pair(coder, &model->more[magnitude][around->sum],
                         &model->more_around[magnitude][around->around], wanted > magnitude)) {
        magnitude++;
    }
    if (magnitude == KD_RESIDUAL_UNARY) {
        magnitude +=
            code_rest(coder, model, *exact ? 1 : wanted - KD_RESIDUAL_UNARY + 1, exact) - 1;
        if (*exact) return 0;
    }
    return kd_coder_even(coder, code < 0) ? -magnitude : magnitude;
}
