// Winograd's F(2×2, 3×3): y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for every 2×2 results, where ⊙ is, for each of the 16 places of
// a tile, a matrix product over the channels. Backward-data is the same with the weights turned over; the gradient of
// the weights is the transpose, Gᵀ[Σ (Bᵀ d B) ⊙ (A dy Aᵀ)]G.
//
// Blocks of tiles go through transform, 16 products (the register tiles of planned_gemm.h, for gradients of weights of
// panels.h) and transform back while they lie in L2; threads share the tiles, or the weights where those are more.
// Measured (2 cores, AVX-512, medians): 1.2 to 2.2 times as fast as conv2d_direct.cc, which runs at the machine's
// multiply-add peak, on the 3×3 shapes of ResNet-50 and fashion_cnn, batch 1 and 4, all directions;
// `./dev bench 'conv2d.*(resnet50|fashion_cnn)' --impl=simd:winograd,simd:direct`. With AVX2 1.4 times.
//
// Rounding: the constants are 1 and ½, so a result loses little more than a direct sum; but an error is relative to all
// 16 values of a tile, not to the 9 of a result (and one infinity makes its whole tile NaN).
#include "kernels/cpu/simd/conv2d_winograd.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/pack_cache.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd/panels.h"
#include "kernels/cpu/simd/planned_gemm.h"
#include "kernels/cpu/simd/winograd_raw.h"

namespace fovea::kernels::simd {
namespace {

// Planes of a block, before and after the products: half of the smallest L2 this is made for.
constexpr std::int64_t kBlockBytes = 512 << 10;
// With fewer tiles the weights, which each block reads once, are the larger operand.
constexpr std::int64_t kMinBlock = 48, kMaxBlock = 192;
// The same where threads share the weights, which each block reads again from beyond L2.
constexpr std::int64_t kSharedBlockBytes = 2 << 20, kMinSharedBlock = 64;
// Sums of a thread's weight gradient that still share L2 or L3 with the planes.
constexpr std::int64_t kMaxGradient = (4 << 20) / sizeof(float);
// As in conv2d_direct.cc: below this many results packed weights are worth keeping.
constexpr std::int64_t kRowsToPackPerCall = 1024;

std::int64_t half_up(std::int64_t n) { return (n + 1) / 2; }

/// A cache line more than the tiles need: 16 planes a multiple of 4 KB apart would share one set of the cache.
std::int64_t plane_floats(std::int64_t count, std::int64_t pitch) {
  return static_cast<std::int64_t>(line_floats(static_cast<std::size_t>(count * pitch))) + 16;
}

/// Tiles per block: as many as fit the cache, in blocks of equal size, the same number for each thread.
std::int64_t block_tiles(std::int64_t tiles, std::int64_t channels) {
  const std::int64_t fit = std::clamp(
      kBlockBytes / static_cast<std::int64_t>(kWinogradPlanes * channels * sizeof(float)), kMinBlock, kMaxBlock);
  const std::int64_t threads = team_size();
  std::int64_t blocks = (tiles + fit - 1) / fit;
  blocks = (blocks + threads - 1) / threads * threads;
  return std::max<std::int64_t>(1, (tiles + blocks - 1) / blocks);
}

/// The tiles whose 2×2 results cover h×w pixels.
TileGrid results_grid(const View& v) {
  return {static_cast<float*>(v.data), v.shape[1],          v.shape[2], v.shape[3], v.shape[3],
          half_up(v.shape[1]),         half_up(v.shape[2]), 0,          0};
}

/// The 4×4 values that those tiles read from an image padded by top and left.
TileGrid values_grid(const ConstView& v, const TileGrid& results, std::int64_t top, std::int64_t left) {
  return {const_cast<float*>(static_cast<const float*>(v.data)),
          v.shape[1],
          v.shape[2],
          v.shape[3],
          v.shape[3],
          results.tiles_y,
          results.tiles_x,
          -top,
          -left};
}

View as_view(const ConstView& v) {
  View out;
  out.data = const_cast<void*>(v.data);
  out.shape = v.shape;
  return out;
}

/// Transform, products and transform back of all tiles.
struct Products {
  TileGrid in, out;
  std::int64_t tiles, k, columns;
  std::int64_t matrix;  ///< from one of `packed`'s 16 matrices k × columns to the next, in floats
  const float* packed;
  const float* zeros;  ///< k of them
  const float* bias;
  TileFinish finish;
};

/// Tiles [begin, end) in blocks of `block`, all of p's columns. Panel after panel of all planes: while one is
/// multiplied the next one, of the next plane behind the last, is asked for.
void run_tiles(const Products& p, std::int64_t begin, std::int64_t end, std::int64_t block) {
  const std::int64_t k = p.k, columns = p.columns, matrix = p.matrix, panels = panel_count(columns);
  const std::int64_t before = plane_floats(block, k), after = plane_floats(block, columns);
  float* const memory = scratch(ScratchSlot::worker,
                                static_cast<std::size_t>(kWinogradPlanes * (before + after) + padded_columns(columns)));
  TileBlock values{0, 0, memory, before, k};
  TileBlock results{0, 0, memory + kWinogradPlanes * before, after, columns};
  float* const no_bias = results.planes + kWinogradPlanes * after;
  std::fill_n(no_bias, padded_columns(columns), 0.0f);
  const Run whole{0, static_cast<int>(k)};
  PlannedGemm job;
  job.runs = &whole;
  job.run_count = 1;
  job.a_stride = job.k = k;
  job.columns = job.c_stride = columns;
  job.bias = no_bias;
  job.ask_end = panels + 1;
  for (std::int64_t i = begin; i < end; i += block) {
    values.begin = results.begin = i;
    values.count = results.count = std::min(block, end - i);
    winograd_input(p.in, values, p.zeros);
    job.rows = values.count;
    const std::int64_t tiles = planned_tiles(job.rows);
    for (int plane = 0; plane < kWinogradPlanes; ++plane) {
      job.a = values.planes + plane * before;
      job.c = results.planes + plane * after;
      job.packed = p.packed + plane * matrix;
      for (std::int64_t panel = 0; panel < panels; ++panel) {
        job.panel_begin = panel;
        job.panel_end = panel + 1;
        job.fetch = next_panel(job, panel, tiles);
        if (panel + 1 == panels) job.fetch.at = reinterpret_cast<const char*>(p.packed + (plane + 1) * matrix);
        planned_gemm(job);
      }
    }
    winograd_output(p.out, results, p.bias, p.finish);
  }
}

void run(const Products& p) {
  const std::int64_t panels = panel_count(p.columns);
  if (team_size() > 1 && p.tiles > 0 && p.tiles <= kMaxBlock && p.columns >= 2 * p.tiles && panels >= team_size()) {
    // The weights are most of what is read: each thread reads its part of them, and transforms all tiles for itself.
    const auto tile_bytes =
        static_cast<std::int64_t>(kWinogradPlanes * (p.k + p.columns / team_size()) * sizeof(float));
    const std::int64_t fit = std::max(kMinSharedBlock, kSharedBlockBytes / tile_bytes);
    return parallel_for(panels, 1, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t first = begin * panel_width();
      Products part = p;
      part.columns = std::min(p.columns, end * panel_width()) - first;
      part.packed += first * p.k;
      part.out.data += first;
      part.out.channels = part.columns;
      if (p.bias) part.bias += first;
      const std::int64_t blocks = (p.tiles + fit - 1) / fit;
      run_tiles(part, 0, p.tiles, (p.tiles + blocks - 1) / blocks);
    });
  }
  const std::int64_t block = block_tiles(p.tiles, p.k + p.columns);
  parallel_for((p.tiles + block - 1) / block, 1, [&](std::int64_t begin, std::int64_t end) {
    run_tiles(p, begin * block, std::min(end * block, p.tiles), block);
  });
}

/// 16 matrices k × columns from weights [3, 3, ci, co], packed.
void pack_weights(const float* w, std::int64_t ci, std::int64_t co, bool backward, float* packed) {
  const std::int64_t weights = ci * co, k = backward ? co : ci, columns = backward ? ci : co;
  const std::int64_t matrix = planned_floats(k, k, columns);
  float* const planes = scratch(ScratchSlot::worker, static_cast<std::size_t>(kWinogradPlanes * weights));
  winograd_weights(w, weights, backward, planes);
  parallel_for(kWinogradPlanes, std::max<std::int64_t>(1, 65536 / weights), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t plane = begin; plane < end; ++plane) {
      const PackRows job{planes + plane * weights, co, 0, k, k, columns, 0, panel_count(columns),
                         packed + plane * matrix};
      pack_planned(job, k, backward);
    }
  });
}

/// Forward, and backward-data with x and y exchanged.
void run(const Conv2dProblem& p, bool backward) {
  const ConstView& from = backward ? p.y : p.x;
  const std::int64_t n = from.shape[0], k = from.shape[3], columns = p.out.shape[3];
  const Padding& pad = p.params.padding;
  const TileGrid out = results_grid(p.out);
  const TileGrid in =
      backward ? values_grid(from, out, 2 - pad.top, 2 - pad.left) : values_grid(from, out, pad.top, pad.left);
  const std::int64_t tiles = n * out.tiles_y * out.tiles_x;

  const auto* const w = static_cast<const float*>(p.w.data);
  const auto pack_all = [&](float* packed) { pack_weights(w, p.ci(), p.co(), backward, packed); };
  const auto packed_size = static_cast<std::size_t>(kWinogradPlanes * planned_floats(k, k, columns));
  const bool keep = cacheable(p.w) && n * p.out.shape[1] * p.out.shape[2] < kRowsToPackPerCall;
  float* const shared = scratch(ScratchSlot::caller, (keep ? 0 : packed_size) + static_cast<std::size_t>(k));
  float* const zeros = shared + (keep ? 0 : packed_size);
  std::fill_n(zeros, k, 0.0f);
  std::shared_ptr<const float> kept;
  if (keep) {
    const PackKey key{backward ? "conv2d_winograd:backward" : "conv2d_winograd:forward",
                      p.w.data,
                      p.w.storage_id,
                      {k, columns, vector_width()}};
    kept = cached_pack(key, p.w.version, packed_size, pack_all);
  } else {
    pack_all(shared);
  }
  const float* const packed = keep ? kept.get() : shared;

  const Activation kind = p.activation.kind;
  const bool fused = kind == Activation::none || kind == Activation::relu || kind == Activation::relu6;
  const TileFinish finish = kind == Activation::relu    ? TileFinish::relu
                            : kind == Activation::relu6 ? TileFinish::relu6
                                                        : TileFinish::none;
  const auto* const bias = p.bias ? static_cast<const float*>(p.bias->data) : nullptr;
  run({in, out, tiles, k, columns, planned_floats(k, k, columns), packed, zeros, bias, finish});
  if (!fused) activation_forward(p.activation, p.out, p.out);
}

}  // namespace

const char* conv2d_winograd_declines(const Conv2dProblem& p) {
  if (const char* reason = needs_cpu_f32(p.out)) return reason;
  const Conv2dParams& cp = p.params;
  if (p.kh() != 3 || p.kw() != 3) return "not 3×3";
  if (cp.stride != Size2{1, 1} || cp.dilation != Size2{1, 1}) return "strided or dilated";
  if (cp.groups != 1) return "groups";
  // Below, the transforms cost what the products save.
  if (p.ci() < 16 || p.co() < 16) return "fewer than 16 channels";
  const bool backward = p.direction == Conv2dProblem::Direction::backward_data;
  const std::int64_t h = backward ? p.h() : p.ho(), w = backward ? p.width() : p.wo();
  if (p.n() * half_up(h) * half_up(w) < kMinBlock) return "few tiles";
  // Tiles that hang over the edge are computed whole: 9/4 is saved only where they are few.
  if (16 * half_up(h) * half_up(w) > 7 * h * w) return "small image";
  if (p.direction == Conv2dProblem::Direction::backward_weights && kWinogradPlanes * p.ci() * p.co() > kMaxGradient)
    return "large weights";
  return nullptr;
}

std::int64_t winograd_packed_floats(std::int64_t ci, std::int64_t co) {
  return kWinogradPlanes * planned_floats(ci, ci, co);
}

void pack_winograd(const float* w, std::int64_t ci, std::int64_t co, float* packed) {
  pack_weights(w, ci, co, false, packed);
}

void planned_winograd(const PlannedWinograd& p, const float* x, float* y) {
  ConstView from;
  from.data = x;
  from.shape = {p.n, p.h, p.w, p.ci};
  View to;
  to.data = y;
  to.shape = {p.n, p.ho, p.wo, p.co};
  const TileGrid out = results_grid(to), in = values_grid(from, out, p.top, p.left);
  const TileFinish finish = !p.clamp ? TileFinish::none : p.high == 6 ? TileFinish::relu6 : TileFinish::relu;
  run({in, out, p.n * out.tiles_y * out.tiles_x, p.ci, p.co, planned_floats(p.ci, p.ci, p.co), p.packed, p.zeros,
       p.bias, finish});
}

void conv2d_winograd_forward(const Conv2dProblem& p) { run(p, false); }
void conv2d_winograd_backward_data(const Conv2dProblem& p) { run(p, true); }

void conv2d_winograd_backward_weights(const Conv2dProblem& p) {
  const std::int64_t ci = p.ci(), co = p.co(), weights = ci * co;
  const TileGrid dy = results_grid(as_view(p.y));
  const TileGrid x = values_grid(p.x, dy, p.params.padding.top, p.params.padding.left);
  const std::int64_t tiles = p.n() * dy.tiles_y * dy.tiles_x;
  const std::int64_t block = block_tiles(tiles, ci + co), blocks = (tiles + block - 1) / block;
  const int chunks = parallel_chunk_count(blocks, 1);
  const std::int64_t part =
      kWinogradPlanes * weights + static_cast<std::int64_t>(line_floats(static_cast<std::size_t>(co)));
  float* const parts = scratch(ScratchSlot::caller, static_cast<std::size_t>(chunks * part + ci));
  float* const zeros = parts + chunks * part;
  std::fill_n(zeros, ci, 0.0f);
  parallel_for(blocks, 1, [&](std::int64_t begin, std::int64_t end, int chunk) {
    float* const out = parts + chunk * part;
    float* const sums = p.dbias ? out + kWinogradPlanes * weights : nullptr;
    if (sums) std::fill_n(sums, co, 0.0f);
    // Positions a multiple of 128 bytes apart would use half of the cache's sets or fewer.
    const std::int64_t pitch = ci % 32 == 0 ? ci + 16 : ci;
    const std::int64_t before = plane_floats(block, pitch), gradients = plane_floats(block, padded_columns(co));
    float* const memory =
        scratch(ScratchSlot::worker, static_cast<std::size_t>(kWinogradPlanes * (before + gradients)));
    TileBlock values{0, 0, memory, before, pitch};
    TileBlock packed{0, 0, memory + kWinogradPlanes * before, gradients, 0};
    const Run whole{0, static_cast<int>(ci)};
    Outer job{};
    job.rows = 1;
    job.column_pitch = pitch;
    job.runs = &whole;
    job.run_count = 1;
    job.columns = co;
    job.panel_end = panel_count(co);
    job.out_pitch = co;
    for (std::int64_t i = begin; i < end; ++i) {
      values.begin = packed.begin = i * block;
      values.count = packed.count = std::min(block, tiles - i * block);
      winograd_input(x, values, zeros);
      winograd_gradient(dy, packed, sums);
      job.row_columns = values.count;
      job.accumulate = i > begin;
      for (int plane = 0; plane < kWinogradPlanes; ++plane) {
        job.x = values.planes + plane * before;
        job.packed = packed.planes + plane * gradients;
        job.out = out + plane * weights;
        outer_panels(job);
      }
    }
  });
  std::vector<const float*> from(static_cast<std::size_t>(chunks));
  for (int chunk = 0; chunk < chunks; ++chunk) from[static_cast<std::size_t>(chunk)] = parts + chunk * part;
  auto* const dw = static_cast<float*>(p.out.data);
  parallel_for(weights, 8192, [&](std::int64_t begin, std::int64_t end) {
    winograd_weights_gradient(from.data(), chunks, begin, end, weights, dw);
  });
  if (p.dbias) {
    auto* const dbias = static_cast<float*>(p.dbias->data);
    for (std::int64_t c = 0; c < co; ++c) {
      dbias[c] = 0;
      for (int chunk = 0; chunk < chunks; ++chunk) dbias[c] += parts[chunk * part + kWinogradPlanes * weights + c];
    }
  }
}

}  // namespace fovea::kernels::simd
