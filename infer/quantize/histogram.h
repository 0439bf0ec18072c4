// What values a layer produced: a histogram that grows with them, and the range that an 8-bit grid should span.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/export.h"
#include "core/tensor.h"

namespace fovea::infer {

/// How the range of a value is told from the calibration pictures.
enum class Observer : std::uint8_t {
  min_max,     ///< everything that was seen
  percentile,  ///< all but a small share at either end
  entropy,     ///< the least information lost (Kullback and Leibler), as TensorRT calibrates
  mse,         ///< the least mean squared error of the rounded values
};
FOVEA_API std::string_view to_string(Observer observer);
/// "min-max", "percentile", "entropy", "mse"; Error{usage} otherwise.
FOVEA_API Observer observer_from(std::string_view name);

struct Range {
  double low = 0, high = 0;
};

/// Counts of values in bins whose width is a power of two and whose edges are its multiples. When a value lies outside,
/// the width is doubled and neighbours are merged: the result depends on the values only, not on their order or on
/// how they were divided into batches. Its resolution is at least 1/2048 of what was seen.
class FOVEA_API Histogram {
 public:
  /// Adds all elements, f32. NaN and infinities are Error{numeric}.
  void add(const Tensor& values);

  std::int64_t count() const { return count_; }
  /// Of the values themselves; Error{usage} while there are none.
  Range seen() const;
  /// The range to quantise to 256 steps. It holds 0, which padding and ReLU need exactly. `percentile` in (50, 100]
  /// counts for that observer only: 99.9 leaves out 0.1 % at either end.
  Range range(Observer observer, double percentile = 99.99) const;

  double bin_width() const { return width_; }
  /// Bin i holds the values in [(first_bin() + i)·width, (first_bin() + i + 1)·width).
  std::int64_t first_bin() const { return first_; }
  const std::vector<std::int64_t>& bins() const { return bins_; }

 private:
  static constexpr std::int64_t kBins = 4096;
  void widen(float low, float high);
  Range percentile(double share) const;
  Range entropy() const;
  Range mse() const;

  double width_ = 0;
  std::int64_t first_ = 0;  // index of bins_[0]
  std::vector<std::int64_t> bins_;
  std::int64_t count_ = 0;
  float least_ = 0, greatest_ = 0;
};

}  // namespace fovea::infer
