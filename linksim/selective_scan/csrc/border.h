// The border of the kernel: rows of float32 and bfloat16 tensors to and from float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "scan.h"
#include "vec.h"

namespace {

constexpr int SLAB = 64;   // channels taken together
constexpr int CHUNK = 32;  // tokens taken together

void from_bfloat16(const uint16_t* from, float* to, int count) {
  int i = 0;
  for (; i + LANES <= count; i += LANES) {
    HalfVec half;
    std::memcpy(&half, from + i, sizeof half);
    store(to + i, (Vec)(__builtin_convertvector(half, UintVec) << 16));
  }
  for (; i < count; ++i) {
    const uint32_t bits = uint32_t(from[i]) << 16;
    std::memcpy(to + i, &bits, sizeof bits);
  }
}

// Rounds to nearest even; NaN stays NaN.
void to_bfloat16(const float* from, uint16_t* to, int count) {
  for (int i = 0; i < count; i += LANES) {
    const int size = count - i < LANES ? count - i : LANES;
    Vec v = {};
    if (size == LANES)
      v = load(from + i);
    else
      std::memcpy(&v, from + i, size * sizeof(float));
    const UintVec bits = (UintVec)v, rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    const UintVec result = v == v ? rounded : UintVec{} + 0x7FC0;
    const HalfVec half = __builtin_convertvector(result, HalfVec);
    std::memcpy(to + i, &half, size * sizeof(uint16_t));
  }
}

// A stretch of one token's row: width elements from the one numbered first.
struct Row {
  const Border& tensor;
  int64_t at;
  int width;

  Row(const Border& t, int64_t batch, int64_t token, int64_t first, int width)
      : tensor(t), at(batch * t.batch_stride + token * t.token_stride + first), width(width) {}

  // The row as floats: where it lies if it fills a slab, else copied into buffer.
  const float* read(float* buffer) const {
    if (!tensor.is_bfloat16 && width == SLAB) return static_cast<const float*>(tensor.data) + at;
    copy_to(buffer);
    return buffer;
  }

  void copy_to(float* to) const {
    if (tensor.is_bfloat16)
      from_bfloat16(static_cast<const uint16_t*>(tensor.data) + at, to, width);
    else
      std::memcpy(to, static_cast<const float*>(tensor.data) + at, width * sizeof(float));
  }

  void write(const float* from) const {
    if (tensor.is_bfloat16)
      to_bfloat16(from, static_cast<uint16_t*>(tensor.data) + at, width);
    else if (width == SLAB)  // a known size saves a call
      std::memcpy(static_cast<float*>(tensor.data) + at, from, SLAB * sizeof(float));
    else
      std::memcpy(static_cast<float*>(tensor.data) + at, from, width * sizeof(float));
  }
};

// Asks for rows ahead of their use: they lie further apart than processors look ahead, and are
// fetched piece by piece while others are computed.
struct Ahead {
  const char* first = nullptr;
  int64_t stride = 0;  // bytes from one token of the walk to the next
  int size = 0;        // bytes of an element

  void fetch(int k, int c) const { __builtin_prefetch(first + k * stride + c * size, 0, 2); }
};

}  // namespace
