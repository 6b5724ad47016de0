// Vectors of floats in the compiler's own notation (GCC and Clang), as wide as the target's
// registers: the kernels are written once and compiled for AVX-512, AVX2 and the baseline.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES)));

static inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

static inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

static inline Vec broadcast(float x) { return x - Vec{}; }

static inline Vec vmax(Vec a, Vec b) { return a > b ? a : b; }
static inline Vec vmin(Vec a, Vec b) { return a < b ? a : b; }

// 2^t as scale * (1 + excess): scale a power of two, excess in (-0.3, 0.42).
//
// Kept apart because h * 2^t = scale * (h + excess * h) rounds nothing but h: at weak decay 2^t
// itself, rounded to the floats below one, would err by 3e-8 a token in the same direction.
// t is held to [-126, 127]. The polynomial is the minimax fit of (2^f - 1) with relative error
// 9.1e-8 of 2^f on |f| <= 1/2.
struct Exp2 {
  Vec excess;
  Vec scale;
};

static inline Exp2 exp2_parts(Vec t) {
  constexpr float ROUND = 12582912.0f + 127.0f;  // 1.5 * 2^23 rounds; 127 is the exponent's bias
  t = vmin(vmax(t, broadcast(-126.0f)), broadcast(127.0f));
  const Vec biased = t + ROUND;
  const Vec f = t - (biased - ROUND);
  Vec q = broadcast(0x1.5bba14p-10f);
  q = q * f + 0x1.3cea88p-7f;
  q = q * f + 0x1.c6b752p-5f;
  q = q * f + 0x1.ebf9bcp-3f;
  q = q * f + 0x1.62e42ap-1f;
  return {q * f, (Vec)((IntVec)biased << 23)};
}

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
  return vmax(x, Vec{}) + p * z;
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

// out[i] += sum of the lanes of v[i], for COUNT vectors (a power of two).
template <int COUNT>
static inline void add_lane_sums(const Vec* v, float* out) {
  if constexpr (COUNT >= LANES) {
    for (int i = 0; i < COUNT; i += LANES) {
      Vec level[LANES];
      for (int j = 0; j < LANES; ++j) level[j] = v[i + j];
#pragma GCC unroll 4
      for (int width = LANES; width > 1; width /= 2)
#pragma GCC unroll 8
        for (int j = 0; j < width / 2; ++j) level[j] = add_neighbours(level[2 * j], level[2 * j + 1]);
      store(out + i, load(out + i) + level[0]);
    }
  } else {
    for (int i = 0; i < COUNT; ++i) {
      float sum = 0;
      for (int j = 0; j < LANES; ++j) sum += v[i][j];
      out[i] += sum;
    }
  }
}
