// The op list in a model file, with its tensors.
#pragma once

#include <string>
#include <string_view>

#include "core/graph/op_records.h"
#include "core/io/safetensors.h"

namespace fovea {

/// The version of model files that is written and read.
inline constexpr int kModelFileVersion = 1;

/// What a model file says under this key. Error{format} where it says nothing.
FOVEA_API const std::string& model_field(const Safetensors& file, std::string_view key, const std::string& path);

/// The op list of a model file. Its tensors share the file's mapping: copy what is to outlive it or to be written.
/// Error{format} for another version, a damaged op list, and tensors that do not fit it: every parameter must be there
/// with its shape, and nothing else, apart from a tensor named `besides`. `path` names the file in errors.
FOVEA_API OpRecords read_op_records(const Safetensors& file, const std::string& path, std::string_view besides = {});

}  // namespace fovea
