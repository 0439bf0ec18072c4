// One builder per network; models::create picks by name. Internal to models/.
#pragma once

#include "models/model.h"

namespace fovea::models {

Model small_cnn(const Options& options);
Model fashion_cnn(const Options& options);
Model fashion_cnn_wide(const Options& options);
Model picture_cnn(const Options& options);

}  // namespace fovea::models
