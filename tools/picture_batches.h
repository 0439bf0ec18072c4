// Pictures of a folder in memory, as batches: for calibration and comparison. Internal to tools/.
#pragma once

#include <string>
#include <vector>

#include "augment/dataset.h"
#include "models/model.h"

namespace fovea::tools {

/// `most` pictures spread evenly over the data (folders come class by class); all where it is 0 or more than there are.
DatasetPtr spread(DatasetPtr data, std::int64_t most);

struct PictureOptions {
  std::int64_t most = 0;  ///< so many, spread evenly over the data; 0: all
  std::int64_t batch = 8;
  int workers = 1;
};

struct PictureBatches {
  std::vector<Tensor> images;                     ///< f32 [N,H,W,C] as the model's preprocessing makes them
  std::vector<std::vector<std::int64_t>> labels;  ///< by batch, of the model's classes, where `labelled`
  std::int64_t count = 0;
  bool labelled = false;  ///< the data's classes are the model's
  std::string part;       ///< "val", or empty
};

/// What lies at `path`: anything that `fovea train` takes, or a folder of pictures without classes. Of data in parts
/// the named one is read. Pictures that cannot be read are left out, with a line on standard error.
PictureBatches read_pictures(const Model& model, const std::string& path, const std::string& part,
                             const PictureOptions& options);

}  // namespace fovea::tools
