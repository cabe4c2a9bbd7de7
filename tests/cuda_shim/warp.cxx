/* The stand-in's warp operations that need all lanes' values, half precision and functions the
 * host's library lacks. The fragments' layouts are those of PTX's mma.m16n8k16 and movmatrix. */
#include "cuda_fp16.h"
#include "shim.h"

unsigned __ballot_sync(unsigned mask, int predicate)
{
    const unsigned char *all = shim_exchange(mask, "__ballot_sync", &predicate, sizeof predicate);
    unsigned bits = 0;
    for (int lane = 0; lane < 32; lane++) {
        if ((mask >> lane & 1) != 0 && shim_from_lane<int>(all, lane) != 0) bits |= 1u << lane;
    }
    return bits;
}

unsigned __reduce_add_sync(unsigned mask, unsigned value)
{
    const unsigned char *all = shim_exchange(mask, "__reduce_add_sync", &value, sizeof value);
    unsigned sum = 0;
    for (int lane = 0; lane < 32; lane++) {
        if ((mask >> lane & 1) != 0) sum += shim_from_lane<unsigned>(all, lane);
    }
    return sum;
}

float sinpif(float x)
{
    return static_cast<float>(std::sin(M_PI * std::remainder(static_cast<double>(x), 2.0)));
}

float cospif(float x)
{
    return static_cast<float>(std::cos(M_PI * std::remainder(static_cast<double>(x), 2.0)));
}

/* Half units in the last place are rounded to even by adding them to the float's bits. */
uint16_t shim_half_bits(float value)
{
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return 0x7fff;
    if (bits >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
    if (bits < 0x38800000u) { /* subnormal: a multiple of 2^-24 */
        float magnitude;
        std::memcpy(&magnitude, &bits, sizeof magnitude);
        return static_cast<uint16_t>(sign | static_cast<uint32_t>(lrintf(magnitude * 0x1p24f)));
    }
    bits += 0xfffu + (bits >> 13 & 1);
    return static_cast<uint16_t>(sign | (bits - 0x38000000u) >> 13);
}

float shim_half_value(uint16_t bits)
{
    const uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, rest = bits & 0x7fffu;
    if (exponent == 0) {
        const float magnitude = static_cast<float>(rest) * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    const uint32_t wide = sign | ((rest << 13) + (exponent == 31 ? 0x70000000u : 0x38000000u));
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
}

namespace
{

float half_of(unsigned pair, int which)
{
    return shim_half_value(static_cast<uint16_t>(pair >> (16 * which)));
}

/* Row `row` of A [16][16]: lane 4g + t holds, in four pairs, columns 2t of rows g and g + 8, then
 * columns 2t + 8 of the same. */
void row_of_a(const unsigned char *all, int row, float values[16])
{
    for (int k = 0; k < 16; k++) {
        unsigned pairs[4];
        std::memcpy(pairs, all + 64 * (4 * (row % 8) + k % 8 / 2), sizeof pairs);
        values[k] = half_of(pairs[(row >= 8 ? 1 : 0) + (k >= 8 ? 2 : 0)], k % 2);
    }
}

/* Column `column` of B [16][8]: lane 4g + t holds rows 2t, then rows 2t + 8, of column g, in the
 * words from `word` on. */
void column_of_b(const unsigned char *all, int word, int column, float values[16])
{
    for (int k = 0; k < 16; k++) {
        unsigned pairs[8];
        std::memcpy(pairs, all + 64 * (4 * column + k % 8 / 2), sizeof pairs);
        values[k] = half_of(pairs[word + (k >= 8 ? 1 : 0)], k % 2);
    }
}

/* Lane 4g + t holds (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1) of the sum. */
void add_product(const unsigned char *all, int word, float sum[4])
{
    const int row = shim_lane() / 4, column = shim_lane() % 4 * 2;
    float rows[2][16], columns[2][16];
    for (int i = 0; i < 2; i++) {
        row_of_a(all, row + 8 * i, rows[i]);
        column_of_b(all, word, column + i, columns[i]);
    }
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 16; k++) {
            sum[i] += rows[i / 2][k] * columns[i % 2][k];
        }
    }
}

} // namespace

void kd_multiply(float sum[4], uint4 a, unsigned b0, unsigned b1)
{
    const unsigned given[8] = {a.x, a.y, a.z, a.w, b0, b1, 0, 0};
    add_product(shim_exchange(0xffffffffu, "mma", given, sizeof given), 4, sum);
}

/* Both products in one meeting of the lanes, which is what takes the time. */
void kd_multiply_chunk(float low[4], float high[4], uint4 a, uint4 b)
{
    const unsigned given[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    const unsigned char *all = shim_exchange(0xffffffffu, "mma", given, sizeof given);
    add_product(all, 4, low);
    add_product(all, 6, high);
}

/* Lane 4g + t holds (g, 2t) and (g, 2t + 1) of an [8][8] matrix, and gets (2t, g), (2t + 1, g). */
unsigned kd_transpose(unsigned pair)
{
    const unsigned char *all = shim_exchange(0xffffffffu, "movmatrix", &pair, sizeof pair);
    const int row = shim_lane() % 4 * 2, column = shim_lane() / 4;
    unsigned result = 0;
    for (int i = 0; i < 2; i++) {
        const unsigned from = shim_from_lane<unsigned>(all, 4 * (row + i) + column / 2);
        result |= (from >> (16 * (column % 2)) & 0xffffu) << (16 * i);
    }
    return result;
}
