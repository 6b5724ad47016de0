// Vectors of floats in the compiler's own notation (GCC and Clang), as wide as the target's
// registers: the kernels are written once and compiled for AVX-512, AVX2 and the baseline.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t UintVec __attribute__((vector_size(4 * LANES)));
typedef uint16_t HalfVec __attribute__((vector_size(2 * LANES)));

static inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

static inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

static inline Vec broadcast(float x) { return x - Vec{}; }

// The larger of both; b where it is not a number, which a limit as a lets through.
static inline Vec vmax(Vec a, Vec b) {  // GCC 12 makes a compare and a blend of ?:
#if defined(__AVX512F__)
  return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

// The smaller of both; b where it is not a number.
static inline Vec vmin(Vec a, Vec b) {
#if defined(__AVX512F__)
  return (Vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return a < b ? a : b;
#endif
}

// 2^t as scale * (1 + excess), excess small; scale is one where t is near zero.
struct Exp2 {
  Vec excess;
  Vec scale;
};

// h * a + x, for long sums of slowly decaying states: near a = 1 nothing is rounded at the size of
// h but the result. Rounding a, or h * a, to a float would err by up to 3e-8 a token in the same
// direction, which 5000 tokens add up to 1e-4.
static inline Vec decay_and_add(Vec h, Exp2 a, Vec x) {
  const Vec scaled = a.scale * h;
  return scaled + (scaled * a.excess + x);
}

#if defined(__AVX512F__)

// t = k/16 + f, |f| <= 1/32: scale = 2^(k/16) from a table of 16, excess a cubic minimax fit of
// 2^f - 1, in error by 1e-9 of 2^f.
static inline Exp2 exp2_parts(Vec t) {
  constexpr float ROUND = 0x1.8p19f;  // adding it leaves k in the last bits
  const __m512 powers = _mm512_setr_ps(
      0x1.000000p0f, 0x1.0b5586p0f, 0x1.172b84p0f, 0x1.2387a6p0f, 0x1.306fe0p0f, 0x1.3dea64p0f,
      0x1.4bfdaep0f, 0x1.5ab07ep0f, 0x1.6a09e6p0f, 0x1.7a1148p0f, 0x1.8ace54p0f, 0x1.9c4918p0f,
      0x1.ae89fap0f, 0x1.c199bep0f, 0x1.d5818ep0f, 0x1.ea4afap0f);
  const Vec rounded = t + ROUND;
  const Vec k = rounded - ROUND;
  const Vec f = t - k;
  Vec q = broadcast(0x1.c6ac6ap-5f);
  q = q * f + 0x1.ebfff4p-3f;
  q = q * f + 0x1.62e430p-1f;
  const __m512 power = _mm512_permutexvar_ps((__m512i)rounded, powers);
  return {q * f, (Vec)_mm512_scalef_ps(power, (__m512)k)};
}

#else

// t = k + f, |f| <= 1/2: scale = 2^k, excess a minimax fit of 2^f - 1, in error by 9.1e-8 of 2^f.
// t is held to [-126, 127].
static inline Exp2 exp2_parts(Vec t) {
  constexpr float ROUND = 0x1.8p23f + 127.0f;  // adding it leaves k + 127 in the last bits
  t = vmin(broadcast(127.0f), vmax(broadcast(-126.0f), t));
  const Vec biased = t + ROUND;
  const Vec f = t - (biased - ROUND);
  Vec q = broadcast(0x1.5bba14p-10f);
  q = q * f + 0x1.3cea88p-7f;
  q = q * f + 0x1.c6b752p-5f;
  q = q * f + 0x1.ebf9bcp-3f;
  q = q * f + 0x1.62e42ap-1f;
  return {q * f, (Vec)((UintVec)biased << 23)};
}

#endif

constexpr float LOG2_E = 0x1.715476p+0f;

static inline Vec vexp(Vec x) {
  const Exp2 p = exp2_parts(x * LOG2_E);
  return p.scale + p.scale * p.excess;
}

// softplus(x) = max(x, 0) + log1p(exp(-|x|)); log1p(z)/z on [0, 1] by a minimax polynomial of
// relative error 3e-8.
static inline Vec softplus(Vec x) {
  const Vec z = vexp(x > 0 ? -x : x);
  Vec p = broadcast(0.005232688f);
  p = p * z - 0.029505217f;
  p = p * z + 0.07822592f;
  p = p * z - 0.13663243f;
  p = p * z + 0.19106005f;
  p = p * z - 0.24842982f;
  p = p * z + 0.33319098f;
  p = p * z - 0.49999493f;
  p = p * z + 0.99999994f;
  return vmax(Vec{}, x) + p * z;
}

// The derivative of softplus.
static inline Vec sigmoid(Vec x) {
  const Vec z = vexp(x > 0 ? -x : x);
  return (x > 0 ? broadcast(1.0f) : z) / (1.0f + z);
}

// Sums of neighbours: [a0+a1, a2+a3, ..., b0+b1, ...].
static inline Vec add_neighbours(Vec a, Vec b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

// out[i] += the sum of v's lanes from i * LANES / COUNT to (i + 1) * LANES / COUNT.
template <int COUNT>
static inline void add_sums(Vec v, float* out) {
  for (int width = LANES / COUNT; width > 1; width /= 2) v = add_neighbours(v, v);
  typedef float Part __attribute__((vector_size(4 * COUNT)));
  Part part, sum;
  std::memcpy(&part, &v, sizeof part);
  std::memcpy(&sum, out, sizeof sum);
  sum += part;
  std::memcpy(out, &sum, sizeof sum);
}
