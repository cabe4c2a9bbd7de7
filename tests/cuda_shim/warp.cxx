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

/* Exponents of floats are 112 more; multiplying makes subnormal ones right as well. */
static inline float half_value(uint16_t bits)
{
    const uint32_t sign = (bits & 0x8000u) << 16, rest = (bits & 0x7fffu) << 13;
    float value;
    std::memcpy(&value, &rest, sizeof value);
    value *= 0x1p112f;
    uint32_t wide;
    std::memcpy(&wide, &value, sizeof wide);
    wide |= sign | ((bits & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0);
    std::memcpy(&value, &wide, sizeof value);
    return value;
}

float shim_half_value(uint16_t bits)
{
    return half_value(bits);
}

namespace
{

/* What a lane gives to a product, and gets: A and B as fragments, and the sums. */
struct factors {
    unsigned a[4], b[4];
    float sums[2][4]; /* of B's first and its last eight columns */
};
static_assert(sizeof(factors) == 64, "a lane's slot");

/* Where the sum of a column of B lies, from the start of its row's first lane, in floats. */
constexpr int at_sum(int column)
{
    return column % 8 / 2 * static_cast<int>(sizeof(factors) / sizeof(float)) + column / 8 * 4 +
           column % 2;
}

/* All lanes' sums += A [16][16] B [16][8 * n_parts]. Lane 4g + t holds, in four pairs, columns 2t
 * of A's rows g and g + 8, then columns 2t + 8 of the same; of B, for each part, rows 2t and then
 * rows 2t + 8 of column g; and of the sums (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1). */
template <int n_parts> void multiply(unsigned char *slots)
{
    auto *lanes = reinterpret_cast<factors *>(slots);
    constexpr int width = 8 * n_parts;
    uint16_t halves_a[16 * 16], halves_b[16 * width];
    float a[16 * 16], b[16 * width];
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            std::memcpy(halves_a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8, &lanes[lane].a[i], 4);
        }
        for (int i = 0; i < 2 * n_parts; i++) {
            uint16_t *const first = halves_b + (2 * t + i % 2 * 8) * width + g + i / 2 * 8;
            first[0] = static_cast<uint16_t>(lanes[lane].b[i]);
            first[width] = static_cast<uint16_t>(lanes[lane].b[i] >> 16);
        }
    }
    for (int i = 0; i < 16 * 16; i++) {
        a[i] = half_value(halves_a[i]);
    }
    for (int i = 0; i < 16 * width; i++) {
        b[i] = half_value(halves_b[i]);
    }
    for (int row = 0; row < 16; row++) {
        float *const sums = &lanes[row % 8 * 4].sums[0][row / 8 * 2];
        float line[width];
        for (int column = 0; column < width; column++) {
            line[column] = sums[at_sum(column)];
        }
        for (int k = 0; k < 16; k++) {
            for (int column = 0; column < width; column++) {
                line[column] += a[row * 16 + k] * b[k * width + column];
            }
        }
        for (int column = 0; column < width; column++) {
            sums[at_sum(column)] = line[column];
        }
    }
}

} // namespace

void kd_multiply(float sum[4], uint4 a, unsigned b0, unsigned b1)
{
    factors given = {{a.x, a.y, a.z, a.w}, {b0, b1, 0, 0}, {}};
    std::memcpy(given.sums[0], sum, sizeof given.sums[0]);
    const unsigned char *all = shim_exchange(0xffffffffu, "mma", &given, sizeof given, multiply<1>);
    std::memcpy(sum, reinterpret_cast<const factors *>(all)[shim_lane()].sums[0],
                sizeof given.sums[0]);
}

/* Both products in one meeting of the lanes, which is what takes the time. */
void kd_multiply_chunk(float low[4], float high[4], uint4 a, uint4 b)
{
    factors given = {{a.x, a.y, a.z, a.w}, {b.x, b.y, b.z, b.w}, {}};
    std::memcpy(given.sums[0], low, sizeof given.sums[0]);
    std::memcpy(given.sums[1], high, sizeof given.sums[1]);
    const unsigned char *all = shim_exchange(0xffffffffu, "mma", &given, sizeof given, multiply<2>);
    const factors &mine = reinterpret_cast<const factors *>(all)[shim_lane()];
    std::memcpy(low, mine.sums[0], sizeof mine.sums[0]);
    std::memcpy(high, mine.sums[1], sizeof mine.sums[1]);
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
