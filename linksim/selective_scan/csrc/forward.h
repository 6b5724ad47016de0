// The forward pass: h_k = exp(d_k A) h_{k-1} + d_k u_k B_k and y_k = sum_n C_k h_k + D u_k.
#pragma once

#include "task.h"

namespace {

// COUNT states, from n on, of the vector of channels at c through one chunk, all in registers.
template <int COUNT>
void advance(const Task& t, const Slab& b, int n, int c) {
  const Stage& g = t.stage;
  const int states = int(t.s.states);
  const Vec snr = broadcast(t.s.csi ? t.s.csi[t.batch] : 0.0f);
  const float* const A2 = b.A2 + n * SLAB + c;
  float* const state = b.state + n * SLAB + c;
  Vec h[COUNT];
#pragma GCC unroll 16
  for (int i = 0; i < COUNT; ++i) h[i] = load(state + i * SLAB);
  for (int k = 0; k < g.tokens; ++k) {
    if (n == 0 && g.restart[k]) h[0] = snr;
    const Vec delta = load(g.delta + k * SLAB + c), du = load(g.du + k * SLAB + c);
    const float *B = g.B + k * states + n, *C = g.C + k * states + n;
    if (n == 0)
      for (const Ahead& ahead : g.ahead) ahead.fetch(k, c);
    Vec y[2] = {load(g.y + k * SLAB + c), Vec{}};
#pragma GCC unroll 16
    for (int i = 0; i < COUNT; ++i) {
      const Exp2 a = exp2_parts(delta * load(A2 + i * SLAB));
      h[i] = decay_and_add(h[i], a, du * B[i]);
      y[i % 2] += h[i] * C[i];
    }
    store(g.y + k * SLAB + c, y[0] + y[1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < COUNT; ++i) store(state + i * SLAB, h[i]);
}

void advance_all(const Task& t, const Slab& b) {
  const int states = int(t.s.states);
  for (int c = 0; c < b.vecs * LANES; c += LANES) {
    int n = 0;
    if constexpr (LANES == 16)  // as many as the registers hold
      for (; n + 16 <= states; n += 16) advance<16>(t, b, n, c);
    for (; n + 8 <= states; n += 8) advance<8>(t, b, n, c);
    for (; n + 4 <= states; n += 4) advance<4>(t, b, n, c);
    for (; n < states; ++n) advance<1>(t, b, n, c);
  }
}

// Writes a slab's outputs of one chunk; returns whether all of them are finite.
bool store_outputs(const Task& t, const Slab& b, int64_t chunk) {
  Vec zero = {};
  for (int k = 0; k < t.stage.tokens; ++k) {
    const float* y = t.stage.y + k * SLAB;
    for (int c = 0; c < b.vecs * LANES; c += LANES) zero += load(y + c) * 0.0f;
    t.row(t.last_direction() ? t.s.y : t.s.sum, b, t.token(chunk * CHUNK + k)).write(y);
  }
  bool finite = true;
  for (int i = 0; i < LANES; ++i) finite = finite && zero[i] == 0.0f;
  return finite;
}

bool walk_forward(Task& t) {
  bool finite = true;
  for (int64_t i = t.begin; i < t.end; ++i) t.begin_walk(t.slab(i));
  for (int64_t chunk = 0; chunk < count_chunks(t.s); ++chunk) {
    t.stage_chunk(chunk);
    for (int64_t i = t.begin; i < t.end; ++i) {
      const Slab b = t.slab(i);
      t.stage_slab<false>(b, chunk);
      t.look_ahead(b, chunk, 1);
      if (t.direction().checkpoints)
        std::memcpy(t.checkpoint(b, chunk), b.state, t.s.states * SLAB * sizeof(float));
      advance_all(t, b);
      finite = store_outputs(t, b, chunk) && finite;
    }
  }
  return finite;
}

}  // namespace
