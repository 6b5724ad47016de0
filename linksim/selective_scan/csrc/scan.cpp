// Selective scan with CSI-ReST on a CPU, forward and backward: tasks and threads.
//
// Vectorised over channels, sequential over tokens, with the states of a vector of channels in
// registers. Tasks share nothing, and sums over channels and images are left in shares that are
// added up afterwards in one order: how tasks fall on threads changes no bit of the result.

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "backward.h"
#include "forward.h"

namespace {

// How many tasks an image is cut into: few, since a task that holds more of a token's row misses
// fewer pages, but enough to keep all threads at work.
int64_t groups_per_image(const Scan& s) {
  const int64_t slabs = count_slabs(s);
  int64_t groups = 1;
  while (groups < slabs && s.batch * groups % s.threads != 0 && s.batch * groups < 4 * s.threads)
    ++groups;
  return groups;
}

// Flushes denormal numbers to zero while it lives: states that fade out of the range of normal
// floats would slow some processors down a hundredfold.
class FlushDenormals {
#if defined(__SSE2__)
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

template <typename Walk>
int32_t run(const Scan& s, bool backward, const Walk& walk) {
  const int64_t slabs = count_slabs(s), groups = groups_per_image(s);
  int32_t status = 0;
#pragma omp parallel for num_threads(s.threads) schedule(dynamic) reduction(max : status)
  for (int64_t i = 0; i < s.batch * groups; ++i) {
    const FlushDenormals flush;
    const int64_t group = i % groups;
    Task task(s, i / groups, slabs * group / groups, slabs * (group + 1) / groups, backward);
    if (!task.has_memory()) {
      status = 2;
      continue;
    }
    for (task.which = 0; task.which < s.directions; ++task.which)
      if (!walk(task)) status = status < 1 ? 1 : status;
  }
  return status;
}

}  // namespace

int64_t linksim_scan_chunk() { return CHUNK; }
int64_t linksim_scan_slab() { return SLAB; }

int32_t linksim_scan_forward(const Scan* scan) {
  return run(*scan, false, [](Task& task) { return walk_forward(task); });
}

int32_t linksim_scan_backward(const Scan* scan) {
  return run(*scan, true, [](Task& task) {
    walk_backward(task);
    return true;
  });
}
