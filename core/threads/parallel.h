// The one way to use several cores: parallel_for on the one thread team. No `#pragma omp` elsewhere.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "core/export.h"

namespace fovea {

/// Threads used by parallel_for and by oneDNN from this process, at least 1. Default: FOVEA_NUM_THREADS,
/// OMP_NUM_THREADS or the number of processors this process may run on. A forked child has 1.
FOVEA_API int num_threads();
/// Error{usage} unless 1 ≤ count ≤ 1024. Call it between, not during, parallel work.
FOVEA_API void set_num_threads(int count);

/// True inside a parallel_for body: nested calls run inline.
FOVEA_API bool in_parallel();
/// Threads that a parallel_for would use here: 1 inside another, else num_threads().
inline int team_size() { return in_parallel() ? 1 : num_threads(); }

namespace detail {
using ChunkFn = void (*)(void* context, std::int64_t begin, std::int64_t end, int chunk);
FOVEA_API void parallel_chunks(std::int64_t count, int chunks, ChunkFn fn, void* context);
/// How many chunks `count` items of at least `grain` items each are cut into: 1 to num_threads().
FOVEA_API int chunk_count(std::int64_t count, std::int64_t grain);
/// The first item of a chunk: the first count % chunks of them are one longer.
inline std::int64_t chunk_begin(std::int64_t count, std::int64_t chunks, std::int64_t chunk) {
  return count / chunks * chunk + (chunk < count % chunks ? chunk : count % chunks);
}
/// Makes a library that reads OpenMP's per-thread setting (oneDNN) use num_threads(); call before entering it.
FOVEA_API void sync_thread_team();

template <class Body>
void run_chunk(void* context, std::int64_t begin, std::int64_t end, int chunk) {
  Body& body = *static_cast<Body*>(context);
  if constexpr (std::is_invocable_v<Body&, std::int64_t, std::int64_t, int>) {
    body(begin, end, chunk);
  } else {
    body(begin, end);
  }
}
}  // namespace detail

/// Calls body(begin, end) or body(begin, end, chunk) on disjoint chunks that cover [0, count): static, contiguous, one
/// per thread, none smaller than `grain` items (unless count is), so that results depend on the thread count only.
/// `chunk` is in [0, parallel_chunk_count(count, grain)) and selects per-chunk scratch. The first exception is rethrown
/// here.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t grain, Body&& body) {
  if (count <= 0) return;
  using Plain = std::remove_reference_t<Body>;
  void* context = const_cast<void*>(static_cast<const void*>(std::addressof(body)));
  const int chunks = detail::chunk_count(count, grain);
  if (chunks <= 1) {
    detail::run_chunk<Plain>(context, 0, count, 0);
    return;
  }
  detail::parallel_chunks(count, chunks, &detail::run_chunk<Plain>, context);
}

/// The number of chunks parallel_for will use, at least 1.
inline int parallel_chunk_count(std::int64_t count, std::int64_t grain) { return detail::chunk_count(count, grain); }

}  // namespace fovea
