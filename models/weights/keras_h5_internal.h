// The parts of reading Keras' HDF5 files, and the HDF5 part of a .keras archive.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/weights/hdf5/hdf5_internal.h"
#include "models/weights/weight_file.h"

namespace fovea::weights {

/// Adds the tensors of a Keras 3 .weights.h5 to `out`, with the names that the model's config (nullptr: none) gives
/// them, and metadata about them.
void read_keras_weights(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, const std::string& where,
                        const std::string* config, WeightFile& out);

namespace keras {

/// A tensor with what it can be called: the shortest name that is unique in the file is taken.
struct Named {
  std::string name, longer, longest;
  std::uint64_t address;
  std::string model;  ///< the nested model that it is in, if any
};

const hdf5::Attribute* find(const std::vector<hdf5::Attribute>& attributes, std::string_view name);
/// A text, or nothing if there is no such attribute or it is no single text.
std::optional<std::string> text(hdf5::File& file, const std::vector<hdf5::Attribute>& attributes,
                                std::string_view name);

/// The tensors of a legacy file, whose group of weights lists its layers. `config` is the model's, if there is one.
std::vector<Named> legacy_tensors(hdf5::File& file, std::uint64_t group, const std::optional<std::string>& config);
/// The tensors of a Keras 3 weights file, and where their names are from: "config", "file" or "classes".
std::vector<Named> version3_tensors(hdf5::File& file, const std::string* config, std::string& source);

}  // namespace keras
}  // namespace fovea::weights
