// A data set that is learnt in a few steps: grey pictures with stripes of three widths.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "core/rng.h"

namespace fovea::test {

/// u8 [count,28,28,1] of three classes in turns.
inline DatasetPtr striped_pictures(std::int64_t count) {
  Tensor pictures(Shape{count, 28, 28, 1}, DType::u8);
  Rng rng(1, "pictures");
  std::uint8_t* p = pictures.mutable_data<std::uint8_t>();
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < count; ++i) {
    labels.push_back(i % 3);
    for (int j = 0; j < 28 * 28; ++j)
      *p++ = static_cast<std::uint8_t>(rng.below(100) + (j / 28 % (2 + i % 3) == 0 ? 100 : 0));
  }
  return std::make_shared<TensorDataset>(pictures, labels, std::vector<std::string>{"a", "b", "c"});
}

}  // namespace fovea::test
