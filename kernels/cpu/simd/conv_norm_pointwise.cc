// 1×1 convolutions with everything around them, a chunk of rows at a time: read through the normalisation into panels
// that stay in L2, multiply by the register tiles of planned_gemm.cc, and use the results while they are in L1 (a panel
// of a chunk is 14 KB): forward for the statistics, backward for the activation's mask and the two sums. Backward reads
// the gradient once for both products. Maps in bf16 are multiplied in bf16 or, where that is faster, in f32.
#include <algorithm>
#include <cstring>

#include "core/threads/parallel.h"
#include "kernels/cpu/avx512/bf16.h"
#include "kernels/cpu/simd/ahead.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/conv_norm.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {
namespace {

/// How M rows are cut: every thread gets the same number of chunks of whole tiles, four to eight tiles each.
struct Chunks {
  std::int64_t rows, count;
};
Chunks cut(std::int64_t rows, std::int64_t channels) {
  const std::int64_t tile = planned_tile_rows(), threads = num_threads();
  // A chunk's panels are to stay in L2.
  const std::int64_t most = std::clamp<std::int64_t>(98304 / (channels * tile), 4, 8) * tile;
  const std::int64_t per_thread = (rows + threads - 1) / threads;
  const std::int64_t each = (per_thread + most - 1) / most;
  std::int64_t size = ((per_thread + each - 1) / each + tile - 1) / tile * tile;
  size = std::max<std::int64_t>(tile, std::min(size, most));
  return {size, (rows + size - 1) / size};
}

/// A chunk of `channels` columns in panels of one width (a vector where all columns fit one: outer_panels wants that).
struct Panels {
  std::int64_t channels, width, padded;  ///< padded: columns with the last panel's zeros
  std::int64_t chunk_rows;
  Element element;
  std::vector<Run> runs;

  Panels(std::int64_t c, std::int64_t rows, Element e) : channels(c), chunk_rows(rows), element(e) {
    width = e == Element::bf16 ? 32 : channels <= vector_width() ? vector_width() : panel_width();
    padded = (channels + width - 1) / width * width;
    for (std::int64_t at = 0; at < channels; at += width) {
      const std::int64_t here = std::min(width, channels - at);
      runs.push_back({at / width * panel_stride(), static_cast<int>(e == Element::bf16 ? (here + 1) / 2 * 2 : here)});
    }
  }
  std::int64_t panel_stride() const { return chunk_rows * width; }
  std::int64_t bytes() const { return padded * chunk_rows * bytes_of(element); }
  std::int64_t pair_stride() const { return (chunk_rows + 1) / 2 * width; }  ///< in pairs, 4 bytes each
  std::int64_t pair_bytes() const { return element == Element::bf16 ? padded / width * pair_stride() * 4 : 0; }
  /// Behind the rows, each panel's pairs.
  void pair(char* data, std::int64_t rows) const {
    for (std::int64_t p = 0; p < padded / width; ++p) {
      pair_rows_bf16(reinterpret_cast<const std::uint16_t*>(data) + p * panel_stride(), rows,
                     reinterpret_cast<std::uint32_t*>(data + bytes()) + p * pair_stride());
    }
  }
  RowsTo to(void* data) const { return {data, element, width, width, panel_stride()}; }
  /// The product of so many of these rows with packed columns, into a buffer of one panel's width.
  PlannedGemm times(const void* data, std::int64_t rows, const void* packed, std::int64_t columns, const float* bias,
                    void* made) const {
    PlannedGemm gemm;
    gemm.in = gemm.out = element;
    gemm.a = data;
    gemm.a_stride = width;
    gemm.rows = rows;
    gemm.runs = runs.data();
    gemm.run_count = static_cast<int>(runs.size());
    for (const Run& run : runs) gemm.k += run.length;
    gemm.packed = packed;
    gemm.columns = columns;
    gemm.bias = bias;
    gemm.c = made;
    gemm.c_stride = panel_width();
    return gemm;
  }
};

/// w [k, n], or its transpose, packed for operands of this type in scratch that the team shares.
const void* pack(const float* w, std::int64_t k, std::int64_t n, bool transposed, Element element) {
  const std::int64_t depth = transposed ? n : k, columns = transposed ? k : n;
  if (element == Element::f32) {
    // Runs are panels of a chunk, of even width but for the last.
    float* const to = scratch<float>(Slot::weights, planned_floats(depth, depth, columns) + 1024);
    parallel_for(panel_count(columns), std::max<std::int64_t>(1, kGrain / (depth * panel_width())),
                 [&](std::int64_t begin, std::int64_t end) {
                   const PackRows job{w, n, 0, depth, depth, columns, begin, end, to};
                   pack_planned(job, depth, transposed);
                 });
    return to;
  }
  // Runs of bf16 have even lengths; the row that fills up an odd depth is zero.
  const std::int64_t even = (depth + 1) / 2 * 2;
  const std::int64_t plain = even * columns;
  float* const rows = scratch<float>(Slot::weights, plain + packed_floats(even, columns) + 1024);
  for (std::int64_t i = 0; i < depth; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) rows[i * columns + j] = transposed ? w[j * n + i] : w[i * n + j];
  }
  std::fill(rows + depth * columns, rows + plain, 0.0f);
  auto* const to = reinterpret_cast<std::uint16_t*>(rows + (plain + 15) / 16 * 16);
  pack_bf16(rows, even, columns, to);
  return to;
}

struct Shapes {
  std::int64_t rows, k, n;
  Shapes(const Shape& x, const Shape& w) : rows(x.numel() / x.dim(-1)), k(w[2]), n(w[3]) {}
};

/// What products of maps of this type are computed in.
Element multiplied(Element stored) {
  return stored == Element::bf16 && bf16_products_pay() ? Element::bf16 : Element::f32;
}

/// One panel of a chunk's product, a tile at a time: each takes its share of what is fetched ahead, which may change
/// from one range of memory to the next.
void multiply(PlannedGemm gemm, std::int64_t panel, Ahead& ahead) {
  const std::int64_t column = panel * panel_width(), tile = planned_tile_rows();
  gemm.packed = element_at(gemm.packed, column * gemm.k, gemm.in);
  gemm.columns = std::min<std::int64_t>(panel_width(), gemm.columns - column);
  gemm.panel_begin = 0;
  gemm.panel_end = 1;
  const std::int64_t steps = (gemm.in == Element::bf16 ? gemm.k / 2 : gemm.k) * asks_per_row(gemm.columns);
  const std::int64_t rows = gemm.rows;
  const void* const a = gemm.a;
  void* const c = gemm.c;
  for (std::int64_t row = 0; row < rows; row += tile) {
    gemm.rows = std::min(tile, rows - row);
    gemm.a = element_at(a, row * gemm.a_stride, gemm.in);
    gemm.c = element_at(c, row * gemm.c_stride, gemm.out);
    gemm.fetch = ahead.fetch(gemm.rows * gemm.k * panel_width(), steps);
    planned_gemm(gemm);
  }
}

/// dw (+)= zᵀ·d over the rows of a chunk. In bf16, behind either's panels lies room for their pairs of rows.
void weights_of_chunk(const Panels& inputs, const char* z, const Panels& gradients, char* d, std::int64_t rows,
                      float* dw, std::int64_t pitch, bool accumulate, Ahead& ahead) {
  const bool pairs = gradients.element == Element::bf16;
  const auto* const d_pairs = reinterpret_cast<const std::uint32_t*>(d + gradients.bytes());
  const auto* const z_pairs = reinterpret_cast<const std::uint32_t*>(z + inputs.bytes());
  for (std::int64_t p = 0; p < pitch / gradients.width; ++p) {
    for (std::size_t r = 0; r < inputs.runs.size(); ++r) {
      const auto run = static_cast<std::int64_t>(r);
      float* const out = dw + run * inputs.width * pitch;
      const std::int64_t channels = std::min(inputs.width, inputs.channels - run * inputs.width);
      const std::int64_t work = rows * channels * gradients.width;
      if (pairs) {
        ahead.step(work);
        outer_pairs_bf16(z_pairs + run * inputs.pair_stride(), d_pairs + p * gradients.pair_stride(), (rows + 1) / 2,
                         channels, out + p * gradients.width, pitch, accumulate);
        continue;
      }
      Outer outer{};
      outer.x = reinterpret_cast<const float*>(z);
      outer.rows = 1;
      outer.row_columns = rows;
      outer.column_pitch = inputs.width;
      outer.runs = &inputs.runs[r];
      outer.run_count = 1;
      // A short last chunk leaves its panels as far apart as the others.
      outer.packed = reinterpret_cast<const float*>(d) + p * (gradients.panel_stride() - rows * gradients.width);
      outer.columns = pitch;
      outer.panel_begin = p;
      outer.panel_end = p + 1;
      outer.out = out;
      outer.out_pitch = pitch;
      outer.accumulate = accumulate;
      outer.fetch = ahead.fetch(work, outer_tiles(channels) * rows);
      outer_panels(outer);
    }
  }
}

}  // namespace

const char* pointwise_norm_declines(const Conv2dParams& p, const Shape&, const Shape& w) {
  if (w[0] != 1 || w[1] != 1) return "kernel is not 1×1";
  if (p.groups != 1) return "groups";
  if (p.stride != Size2{1, 1}) return "stride";
  if (p.padding.top + p.padding.bottom + p.padding.left + p.padding.right != 0) return "padding";
  return nullptr;
}

void pointwise_norm_forward(const ConvNormForward& job) {
  const Shapes s(job.in.x.shape, job.w.shape);
  const Element from = element_of(job.in.x.dtype), to = element_of(job.y.dtype), element = multiplied(to);
  const Chunks chunks = cut(s.rows, s.k + s.n);
  const Panels panels(s.k, chunks.rows, element);
  const void* const packed = pack(job.w.ptr<float>(), s.k, s.n, false, element);
  const float* const bias = no_bias(s.n);
  const NormColumns norm = columns_of(job.in);
  const int threads = parallel_chunk_count(chunks.count, 1);
  ChannelSums sums(threads, s.n);
  const bool stream = streamed(job.y);
  parallel_for(chunks.count, 1, [&](std::int64_t first, std::int64_t last, int thread) {
    void* const a = scratch<char>(Slot::block_a, panels.bytes());
    void* const made = scratch<float>(Slot::block_c, chunks.rows * panel_width());
    Ahead ahead(chunks.rows * panels.padded * panel_count(s.n) * panel_width());
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      const std::int64_t begin = chunk * chunks.rows, rows = std::min(chunks.rows, s.rows - begin);
      NormalizedRows load{element_at(job.in.x.data, begin * s.k, from), from, rows, s.k, norm};
      load.to = panels.to(a);
      load_normalized(load);
      ahead.start();
      if (chunk + 1 < last) {
        const std::int64_t next = begin + rows, more = std::min(chunks.rows, s.rows - next);
        ahead.add(element_at(job.in.x.data, next * s.k, from), more * s.k * bytes_of(from));
        if (!stream) ahead.add(element_at(job.y.data, next * s.n, to), more * s.n * bytes_of(to));
      }
      const PlannedGemm gemm = panels.times(a, rows, packed, s.n, bias, made);
      const std::int64_t width = panel_width();
      for (std::int64_t p = 0; p < panel_count(s.n); ++p) {
        const std::int64_t c = p * width, columns = std::min(width, s.n - c);
        multiply(gemm, p, ahead);
        if (job.mean && chunk == first) sums.begin(thread, made, element, columns, c);
        const RowsOut out{made, element, width, element_at(job.y.data, begin * s.n + c, to), to, s.n,
                          rows, columns, stream};
        sum_rows({out, job.mean ? sums.pivot(thread) + c : nullptr, sums.first(thread) + c, sums.second(thread) + c});
      }
      sums.count(thread, rows);
    }
    if (stream) flush_streams();
  });
  if (job.mean) sums.moments(job.mean->ptr<float>(), job.variance->ptr<float>());
}

void pointwise_norm_backward(const ConvNormBackward& job) {
  const Shapes s(job.in.x.shape, job.w.shape);
  const Element stored = element_of(job.dy.g.dtype), from = element_of(job.in.x.dtype), element = multiplied(stored);
  const Chunks chunks = cut(s.rows, s.k + s.n);
  const Panels gradients(s.n, chunks.rows, element), inputs(s.k, chunks.rows, element);
  const void* const packed = job.dx ? pack(job.w.ptr<float>(), s.k, s.n, true, element) : nullptr;
  const NormColumns norm = columns_of(job.in);
  const int threads = parallel_chunk_count(chunks.count, 1);
  // The zeros of the bias and each thread's part of dw.
  const std::int64_t pitch = gradients.padded, weights = (s.k * pitch + 31) / 16 * 16;
  float* const shared = scratch<float>(Slot::columns, s.k + 64 + threads * weights);
  std::fill(shared, shared + s.k + 48, 0.0f);
  float* const partial = shared + (s.k + 63) / 16 * 16;
  ChannelSums sums(threads, norm.mean ? s.k : 0);
  const bool stream = job.dx && streamed(*job.dx);
  parallel_for(chunks.count, 1, [&](std::int64_t first, std::int64_t last, int thread) {
    char* const d = scratch<char>(Slot::block_a, gradients.bytes() + gradients.pair_bytes());
    char* const z = job.dw ? scratch<char>(Slot::block_b, inputs.bytes() + inputs.pair_bytes()) : nullptr;
    void* const made = scratch<float>(Slot::block_c, chunks.rows * panel_width());
    float* const dw = partial + thread * weights;
    Ahead ahead((job.dx ? chunks.rows * s.n * panel_count(s.k) * panel_width() : 0) +
                (job.dw ? chunks.rows * s.k * pitch : 0));
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      const std::int64_t begin = chunk * chunks.rows, rows = std::min(chunks.rows, s.rows - begin);
      const void* const x = element_at(job.in.x.data, begin * s.k, from);
      GradientRows load = gradient_rows_of(job.dy, begin, rows);
      load.to = gradients.to(d);
      load_gradient(load);
      ahead.start();
      if (chunk + 1 < last) {
        const std::int64_t next = begin + rows, more = std::min(chunks.rows, s.rows - next);
        ahead.add(element_at(job.dy.g.data, next * s.n, stored), more * s.n * bytes_of(stored));
        if (load.b) ahead.add(element_at(job.dy.y.data, next * s.n, stored), more * s.n * bytes_of(stored));
        ahead.add(element_at(job.in.x.data, next * s.k, from), more * s.k * bytes_of(from));
        if (job.dx && !stream) ahead.add(element_at(job.dx->data, next * s.k, from), more * s.k * bytes_of(from));
      }
      if (job.dw) {
        NormalizedRows input{x, from, rows, s.k, norm};
        input.to = inputs.to(z);
        load_normalized(input);
        if (element == Element::bf16) {
          inputs.pair(z, rows);
          gradients.pair(d, rows);
        }
        weights_of_chunk(inputs, z, gradients, d, rows, dw, pitch, chunk > first, ahead);
      }
      if (!job.dx) continue;
      const PlannedGemm gemm = gradients.times(d, rows, packed, s.k, shared, made);
      const std::int64_t width = panel_width();
      for (std::int64_t p = 0; p < panel_count(s.k); ++p) {
        const std::int64_t c = p * width;
        multiply(gemm, p, ahead);
        const RowsOut out{made,  element, width, element_at(job.dx->data, begin * s.k + c, from),
                          from,  s.k,     rows,  std::min(width, s.k - c),
                          stream};
        if (!norm.mean) {
          sum_rows({out});
          continue;
        }
        MaskedRows mask;
        mask.g = out;
        mask.x = element_at(x, c, from);
        mask.x_stride = s.k;
        mask.norm = {norm.mean + c, norm.scale + c, norm.beta + c, norm.activation};
        mask.sum = sums.first(thread) + c;
        mask.product = sums.second(thread) + c;
        mask_rows(mask);
      }
    }
    if (stream) flush_streams();
  });
  if (job.dw) {
    float* const dw = job.dw->ptr<float>();
    parallel_for(s.k, std::max<std::int64_t>(1, kGrain / s.n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        std::memcpy(dw + i * s.n, partial + i * pitch, static_cast<std::size_t>(s.n) * sizeof(float));
        for (int t = 1; t < threads; ++t) {
          const float* const more = partial + t * weights + i * pitch;
          for (std::int64_t j = 0; j < s.n; ++j) dw[i * s.n + j] += more[j];
        }
      }
    });
  }
  if (job.dx && norm.mean) sums.totals(job.dbeta->ptr<float>(), job.dscale->ptr<float>());
}

}  // namespace fovea::kernels::simd
