// What the machine can do at most, to hold the scan against: arithmetic on registers alone.

#include "scan.h"
#include "vec.h"

namespace {

constexpr int CHAINS = 16;  // independent, to hide the latency of each

// Runs body(x, round) on CHAINS vectors in registers, rounds times in every thread; returns how
// many floats it went over.
template <typename Body>
int64_t repeat(int64_t rounds, int32_t threads, const Body& body) {
  float sink = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sink)
  {
    Vec x[CHAINS];
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; ++i) x[i] = broadcast(0.01f * float(i));
    for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 16
      for (int i = 0; i < CHAINS; ++i) x[i] = body(x[i]);
    Vec sum = {};
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; ++i) sum += x[i];
    sink += sum[0];
  }
  return sink == sink ? rounds * threads * CHAINS * LANES : 0;
}

}  // namespace

// Multiply-adds done.
int64_t linksim_limit_multiply_add(int64_t rounds, int32_t threads) {
  const Vec factor = broadcast(0.999f), term = broadcast(0.001f);
  return repeat(rounds, threads, [=](Vec x) { return x * factor + term; });
}

// Exponentials done, by the function that the scan uses.
int64_t linksim_limit_exponential(int64_t rounds, int32_t threads) {
  return repeat(rounds, threads, [](Vec x) {
    const Exp2 power = exp2_parts(x);
    return power.excess * power.scale - 0.5f;
  });
}
