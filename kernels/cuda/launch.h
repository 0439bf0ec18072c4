// How our kernels are written and started: as functors that also run on the host.
//   for_each(n, f, device)        f(i) for every i in [0, n): elementwise and gathering kernels
//   run_blocks(n, kernel, device) a kernel of phases between barriers: reductions and what shares memory in a block
// nvcc makes kernels of them. Any other compiler (the tests' build with FOVEA_CUDA=DOUBLE) queues them on a test double
// of the CUDA runtime, which runs the same index arithmetic on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/runtime.h"

#ifdef __CUDACC__
#define FOVEA_HD __host__ __device__ __forceinline__
#define FOVEA_LAMBDA __host__ __device__
#else
#include <cstring>
#include <functional>
#include <memory>
#define FOVEA_HD inline
#define FOVEA_LAMBDA
namespace fovea::cuda_double {
/// Queues `run` on the stream. The functor's bytes are looked through for addresses that a GPU could not read.
void launch(cudaStream_t stream, const char* kernel, const void* functor, std::size_t bytes, std::function<void()> run);
/// The same look through a table that the next launch follows.
void look_through(cudaStream_t stream, const char* kernel, const void* table, std::size_t bytes);
}  // namespace fovea::cuda_double
#endif

#ifdef __CUDA_ARCH__  // the host's compiler knows no such pragma
#define FOVEA_PRAGMA(text) _Pragma(#text)
#define FOVEA_UNROLL(times) FOVEA_PRAGMA(unroll times)
#else
#define FOVEA_UNROLL(times)
#endif

namespace fovea::kernels::cuda {

/// a / b for a ≥ 0, b > 0; in 32 bits where they suffice, which GPUs divide several times faster.
FOVEA_HD std::int64_t divide(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) == 0)
    return static_cast<std::int64_t>(static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b));
  return a / b;
}

/// Quotient and remainder at once.
struct Divided {
  std::int64_t quotient, rest;
  FOVEA_HD Divided(std::int64_t a, std::int64_t b) : quotient(divide(a, b)), rest(a - quotient * b) {}
};

inline constexpr int kThreads = 256;

// A cooperative kernel K is a trivially copyable struct with
//   static constexpr int kThreads;        threads of a block
//   struct Shared; struct Thread;         memory of the block, variables of each thread; neither is initialised
//   int phases() const;                   how many, the same for every block
//   void phase(int p, std::int64_t block, int thread, Shared&, Thread&) const;
// All threads of a block finish a phase before any begins the next one.

#ifdef __CUDACC__
template <class F>
__global__ void __launch_bounds__(kThreads) for_each_kernel(std::int64_t n, F f) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step) f(i);
}
template <class K>
__global__ void __launch_bounds__(K::kThreads) block_kernel(std::int64_t blocks, K k) {
  __shared__ typename K::Shared shared;
  typename K::Thread mine;
  const int phases = k.phases();
  for (std::int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    for (int p = 0; p < phases; ++p) {
      k.phase(p, block, static_cast<int>(threadIdx.x), shared, mine);
      __syncthreads();
    }
  }
}
#endif

/// f(i) for i in [0, n).
template <class F>
void for_each(const char* name, std::int64_t n, const F& f, int device) {
  if (n <= 0) return;
  const cudaStream_t queue = stream(device);
#ifdef __CUDACC__
  // Enough blocks to fill the GPU several times over; more would only be started and ended.
  const std::int64_t most = static_cast<std::int64_t>(multiprocessors(device)) * 32,
                     blocks = (n + kThreads - 1) / kThreads;
  for_each_kernel<<<static_cast<unsigned>(blocks < most ? blocks : most), kThreads, 0, queue>>>(n, f);
  check_launch(name);
#else
  F told = f;
  __builtin_clear_padding(&told);
  cuda_double::launch(queue, name, &told, sizeof told, [n, f] {
    for (std::int64_t i = n; i-- > 0;) f(i);  // backwards: nothing may depend on the order
  });
  check_launch(name);
#endif
}

/// Rows that one thread of for_each_rows() takes together: so many loads are on their way at once.
inline constexpr int kRowsTogether = 4;

template <class F>
struct RowsOf {
  std::int64_t rows, columns;
  F f;
  FOVEA_HD void operator()(std::int64_t i) const {
    const Divided at(i, columns);
    const std::int64_t first = at.quotient * kRowsTogether, left = rows - first;
    f(at.rest, first * columns + at.rest, left < kRowsTogether ? static_cast<int>(left) : kRowsTogether);
  }
};

/// f(column, index, count) for every column of [rows, columns] and every kRowsTogether rows of it: elements index,
/// index + columns, … are the column's in `count` of them (fewer than kRowsTogether at the end only). What depends on
/// the column is worked out once for them; neighbours in a warp have neighbouring columns.
template <class F>
void for_each_rows(const char* name, std::int64_t rows, std::int64_t columns, const F& f, int device) {
  for_each(name, (rows + kRowsTogether - 1) / kRowsTogether * columns, RowsOf<F>{rows, columns, f}, device);
}

/// Runs `blocks` blocks of a cooperative kernel.
/// @param table the host's copy of addresses that the kernel follows, for the test double to check
template <class K>
void run_blocks(const char* name, std::int64_t blocks, const K& kernel, int device,
                [[maybe_unused]] const void* table = nullptr, [[maybe_unused]] std::size_t table_bytes = 0) {
  static_assert(std::is_trivially_default_constructible_v<typename K::Shared>);
  if (blocks <= 0) return;
  const cudaStream_t queue = stream(device);
#ifdef __CUDACC__
  static_assert(sizeof(K) <= 4000, "arguments of a kernel have 4 KB");
  constexpr std::int64_t kMost = 0x7fffffff;
  block_kernel<<<static_cast<unsigned>(blocks < kMost ? blocks : kMost), K::kThreads, 0, queue>>>(blocks, kernel);
  check_launch(name);
#else
  static_assert(std::is_trivially_copyable_v<K>);
  cuda_double::look_through(queue, name, table, table_bytes);
  K told = kernel;
  __builtin_clear_padding(&told);
  cuda_double::launch(queue, name, &told, sizeof told, [blocks, kernel] {
    const auto shared = std::make_unique<typename K::Shared>();
    const auto threads = std::make_unique<typename K::Thread[]>(K::kThreads);
    for (std::int64_t block = 0; block < blocks; ++block) {
      std::memset(static_cast<void*>(shared.get()), 0xff, sizeof(typename K::Shared));  // NaN: nothing is initialised
      std::memset(static_cast<void*>(threads.get()), 0xff, sizeof(typename K::Thread) * K::kThreads);
      for (int p = 0; p < kernel.phases(); ++p) {
        for (int k = 0; k < K::kThreads; ++k) {
          const int t = p % 2 == 0 ? k : K::kThreads - 1 - k;  // forwards and backwards: a missing barrier shows
          kernel.phase(p, block, t, *shared, threads[static_cast<std::size_t>(t)]);
        }
      }
    }
  });
  check_launch(name);
#endif
}

}  // namespace fovea::kernels::cuda
