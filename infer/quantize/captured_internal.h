// From a model to the graph that compilation and quantisation begin with. Internal to infer/.
#pragma once

#include "infer/graph/network_file_internal.h"
#include "models/model.h"

namespace fovea::infer {

/// The model's network after all rewrites, with what belongs to it. Error{usage} for ops that inference does not run.
NetworkFile captured(const Model& model);

}  // namespace fovea::infer
