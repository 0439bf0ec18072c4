// Intermediate results of a network by name: the way to compare it with the framework its weights came from.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/graph/op_list.h"
#include "models/load.h"

namespace fovea::models {

/// The same network with every fused activation as an op of its own behind the op that computed it: its scope is that
/// of a norm "x.bn" with "act" for "bn", of anything else with ".act" behind it.
FOVEA_API OpList without_fused_activations(const OpList& list);

struct Trace {
  Tensor result;    ///< what the model returns
  Tensor features;  ///< the last feature map [N,H,W,C], undefined if there is none
  std::vector<std::pair<std::string, Tensor>> activations;  ///< in order of computation
};

/// Runs the model on x and keeps what its modules computed, under the names `layout` has for them; for Layout::fovea,
/// under our own module paths. Without `all`, only the result and the features.
FOVEA_API Trace trace(const Model& model, const Tensor& x, Layout layout, bool all = true);

}  // namespace fovea::models
