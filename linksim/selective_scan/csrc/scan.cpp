// Selective scan with CSI-ReST on a CPU, forward and backward.
//
// Work is cut into tasks of one image and one slab of 64 channels, walked in chunks of 32 tokens.
// A chunk is staged into float32 scratch that stays in the first-level cache (here lie bias,
// softplus, skip and the border's number format), then each vector of channels runs through it
// with its states in registers. Tasks share nothing, and sums over channels and images are taken
// afterwards in a fixed order: the number of threads changes no bit of the result.
//
// States are called h, the recurrence is, for a channel and a state n,
//   h_k = exp(d_k A) h_{k-1} + (d_k u_k) B_k,   y_k = sum_n C_k h_k + D u_k,
// and h_{k-1}[0] is replaced by the SNR where CSI-ReST restarts it. The backward pass recomputes
// the states of a chunk from its checkpoint.

#include "scan.h"

#include <cstdlib>
#include <initializer_list>
#include <memory>

#include "vec.h"

namespace {

constexpr int SLAB = 64;   // channels of a task
constexpr int CHUNK = 32;  // tokens between two checkpoints

int64_t slabs(const Scan& s) { return (s.channels + SLAB - 1) / SLAB; }
int64_t chunks(const Scan& s) { return (s.length + CHUNK - 1) / CHUNK; }

// ---------------------------------------------------------------------------------------------
// The border: rows of a tensor to and from float32.

float from_bfloat16(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

uint16_t to_bfloat16(float value) {  // to nearest even, NaN stays NaN
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint16_t rounded = uint16_t((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
  return value == value ? rounded : uint16_t(0x7FC0);
}

int64_t offset(const Border& t, int64_t batch, int64_t token) {
  return batch * t.batch_stride + token * t.token_stride;
}

void load_row(const Border& t, int64_t batch, int64_t token, int64_t first, int width, float* to) {
  const int64_t at = offset(t, batch, token) + first;
  if (t.is_bfloat16) {
    const uint16_t* from = static_cast<const uint16_t*>(t.data) + at;
    for (int i = 0; i < width; ++i) to[i] = from_bfloat16(from[i]);
  } else {
    const float* from = static_cast<const float*>(t.data) + at;
    if (width == SLAB)
      std::memcpy(to, from, SLAB * sizeof(float));
    else
      std::memcpy(to, from, width * sizeof(float));
  }
}

void store_row(const Border& t, int64_t batch, int64_t token, int64_t first, int width,
               const float* from) {
  const int64_t at = offset(t, batch, token) + first;
  if (t.is_bfloat16) {
    uint16_t* to = static_cast<uint16_t*>(t.data) + at;
    for (int i = 0; i < width; ++i) to[i] = to_bfloat16(from[i]);
  } else {
    std::memcpy(static_cast<float*>(t.data) + at, from, width * sizeof(float));
  }
}

// ---------------------------------------------------------------------------------------------
// What a task works in. Everything is in walking order, rows of SLAB floats, zero beyond width.

struct Workspace {
  float* u;       // [CHUNK, SLAB]
  float* delta;   // [CHUNK, SLAB], after bias and softplus
  float* raw;     // [CHUNK, SLAB], after bias, before softplus
  float* du;      // [CHUNK, SLAB], delta * u
  float* y;       // [CHUNK, SLAB], the output; dy in the backward pass
  float* B;       // [CHUNK, N]
  float* C;       // [CHUNK, N]
  float* A;       // [N, SLAB]
  float* A2;      // [N, SLAB], A * log2(e)
  float* state;   // [N, SLAB], h; in the backward pass its adjoint, carried towards the start
  float* D;       // [SLAB]
  float* bias;    // [SLAB]
  float* total;   // [L, SLAB], the sum over two directions
  // Backward only.
  float* decay;   // [CHUNK, tile]: exp(delta A)
  float* kept;    // [CHUNK, tile]: exp(delta A) h_{k-1}
  float* d_BC;    // [CHUNK, 2N]
  float* g_B;     // [CHUNK, SLAB]: sum_n dh B
  float* g_A;     // [CHUNK, SLAB]: sum_n dh kept A
  float* d_A;     // [N, SLAB]
  float* d_D;     // [SLAB]
  float* d_bias;  // [SLAB]
  bool restart[CHUNK];
};

constexpr int TILE_STATES = 8;
constexpr int TILE_VECS = 2;

class Memory {
 public:
  Memory(const Scan& s, bool backward) {
    const int64_t n = s.states, rows = CHUNK * SLAB;
    const int64_t tile = CHUNK * TILE_STATES * TILE_VECS * LANES;
    const int64_t both = s.directions > 1 ? s.length * SLAB : 0;
    const int64_t floats = 7 * rows + (4 * CHUNK + 4 * SLAB) * n + 4 * SLAB + both +
                           (backward ? 2 * tile : 0) + 32 * 16;
    block_.reset(static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64)));
    if (!block_) return;
    float* next = block_.get();
    const auto take = [&next](int64_t count) {
      float* const start = next;
      next += (count + 15) / 16 * 16;
      return start;
    };
    for (float** p : {&w.u, &w.delta, &w.raw, &w.du, &w.y, &w.g_B, &w.g_A}) *p = take(rows);
    for (float** p : {&w.A, &w.A2, &w.state, &w.d_A}) *p = take(n * SLAB);
    for (float** p : {&w.D, &w.bias, &w.d_D, &w.d_bias}) *p = take(SLAB);
    w.B = take(CHUNK * n);
    w.C = take(CHUNK * n);
    w.d_BC = take(CHUNK * 2 * n);
    w.total = take(both);
    w.decay = backward ? take(tile) : nullptr;
    w.kept = backward ? take(tile) : nullptr;
  }
  bool ok() const { return block_ != nullptr; }

  Workspace w;

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> block_;
};

// A task: one image and one slab of channels.
struct Task {
  const Scan& s;
  int64_t batch, slab, first;
  int width;  // channels of the slab that exist
  int vecs;   // vectors that hold them

  Task(const Scan& scan, int64_t index)
      : s(scan), batch(index / slabs(scan)), slab(index % slabs(scan)), first(slab * SLAB) {
    const int64_t left = scan.channels - first;
    width = left < SLAB ? int(left) : SLAB;
    vecs = (width + LANES - 1) / LANES;
  }

  int64_t token(const Direction& d, int64_t step) const {
    return d.reverse ? s.length - 1 - step : step;
  }
  int tokens(int64_t chunk) const {
    const int64_t left = s.length - chunk * CHUNK;
    return left < CHUNK ? int(left) : CHUNK;
  }
  float* checkpoint(const Direction& d, int64_t chunk) const {
    return d.checkpoints + ((batch * slabs(s) + slab) * chunks(s) + chunk) * s.states * SLAB;
  }
};

void stage_parameters(const Task& t, const Direction& d, Workspace& w) {
  const int64_t n_states = t.s.states;
  for (int64_t n = 0; n < n_states; ++n)
    for (int c = 0; c < SLAB; ++c) {
      w.A[n * SLAB + c] = c < t.width ? d.A[(t.first + c) * n_states + n] : 0.0f;
      w.A2[n * SLAB + c] = w.A[n * SLAB + c] * LOG2_E;
    }
  for (int c = 0; c < SLAB; ++c) {
    w.D[c] = c < t.width ? d.D[t.first + c] : 0.0f;
    w.bias[c] = c < t.width ? d.bias[t.first + c] : 0.0f;
  }
  std::memset(w.state, 0, n_states * SLAB * sizeof(float));
  std::memset(w.u, 0, CHUNK * SLAB * sizeof(float));
  std::memset(w.raw, 0, CHUNK * SLAB * sizeof(float));
  std::memset(w.y, 0, CHUNK * SLAB * sizeof(float));
}

// Rows of one chunk: u, delta, their product, B, C, and where CSI-ReST restarts the state.
void stage_chunk(const Task& t, const Direction& d, int64_t chunk, Workspace& w) {
  const int n = int(t.s.states);
  for (int k = 0; k < t.tokens(chunk); ++k) {
    const int64_t step = chunk * CHUNK + k, token = t.token(d, step), at = k * SLAB;
    load_row(t.s.u, t.batch, token, t.first, t.width, w.u + at);
    load_row(d.delta, t.batch, token, t.first, t.width, w.raw + at);
    load_row(d.B, t.batch, token, 0, n, w.B + k * n);
    load_row(d.C, t.batch, token, 0, n, w.C + k * n);
    for (int c = 0; c < t.vecs * LANES; c += LANES) {
      const Vec raw = load(w.raw + at + c) + load(w.bias + c);
      const Vec delta = t.s.softplus ? softplus(raw) : raw;
      store(w.raw + at + c, raw);
      store(w.delta + at + c, delta);
      store(w.du + at + c, delta * load(w.u + at + c));
    }
    const int64_t every = t.s.csi_interval;
    w.restart[k] = t.s.csi && (step == 0 || (every > 0 && step % every == 0));
  }
}

// ---------------------------------------------------------------------------------------------
// Forward.

// COUNT states, from n on, of the vector of channels at c through one chunk.
template <int COUNT>
void advance(const Task& t, int tokens, int n, int c, Workspace& w) {
  const int states = int(t.s.states);
  const float snr = t.s.csi ? t.s.csi[t.batch] : 0.0f;
  Vec h[COUNT];
#pragma GCC unroll 16
  for (int i = 0; i < COUNT; ++i) h[i] = load(w.state + (n + i) * SLAB + c);
  for (int k = 0; k < tokens; ++k) {
    if (n == 0 && w.restart[k]) h[0] = broadcast(snr);
    const Vec delta = load(w.delta + k * SLAB + c), du = load(w.du + k * SLAB + c);
    const float *B = w.B + k * states + n, *C = w.C + k * states + n;
    Vec y[2] = {load(w.y + k * SLAB + c), Vec{}};
#pragma GCC unroll 16
    for (int i = 0; i < COUNT; ++i) {
      const Exp2 a = exp2_parts(delta * load(w.A2 + (n + i) * SLAB + c));
      h[i] = a.scale * (h[i] + a.excess * h[i]) + du * B[i];
      y[i % 2] += h[i] * C[i];
    }
    store(w.y + k * SLAB + c, y[0] + y[1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < COUNT; ++i) store(w.state + (n + i) * SLAB + c, h[i]);
}

void advance_all(const Task& t, int tokens, int c, Workspace& w) {
  const int states = int(t.s.states);
  int n = 0;
  if constexpr (LANES == 16)  // as many as the registers hold
    for (; n + 16 <= states; n += 16) advance<16>(t, tokens, n, c, w);
  for (; n + 8 <= states; n += 8) advance<8>(t, tokens, n, c, w);
  for (; n + 4 <= states; n += 4) advance<4>(t, tokens, n, c, w);
  for (; n < states; ++n) advance<1>(t, tokens, n, c, w);
}

// Runs one direction; its outputs are added to the other's in w.total where there are two.
// Returns zeros if every output is finite, NaNs in the lanes of those that are not.
Vec forward(const Task& t, int which, Workspace& w) {
  const Direction& d = t.s.direction[which];
  const bool last = which + 1 == t.s.directions;
  Vec finite = {};
  stage_parameters(t, d, w);
  for (int64_t chunk = 0; chunk < chunks(t.s); ++chunk) {
    const int tokens = t.tokens(chunk);
    stage_chunk(t, d, chunk, w);
    if (d.checkpoints)
      std::memcpy(t.checkpoint(d, chunk), w.state, t.s.states * SLAB * sizeof(float));
    for (int k = 0; k < tokens; ++k) {
      const float* before = w.total + t.token(d, chunk * CHUNK + k) * SLAB;
      for (int c = 0; c < t.vecs * LANES; c += LANES) {
        const Vec skip = load(w.D + c) * load(w.u + k * SLAB + c);
        store(w.y + k * SLAB + c, which == 0 ? skip : skip + load(before + c));
      }
    }
    for (int c = 0; c < t.vecs * LANES; c += LANES) advance_all(t, tokens, c, w);
    for (int k = 0; k < tokens; ++k) {
      const int64_t token = t.token(d, chunk * CHUNK + k);
      for (int c = 0; c < t.vecs * LANES; c += LANES) finite += load(w.y + k * SLAB + c) * 0.0f;
      if (last)
        store_row(t.s.y, t.batch, token, t.first, t.width, w.y + k * SLAB);
      else
        std::memcpy(w.total + token * SLAB, w.y + k * SLAB, SLAB * sizeof(float));
    }
  }
  return finite;
}

// ---------------------------------------------------------------------------------------------
// Backward.

// Recomputes the states of a tile through one chunk, keeping exp(delta A) and its product with
// the state before. A tile is COUNT states from n on of TILE_VECS vectors of channels from c on.
template <int COUNT>
void recompute(const Task& t, const float* checkpoint, int tokens, int n, int c, Workspace& w) {
  const int states = int(t.s.states);
  const float snr = t.s.csi ? t.s.csi[t.batch] : 0.0f;
  Vec h[TILE_VECS][COUNT];
#pragma GCC unroll 2
  for (int v = 0; v < TILE_VECS; ++v)
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) h[v][i] = load(checkpoint + (n + i) * SLAB + c + v * LANES);
  for (int k = 0; k < tokens; ++k) {
    float *decay = w.decay + k * TILE_VECS * COUNT * LANES,
          *kept = w.kept + k * TILE_VECS * COUNT * LANES;
#pragma GCC unroll 2
    for (int v = 0; v < TILE_VECS; ++v) {
      const int at = c + v * LANES;
      if (n == 0 && w.restart[k]) h[v][0] = broadcast(snr);
      const Vec delta = load(w.delta + k * SLAB + at), du = load(w.du + k * SLAB + at);
#pragma GCC unroll 8
      for (int i = 0; i < COUNT; ++i) {
        const Exp2 a = exp2_parts(delta * load(w.A2 + (n + i) * SLAB + at));
        const Vec rest = a.scale * (h[v][i] + a.excess * h[v][i]);
        store(decay + (v * COUNT + i) * LANES, a.scale + a.scale * a.excess);
        store(kept + (v * COUNT + i) * LANES, rest);
        h[v][i] = rest + du * w.B[k * states + n + i];
      }
    }
  }
}

// Walks a tile back through one chunk, from the adjoint of the states after it to that before.
template <int COUNT>
void retreat(const Task& t, int tokens, int n, int c, Workspace& w) {
  const int states = int(t.s.states);
  Vec dh[TILE_VECS][COUNT];
  Vec dA[TILE_VECS][COUNT] = {};
#pragma GCC unroll 2
  for (int v = 0; v < TILE_VECS; ++v)
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) dh[v][i] = load(w.state + (n + i) * SLAB + c + v * LANES);
  for (int k = tokens - 1; k >= 0; --k) {
    const float *decay = w.decay + k * TILE_VECS * COUNT * LANES,
                *kept = w.kept + k * TILE_VECS * COUNT * LANES;
    const float *B = w.B + k * states + n, *C = w.C + k * states + n;
    Vec dBC[2 * COUNT] = {};
#pragma GCC unroll 2
    for (int v = 0; v < TILE_VECS; ++v) {
      const int at = k * SLAB + c + v * LANES;
      const Vec delta = load(w.delta + at), du = load(w.du + at), dy = load(w.y + at);
      Vec g_B = load(w.g_B + at), g_A = load(w.g_A + at);
#pragma GCC unroll 8
      for (int i = 0; i < COUNT; ++i) {
        const Vec rest = load(kept + (v * COUNT + i) * LANES);
        const Vec adjoint = dh[v][i] + dy * C[i];
        const Vec through = adjoint * rest;
        dBC[i] += adjoint * du;
        dBC[COUNT + i] += dy * (rest + du * B[i]);
        g_B += adjoint * B[i];
        g_A += through * load(w.A + (n + i) * SLAB + c + v * LANES);
        dA[v][i] += through * delta;
        dh[v][i] = adjoint * load(decay + (v * COUNT + i) * LANES);
      }
      store(w.g_B + at, g_B);
      store(w.g_A + at, g_A);
      if (n == 0 && w.restart[k]) dh[v][0] = Vec{};  // nothing flows through an overwritten state
    }
    add_lane_sums<COUNT>(dBC, w.d_BC + k * 2 * states + n);
    add_lane_sums<COUNT>(dBC + COUNT, w.d_BC + k * 2 * states + states + n);
  }
#pragma GCC unroll 2
  for (int v = 0; v < TILE_VECS; ++v)
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) {
      const int at = (n + i) * SLAB + c + v * LANES;
      store(w.state + at, dh[v][i]);
      store(w.d_A + at, load(w.d_A + at) + dA[v][i]);
    }
}

template <int COUNT>
void recompute_and_retreat(const Task& t, const float* checkpoint, int tokens, int n, int c,
                           Workspace& w) {
  recompute<COUNT>(t, checkpoint, tokens, n, c, w);
  retreat<COUNT>(t, tokens, n, c, w);
}

void retreat_all(const Task& t, const float* checkpoint, int tokens, int c, Workspace& w) {
  const int states = int(t.s.states);
  int n = 0;
  for (; n + 8 <= states; n += 8) recompute_and_retreat<8>(t, checkpoint, tokens, n, c, w);
  for (; n + 4 <= states; n += 4) recompute_and_retreat<4>(t, checkpoint, tokens, n, c, w);
  for (; n < states; ++n) recompute_and_retreat<1>(t, checkpoint, tokens, n, c, w);
}

// From g_B and g_A to the gradients of u, delta, D and bias; du is added to the other direction's.
void store_gradients(const Task& t, int which, int64_t chunk, Workspace& w) {
  const Direction& d = t.s.direction[which];
  const int n = int(t.s.states);
  for (int k = 0; k < t.tokens(chunk); ++k) {
    const int64_t token = t.token(d, chunk * CHUNK + k), at = k * SLAB;
    float* total = w.total + token * SLAB;
    for (int c = 0; c < t.vecs * LANES; c += LANES) {
      const Vec u = load(w.u + at + c), dy = load(w.y + at + c), g_B = load(w.g_B + at + c);
      Vec d_u = load(w.D + c) * dy + load(w.delta + at + c) * g_B;
      Vec d_delta = load(w.g_A + at + c) + u * g_B;
      if (t.s.softplus) d_delta *= sigmoid(load(w.raw + at + c));
      if (which > 0) d_u += load(total + c);
      store(w.u + at + c, d_u);
      store(w.raw + at + c, d_delta);
      store(w.d_D + c, load(w.d_D + c) + dy * u);
      store(w.d_bias + c, load(w.d_bias + c) + d_delta);
    }
    if (which + 1 == t.s.directions)
      store_row(t.s.d_u, t.batch, token, t.first, t.width, w.u + at);
    else
      std::memcpy(total, w.u + at, SLAB * sizeof(float));
    store_row(d.d_delta, t.batch, token, t.first, t.width, w.raw + at);
    float* d_BC = d.d_BC + ((t.slab * t.s.batch + t.batch) * t.s.length + token) * 2 * n;
    std::memcpy(d_BC, w.d_BC + k * 2 * n, 2 * n * sizeof(float));
  }
}

void backward(const Task& t, int which, Workspace& w) {
  const Direction& d = t.s.direction[which];
  const int64_t states = t.s.states, width_p = slabs(t.s) * SLAB;
  stage_parameters(t, d, w);
  std::memset(w.d_A, 0, states * SLAB * sizeof(float));
  std::memset(w.d_D, 0, SLAB * sizeof(float));
  std::memset(w.d_bias, 0, SLAB * sizeof(float));
  std::memset(w.delta, 0, CHUNK * SLAB * sizeof(float));
  std::memset(w.du, 0, CHUNK * SLAB * sizeof(float));
  for (int64_t chunk = chunks(t.s) - 1; chunk >= 0; --chunk) {
    const int tokens = t.tokens(chunk);
    for (int k = 0; k < tokens; ++k)
      load_row(t.s.y, t.batch, t.token(d, chunk * CHUNK + k), t.first, t.width, w.y + k * SLAB);
    stage_chunk(t, d, chunk, w);
    std::memset(w.g_B, 0, CHUNK * SLAB * sizeof(float));
    std::memset(w.g_A, 0, CHUNK * SLAB * sizeof(float));
    std::memset(w.d_BC, 0, CHUNK * 2 * states * sizeof(float));
    for (int c = 0; c < t.width; c += TILE_VECS * LANES)
      retreat_all(t, t.checkpoint(d, chunk), tokens, c, w);
    store_gradients(t, which, chunk, w);
    // store_gradients left values beyond width where the staging expects zeros.
    if (t.width < SLAB) {
      std::memset(w.u, 0, CHUNK * SLAB * sizeof(float));
      std::memset(w.raw, 0, CHUNK * SLAB * sizeof(float));
    }
  }
  for (int c = 0; c < SLAB; ++c)
    for (int64_t n = 0; n < states; ++n)
      d.d_A[(t.batch * width_p + t.first + c) * states + n] = w.d_A[n * SLAB + c];
  std::memcpy(d.d_D + t.batch * width_p + t.first, w.d_D, SLAB * sizeof(float));
  std::memcpy(d.d_bias + t.batch * width_p + t.first, w.d_bias, SLAB * sizeof(float));
}

// ---------------------------------------------------------------------------------------------

template <typename Run>
int32_t run_tasks(const Scan& s, bool is_backward, const Run& run) {
  const int64_t tasks = s.batch * slabs(s);
  int32_t status = 0;
#pragma omp parallel num_threads(s.threads) reduction(max : status)
  {
    Memory memory(s, is_backward);
    if (!memory.ok()) status = 2;
#pragma omp for schedule(dynamic)
    for (int64_t index = 0; index < tasks; ++index)
      if (memory.ok() && !run(Task(s, index), memory.w) && status < 1) status = 1;
  }
  return status;
}

}  // namespace

int64_t linksim_scan_chunk() { return CHUNK; }
int64_t linksim_scan_slab() { return SLAB; }

int32_t linksim_scan_forward(const Scan* scan) {
  return run_tasks(*scan, false, [scan](const Task& t, Workspace& w) {
    Vec finite = {};
    for (int which = 0; which < scan->directions; ++which) finite += forward(t, which, w);
    bool all = true;
    for (int i = 0; i < LANES; ++i) all = all && finite[i] == 0.0f;
    return all;
  });
}

int32_t linksim_scan_backward(const Scan* scan) {
  return run_tasks(*scan, true, [scan](const Task& t, Workspace& w) {
    for (int which = 0; which < scan->directions; ++which) backward(t, which, w);
    return true;
  });
}
