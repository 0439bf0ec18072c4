// Internal: two helpers of the loader, the cache of prepared pictures and the table that normalises them. Not
// installed.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "image/image.h"
#include "image/preprocess.h"

namespace fovea {

/// Keeps pictures until a budget is full, and then what it has: every picture is used once an epoch, so replacing one
/// by another would gain nothing.
class DecodedCache {
 public:
  DecodedCache(std::int64_t items, std::int64_t budget) : kept_(static_cast<std::size_t>(items)), left_(budget) {}

  std::shared_ptr<const image::Image> find(std::int64_t item) const {
    const std::lock_guard lock(mutex_);
    return kept_[static_cast<std::size_t>(item)];
  }
  void keep(std::int64_t item, const image::Image& picture) {
    const auto bytes = static_cast<std::int64_t>(picture.pixels.size() + sizeof(image::Image) + 64);
    {
      const std::lock_guard lock(mutex_);
      if (bytes > left_ || kept_[static_cast<std::size_t>(item)]) return;
      left_ -= bytes;
    }
    auto copy = std::make_shared<const image::Image>(picture);
    const std::lock_guard lock(mutex_);
    auto& place = kept_[static_cast<std::size_t>(item)];
    if (place)
      left_ += bytes;  // another worker was faster
    else
      place = std::move(copy);
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<const image::Image>> kept_;
  std::int64_t left_;
};

/// The second half of image::to_floats for pictures that are already fitted, with the same bits: its table is made by
/// to_floats itself, once per loader instead of once per picture (a 28×28 picture takes less time than the table).
class NormaliseTable {
 public:
  explicit NormaliseTable(const image::Preprocessing& p)
      : channels_(p.channels), bgr_(p.order == image::ChannelOrder::bgr) {
    image::Preprocessing row = p;
    row.width = 256;
    row.height = 1;
    row.rule = image::ResizeRule::stretch;
    image::Image ramp(256, 1, channels_);
    for (std::size_t i = 0; i < ramp.pixels.size(); ++i)
      ramp.pixels[i] = static_cast<std::uint8_t>(i / static_cast<std::size_t>(channels_));
    values_.resize(ramp.pixels.size());
    image::to_floats(ramp, row, values_.data());  // [256][channels]
  }

  /// [256][channels]
  const std::vector<float>& values() const { return values_; }

  void normalise(const image::Image& picture, float* to) const {
    const std::uint8_t* from = picture.pixels.data();
    const std::size_t n = picture.pixels.size();
    const float* table = values_.data();
    if (channels_ == 1) {
      for (std::size_t i = 0; i < n; ++i) to[i] = table[from[i]];
      return;
    }
    const std::size_t first = bgr_ ? 2 : 0, last = 2 - first;
    for (std::size_t i = 0; i < n; i += 3) {
      to[i] = table[3 * from[i + first]];
      to[i + 1] = table[3 * from[i + 1] + 1];
      to[i + 2] = table[3 * from[i + last] + 2];
    }
  }

 private:
  int channels_;
  bool bgr_;
  std::vector<float> values_;
};

}  // namespace fovea
