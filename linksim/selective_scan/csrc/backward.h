// The backward pass: the states of a chunk are recomputed from its checkpoint, then their adjoints
//   dh_k = C_k dy_k + exp(d_{k+1} A) dh_{k+1}
// are walked back through it. Nothing flows through a state that CSI-ReST overwrites.
#pragma once

#include "task.h"

namespace {

// A tile is COUNT states from n on of TILE_VECS vectors of channels from c on.

// Recomputes a tile's states, keeping exp(delta A) and its product with the state before.
template <int COUNT>
void recompute(const Task& t, const Slab& b, const float* checkpoint, int n, int c) {
  const Stage& g = t.stage;
  const int states = int(t.s.states);
  const Vec snr = broadcast(t.s.csi ? t.s.csi[t.batch] : 0.0f);
#pragma GCC unroll 2
  for (int v = 0; v < TILE_VECS; ++v) {
    const int at = c + v * LANES;
    const float* const A2 = b.A2 + n * SLAB + at;
    Vec h[COUNT];
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) h[i] = load(checkpoint + (n + i) * SLAB + at);
    for (int k = 0; k < g.tokens; ++k) {
      float* const decay = g.decay + 2 * (k * TILE_VECS + v) * COUNT * LANES;
      float* const kept = g.kept + (k * TILE_VECS + v) * COUNT * LANES;
      const float* const B = g.B + k * states + n;
      const Vec delta = load(g.delta + k * SLAB + at), du = load(g.du + k * SLAB + at);
      if (n == 0)
        for (const Ahead& ahead : g.ahead) ahead.fetch(k, at);
      if (n == 0 && g.restart[k]) h[0] = snr;
#pragma GCC unroll 8
      for (int i = 0; i < COUNT; ++i) {
        const Exp2 a = exp2_parts(delta * load(A2 + i * SLAB));
        const Vec rest = a.scale * (h[i] + a.excess * h[i]);
        store(decay + 2 * i * LANES, a.excess);
        store(decay + (2 * i + 1) * LANES, a.scale);
        store(kept + i * LANES, rest);
        h[i] = rest + du * B[i];
      }
    }
    // What comes from the chunk after has its decay behind it.
    float* const decay = g.decay + 2 * (g.tokens * TILE_VECS + v) * COUNT * LANES;
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) {
      store(decay + 2 * i * LANES, Vec{});
      store(decay + (2 * i + 1) * LANES, broadcast(1.0f));
    }
  }
}

// What one state of a token gives to dB and dC: before the sum over channels, a vector each.
struct Shares {
  Vec B, C;
};

// shares(i) for COUNT states from i on, summed over lanes in a binary tree.
template <int COUNT, typename Function>
inline __attribute__((always_inline)) Shares tree(const Function& shares, int i) {
  if constexpr (COUNT == 1) {
    return shares(i);
  } else {
    const Shares a = tree<COUNT / 2>(shares, i);
    const Shares b = tree<COUNT / 2>(shares, i + COUNT / 2);
    return {add_neighbours(a.B, b.B), add_neighbours(a.C, b.C)};
  }
}

// Walks a tile's adjoints back through one chunk. Between two tokens, dh waits for the decay of the
// later one, so that this and the addition round once.
template <int COUNT>
void retreat(const Task& t, const Slab& b, int n, int c) {
  const Stage& g = t.stage;
  const int states = int(t.s.states);
  const float* const A = b.A + n * SLAB + c;
  float* const state = b.state + n * SLAB + c;
  constexpr int SIZE = COUNT * TILE_VECS * LANES;
  alignas(64) float d_A[SIZE] = {};
  const auto decay = [&](int k, int slot) __attribute__((always_inline)) {
    const float* const at = g.decay + 2 * (k * SIZE + slot * LANES);
    return Exp2{load(at), load(at + LANES)};
  };
  Vec dh[COUNT][TILE_VECS];
#pragma GCC unroll 8
  for (int i = 0; i < COUNT; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < TILE_VECS; ++v) dh[i][v] = load(state + i * SLAB + v * LANES);
  for (int k = g.tokens - 1; k >= 0; --k) {
    const float* const kept = g.kept + k * SIZE;
    const float *B = g.B + k * states + n, *C = g.C + k * states + n;
    const int at = k * SLAB + c;
    if (n == 0)
      for (int v = 0; v < TILE_VECS; ++v)
        for (const Ahead& results : g.results) results.fetch(k, c + v * LANES);
    Vec delta[TILE_VECS], du[TILE_VECS], dy[TILE_VECS], g_B[TILE_VECS], g_A[TILE_VECS];
#pragma GCC unroll 2
    for (int v = 0; v < TILE_VECS; ++v) {
      delta[v] = load(g.delta + at + v * LANES);
      du[v] = load(g.du + at + v * LANES);
      dy[v] = load(g.y + at + v * LANES);
      g_B[v] = load(g.g_B + at + v * LANES);
      g_A[v] = load(g.g_A + at + v * LANES);
    }
    const auto step_back = [&](int i) __attribute__((always_inline)) {
      Shares shares = {};
#pragma GCC unroll 2
      for (int v = 0; v < TILE_VECS; ++v) {
        const int slot = v * COUNT + i;
        const Vec rest = load(kept + slot * LANES);
        const Vec adjoint = decay_and_add(dh[i][v], decay(k + 1, slot), dy[v] * C[i]);
        const Vec through = adjoint * rest;
        shares.B += adjoint * du[v];
        shares.C += dy[v] * (rest + du[v] * B[i]);
        g_B[v] += adjoint * B[i];
        g_A[v] += through * load(A + i * SLAB + v * LANES);
        store(d_A + slot * LANES, load(d_A + slot * LANES) + through * delta[v]);
        dh[i][v] = adjoint;
      }
      return shares;
    };
    const Shares shares = tree<COUNT>(step_back, 0);
    add_sums<COUNT>(shares.B, g.d_B + k * states + n);
    add_sums<COUNT>(shares.C, g.d_C + k * states + n);
#pragma GCC unroll 2
    for (int v = 0; v < TILE_VECS; ++v) {
      store(g.g_B + at + v * LANES, g_B[v]);
      store(g.g_A + at + v * LANES, g_A[v]);
      if (n == 0 && g.restart[k]) dh[0][v] = Vec{};
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < COUNT; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < TILE_VECS; ++v) {
      const int at = (n + i) * SLAB + c + v * LANES, slot = v * COUNT + i;
      store(b.state + at, decay_and_add(dh[i][v], decay(0, slot), Vec{}));
      store(b.d_A + at, load(b.d_A + at) + load(d_A + slot * LANES));
    }
}

template <int COUNT>
void retreat_tile(const Task& t, const Slab& b, const float* checkpoint, int n, int c) {
  recompute<COUNT>(t, b, checkpoint, n, c);
  retreat<COUNT>(t, b, n, c);
}

void retreat_all(const Task& t, const Slab& b, const float* checkpoint) {
  const int states = int(t.s.states);
  for (int c = 0; c < b.width; c += TILE_VECS * LANES) {
    int n = 0;
    for (; n + TILE_STATES <= states; n += TILE_STATES)
      retreat_tile<TILE_STATES>(t, b, checkpoint, n, c);
    for (; n < states; ++n) retreat_tile<1>(t, b, checkpoint, n, c);
  }
}

void clear_gradients(const Task& t) {
  const Stage& g = t.stage;
  const size_t rows = CHUNK * SLAB * sizeof(float), pairs = CHUNK * t.s.states * sizeof(float);
  std::memset(g.g_B, 0, rows);
  std::memset(g.g_A, 0, rows);
  std::memset(g.d_B, 0, pairs);
  std::memset(g.d_C, 0, pairs);
}

// From g_B and g_A to the gradients of u, delta, D and bias, and a chunk's shares of dB and dC.
void store_gradients(const Task& t, const Slab& b, int64_t chunk) {
  const Direction& d = t.direction();
  Stage g = t.stage;
  const int64_t n = t.s.states;
  for (int k = 0; k < g.tokens; ++k) {
    const int64_t token = t.token(chunk * CHUNK + k), at = k * SLAB;
    const float* u = t.row(t.s.u, b, token).read(g.buffer[0]);
    const float* raw = t.row(d.delta, b, token).read(g.buffer[1]);
    const float* before = t.which > 0 ? t.row(t.s.sum, b, token).read(g.buffer[2]) : nullptr;
    float *d_u = g.g_B + at, *d_delta = g.g_A + at;
    for (int c = 0; c < b.vecs * LANES; c += LANES) {
      const Vec x = load(u + c), dy = load(g.y + at + c), g_B = load(g.g_B + at + c);
      Vec g_delta = load(g.g_A + at + c) + x * g_B;
      if (t.s.softplus) g_delta *= sigmoid(load(raw + c) + load(b.bias + c));
      const Vec g_u = load(b.D + c) * dy + load(g.delta + at + c) * g_B;
      store(d_u + c, before ? g_u + load(before + c) : g_u);
      store(d_delta + c, g_delta);
      store(b.d_D + c, load(b.d_D + c) + dy * x);
      store(b.d_bias + c, load(b.d_bias + c) + g_delta);
    }
    t.row(t.last_direction() ? t.s.d_u : t.s.sum, b, token).write(d_u);
    t.row(d.d_delta, b, token).write(d_delta);
    float* d_BC = d.d_BC + ((b.index * t.s.batch + t.batch) * t.s.length + token) * 2 * n;
    std::memcpy(d_BC, g.d_B + k * n, n * sizeof(float));
    std::memcpy(d_BC + n, g.d_C + k * n, n * sizeof(float));
  }
}

void store_parameter_gradients(const Task& t, const Slab& b) {
  const Direction& d = t.direction();
  const int64_t at = t.batch * count_slabs(t.s) * SLAB + b.first, n = t.s.states;
  for (int c = 0; c < SLAB; ++c)
    for (int64_t i = 0; i < n; ++i) d.d_A[(at + c) * n + i] = b.d_A[i * SLAB + c];
  std::memcpy(d.d_D + at, b.d_D, SLAB * sizeof(float));
  std::memcpy(d.d_bias + at, b.d_bias, SLAB * sizeof(float));
}

void walk_backward(Task& t) {
  for (int64_t i = t.begin; i < t.end; ++i) t.begin_walk(t.slab(i));
  for (int64_t chunk = count_chunks(t.s) - 1; chunk >= 0; --chunk) {
    t.stage_chunk(chunk);
    for (int64_t i = t.begin; i < t.end; ++i) {
      const Slab b = t.slab(i);
      t.stage_slab<true>(b, chunk);
      t.look_ahead(b, chunk, -1);
      t.stage.results[0] = t.ahead(t.last_direction() ? t.s.d_u : t.s.sum, b, chunk);
      t.stage.results[1] = t.ahead(t.direction().d_delta, b, chunk);
      clear_gradients(t);
      retreat_all(t, b, t.checkpoint(b, chunk));
      store_gradients(t, b, chunk);
    }
  }
  for (int64_t i = t.begin; i < t.end; ++i) store_parameter_gradients(t, t.slab(i));
}

}  // namespace
