// c = a·b: b packed into panels, rows of a read where they lie; with a transposed, outer products over blocks of 80 of
// its columns. Up to 4 rows (a batch of one) read b unpacked, once: then memory is the limit, not arithmetic. How far
// from the limit: see the lists in kernels/dense.cc.
#include "kernels/cpu/simd/gemm.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/pack_cache.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd/panels.h"

namespace fovea::kernels::simd {
namespace {

/// c[m,n] = act(op(a)·op(b) + bias), or c + op(a)·op(b).
struct Gemm {
  const float* a;
  bool transpose_a;
  const float* b;
  bool transpose_b;
  float* c;
  std::int64_t m, n, k;
  bool accumulate = false;
  const float* bias = nullptr;
  ActivationParams activation{Activation::none};
  const ConstView* weights = nullptr;  ///< b, if it may be kept packed
  float* column_sums = nullptr;        ///< of b (transposed a only): a bias gradient
};

constexpr std::int64_t kRowsToPackPerCall = 1024;  // as in conv2d_direct.cc
constexpr std::int64_t kRowBlock = 144;            // × 640 floats of depth: 360 KB of a in L2
constexpr std::int64_t kDepthBlock = 192;          // positions per outer product: 12 KB of a panel, 60 KB of a
constexpr std::int64_t kColumnBlock = 80;          // five cache lines: an odd number uses all of L1's sets

/// Multiply-adds below which another thread does not pay.
std::int64_t grain_for(std::int64_t per_item) {
  return std::max<std::int64_t>(1, 100'000 / std::max<std::int64_t>(1, per_item));
}

void thin(const Gemm& g) {
  // Ranges of whole cache lines.
  const std::int64_t lines = (g.n + 15) / 16;
  // Bound by memory: a thread pays from about 64 KB of weights.
  parallel_for(lines, grain_for(16 * g.k * 6), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = 0; row < g.m; row += kThinRows) {
      multiply_thin({g.a + row * g.k, g.k, static_cast<int>(std::min<std::int64_t>(kThinRows, g.m - row)), g.k, g.b,
                     g.n, begin * 16, std::min(end * 16, g.n), g.bias, g.c + row * g.n, g.n, g.accumulate,
                     g.activation});
    }
  });
}

void rows_times_panels(const Gemm& g) {
  const std::int64_t panels = panel_count(g.n);
  const std::size_t size = static_cast<std::size_t>(packed_floats(g.k, g.n));
  const auto pack_all = [&](float* packed) {
    parallel_for(panels, std::max<std::int64_t>(1, (1 << 18) / std::max<std::int64_t>(1, g.k * panel_width())),
                 [&](std::int64_t begin, std::int64_t end) {
                   const PackRows job{g.b, g.transpose_b ? g.k : g.n, 0, g.k, g.k, g.n, begin, end, packed};
                   g.transpose_b ? pack_transposed(job) : pack_rows(job);
                 });
  };
  const bool keep = g.weights && cacheable(*g.weights) && g.m < kRowsToPackPerCall;
  const std::size_t bias_size = g.bias ? static_cast<std::size_t>(padded_columns(g.n)) : 0;
  float* const shared = scratch(ScratchSlot::caller, (keep ? 0 : line_floats(size)) + bias_size);
  std::shared_ptr<const float> kept;
  if (keep) {
    kept = cached_pack({"gemm", g.b, g.weights->storage_id, {g.k, g.n, g.transpose_b, vector_width()}},
                       g.weights->version, size, pack_all);
  } else {
    pack_all(shared);
  }
  const float* packed = keep ? kept.get() : shared;
  float* bias = nullptr;
  if (g.bias) {
    bias = shared + (keep ? 0 : line_floats(size));
    std::fill_n(bias, bias_size, 0.0f);
    std::copy_n(g.bias, g.n, bias);
  }

  const auto work = [&](std::int64_t row_begin, std::int64_t row_end, std::int64_t panel_begin,
                        std::int64_t panel_end) {
    std::int64_t row_offsets[kRowBlock], out_offsets[kRowBlock];
    for (std::int64_t i = 0; i < kRowBlock; ++i) {
      row_offsets[i] = i * g.k;
      out_offsets[i] = i * g.n;
    }
    const Run run{0, static_cast<int>(g.k)};
    const std::int64_t blocks = (row_end - row_begin + kRowBlock - 1) / kRowBlock;
    for (std::int64_t block = 0, row = row_begin; block < blocks; ++block) {
      const std::int64_t rows = (row_end - row) / (blocks - block);
      Multiply job{};
      job.a = g.a + row * g.k;
      job.row_offsets = row_offsets;
      job.out_offsets = out_offsets;
      job.rows = static_cast<int>(rows);
      job.runs = &run;
      job.run_count = 1;
      job.k = g.k;
      job.packed = packed;
      job.columns = g.n;
      job.panel_begin = panel_begin;
      job.panel_end = panel_end;
      job.bias = bias;
      job.out = g.c + row * g.n;
      job.accumulate = g.accumulate;
      job.activation = g.activation;
      multiply_panels(job);
      row += rows;
    }
  };
  // The larger operand is shared out, so that each thread streams its part once.
  if (g.n > g.m && panels >= num_threads()) {
    parallel_for(panels, grain_for(g.m * g.k * panel_width()),
                 [&](std::int64_t begin, std::int64_t end) { work(0, g.m, begin, end); });
  } else {
    parallel_for(g.m, std::max<std::int64_t>(8, grain_for(g.n * g.k)),
                 [&](std::int64_t begin, std::int64_t end) { work(begin, end, 0, panels); });
  }
}

/// a is [k, m]: each position p of k adds the outer product of a's row p and op(b)'s row p.
void outer_products(const Gemm& g) {
  const std::int64_t panels = panel_count(g.n), padded = padded_columns(g.n);
  const std::int64_t blocks = std::max<std::int64_t>(1, (g.k + kDepthBlock - 1) / kDepthBlock);
  const std::int64_t depth = (g.k + blocks - 1) / blocks;
  float* const packed = scratch(ScratchSlot::caller, static_cast<std::size_t>((g.k + 1) * padded));
  float* const sums = packed + g.k * padded;
  std::fill_n(sums, padded, 0.0f);
  const std::int64_t pitch = g.transpose_b ? g.k : g.n;
  // Block after block, each packed for itself.
  parallel_for(
      panels, std::max<std::int64_t>(1, (1 << 18) / std::max<std::int64_t>(1, g.k * panel_width())),
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t p = 0; p < g.k; p += depth) {
          const std::int64_t count = std::min(depth, g.k - p);
          const PackRows job{
              g.b + (g.transpose_b ? p : p * pitch), pitch, 0, count, count, g.n, begin, end, packed + p * padded,
              g.column_sums ? sums : nullptr};
          g.transpose_b ? pack_transposed(job) : pack_rows(job);
        }
      });
  if (g.column_sums) std::copy_n(sums, g.n, g.column_sums);

  const std::int64_t even = (g.m + num_threads() - 1) / num_threads();
  const std::int64_t width = std::min(kColumnBlock, std::max<std::int64_t>(6, even));
  const std::int64_t columns = (g.m + width - 1) / width;
  parallel_for(columns, grain_for(width * g.k * g.n), [&](std::int64_t begin, std::int64_t end) {
    float* const window = scratch(ScratchSlot::worker, static_cast<std::size_t>(depth * width));
    for (std::int64_t column = begin; column < end; ++column) {
      const std::int64_t first = column * width, count = std::min(width, g.m - first);
      const Run run{0, static_cast<int>(count)};
      for (std::int64_t p = 0; p < g.k; p += depth) {
        const std::int64_t positions = std::min(depth, g.k - p);
        for (std::int64_t i = 0; i < positions; ++i)
          std::copy_n(g.a + (p + i) * g.m + first, count, window + i * width);
        Outer job{};
        job.x = window;
        job.rows = 1;
        job.row_columns = positions;
        job.column_pitch = width;
        job.runs = &run;
        job.run_count = 1;
        job.packed = packed + p * padded;
        job.columns = g.n;
        job.panel_end = panels;
        job.out = g.c + first * g.n;
        job.out_pitch = g.n;
        job.accumulate = g.accumulate || p > 0;
        outer_panels(job);
      }
    }
  });
}

void run(const Gemm& g) {
  if (g.transpose_a) return outer_products(g);
  if (g.m <= kThinRows && !g.transpose_b) return thin(g);
  rows_times_panels(g);
}

const float* f32(const ConstView& view) { return static_cast<const float*>(view.data); }
float* f32(const View& view) { return static_cast<float*>(view.data); }

}  // namespace

const char* matmul_declines(const MatmulProblem& p) {
  if (const char* reason = needs_cpu_f32(p.c)) return reason;
  return p.k() > INT32_MAX || p.k() == 0 ? "depth" : nullptr;
}

void matmul_run(const MatmulProblem& p) {
  Gemm g{f32(p.a), p.transpose_a, f32(p.b), p.transpose_b, f32(p.c), p.m(), p.n(), p.k()};
  g.accumulate = p.accumulate;
  run(g);
}

const char* dense_declines(const DenseProblem& p) {
  if (const char* reason = needs_cpu_f32(p.out)) return reason;
  return p.k() > INT32_MAX ? "depth" : nullptr;
}

void dense_run(const DenseProblem& p) {
  switch (p.direction) {
    case DenseProblem::Direction::forward: {
      Gemm g{f32(p.x), false, f32(p.w), false, f32(p.out), p.m(), p.n(), p.k()};
      if (p.bias) g.bias = f32(*p.bias);
      const bool fused = fuses(p.activation.kind);
      if (fused) g.activation = p.activation;
      g.weights = &p.w;
      run(g);
      if (!fused) activation_forward(p.activation, p.out, p.out);
      return;
    }
    case DenseProblem::Direction::backward_data: {
      Gemm g{f32(p.y), false, f32(p.w), true, f32(p.out), p.m(), p.k(), p.n()};
      g.weights = &p.w;
      return run(g);
    }
    case DenseProblem::Direction::backward_weights: {
      Gemm g{f32(p.x), true, f32(p.y), false, f32(p.out), p.k(), p.n(), p.m()};
      if (p.dbias) g.column_sums = f32(*p.dbias);
      return run(g);
    }
  }
}

}  // namespace fovea::kernels::simd
