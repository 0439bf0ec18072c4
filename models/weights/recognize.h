// The match between a weight file and an architecture. Internal to models/.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/load.h"
#include "models/weights/keras_frame.h"
#include "models/weights/keras_join.h"
#include "models/weights/tensor_map.h"
#include "models/weights/weight_file.h"

namespace fovea::models {

struct MatchedTensor {
  TensorPair pair;
  const weights::FileTensor* tensor;
};

struct Match {
  /// What the tensors are views of: a Keras file without what stands around the network, or under other names.
  std::shared_ptr<const KerasFrame> frame;
  std::shared_ptr<const KerasJoin> join;
  const Architecture* architecture = nullptr;
  Options options;
  std::string prefix;
  LayerNames names;
  std::vector<MatchedTensor> tensors;
  std::vector<std::string> missing, unexpected, misshapen;
  std::size_t misfits() const { return missing.size() + unexpected.size() + misshapen.size(); }
  bool fits() const { return misfits() == 0; }
};

/// The best match; its tensors point into `file`. Error{format} where not even a first layer is known.
Match find_match(const weights::WeightFile& file, const LoadOptions& options);

}  // namespace fovea::models
