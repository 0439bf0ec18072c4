// Pictures of a folder as batches: for calibration and comparison. Internal to tools/.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "models/model.h"

namespace fovea::tools {

/// `most` pictures spread evenly over the data (folders come class by class); all where it is 0 or more than there are.
DatasetPtr spread(DatasetPtr data, std::int64_t most);

/// What lies at a path: anything that `fovea train` takes, or a folder of pictures without classes.
struct Pictures {
  DatasetPtr data;
  bool labelled = false;  ///< the data's classes are the model's
  std::string part;       ///< "val", or empty
  std::int64_t count() const { return data->size(); }
};
/// Of data in parts the named one. `most`: so many, spread evenly over the data; 0: all.
Pictures find_pictures(const Model& model, const std::string& path, const std::string& part, std::int64_t most = 0);

/// Pictures f32 [N,H,W,C] as the model's preprocessing makes them, and their labels (of the model's classes, where
/// labelled).
using TakeBatch = std::function<void(Tensor&& images, std::span<const std::int64_t> labels)>;
/// Reads them batch by batch and keeps none. Pictures that cannot be read are left out, with a line on standard error;
/// Error{usage} where none can.
void each_batch(const Pictures& pictures, const Model& model, const TakeBatch& take);

}  // namespace fovea::tools
