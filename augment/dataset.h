// A labelled collection of images.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "image/image.h"

namespace fovea {

class FOVEA_API Dataset {
 public:
  virtual ~Dataset();
  virtual std::int64_t size() const = 0;
  /// The decoded picture of item i in [0, size()). Thread-safe. Throws Error{file/format} naming the file when it cannot be read.
  virtual image::Image image(std::int64_t i) const = 0;
  /// Class of item i in [0, class_names().size()), without decoding anything.
  virtual std::int64_t label(std::int64_t i) const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  /// Where item i comes from, for messages and reports: a path, or "train-images#17".
  virtual std::string name(std::int64_t i) const = 0;
  /// The group (patient, camera, …) item i belongs to; empty where unknown. Splits never cut a group.
  virtual std::string group(std::int64_t i) const;
};
using DatasetPtr = std::shared_ptr<const Dataset>;

}  // namespace fovea
