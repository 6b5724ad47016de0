// The C interface of the selective scan, mirrored by ctypes structures in kernel.py.
#pragma once

#include <cstdint>

// A [batch, L, width] tensor at the kernel's border, its last axis contiguous. Strides in elements.
struct Border {
  void* data;
  int64_t batch_stride;
  int64_t token_stride;
  int32_t is_bfloat16;  // float32 otherwise
};

// One direction over the tokens: parameters and, in the backward pass, their gradients.
// S is the number of slabs of 64 channels, the last of them padded.
struct Direction {
  Border delta, B, C;  // [batch, L, channels], [batch, L, N] twice
  const float* A;      // [channels, N]
  const float* D;      // [channels]
  const float* bias;   // [channels]
  int32_t reverse;
  float* checkpoints;  // [batch, S, chunks, N, 64]: states before the chunks' first tokens; or null
  Border d_delta;      // [batch, L, channels]
  float* d_BC;         // [S, batch, L, 2N]: each slab's share of dB and dC
  float* d_A;          // [batch, S * 64, N]
  float* d_D;          // [batch, S * 64]
  float* d_bias;       // [batch, S * 64]
};

struct Scan {
  int64_t batch, length, channels, states;
  Border u;
  Border y;    // dy in the backward pass
  Border d_u;  // backward only
  Border sum;  // float32 [batch, L, channels] where the directions' outputs, or du, are added:
               // may be y or d_u itself. Unused with one direction.
  const float* csi;      // [batch] or null
  int64_t csi_interval;  // I: before tokens 0, I, 2I, …; 0: before 0; -I: before I, 2I, …
  int32_t softplus;
  int32_t directions;  // 1 or 2; their outputs are added
  int32_t threads;
  Direction direction[2];
};

#define LINKSIM_EXPORT __attribute__((visibility("default")))
extern "C" {
// 0: done. 1: done, and an output is not finite. 2: out of memory, nothing done.
LINKSIM_EXPORT int32_t linksim_scan_forward(const Scan* scan);
LINKSIM_EXPORT int32_t linksim_scan_backward(const Scan* scan);
// Tokens between two checkpoints, channels in a slab.
LINKSIM_EXPORT int64_t linksim_scan_chunk();
LINKSIM_EXPORT int64_t linksim_scan_slab();

// Arithmetic on registers alone, in each thread; returns how many operations were done.
LINKSIM_EXPORT int64_t linksim_limit_multiply_add(int64_t rounds, int32_t threads);
LINKSIM_EXPORT int64_t linksim_limit_exponential(int64_t rounds, int32_t threads);
}
