// The border of the kernel: rows of float32 and bfloat16 tensors to and from float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "scan.h"

namespace {

constexpr int SLAB = 64;   // channels taken together
constexpr int CHUNK = 32;  // tokens taken together

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
    if (tensor.is_bfloat16) {
      const uint16_t* from = static_cast<const uint16_t*>(tensor.data) + at;
      for (int i = 0; i < width; ++i) to[i] = from_bfloat16(from[i]);
    } else {
      std::memcpy(to, static_cast<const float*>(tensor.data) + at, width * sizeof(float));
    }
  }

  void write(const float* from) const {
    if (tensor.is_bfloat16) {
      uint16_t* to = static_cast<uint16_t*>(tensor.data) + at;
      for (int i = 0; i < width; ++i) to[i] = to_bfloat16(from[i]);
    } else if (width == SLAB) {
      std::memcpy(static_cast<float*>(tensor.data) + at, from, SLAB * sizeof(float));
    } else {
      std::memcpy(static_cast<float*>(tensor.data) + at, from, width * sizeof(float));
    }
  }

  // Asks for the row ahead of its use: rows lie further apart than processors look ahead.
  void prefetch() const {
    const int size = tensor.is_bfloat16 ? 2 : 4;
    const char* from = static_cast<const char*>(tensor.data) + at * size;
    for (int i = 0; i < width * size; i += 64) __builtin_prefetch(from + i);
  }
};

}  // namespace
