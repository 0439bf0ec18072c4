// Reductions as phases between barriers: of columns (batch norm's statistics, bias gradients, totals) and of rows
// (softmax, layer norm). Same bits every time: no atomics, and the order of additions depends on the shape only.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/cuda/launch.h"

namespace fovea::kernels::cuda {

enum class Combine : std::uint8_t { sum, max };

/// a with b; NaN wins over every maximum and stays.
template <Combine how>
FOVEA_HD double combined(double a, double b) {
  if (how == Combine::sum) return a + b;
  return b > a || b != b ? b : a;
}
template <Combine how>
FOVEA_HD double neutral() {
  return how == Combine::sum ? 0.0 : -HUGE_VAL;
}

/// Threads of a block as `lanes` rows of `width` columns: narrow matrices still use all of them.
struct Tile {
  int width, lanes;
  static Tile of(std::int64_t columns) {
    int width = 1;
    while (width < 32 && width < columns) width *= 2;
    return {width, kThreads / width};
  }
  int halvings() const {
    int n = 0;
    for (int l = lanes; l > 1; l /= 2) ++n;
    return n;
  }
};

/// One step of adding up what lanes hold: the upper half of what is left goes into the lower half.
template <Combine how, int K>
FOVEA_HD void halve(const Tile& tile, int step, int thread, double (&values)[K][kThreads]) {
  const int half = tile.lanes >> (step + 1), lane = thread / tile.width;
  if (lane >= half) return;
  for (int k = 0; k < K; ++k)
    values[k][thread] = combined<how>(values[k][thread], values[k][thread + half * tile.width]);
}

/// Rows that one thread adds up in the operands' precision before the sum goes on in double.
inline constexpr int kRun = 32;

/// Blocks of a first step, about: they fill a large GPU several times over (an H100 runs up to 1056 of them at once),
/// and few partial results are left to the second. A constant, so that sums do not depend on the GPU.
inline constexpr std::int64_t kChunkBlocks = 1024;

/// First step: K partial results per column of [batch, rows, columns] and chunk of rows.
/// F: void operator()(batch, row, column, A (&values)[K]) const writes the K terms of one element.
template <class A, int K, Combine how, int kRun, class F>
struct ColumnChunks {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {
    double values[K][kThreads];
  };
  struct Thread {};
  Tile tile;
  std::int64_t batch, rows, columns, runs, chunks, column_tiles;  ///< runs: of a thread, of kRun rows each
  int halvings;
  double* partial;  ///< [chunks, K, batch, columns]
  F f;

  FOVEA_HD int phases() const { return halvings + 2; }
  FOVEA_HD void phase(int p, std::int64_t block, int thread, Shared& shared, Thread&) const {
    const Divided by_tile(block, column_tiles), by_chunk(by_tile.quotient, chunks);
    const int lane = thread / tile.width;
    const std::int64_t column = by_tile.rest * tile.width + thread % tile.width, b = by_chunk.quotient;
    if (p == 0) {
      double totals[K];
      for (int k = 0; k < K; ++k) totals[k] = neutral<how>();
      std::int64_t row = by_chunk.rest * runs * tile.lanes * kRun + lane;
      for (std::int64_t run = 0; run < runs && column < columns; ++run) add_run(b, row, column, totals);
      for (int k = 0; k < K; ++k) shared.values[k][thread] = totals[k];
    } else if (p <= halvings) {
      halve<how>(tile, p - 1, thread, shared.values);
    } else if (lane == 0 && column < columns) {
      for (int k = 0; k < K; ++k)
        partial[((by_chunk.rest * K + k) * batch + b) * columns + column] = shared.values[k][thread];
    }
  }

 private:
  /// Up to kRun rows from `row` on, which moves behind them. Four rows' operands are on their way at once.
  FOVEA_HD void add_run(std::int64_t b, std::int64_t& row, std::int64_t column, double (&totals)[K]) const {
    A sums[K];
    for (int k = 0; k < K; ++k) sums[k] = static_cast<A>(neutral<how>());
    const std::int64_t left = row < rows ? divide(rows - row + tile.lanes - 1, tile.lanes) : 0;
    const int count = left < kRun ? static_cast<int>(left) : kRun;
    FOVEA_UNROLL(4)
    for (int r = 0; r < count; ++r) {
      A terms[K];
      f(b, row + static_cast<std::int64_t>(r) * tile.lanes, column, terms);
      for (int k = 0; k < K; ++k)
        sums[k] = how == Combine::sum
                      ? sums[k] + terms[k]
                      : static_cast<A>(combined<how>(static_cast<double>(sums[k]), static_cast<double>(terms[k])));
    }
    for (int k = 0; k < K; ++k) totals[k] = combined<how>(totals[k], static_cast<double>(sums[k]));
    row += static_cast<std::int64_t>(tile.lanes) * kRun;
  }
};

/// Second step: adds up the chunks. Finish: void operator()(batch·columns + column, const double (&results)[K]) const.
template <int K, Combine how, class Finish>
struct ColumnFinish {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {
    double values[K][kThreads];
  };
  struct Thread {};
  Tile tile;
  std::int64_t all, chunks;  ///< all = batch·columns
  int halvings;
  const double* partial;
  Finish finish;

  /// Many lanes, so that each has about four chunks to add: their latency is what this step takes. Not narrower than
  /// four columns, the 32 bytes that memory gives at once.
  static Tile tile_for(std::int64_t all, std::int64_t chunks) {
    Tile tile = Tile::of(all);
    while (tile.width > 4 && tile.lanes < kThreads && tile.lanes * 4 < chunks) {
      tile.width /= 2;
      tile.lanes *= 2;
    }
    while (tile.lanes > 1 && tile.lanes / 2 >= chunks && tile.width < kThreads) {  // few chunks are added by few lanes
      tile.width *= 2;
      tile.lanes /= 2;
    }
    return tile;
  }

  FOVEA_HD int phases() const { return halvings + 2; }
  FOVEA_HD void phase(int p, std::int64_t block, int thread, Shared& shared, Thread&) const {
    const int lane = thread / tile.width;
    const std::int64_t at = block * tile.width + thread % tile.width;
    if (p == 0) {
      double sums[K];
      for (int k = 0; k < K; ++k) sums[k] = neutral<how>();
      if (at < all) {
        FOVEA_UNROLL(4)
        for (std::int64_t chunk = lane; chunk < chunks; chunk += tile.lanes) {
          for (int k = 0; k < K; ++k) sums[k] = combined<how>(sums[k], partial[(chunk * K + k) * all + at]);
        }
      }
      for (int k = 0; k < K; ++k) shared.values[k][thread] = sums[k];
    } else if (p <= halvings) {
      halve<how>(tile, p - 1, thread, shared.values);
    } else if (lane == 0 && at < all) {
      double results[K];
      for (int k = 0; k < K; ++k) results[k] = shared.values[k][thread];
      finish(at, results);
    }
  }
};

/// finish(column, results) with results[k] = the sum (or maximum) over rows of f's k-th term, for every column of
/// [batch, rows, columns]. Terms are of type A and are added in A over at most kRun rows, then in double.
template <class A, int K, Combine how = Combine::sum, int kRun = cuda::kRun, class F, class Finish>
void reduce_columns(const char* name, std::int64_t batch, std::int64_t rows, std::int64_t columns, const F& f,
                    const Finish& finish, int device) {
  const Tile tile = Tile::of(columns);
  const std::int64_t column_tiles = (columns + tile.width - 1) / tile.width, all = batch * columns;
  const std::int64_t per_run = static_cast<std::int64_t>(tile.lanes) * kRun,
                     all_runs = rows > per_run ? (rows + per_run - 1) / per_run : 1,
                     most_chunks =
                         std::max<std::int64_t>(1, kChunkBlocks / std::max<std::int64_t>(1, batch * column_tiles)),
                     runs = (all_runs + most_chunks - 1) / most_chunks, chunks = (all_runs + runs - 1) / runs;
  const Scratch partial(static_cast<std::size_t>(chunks * K * all) * sizeof(double), device);
  run_blocks(name, batch * chunks * column_tiles,
             ColumnChunks<A, K, how, kRun, F>{tile, batch, rows, columns, runs, chunks, column_tiles, tile.halvings(),
                                              partial.as<double>(), f},
             device);
  using Second = ColumnFinish<K, how, Finish>;
  const Tile second = Second::tile_for(all, chunks);
  run_blocks(name, (all + second.width - 1) / second.width,
             Second{second, all, chunks, second.halvings(), partial.as<double>(), finish}, device);
}

/// The sum (or maximum) of one value per thread of a block of kThreads, in kSteps phases; then values[0] holds it.
struct BlockTotal {
  static constexpr int kSteps = 8;
  static_assert(1 << kSteps == kThreads);
  template <Combine how>
  FOVEA_HD static void step(int s, int thread, double (&values)[kThreads]) {
    const int half = kThreads >> (s + 1);
    if (thread < half) values[thread] = combined<how>(values[thread], values[thread + half]);
  }
};

}  // namespace fovea::kernels::cuda
