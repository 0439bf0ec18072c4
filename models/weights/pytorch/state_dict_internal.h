// Where in a checkpoint the weights are, and what their names are without the wrappers.
#pragma once

#include "models/weights/pytorch/tensors_internal.h"
#include "models/weights/pytorch/unpickler_internal.h"
#include "models/weights/weight_file.h"

namespace fovea::weights::pytorch {

/// Looks for the weights in this order and takes the first place that has tensors:
///   1. `state_dict_ema`, `model_ema`, `ema` (the averaged weights are what a checkpoint's figures were measured with),
///      then `state_dict`, `model_state_dict`, `model`, `net`, `module`; and the same again inside what was found;
///   2. the dict itself, if it has tensors;
///   3. its only entry that has tensors.
/// A network that was pickled whole is walked along its _parameters, _buffers and _modules, as its state_dict() would.
/// The prefixes `module.` (DataParallel) and `_orig_mod.` (torch.compile) go where all names have them.
///
/// Metadata: "pytorch.wrapper" (say "state_dict" or "ema.module"), "pytorch.module" (the class of a whole network),
/// "pytorch.prefix" (what was taken off the names).
/// Error{format} if there are no tensors, saying what there is.
void collect_state_dict(const Graph& graph, const Value& root, TensorMaker& maker, const std::string& where,
                        WeightFile& file);

}  // namespace fovea::weights::pytorch
