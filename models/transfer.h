// A pretrained network for one's own classes: new heads, and networks cut in two where a part is frozen.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "models/model.h"

namespace fovea {

/// The same network, sharing all but its classifier, which is new for `classes` and drawn by `seed`. The network must
/// be a Sequential that ends in a child "classifier", as the zoo's are: Error{usage} otherwise.
FOVEA_API Model replace_head(const Model& model, int classes, std::uint64_t seed = 0);

/// Draws the classifier's parameters anew: weights uniform in ±1/√in, bias zero.
FOVEA_API void initialize_head(Model& model, std::uint64_t seed);

/// The network as two that share its modules: the children before `child`, and `child` with all behind it; their
/// composition is the network. Error{usage} listing near names if the network has no such child.
FOVEA_API std::pair<ModulePtr, ModulePtr> split_at(const Model& model, std::string_view child);

/// The names of the network's children in order: where it can be split, and what freeze_until() takes.
FOVEA_API std::vector<std::string> stage_names(const Model& model);

}  // namespace fovea
