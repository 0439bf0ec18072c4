// Keras files that do not name layers as the zoo expects: .weights.h5 files name them by class and number only
// ("layers/conv2d_7/vars/0"), and layers that were given no name are numbered on through a session ("conv2d_94" for
// "conv2d" in the second Inception that it makes). Internal to models/.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/weights/weight_file.h"
#include "models/zoo.h"

namespace fovea::models {

struct KerasJoin {
  weights::WeightFile file;            ///< the same tensors under the names of `names`, as far as they were found
  std::vector<std::string> originals;  ///< what the file called them
};

/// Joins by class and order (LayerNames says which order). A single dense layer behind the network is its classifier,
/// whatever its name. Nothing if the numbers of layers differ from the network's, or nothing is to be renamed.
std::optional<KerasJoin> keras_join(const weights::WeightFile& file, const LayerNames& names);

}  // namespace fovea::models
