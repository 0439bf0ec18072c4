// CIFAR-10 and CIFAR-100, "binary version" (https://www.cs.toronto.edu/~kriz/cifar.html).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "augment/dataset.h"

namespace fovea {

class FOVEA_API CifarDataset final : public Dataset {
 public:
  /// Reads data_batch_1.bin … data_batch_5.bin or test_batch.bin (CIFAR-10), train.bin or test.bin (CIFAR-100, fine
  /// labels) from `folder` or the cifar-10-batches-bin or cifar-100-binary folder inside it. Class names come from
  /// batches.meta.txt or fine_label_names.txt where these exist.
  /// @param split "train" or "test" ("val" means the same)
  /// Errors: file (missing folder or files), format (a size that is no whole number of records, a label out of range).
  explicit CifarDataset(const std::string& folder, const std::string& split = "train");
  /// True where the constructor would find files.
  static bool found_in(const std::string& folder, const std::string& split);

  std::int64_t size() const override { return pictures_.size(); }
  image::Image image(std::int64_t i) const override { return pictures_.image(i); }
  std::int64_t label(std::int64_t i) const override { return pictures_.label(i); }
  const std::vector<std::string>& class_names() const override { return pictures_.class_names(); }
  std::string name(std::int64_t i) const override;
  bool in_memory() const override { return true; }
  Splits split(const SplitOptions& options = {}) const {
    return fovea::split(std::make_shared<CifarDataset>(*this), options);
  }

 private:
  std::vector<std::string> files_;         // names, in order
  std::vector<std::int64_t> files_begin_;  // index of each file's first picture
  TensorDataset pictures_;
};

}  // namespace fovea
