// A task of the scan, the memory that it works in, and the staging of its data.
//
// A task is one image and some slabs of 64 channels, walked in chunks of 32 tokens. For each chunk
// and slab, the rows that it needs are staged into float32 scratch that stays in the first-level
// cache: here lie the number format of the border, the bias, the softplus and the skip.
#pragma once

#include <cstdlib>
#include <initializer_list>
#include <memory>

#include "border.h"
#include "vec.h"

namespace {

constexpr int TILE_STATES = LANES < 8 ? 4 : 8;  // states and vectors of channels that the
constexpr int TILE_VECS = 2;                    // backward pass takes together

int64_t count_slabs(const Scan& s) { return (s.channels + SLAB - 1) / SLAB; }
int64_t count_chunks(const Scan& s) { return (s.length + CHUNK - 1) / CHUNK; }

// Parameters, states and, in the backward pass, gradients of one slab of channels.
struct Slab {
  int64_t index;  // among all
  int64_t first;  // channel
  int width;      // channels of it that exist
  int vecs;       // vectors that hold them
  float* A;       // [N, SLAB]
  float* A2;      // [N, SLAB], A * log2(e)
  float* D;       // [SLAB]
  float* bias;    // [SLAB]
  float* state;   // [N, SLAB], h; in the backward pass its adjoint, carried towards the start
  float* d_A;     // [N, SLAB]
  float* d_D;     // [SLAB]
  float* d_bias;  // [SLAB]
};

// One chunk of a slab, in walking order; rows of SLAB floats.
struct Stage {
  int tokens;
  float* delta;  // [CHUNK, SLAB], after bias and softplus
  float* du;     // [CHUNK, SLAB], delta * u
  float* y;      // [CHUNK, SLAB], the output; dy in the backward pass
  float* B;      // [CHUNK, N]
  float* C;      // [CHUNK, N]
  float* buffer[3];  // [SLAB] each, for rows that cannot be used where they lie
  bool restart[CHUNK];
  Ahead ahead[3];  // rows of u, delta and y that are staged next
  // Backward only.
  Ahead results[2];  // rows of du and d_delta that are stored next
  float* decay;  // [CHUNK + 1, tile, 2]: exp(delta A) as excess and scale
  float* kept;   // [CHUNK, tile]: exp(delta A) h_{k-1}
  float* g_B;    // [CHUNK, SLAB]: sum_n dh B
  float* g_A;    // [CHUNK, SLAB]: sum_n dh kept A
  float* d_B;    // [CHUNK, N]
  float* d_C;    // [CHUNK, N]
};

class Task {
 public:
  const Scan& s;
  const int64_t batch;
  const int64_t begin, end;  // slabs
  int which = 0;             // direction
  Stage stage;

  Task(const Scan& scan, int64_t batch, int64_t begin, int64_t end, bool backward)
      : s(scan), batch(batch), begin(begin), end(end) {
    const int64_t n = s.states, tile = backward ? TILE_STATES * TILE_VECS * LANES : 0;
    const int64_t floats = 5 * CHUNK * SLAB + 3 * SLAB + (3 * CHUNK + 2) * tile +
                           (end - begin) * slab_floats() + 4 * CHUNK * n;
    memory_.reset(static_cast<float*>(std::aligned_alloc(64, floats * sizeof(float))));
    next_ = memory_.get();
    if (!next_) return;
    for (float** p : {&stage.delta, &stage.du, &stage.y, &stage.g_B, &stage.g_A})
      *p = take(CHUNK * SLAB);
    for (float*& p : stage.buffer) p = take(SLAB);
    stage.decay = take(2 * (CHUNK + 1) * tile);
    stage.kept = take(CHUNK * tile);
    slabs_ = take((end - begin) * slab_floats());
    for (float** p : {&stage.B, &stage.C, &stage.d_B, &stage.d_C}) *p = take(CHUNK * n);
  }

  bool has_memory() const { return memory_ != nullptr; }
  const Direction& direction() const { return s.direction[which]; }
  bool last_direction() const { return which + 1 == s.directions; }
  int64_t token(int64_t step) const {
    return direction().reverse ? s.length - 1 - step : step;
  }

  Slab slab(int64_t index) const {
    const int64_t n = s.states, first = index * SLAB, left = s.channels - first;
    const int width = left < SLAB ? int(left) : SLAB;
    float* next = slabs_ + (index - begin) * slab_floats();
    const auto take = [&next](int64_t count) { return (next += count) - count; };
    return {index,      first,      width,          (width + LANES - 1) / LANES,
            take(n * SLAB), take(n * SLAB), take(SLAB),     take(SLAB),
            take(n * SLAB), take(n * SLAB), take(SLAB),     take(SLAB)};
  }

  float* checkpoint(const Slab& b, int64_t chunk) const {
    const int64_t at = (batch * count_slabs(s) + b.index) * count_chunks(s) + chunk;
    return direction().checkpoints + at * s.states * SLAB;
  }

  Row row(const Border& t, const Slab& b, int64_t token) const {
    return Row(t, batch, token, b.first, b.width);
  }

  // Sets up a slab for a walk in the present direction: parameters, and zeros for all else.
  void begin_walk(const Slab& b) const {
    const Direction& d = direction();
    std::memset(b.A, 0, slab_floats() * sizeof(float));
    for (int c = 0; c < b.width; ++c) {
      for (int64_t n = 0; n < s.states; ++n) {
        b.A[n * SLAB + c] = d.A[(b.first + c) * s.states + n];
        b.A2[n * SLAB + c] = b.A[n * SLAB + c] * LOG2_E;
      }
      b.D[c] = d.D[b.first + c];
      b.bias[c] = d.bias[b.first + c];
    }
  }

  // What the slabs share in a chunk: B, C, and where CSI-ReST restarts the first state.
  void stage_chunk(int64_t chunk) {
    const Direction& d = direction();
    const int n = int(s.states);
    const int64_t left = s.length - chunk * CHUNK;
    stage.tokens = left < CHUNK ? int(left) : CHUNK;
    for (int k = 0; k < stage.tokens; ++k) {
      const int64_t step = chunk * CHUNK + k;
      Row(d.B, batch, token(step), 0, n).copy_to(stage.B + k * n);
      Row(d.C, batch, token(step), 0, n).copy_to(stage.C + k * n);
      stage.restart[k] = s.csi && restarts_before(step);
    }
  }

  // A slab's delta and delta * u. In y, forward: the skip, plus the other direction's output if
  // there is one; backward: dy.
  template <bool BACKWARD>
  void stage_slab(const Slab& b, int64_t chunk) {
    if (b.width < SLAB) clear_stage();
    for (int k = 0; k < stage.tokens; ++k) {
      const int64_t step = chunk * CHUNK + k, token = this->token(step), at = k * SLAB;
      const float* u = row(s.u, b, token).read(stage.buffer[0]);
      const float* raw = row(direction().delta, b, token).read(stage.buffer[1]);
      const float* y = nullptr;
      if (BACKWARD) y = row(s.y, b, token).read(stage.buffer[2]);
      if (!BACKWARD && which > 0) y = row(s.sum, b, token).read(stage.buffer[2]);
      for (int c = 0; c < b.vecs * LANES; c += LANES) {
        const Vec x = load(u + c), delta = step_size(load(raw + c) + load(b.bias + c));
        store(stage.delta + at + c, delta);
        store(stage.du + at + c, delta * x);
        if (BACKWARD)
          store(stage.y + at + c, load(y + c));
        else
          store(stage.y + at + c, load(b.D + c) * x + (y ? load(y + c) : Vec{}));
      }
    }
  }

  // Points stage.ahead at what is staged after slab b of a chunk, which is the next slab, or the
  // first one of the chunk one further along the walk (step = 1) or against it (-1).
  void look_ahead(const Slab& b, int64_t chunk, int step) {
    const bool wrap = b.index + 1 == end;
    const int64_t next = wrap ? chunk + step : chunk;
    if (next < 0 || next >= count_chunks(s)) return;
    const Slab then = slab(wrap ? begin : b.index + 1);
    stage.ahead[0] = ahead(s.u, then, next);
    stage.ahead[1] = ahead(direction().delta, then, next);
    stage.ahead[2] = ahead(s.y, then, next);
    if (step < 0) {
      const char* const states = reinterpret_cast<const char*>(checkpoint(then, next));
      for (size_t i = 0; i < s.states * SLAB * sizeof(float); i += 64)
        __builtin_prefetch(states + i, 0, 2);
    }
  }

  // The rows of a slab in a chunk, to be fetched in walking order.
  Ahead ahead(const Border& t, const Slab& b, int64_t chunk) const {
    const int size = t.is_bfloat16 ? 2 : 4;
    const int64_t stride = t.token_stride * size, at = row(t, b, token(chunk * CHUNK)).at;
    return {static_cast<const char*>(t.data) + at * size, direction().reverse ? -stride : stride,
            size};
  }

 private:
  int64_t slab_floats() const { return 4 * SLAB * s.states + 4 * SLAB; }
  bool restarts_before(int64_t step) const {
    if (step == 0) return s.csi_interval >= 0;
    return s.csi_interval != 0 && step % s.csi_interval == 0;
  }
  Vec step_size(Vec raw) const { return s.softplus ? softplus(raw) : raw; }

  // Rows of a slab that reaches beyond the channels end in zeros.
  void clear_stage() {
    for (float* rows : {stage.delta, stage.du, stage.y})
      std::memset(rows, 0, CHUNK * SLAB * sizeof(float));
    for (float* buffer : stage.buffer) std::memset(buffer, 0, SLAB * sizeof(float));
  }

  float* take(int64_t count) { return (next_ += count) - count; }

  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> memory_;
  float* next_;
  float* slabs_;
};

}  // namespace
