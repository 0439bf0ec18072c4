// Kernels that go through many tensors in one launch (optimizer steps, scans of gradients): a table in GPU memory says
// where they lie, and each block finds its tensor there.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/launch.h"

namespace fovea::kernels::cuda {

/// One tensor of a table: up to five arrays of `count` elements.
struct TableRow {
  std::int64_t first_block = 0;  ///< of the blocks that go through it
  std::int64_t count = 0;
  void* at[5] = {};
  std::int64_t set = 0;  ///< which of the launch's values are its
  friend bool operator==(const TableRow&, const TableRow&) = default;
};

/// Elements that a block of kThreads goes through.
inline constexpr std::int64_t kTablePart = std::int64_t{16} * kThreads;

class TensorTable {
 public:
  void add(const TableRow& row) {
    rows_.push_back(row);
    rows_.back().first_block = blocks_;
    blocks_ += (row.count + kTablePart - 1) / kTablePart;
  }
  std::span<const TableRow> rows() const { return rows_; }
  std::int64_t blocks() const { return blocks_; }
  bool empty() const { return rows_.empty(); }
  /// The rows in GPU memory; nothing for a table of one row, which travels as an argument. A table equal to one of the
  /// last kTablesKept is not copied again: an optimizer's changes only when gradients come to lie elsewhere. Hold the
  /// pointer until the work that reads it is queued.
  std::shared_ptr<const Scratch> on_device(int device) const;

 private:
  std::vector<TableRow> rows_;
  std::int64_t blocks_ = 0;
};

inline constexpr std::size_t kTablesKept = 32;
/// Frees the kept tables of a GPU.
void clear_table_cache(int device);

/// A table as kernels see it.
struct TableView {
  const TableRow* rows;
  int count;
  TableRow only;  ///< where count is 1

  TableView(const TensorTable& table, const Scratch* memory)
      : rows(memory ? memory->as<const TableRow>() : nullptr),
        count(static_cast<int>(table.rows().size())),
        only(table.rows().front()) {}

  FOVEA_HD TableRow row(int index) const { return count == 1 ? only : rows[index]; }
  /// The row that a block belongs to.
  FOVEA_HD TableRow row_of(std::int64_t block) const {
    int low = 0, high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (rows[middle].first_block <= block) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return row(low);
  }
};

/// f(row, i) for every element i of every row.
template <class F>
struct EachOfTable {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {};
  struct Thread {};
  TableView table;
  F f;

  FOVEA_HD int phases() const { return 1; }
  FOVEA_HD void phase(int, std::int64_t block, int thread, Shared&, Thread&) const {
    const TableRow row = table.row_of(block);
    const std::int64_t first = (block - row.first_block) * kTablePart + thread;
    f(row, [&](const auto& one) {
      for (int k = 0; k < kTablePart / kThreads; ++k) {
        const std::int64_t i = first + static_cast<std::int64_t>(k) * kThreads;
        if (i < row.count) one(i);
      }
    });
  }
};

/// F: void operator()(const TableRow&, const auto& each) const, which calls each([&](std::int64_t i) { … }) once.
template <class F>
void for_each_of(const char* name, const TensorTable& table, const F& f, int device) {
  if (table.empty()) return;
  const auto memory = table.on_device(device);
  run_blocks(name, table.blocks(), EachOfTable<F>{TableView(table, memory.get()), f}, device, table.rows().data(),
             table.rows().size_bytes());
}

}  // namespace fovea::kernels::cuda
