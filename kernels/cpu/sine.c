/* Sine and its derivative of half turns t = x / pi. Before: forward.c's products, whose weights
 * carry omega / pi, so that the range reduction r = t - round(t) is exact and takes no constants.
 * sin(pi t) = (-1)^round(t) sin(pi r) with polynomials on [-1/2, 1/2]: least maximum error, then
 * the best floats near those coefficients. */
#include "cpu/operations.h"

/* Adding 1.5 * 2^23 rounds to whole numbers, whose lowest bit is then the sum's lowest bit. */
static const float rounder = 12582912.0f;

KD_INLINE kd_vec with_sign(kd_vec value, kd_vec_int sign)
{
    return (kd_vec)((kd_vec_int)value ^ sign);
}

/* sin(pi r) = r * polynomial in r^2, within 1.6e-8 before rounding */
KD_INLINE kd_vec sine_polynomial(kd_vec r, kd_vec square)
{
    kd_vec p = 0.07722013f * square - 0.5980451f;
    p = p * square + 2.5500314f;
    p = p * square - 5.1677065f;
    p = p * square + 3.1415925f;
    return p * r;
}

/* pi cos(pi r) = polynomial in r^2, within 1.5e-7 before rounding */
KD_INLINE kd_vec slope_polynomial(kd_vec square)
{
    kd_vec p = 0.6901979f * square - 4.1842246f;
    p = p * square + 12.749877f;
    p = p * square - 15.503109f;
    return p * square + 3.1415925f;
}

void kd_cpu_sine(int n, const float *half_turns, float *sine, float *slope)
{
    for (int i = 0; i < n; i += KD_LANES) {
        const kd_vec t = kd_vec_load(half_turns + i);
        const kd_vec rounded = t + rounder;
        const kd_vec_int sign = (kd_vec_int)rounded << 31;
        const kd_vec r = t - (rounded - rounder);
        const kd_vec square = r * r;
        kd_vec_store(sine + i, with_sign(sine_polynomial(r, square), sign));
        if (slope != NULL) {
            kd_vec_store(slope + i, with_sign(slope_polynomial(square), sign));
        }
    }
}
